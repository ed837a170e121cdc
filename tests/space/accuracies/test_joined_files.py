"""Joined trainings of any content against a plain loop over networks; and damaged files among good ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import MINI
from space.accuracies import load_accuracies
from space.accuracies.seeds import mean_over_seeds
from space.accuracies.trainings import Trainings, accuracies_of_trainings
from space.dataset import Dataset
from space.errors import DatasetError

SAMPLES = Path(__file__).parents[1] / "data" / "blox-sample"
FEW = st.sampled_from([1.0, 2.0, 3.0])  # so that many epochs are equal


@st.composite
def seeds_in_parts(draw: st.DrawFn) -> dict[tuple[int, str], dict[int, dict[str, list[float]]]]:
    """Draw for some seeds a base part and maybe an ext part, each of some of five networks, lists uneven or not."""
    parts = {}
    lengths = {network: draw(st.integers(1, 4)) for network in range(5)}
    if draw(st.booleans()):
        lengths = dict.fromkeys(range(5), 3)
    for seed in draw(st.sets(st.integers(0, 3), min_size=1, max_size=3)):
        for part, names in (("base", ("val_top1",)), ("ext", ("train_top1", "val_loss"))):
            if part == "ext" and not draw(st.booleans()):
                continue
            networks = draw(st.permutations(range(5)))[: draw(st.integers(1, 5))]
            parts[seed, part] = {
                n: {name: draw(st.lists(FEW, min_size=lengths[n], max_size=lengths[n])) for name in names}
                for n in networks
            }
    return parts


def trainings_of(parts: dict[tuple[int, str], dict[int, dict[str, list[float]]]]) -> Trainings:
    files = tuple(
        Dataset(
            dataset_type="training",
            indices=list(rows),
            columns={name: [cells[name] for cells in rows.values()] for name in next(iter(rows.values()))},
            extra={"seed": seed, "epochs": 4, "dataset": "cifar100", "part": part},
            config=MINI,
        )
        for (seed, part), rows in parts.items()
    )
    return Trainings(files=files, names=tuple(f"{part}-{seed}" for seed, part in parts), config=MINI)


@settings(max_examples=100, deadline=None)
@given(seeds_in_parts(), st.sampled_from(["best", "last", "1"]), st.sampled_from(["val_top1", "train_top1"]))
def test_accuracies_of_joined_parts_are_those_of_a_plain_loop(
    parts: dict[tuple[int, str], dict[int, dict[str, list[float]]]], epoch: str, metric: str
) -> None:
    holder = "base" if metric == "val_top1" else "ext"
    wanted: dict[int, list[float]] = {}
    for (seed, part), rows in parts.items():
        for network, cells in rows.items() if part == holder else ():
            validated = parts[seed, "base"].get(network)
            if epoch == "best" and validated is None:
                continue
            if epoch == "best":
                top1 = validated["val_top1"]
                losses = parts.get((seed, "ext"), {}).get(network, {}).get("val_loss", [0.0] * len(top1))
                place = min(range(len(top1)), key=lambda e, a=top1, b=losses: (-a[e], b[e], e))
            else:
                place = 0 if epoch == "1" else len(cells[metric]) - 1
            wanted.setdefault(network, []).append(cells[metric][place])
    trainings = trainings_of(parts)
    if not wanted:
        if any(part == holder for _, part in parts):
            with pytest.raises(DatasetError, match="no network has a"):
                mean_over_seeds(accuracies_of_trainings(trainings, metric, epoch))
        return
    found = mean_over_seeds(accuracies_of_trainings(trainings, metric, epoch))
    assert found.seed_counts[:5].tolist() == [len(wanted.get(n, ())) for n in range(5)]
    for network, values in wanted.items():
        assert found.at(network) == pytest.approx(sum(values) / len(values))


@settings(max_examples=50, deadline=None)
@given(seeds_in_parts())
def test_a_row_of_joined_parts_holds_each_part_that_has_the_network(
    parts: dict[tuple[int, str], dict[int, dict[str, list[float]]]],
) -> None:
    trainings = trainings_of(parts)
    for network in range(5):
        wanted: dict[int, dict[str, list[float]]] = {}
        for (seed, _), rows in parts.items():
            if network in rows:
                wanted.setdefault(seed, {}).update(rows[network])
        found = trainings.row(network)
        assert (found is None) == (not wanted)
        plain = {
            seed: {name: v.tolist() for name, v in cells.items()} for seed, cells in (found or {}).items()
        }
        assert plain == wanted


@settings(max_examples=40, deadline=None)
@given(
    suffix=st.sampled_from([".blox", ".csv", ".pickle"]),
    noise=st.binary(max_size=40),
    place=st.integers(0, 4000),
    removed=st.integers(0, 30),
)
def test_a_damaged_file_beside_a_good_one_gives_accuracies_or_an_error(
    suffix: str, noise: bytes, place: int, removed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = (SAMPLES / f"blox-ext-0{suffix}").read_bytes()
    damaged = tmp_path_factory.getbasetemp() / f"blox-ext-damaged{suffix}"
    damaged.write_bytes(content[:place] + noise + content[place + removed :])
    for asked in ({}, {"metric": "train_top1"}, {"metric": "train_top5", "epoch": "last"}):
        try:
            found = load_accuracies([SAMPLES / "blox-base-0.blox", damaged], allow_pickle=True, **asked)
        except DatasetError as error:
            assert len(str(error)) < 1500
            continue
        there = found.values[found.seed_counts > 0]
        assert ((there >= 0) & (there <= 100)).all()
        assert len(there) == np.isfinite(found.values).sum()
