"""Networks as Python holds them: collections of every kind, and architectures, which know their space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from factories.stores import MANY, add_sessions, calibrate, new_store

import harness
from harness.models.names import listed, space_meant
from harness.prediction.measure import requested
from harness.prediction.request import MeasureRequest
from harness.store import Store
from space import BLOX, MINI, TINY, Architecture
from space.errors import ConfigError

NETWORKS = TINY.sample(3, seed=1)
TEXTS = sorted(map(str, NETWORKS))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in which networks of the same texts are measured in two spaces of equal networks."""
    from dataclasses import replace

    with new_store(tmp_path / "store.sqlite") as opened:
        for space in (TINY, MINI):
            configuration = replace(MANY, space=space.name)
            calibrate(opened, configuration)
            add_sessions(opened, space.sample(14, seed=1), configuration, sessions=2)
        yield opened


@pytest.mark.parametrize(
    "several",
    [
        list,
        tuple,
        set,
        iter,
        np.array,
        lambda texts: dict.fromkeys(texts).keys(),
        lambda texts: dict(enumerate(texts)).values(),
        lambda texts: pa.chunked_array([texts]),
        lambda texts: (t for t in texts),
    ],
)
def test_several_networks_are_any_collection_of_them(several: Callable[[list[str]], object]) -> None:
    assert sorted(listed(several(TEXTS))) == TEXTS
    assert sorted(listed(several([1, 2]))) == ["1", "2"]  # type: ignore[list-item]


def test_bytes_are_not_the_indices_of_many_networks() -> None:
    assert listed(b"conv/conv") == [b"conv/conv"]
    local = harness.load_devices()["local"]
    with (
        harness.open_store("sqlite://") as store,
        pytest.raises(ConfigError, match="b'conv/conv/conv' is no model; name"),
    ):
        harness.measure(local, b"conv/conv/conv", store=store)


def test_the_space_is_that_of_the_architectures_where_none_is_named() -> None:
    assert space_meant(NETWORKS, "") == TINY and space_meant(["conv/conv"], "") == BLOX
    with requested(
        (), NETWORKS, shapes=None, inputs=None, expect=None, signature="", runtimes=(), precision=(), batch=1, cores=(), space="",
    ) as request:  # fmt: skip
        assert request.space == "tiny" and sorted(request.models) == TEXTS


def test_an_architecture_is_never_taken_for_its_namesake_of_another_space(
    store: Store, tmp_path: Path
) -> None:
    network = NETWORKS[0]
    rows = harness.results(store, models=network)
    assert {row.configuration.space for row in rows} == {"tiny"} and len(rows) == 1
    assert {row.configuration.space for row in harness.results(store, models=str(network))} == {
        "tiny",
        "mini",
    }
    pairs = harness.compare(store, *NETWORKS[:2], device="made-up")
    assert {pair.first.configuration.space for pair in pairs} == {"tiny"}
    calls: list[Callable[[], object]] = [
        lambda: harness.predict(store, device="made-up", space="mini", models=NETWORKS),
        lambda: harness.compare(store, *NETWORKS[:2], device="made-up", space="mini"),
        lambda: harness.compare(store, network, MINI[0], device="made-up"),
        lambda: harness.measure(harness.load_devices()["local"], NETWORKS, store=store, space="mini"),
        lambda: harness.train([network, MINI[0]], tmp_path / "trained"),
    ]
    for call in calls:
        with pytest.raises(
            ConfigError, match=r"is of space '(tiny|mini)', not '(tiny|mini)'; name networks of one space"
        ):
            call()


def test_a_device_is_its_name(store: Store) -> None:
    device = harness.load_devices()["local"].model_copy(update={"name": "made-up"})
    network = str(NETWORKS[0])
    assert len(harness.results(store, device=device)) == len(harness.results(store, device=[device])) == 28
    assert harness.predict(store, device=device, space="tiny").at(NETWORKS[0]).source == "measured"
    assert len(harness.compare(store, network, str(NETWORKS[1]), device=device)) == 2


def test_a_store_is_opened_by_a_path_and_says_which_it_is(tmp_path: Path) -> None:
    with harness.open_store(tmp_path / "lab.sqlite") as store:
        assert repr(store) == f"<Store {store.name}>" and "lab.sqlite" in repr(store)
    assert (tmp_path / "lab.sqlite").is_file()


def test_whole_numbers_of_numpy_name_networks() -> None:
    assert Architecture.from_index(np.int32(5), TINY) == TINY[5]
    assert listed(np.int64(5)) == ["5"]


def request(**given: object) -> MeasureRequest:
    usual: dict[str, object] = {
        "signature": "",
        "runtimes": (),
        "precision": (),
        "batch": 1,
        "cores": (),
        "space": "",
    }
    usual |= dict.fromkeys(("shapes", "inputs", "expect"))
    with requested((), NETWORKS, **{**usual, **given}) as made:  # type: ignore[arg-type]
        return made


def test_numbers_of_numpy_become_python_s_own_which_json_writes() -> None:
    made = request(
        threads=np.int64(2),
        sessions=np.int32(3),
        seed=np.uint8(4),
        cores=np.array([1, 2]),
        batch=np.array([1, 8]),
    )
    found = (made.threads, made.sessions, made.seed, *made.cores, *made.batches)
    assert found == (2, 3, 4, 1, 2, 1, 8) and {type(one) for one in found} == {int}
    assert request(cores=0).cores == request(cores=np.int64(0)).cores == request(cores="0").cores == (0,)
    assert (request().threads, request(threads=None).threads) == (None, None)


@pytest.mark.parametrize("name", ["threads", "sessions", "seed", "cores"])
@pytest.mark.parametrize("value", [1.5, "two", "1.0"])
def test_what_is_no_whole_number_is_refused_by_its_argument(name: str, value: object) -> None:
    given = [value] if name == "cores" else value
    with pytest.raises(ConfigError, match=f"{name} = {value!r}: give a whole number"):
        request(**{name: given})
