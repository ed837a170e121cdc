"""The folder of trainings: published files that several commands write, and the teacher that is chosen there."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from factories.own_spaces import CANDIDATES, FEW_SITES, write_space

from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.work import training_folder
from search.work.results import ResultStore
from search.work.training_folder import (
    LEARNING,
    check_alike,
    check_learning,
    load_teacher,
    publish,
    training_units,
)
from search.work.unit import Unit
from space import TINY, Architecture, load_space
from space.dataset.schema import MAX_LIST
from space.errors import ConfigError


def test_of_two_commands_that_end_at_once_the_last_one_publishes_what_both_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Unit(kind=training_folder.KIND, config={"network": name}) for name in ("conv", "mbconv"))
    recorded, published = [one], list[list[str]]()
    both_have_read = threading.Barrier(2)

    def stored(results: ResultStore) -> list[Unit]:
        found = list(recorded)
        with contextlib.suppress(threading.BrokenBarrierError):  # nobody reads before this one has written
            both_have_read.wait(0.2)
        recorded.append(other)  # which the other command has trained meanwhile
        return found

    def write(folder: Path, finished: Iterable[Unit]) -> tuple[list[Path], list[str]]:
        published.append(sorted(unit.key for unit in finished))
        return [], []

    monkeypatch.setattr(training_folder, "stored_units", stored)
    monkeypatch.setattr(training_folder, "collect", lambda results, units: {unit.key: unit for unit in units})
    monkeypatch.setattr(training_folder, "write_published", write)
    with ThreadPoolExecutor() as pool:
        ends = [pool.submit(publish, ResultStore(folder=tmp_path), [], []) for _ in range(2)]
    assert [end.result()[1:] for end in ends] == [([], [])] * 2
    assert published[-1] == sorted([one.key, other.key])


class OneOfMany:
    """A training as far as the choice of a teacher looks at it."""

    def __init__(self, first: int) -> None:
        self.architecture = f"network-{first}"
        self.recipe = SimpleNamespace(seed=0)
        self.best = SimpleNamespace(val=SimpleNamespace(first=first, loss=0.5))


def test_the_best_of_many_trainings_is_found_without_all_weights_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, most = weakref.WeakSet[OneOfMany](), 0

    def every(folder: Path) -> Iterator[OneOfMany]:
        nonlocal most
        for first in (3, 1, 4, 1, 5, 9, 2, 6):
            one = OneOfMany(first)
            alive.add(one)
            most = max(most, len(alive))
            yield one

    (tmp_path / "units").mkdir()
    monkeypatch.setattr(training_folder, "_all_of", every)
    assert str(load_teacher(tmp_path).architecture) == "network-9"
    assert most <= 4, "this one, the best, and what loops still name"


@pytest.mark.parametrize("epochs", [255, 256])
def test_more_epochs_than_published_files_hold_are_refused_before_anything_is_trained(epochs: int) -> None:
    task = load_task("synthetic:0:2/2/2", TINY)
    networks = [Architecture.from_index(place, TINY) for place in (0, 1)]
    refused = pytest.raises(ConfigError, match="256 epochs are more than the 255 that published files hold")
    with refused if epochs > MAX_LIST else contextlib.nullcontext():
        assert len(training_units(networks, task, Recipe(epochs=epochs, batch=2))) == 2


def test_a_users_space_is_told_by_its_name_wherever_its_file_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = []
    for place, definition in enumerate(
        (FEW_SITES, FEW_SITES, FEW_SITES.replace("expansion = 2", "expansion = 3"))
    ):
        folder = tmp_path / str(place)
        folder.mkdir()
        space = load_space(write_space(folder, definition))
        units.append(training_units([space[0]], load_task("synthetic", space), Recipe(epochs=1))[0])
    there, moved, other = units
    assert there != moved
    monkeypatch.setattr(training_folder, "stored_units", lambda results: [there])
    check_alike(ResultStore(folder=tmp_path), moved)
    with pytest.raises(
        ConfigError, match=r'another kind: space is "mine@\w{12}" there, "mine@\w{12}" now; name'
    ):
        check_alike(ResultStore(folder=tmp_path), other)


RETURN = "        return torch.cat([y, self.cheap(y)], 1)"
NOISY = CANDIDATES.replace(
    RETURN, f"        y = y + 0.1 * torch.randn_like(y) if self.training else y\n{RETURN}"
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (NOISY, NOISY.replace("0.1", "0.3")),
        (CANDIDATES, NOISY),
        (CANDIDATES, CANDIDATES.replace("groups=few)", "groups=few); nn.init.zeros_(self.cheap.weight)")),
    ],
)
def test_a_folder_takes_no_networks_of_code_that_learns_otherwise(
    tmp_path: Path, before: str, after: str
) -> None:
    assert before != after
    path, folder = write_space(tmp_path, FEW_SITES, before), tmp_path / "trained"
    first = load_space(path)
    check_learning(folder, first)
    check_learning(folder, TINY)
    write_space(tmp_path, FEW_SITES, f"# said better\n{before}")
    check_learning(folder, load_space(path))
    write_space(tmp_path, FEW_SITES, after)
    other = load_space(path)
    assert other == first, "the networks are the same, once they are trained"
    for keeps in (True, False):
        with pytest.raises(
            ConfigError, match=r"trained: what is there was trained by other code: .*in training"
        ):
            check_learning(folder, other, keeps=keeps)
    kept = (folder / LEARNING).read_text()
    (folder / LEARNING).write_text(kept.replace("torch ", "torch 1."))  # whose graphs may be others
    check_learning(folder, other)
    check_learning(folder, other)
    with pytest.raises(ConfigError, match="trained by other code"):
        check_learning(folder, load_space(write_space(tmp_path, FEW_SITES, before)))


def test_what_chance_decides_in_training_is_no_other_code(tmp_path: Path) -> None:
    by_chance = CANDIDATES.replace(
        "        y = torch.relu", "        if self.training and CHANCE: return x\n        y = torch.relu"
    )
    for number, chance in enumerate(
        ("random.random() < 0.5", "np.random.rand() < 0.5", "torch.rand(()) < 0.5")
    ):
        code = "import random\nimport numpy as np\n" + by_chance.replace("CHANCE", chance)
        config = load_space(write_space(tmp_path, FEW_SITES, code))
        for _ in range(6):
            check_learning(tmp_path / f"trained-{number}", config)
