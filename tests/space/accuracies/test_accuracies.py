"""Accuracies from published trainings: parts and seeds joined, epochs chosen, and files that do not fit refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import BLOX, MINI, Architecture, ArchitectureError
from space.accuracies import Accuracies, load_accuracies, read_trainings
from space.accuracies.epochs import at_epoch, best_epochs, padded
from space.accuracies.seeds import SeedAccuracies, mean_over_seeds
from space.accuracies.trainings import Trainings
from space.dataset import Dataset, read_dataset, write_dataset
from space.errors import ConfigError, DatasetError

SAMPLES = Path(__file__).parents[1] / "data" / "blox-sample"

# Three epochs. Network 5 has its best validation accuracy twice, with the lower loss at the later one; network 7 twice
# with equal losses; network 9 once.
VAL_TOP1 = [[50.0, 40.0, 50.0], [60.0, 60.0, 10.0], [10.0, 20.0, 70.0]]
VAL_LOSS = [[2.0, 3.0, 1.0], [1.5, 1.5, 0.5], [3.0, 2.0, 1.0]]
TRAIN_TOP1 = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
INDICES = [5, 7, 9]


def base(seed: int = 0, **changed: object) -> Dataset:
    given = {
        "indices": INDICES,
        "val_top1": VAL_TOP1,
        "test_top1": [51.0, 61.0, 71.0],
        "dataset": "cifar100",
        "epochs": 3,
    }
    given |= changed
    return Dataset(
        dataset_type="training",
        indices=given["indices"],
        columns={name: given[name] for name in ("val_top1", "test_top1")},
        extra={"seed": seed, "epochs": given["epochs"], "dataset": given["dataset"], "part": "base"},
    )


def ext(
    seed: int = 0, indices: list[int] = INDICES, rows: list[int] | None = None, **columns: object
) -> Dataset:
    rows = list(range(3)) if rows is None else rows
    columns = columns or {"train_top1": TRAIN_TOP1, "val_loss": VAL_LOSS, "test_top5": [81.0, 82.0, 83.0]}
    return Dataset(
        dataset_type="training",
        indices=[indices[row] for row in rows],
        columns={name: [values[row] for row in rows] for name, values in columns.items()},
        extra={"seed": seed, "epochs": 3, "dataset": "cifar100", "part": "ext"},
    )


def written(folder: Path, *datasets: Dataset, suffix: str = ".blox") -> list[Path]:
    paths = [folder / f"blox-{d.extra['part']}-{d.extra['seed']}{suffix}" for d in datasets]
    for path, dataset in zip(paths, datasets, strict=True):
        write_dataset(path, dataset)
    return paths


def refusal(*args: object, **kwargs: object) -> str:
    with pytest.raises(DatasetError) as caught:
        load_accuracies(*args, **kwargs)
    return str(caught.value)


def there(accuracies: Accuracies) -> dict[int, float]:
    places = np.flatnonzero(accuracies.seed_counts)
    assert np.isnan(np.delete(accuracies.values, places)).all()
    return dict(zip(places.tolist(), accuracies.values[places].tolist(), strict=True))


# Metrics and epochs -------------------------------------------------------------------------------------------


def test_the_sample_gives_the_best_of_each_list_of_validation_accuracies() -> None:
    found = load_accuracies(SAMPLES)
    lists = read_dataset(SAMPLES / "blox-base-0.csv")
    assert (found.metric, found.epoch, found.seeds) == ("val_top1", "best", (0,))
    assert there(found) == dict(
        sorted(zip(lists.indices.tolist(), lists.columns["val_top1"].max(axis=1).tolist(), strict=True))
    )
    assert found.seed_sd is None
    assert found.notes == ()


def test_the_accuracy_at_the_best_epoch_of_training_is_that_of_the_best_validation(tmp_path: Path) -> None:
    found = load_accuracies(written(tmp_path, base(), ext()), metric="train_top1")
    assert there(found) == {
        5: 3.0,
        7: 4.0,
        9: 9.0,
    }  # the later of equals by its loss; the first of equals in both


def test_equal_epochs_without_losses_give_the_first(tmp_path: Path) -> None:
    parts = written(tmp_path, base(), ext(train_top1=TRAIN_TOP1))
    assert there(load_accuracies(parts, metric="train_top1")) == {5: 1.0, 7: 4.0, 9: 9.0}


@pytest.mark.parametrize(
    ("epoch", "wanted"), [("last", [3.0, 6.0, 9.0]), ("1", [1.0, 4.0, 7.0]), ("2", [2.0, 5.0, 8.0])]
)
def test_an_epoch_is_the_last_or_one_by_its_number_from_1(
    epoch: str, wanted: list[float], tmp_path: Path
) -> None:
    found = load_accuracies(written(tmp_path, base(), ext()), metric="train_top1", epoch=epoch)
    assert (list(there(found).values()), found.epoch) == (wanted, epoch)


def test_rows_of_parts_in_another_order_are_joined_on_the_network(tmp_path: Path) -> None:
    found = load_accuracies(written(tmp_path, base(), ext(rows=[2, 0, 1])), metric="train_top1")
    assert there(found) == {5: 3.0, 7: 4.0, 9: 9.0}


def test_a_network_that_one_part_lacks_is_counted_and_has_no_accuracy_of_the_other(tmp_path: Path) -> None:
    parts = written(tmp_path, base(indices=[5, 7, 11]), ext())
    found = load_accuracies(parts, metric="train_top1")
    assert there(found) == {5: 3.0, 7: 4.0}  # 9 was trained, but its best epoch is not known
    assert found.notes[0] == "seed 0: 2 networks are not in all of base and ext"
    assert found.notes[1].startswith("1 of 3 rows has no train_top1")
    assert there(load_accuracies(parts)) == {5: 50.0, 7: 60.0, 11: 70.0}
    assert there(load_accuracies(parts, metric="train_top1", epoch="last")) == {5: 3.0, 7: 6.0, 9: 9.0}


def test_lists_of_different_lengths_have_a_best_and_a_last_epoch_each(tmp_path: Path) -> None:
    lists = [[50.0], [60.0, 70.0, 10.0], [10.0, 20.0]]
    paths = written(tmp_path, base(val_top1=lists))
    assert list(there(load_accuracies(paths)).values()) == [50.0, 70.0, 20.0]
    assert list(there(load_accuracies(paths, epoch="last")).values()) == [50.0, 10.0, 20.0]
    second = load_accuracies(paths, epoch="2")
    assert there(second) == {7: 70.0, 9: 20.0}
    assert second.notes == ("1 of 3 rows has no val_top1 and counts as missing",)


def test_the_test_accuracy_has_no_epoch_and_is_taken_only_where_there_is_no_validation(
    tmp_path: Path,
) -> None:
    (path,) = written(tmp_path, base())
    assert load_accuracies(path).metric == "val_top1"
    found = load_accuracies(path, metric="test_top1")
    assert (there(found), found.epoch, found.label) == ({5: 51.0, 7: 61.0, 9: 71.0}, "", "test_top1")
    assert "one value a training" in refusal(path, metric="test_top1", epoch="last")
    only_top5 = written(tmp_path, ext(val_loss=VAL_LOSS, test_top5=[81.0, 82.0, 83.0]))
    assert load_accuracies(only_top5).metric == "test_top5"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"metric": "val_top"},
            "no metric 'val_top' in the files; did you mean 'val_top1'? (there are: val_top1,",
        ),
        ({"metric": "val_loss"}, "metric val_loss is a loss and no accuracy; choose one of: val_top1"),
        ({"metric": "train_time_s"}, "metric train_time_s is a time and no accuracy"),
        ({"metric": "train_top5"}, "it may stand in the other part of the published files"),
        ({"epoch": "4"}, "epoch 4 of val_top1: there are 3 epochs; give 1 to 3, best or last"),
        ({"epoch": "0"}, "epoch '0' cannot be used; write best, last or a number from 1"),
        ({"epoch": "first"}, "epoch 'first' cannot be used"),
        ({"seeds": (0, 2)}, "no file holds seed 2; there are seeds 0, 1"),
    ],
)
def test_what_the_files_do_not_hold_is_refused(
    asked: dict[str, object], message: str, tmp_path: Path
) -> None:
    paths = written(tmp_path, base(), ext(), base(1))
    found = refusal(paths, **asked)
    assert message in found
    assert ("seeds" in asked or "cannot be used" in message) or found.startswith(
        f"{paths[0]}, {paths[1]}, {paths[2]}: "
    )


def test_the_best_epoch_without_validation_accuracies_is_refused_and_the_last_is_not(tmp_path: Path) -> None:
    paths = written(tmp_path, ext(train_top1=TRAIN_TOP1))
    assert "the best epoch is that of the best val_top1, which no file holds" in refusal(paths)
    assert there(load_accuracies(paths, epoch="last")) == {5: 3.0, 7: 6.0, 9: 9.0}


def test_accuracies_and_losses_of_different_lengths_are_refused(tmp_path: Path) -> None:
    short = [losses[:2] for losses in VAL_LOSS]
    paths = written(tmp_path, base(), ext(train_top1=TRAIN_TOP1, val_loss=short))
    assert "seed 0: val_top1 and val_loss of a network have lists of different lengths" in refusal(paths)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_best_epoch_is_that_of_a_plain_search(data: st.DataObject) -> None:
    few = st.sampled_from([1.0, 2.0, 3.0])  # so that many are equal
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    if data.draw(st.booleans()):
        lengths = [lengths[0]] * len(lengths)
    tops, losses = (
        [np.array(data.draw(st.lists(few, min_size=n, max_size=n))) for n in lengths] for _ in range(2)
    )
    with_losses = data.draw(st.booleans())
    wanted = [
        min(range(len(top)), key=lambda e, top=top, loss=loss: (-top[e], loss[e] if with_losses else 0, e))
        for top, loss in zip(tops, losses, strict=True)
    ]
    even = len(set(lengths)) == 1
    column = np.stack(tops) if even else tuple(tops)
    found = best_epochs(column, padded(tuple(losses), np.inf) if with_losses else None)
    assert found.tolist() == wanted
    assert at_epoch("val_top1", column, "best", found).tolist() == [max(top) for top in tops]


# Seeds ---------------------------------------------------------------------------------------------------------


def test_the_mean_over_seeds_and_their_scatter_are_those_of_each_networks_own_trainings(
    tmp_path: Path,
) -> None:
    other = base(1, indices=[7, 9, 11], test_top1=[62.0, 75.0, 33.0])
    found = load_accuracies(written(tmp_path, base(), other), metric="test_top1")
    assert there(found) == {5: 51.0, 7: 61.5, 9: 73.0, 11: 33.0}
    assert found.seeds == (0, 1)
    assert found.seed_counts[[5, 7, 9, 11]].tolist() == [1, 2, 2, 1]
    # Variances 0.5 and 8 of two networks with one degree of freedom each; numpy is the authority.
    wanted = np.sqrt(np.mean([np.var([61, 62], ddof=1), np.var([71, 75], ddof=1)]))
    assert found.seed_sd == pytest.approx(float(wanted), rel=1e-12)
    assert found.notes == ("2 networks were trained with fewer seeds than the 2 of others",)


def test_only_the_seeds_that_are_named_count(tmp_path: Path) -> None:
    paths = written(tmp_path, base(), base(1, test_top1=[1.0, 2.0, 3.0]), base(4, test_top1=[5.0, 6.0, 7.0]))
    found = load_accuracies(paths, metric="test_top1", seeds=(4, 1))
    assert there(found) == {5: 3.0, 7: 4.0, 9: 5.0}
    assert found.seeds == (1, 4)


def test_a_seed_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    paths = written(tmp_path, base(), base(1, test_top1=[1.0, 2.0, 3.0]))
    once, twice = (load_accuracies(paths, metric="test_top1", seeds=seeds) for seeds in ((1, 0), (1, 0, 1)))
    assert there(twice) == there(once)
    assert twice.seed_counts[[5, 7, 9]].tolist() == [2, 2, 2]
    assert (twice.seed_sd, twice.seed_freedom) == (once.seed_sd, once.seed_freedom)


def test_a_seed_without_the_metric_is_left_out_with_a_note_unless_it_was_named(tmp_path: Path) -> None:
    paths = written(tmp_path, base(), ext(), base(1))
    found = load_accuracies(paths, metric="train_top1")
    assert found.seeds == (0,)
    assert "seed 1 has no train_top1 and is left out" in found.notes
    assert "no train_top1 of seed 1" in refusal(paths, metric="train_top1", seeds=(0, 1))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 3)),
        st.floats(0, 100, allow_nan=False),
        min_size=1,
        max_size=20,
    )
)
def test_means_and_scatter_over_seeds_are_those_of_a_plain_loop(
    trained: dict[tuple[int, int], float],
) -> None:
    keys = np.array(list(trained))
    found = mean_over_seeds(
        SeedAccuracies(
            metric="acc",
            epoch="",
            indices=keys[:, 0],
            seeds=keys[:, 1],
            values=np.array(list(trained.values())),
            origin=("x",),
            synthetic=False,
        )
    )
    squares, freedom = 0.0, 0
    for network in range(5):
        own = [value for (index, _), value in trained.items() if index == network]
        assert found.seed_counts[network] == len(own)
        if own:
            mean = sum(own) / len(own)
            assert found.values[network] == pytest.approx(mean, abs=1e-9)
            squares += sum((value - mean) ** 2 for value in own)
            freedom += len(own) - 1
    wanted = (squares / freedom) ** 0.5 if freedom else None
    assert found.seed_sd == (None if wanted is None else pytest.approx(wanted, abs=1e-6))


# Files and folders ---------------------------------------------------------------------------------------------


def test_a_folder_gives_the_packed_file_then_the_text_and_pickles_only_where_allowed(tmp_path: Path) -> None:
    written(tmp_path, base(test_top1=[1.0, 1.0, 1.0]))
    written(tmp_path, base(test_top1=[2.0, 2.0, 2.0]), suffix=".csv")
    (pickled,) = written(tmp_path, base(test_top1=[3.0, 3.0, 3.0]), suffix=".pickle")

    def first() -> float:
        return load_accuracies(tmp_path, metric="test_top1", allow_pickle=True).values[5].item()

    assert first() == 1.0
    (tmp_path / "blox-base-0.blox").unlink()
    assert first() == 2.0
    (tmp_path / "blox-base-0.csv").unlink()
    assert first() == 3.0
    for path in (tmp_path, pickled):
        assert "set allow_pickle" in refusal(path)


def test_a_folder_without_trainings_and_no_path_at_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("hash,acc\n")
    assert "holds no blox-base-* or blox-ext-*" in refusal(tmp_path)
    assert "no file of accuracies is named" in refusal([])
    assert "cannot be read" in refusal(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="zero character"):
        load_accuracies("blox-base-0\0.blox")


def test_files_that_do_not_fit_each_other_are_refused_by_both_names(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir(), second.mkdir()
    (one,) = written(first, base())
    for other, message in (
        (base(1, dataset="cifar10"), f"dataset is 'cifar10' there, and 'cifar100' in {one}"),
        (base(1, epochs=2), f"epochs is 2 there, and 3 in {one}"),
        (base(), f"holds part 'base' of seed 0, and so does {one}"),
    ):
        (path,) = written(second, other)
        assert f"{path}: {message}" in refusal([one, path])
    assert "part 'base' of seed 0" in refusal([one, one])
    (double,) = written(second, ext(val_top1=VAL_TOP1))
    assert "holds column val_top1 of seed 0" in refusal([one, double])


def test_files_of_other_types_and_own_tables_are_not_joined_with_trainings(tmp_path: Path) -> None:
    info = SAMPLES / "blox-info.blox"
    assert f"{info}: holds data of type 'static'" in refusal([SAMPLES / "blox-base-0.blox", info])
    own = tmp_path / "mine.csv"
    own.write_text("index,acc\n3,50\n")
    assert f"{own}: is a table of your own" in refusal([SAMPLES / "blox-base-0.blox", own])
    assert f"and {own} was named beside it" in refusal([own, own])


def test_accuracies_are_synthetic_where_a_name_or_the_data_set_says_so(tmp_path: Path) -> None:
    (path,) = written(tmp_path, base())
    assert not load_accuracies(path).synthetic
    named = path.rename(tmp_path / "Synthetic-base.blox")
    found = load_accuracies(named)
    assert (found.synthetic, found.label) == (True, "synthetic val_top1 (best epoch)")
    (path,) = written(tmp_path, base(dataset="cifar100 SYNTHETIC"))
    assert load_accuracies(path).synthetic
    folder = tmp_path / "synthetic"  # a folder's name says nothing of a file
    folder.mkdir()
    assert not load_accuracies(written(folder, base())).synthetic


# Look-up -------------------------------------------------------------------------------------------------------


def test_a_network_is_looked_up_by_any_of_its_names() -> None:
    trainings, accuracies = read_trainings(SAMPLES), load_accuracies(SAMPLES)
    base_file = trainings.files[0]
    for row, index in enumerate(base_file.indices.tolist()):
        network = Architecture.from_index(index)
        wanted = base_file.columns["val_top1"][row]
        for name in (
            network,
            index,
            np.int64(index),
            str(index),
            str(network),
            network.graph_hash,
            network.vector,
        ):
            assert accuracies.at(name) == wanted.max()
            found = trainings.row(name)
            assert found is not None
            assert found[0]["val_top1"].tolist() == wanted.tolist()
        assert accuracies.at(str(network.vector)) == accuracies.at(network.graph_hash.upper()) == wanted.max()
        assert set(found[0]) == {*base_file.columns, *trainings.files[1].columns}
        assert found[0]["test_top1"] == base_file.columns["test_top1"][row]


def test_a_row_holds_every_seed_of_a_network_and_none_of_one_that_is_not_there(tmp_path: Path) -> None:
    trainings = read_trainings(written(tmp_path, base(), ext(), base(3, indices=[7, 9, 11])))
    found = trainings.row(7)
    assert found is not None
    assert {seed: sorted(cells) for seed, cells in found.items()} == {
        0: ["test_top1", "test_top5", "train_top1", "val_loss", "val_top1"],
        3: ["test_top1", "val_top1"],
    }
    assert trainings.row(5) is not None and set(trainings.row(5) or ()) == {0}
    assert trainings.row(8) is None
    assert load_accuracies(written(tmp_path, base())).at(8) is None


@pytest.mark.parametrize(
    "name",
    [
        *(91_125, -1, "91125", "0" * 32, 1.5, None, True, ""),
        *("conv/conv", "conv/conv/nonv", Architecture.from_index(3, MINI)),
        *([[[0]]], "[[[0], [1, 0, 0, 0]]]", "[" * 5000, "[[[0],[1,0,0,0]],[[0],[1,0,0,0]],[[0],[1,0,0,0]]]"),
    ],
)
def test_what_is_no_network_of_the_space_is_an_error_and_not_none(name: object) -> None:
    with pytest.raises(ArchitectureError):
        load_accuracies(SAMPLES / "blox-base-0.csv").at(name)  # type: ignore[arg-type]
    with pytest.raises(ArchitectureError):
        read_trainings(SAMPLES / "blox-base-0.csv").row(name)  # type: ignore[arg-type]


def test_trainings_of_another_space_are_refused() -> None:
    with pytest.raises(DatasetError, match="is of space 'blox', not 'mini'"):
        Trainings(files=(base(),), names=("x",), config=MINI)
    assert len(BLOX) != len(MINI)


# Only what is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".blox", ".csv", ".pickle"])
def test_only_the_columns_that_are_wanted_are_kept(suffix: str) -> None:
    path = SAMPLES / f"blox-base-0{suffix}"
    whole = read_dataset(path, allow_pickle=True)
    found = read_dataset(path, allow_pickle=True, columns=("test_top1", "absent"))
    assert list(found.columns) == ["test_top1"]
    assert found.columns["test_top1"].tolist() == whole.columns["test_top1"].tolist()
    assert found.indices.tolist() == whole.indices.tolist()
    with pytest.raises(DatasetError, match="has none of the columns absent; its columns are val_top1"):
        read_dataset(path, allow_pickle=True, columns=("absent",))
