"""A user's own accuracies from CSV and Parquet: every notation, and what is refused with a row and a remedy."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import MINI, Architecture
from space.accuracies import load_accuracies
from space.accuracies.user_readers import csv_source, parquet_source
from space.accuracies.user_table import ARCHITECTURE_COLUMNS
from space.errors import DatasetError

pa = pytest.importorskip("pyarrow", reason="pip install 'harness[parquet]'")
parquet = pytest.importorskip("pyarrow.parquet")

ROOT = Path(__file__).resolve().parents[3]
NETWORKS = [Architecture.from_index(i) for i in (3, 70_000, 91_124)]
NOTATIONS = {
    "text": [str(a) for a in NETWORKS],
    "hash": [a.graph_hash for a in NETWORKS],
    "index": [a.index for a in NETWORKS],
    "vector": [str(a.vector) for a in NETWORKS],
}


def csv_file(folder: Path, text: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(folder: Path, suffix: str, columns: dict[str, list[object]], name: str = "mine") -> Path:
    path = folder / f"{name}{suffix}"
    if suffix == ".parquet":
        parquet.write_table(pa.table(columns), path)
        return path
    text = io.StringIO(newline="")
    rows = zip(*columns.values(), strict=True)
    csv.writer(text).writerows([list(columns), *([("" if v is None else v) for v in row] for row in rows)])
    return csv_file(folder, text.getvalue(), path.name)


def refusal(path: Path, **asked: object) -> str:
    with pytest.raises(DatasetError) as caught:
        load_accuracies(path, **asked)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)[len(str(path)) + 2 :]


@pytest.fixture(params=[".csv", ".parquet"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# What is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notation", NOTATIONS)
def test_networks_are_named_in_any_notation(notation: str, suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"model": NOTATIONS[notation], "acc": [70.5, 71.0, 72.25]})
    found = load_accuracies(path)
    assert [found.at(a) for a in NETWORKS] == [70.5, 71.0, 72.25]
    assert np.isnan(found.values).sum() == len(found.values) - 3
    assert (found.metric, found.epoch, found.seeds, found.seed_sd) == ("acc", "", (), None)
    assert (found.origin, found.notes, found.synthetic) == ((str(path),), (), False)


def test_notations_may_be_mixed_and_vectors_nested_in_parquet(tmp_path: Path) -> None:
    mixed = [NOTATIONS["hash"][0], NOTATIONS["text"][1], NOTATIONS["vector"][2].replace(" ", "")]
    for cells in (mixed, [a.vector for a in NETWORKS]):
        path = table(tmp_path, ".parquet", {"arch": cells, "acc": [70.5, 71.0, 72.25]})
        assert [load_accuracies(path).at(a) for a in NETWORKS] == [70.5, 71.0, 72.25]


@pytest.mark.parametrize("name", [*ARCHITECTURE_COLUMNS, "Architecture"])
def test_the_column_of_networks_is_found_by_its_name(name: str, suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"acc": [70.5], "note": ["a"], name: [str(NETWORKS[0])]})
    assert load_accuracies(path).at(NETWORKS[0]) == 70.5


def test_the_column_of_networks_may_be_named_otherwise_and_then_is_told(suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"net": NOTATIONS["text"], "acc": [70.5, 71.0, 72.25]})
    assert "no column is named as one of architectures" in refusal(path)
    assert load_accuracies(path, architecture_column="net").at(NETWORKS[2]) == 72.25
    assert "there is no column 'nett'; did you mean 'net'?" in refusal(path, architecture_column="nett")


def test_the_validation_accuracy_is_taken_before_the_test_accuracy(suffix: str, tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"index": [1], "params": [5], "test_top1": [50.0], "val_top1": [60.0]}
    assert load_accuracies(table(tmp_path, suffix, columns)).at(1) == 60.0
    assert load_accuracies(table(tmp_path, suffix, columns), metric="test_top1").at(1) == 50.0
    del columns["val_top1"]
    assert load_accuracies(table(tmp_path, suffix, columns)).metric == "test_top1"


def test_the_only_column_of_numbers_beside_networks_seeds_and_losses_is_the_accuracy(
    suffix: str, tmp_path: Path
) -> None:
    columns: dict[str, list[object]] = {
        "index": [1],
        "seed": [3],
        "note": ["a"],
        "loss": [0.5],
        "top": [60.0],
    }
    assert load_accuracies(table(tmp_path, suffix, columns)).metric == "top"
    columns |= {"latency_ms": [3.5], "params": [1e6]}
    assert load_accuracies(table(tmp_path, suffix, columns)).metric == "top", "by title the only one"
    columns["mark"] = [3.5]
    assert "4 columns hold numbers (top, latency_ms, params, mark) beside the networks" in refusal(
        table(tmp_path, suffix, columns)
    )
    assert load_accuracies(table(tmp_path, suffix, columns), metric="top").at(1) == 60.0
    only_mark = table(tmp_path, suffix, {"index": [1], "mark": [3.5], "params": [1e6]})
    assert "2 columns hold numbers (mark, params)" in refusal(only_mark), "a mark may be anything"
    assert "'loss' is a loss and no accuracy" in refusal(table(tmp_path, suffix, columns), metric="loss")
    assert "no accuracy 'tops'; did you mean 'top'?" in refusal(
        table(tmp_path, suffix, columns), metric="tops"
    )
    path = table(tmp_path, suffix, {"index": [1], "note": ["a"]})
    assert "no column holds numbers beside the networks" in refusal(path)


@pytest.mark.parametrize("bad", ["63.0%", "63,0", "6x3", "inf"])
@pytest.mark.parametrize("beside", ["size_mb", "score"])
def test_a_bad_cell_never_changes_which_column_is_taken(bad: str, beside: str, tmp_path: Path) -> None:
    text = f'architecture,acc,{beside}\n0,61.5,1.5\n1,"{bad}",2.5\n'
    message = refusal(csv_file(tmp_path, text))
    assert f"row 2: acc = '{bad}' is not a number; correct it" in message
    named = f"2 columns hold numbers (acc, {beside}) beside the networks" in message and "--metric" in message
    assert named == (beside == "score"), "by its title a size is none"
    alone = refusal(csv_file(tmp_path, f'architecture,acc\n0,61.5\n1,"{bad}"\n'))
    assert alone.startswith(f"row 2: acc = '{bad}' is not a number")


@pytest.mark.parametrize("cells", [["63.0%", "64.0%"], ["", ""], ["a", "b"]])
def test_a_column_that_says_accuracy_is_one_whatever_its_cells_hold(
    cells: list[str], suffix: str, tmp_path: Path
) -> None:
    path = table(tmp_path, suffix, {"architecture": ["0", "1"], "val_acc": cells, "score": [1.5, 2.5]})
    assert "2 columns hold numbers (val_acc, score)" in refusal(path)
    path = table(tmp_path, suffix, {"architecture": ["0", "1"], "val_acc": cells, "note": ["x", "y"]})
    assert "val_acc" in refusal(path)


def test_text_like_numbers_in_parquet_is_refused_with_its_row(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"arch": ["0", "1"], "good": [None, "63.0%"], "score": [1.5, 2.5]}
    message = refusal(table(tmp_path, ".parquet", columns))
    assert "column 'good' holds string and no numbers (row 2: '63.0%'); write numbers" in message
    assert "2 columns hold numbers (good, score)" in message


COSTS = {
    "a time": ["latency_ms", "latencyMs", "Latency", "train_time_s", "runtime", "ms", "pixel_us", "epochs"],
    "a size": ["size_mb", "sizeMB", "memory", "peak_bytes", "model_kb"],
    "a count of parameters": ["params", "n_params", "Parameters"],
    "a count of operations": ["macs", "MACs", "MFLOPs", "flops"],
    "an error": ["error", "top1_error", "err", "MSE", "val_acc_error", "inaccuracy", "regret", "miss_rate"],
    "a loss": ["val_loss", "testLoss"],
    "an energy": ["energy_mj", "power_w"],
}


@pytest.mark.parametrize(("what", "title"), [(what, title) for what, some in COSTS.items() for title in some])
def test_a_cost_is_never_taken_for_an_accuracy(what: str, title: str, suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"architecture": ["0", "1"], title: [3.5, 4.5]})
    asked = refusal(path, metric=title)
    assert f"column {title!r} is {what} and no accuracy, by its title" in asked and "--metric" in asked
    assert refusal(path) == asked or (what == "a loss" and "no column holds numbers" in refusal(path))


@pytest.mark.parametrize(
    "title", ["acc", "top1", "top1_epoch_12", "val_acc_s", "testAccuracy", "mine", "score", "mAP", "F1", "7"]
)
def test_other_titles_are_no_costs(title: str, suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"architecture": ["0", "1"], title: [63.5, 64.5]})
    assert load_accuracies(path).at(0) == load_accuracies(path, metric=title).at(0) == 63.5


@pytest.mark.parametrize("title", ["seed", "Seed"])
def test_rows_of_several_seeds_are_averaged(title: str, suffix: str, tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"index": [1, 2, 1], title: [0, 0, 7], "acc": [60.0, 50.0, 62.0]}
    path = table(tmp_path, suffix, columns)
    found = load_accuracies(path)
    assert (found.at(1), found.at(2), found.seeds) == (61.0, 50.0, (0, 7))
    assert found.seed_sd == pytest.approx(2**0.5)
    assert found.notes == ("1 network was trained with fewer seeds than the 2 of others",)
    assert load_accuracies(path, seeds=(7,)).at(1) == 62.0
    assert "no acc of seed 3; there are those of 0, 7" in refusal(path, seeds=(3,))


def test_empty_cells_are_missing_and_counted(suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"index": [1, 2, 3], "acc": [60.0, None, float("nan")]})
    found = load_accuracies(path)
    assert np.flatnonzero(found.seed_counts).tolist() == [1]
    assert found.notes == ("2 of 3 rows have no acc and count as missing",)
    path = table(tmp_path, suffix, {"index": [1, 2], "acc": [None, float("nan")]})
    assert "no network has a number as its acc" in refusal(path, metric="acc")


@pytest.mark.parametrize("beside", ["arch_vec", "vector", "hash"])
def test_a_data_frames_row_numbers_name_no_networks_where_another_column_does(
    beside: str, suffix: str, tmp_path: Path
) -> None:
    notation = "hash" if beside == "hash" else "vector"
    path = table(
        tmp_path, suffix, {"index": [0, 1, 2], beside: list(NOTATIONS[notation]), "acc": [70.5, 71.0, 72.25]}
    )
    found = load_accuracies(path)
    assert [found.at(network) for network in NETWORKS] == [70.5, 71.0, 72.25]


def test_shares_among_percent_are_told(suffix: str, tmp_path: Path) -> None:
    found = load_accuracies(table(tmp_path, suffix, {"index": [1, 2, 3, 4], "acc": [93.0, 0.92, 0.0, 1.0]}))
    assert found.notes == ("acc is below 1 % in 1 of 4 rows: check that these are percent and no shares",)


def test_a_word_in_the_files_or_columns_name_marks_accuracies_as_synthetic(
    suffix: str, tmp_path: Path
) -> None:
    columns: dict[str, list[object]] = {"index": [1], "acc": [60.0]}
    assert load_accuracies(table(tmp_path, suffix, columns, name="Synthetic-acc")).synthetic
    found = load_accuracies(table(tmp_path, suffix, {"index": [1], "acc_SYNTHETIC": [60.0]}))
    assert found.synthetic
    assert not load_accuracies(
        table(tmp_path, suffix, {"index": [1], "note synthetic": ["x"], "a": [60.0]})
    ).synthetic


def test_another_space_has_its_own_networks(suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"model": ["conv/mbconv"], "acc": [60.0]})
    found = load_accuracies(path, config=MINI)
    assert found.at("conv/mbconv") == 60.0
    assert len(found.values) == len(MINI)


def test_text_of_other_programs_is_read(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        '\ufeff,Architecture , acc\r\n0, conv/conv/conv ," 7.05e1 "\r\n1,bconv/conv/conv,n/a\r\n\r\n\r\n',
    )
    found = load_accuracies(path)  # a byte order mark, an index without title, blanks, empty lines at the end
    assert (found.at("conv/conv/conv"), found.at("bconv/conv/conv")) == (70.5, None)
    assert load_accuracies(csv_file(tmp_path, "index,acc\n4,50")).at(4) == 50.0  # no line end


def test_dictionaries_decimals_and_small_numbers_of_parquet_are_read(tmp_path: Path) -> None:
    texts = pa.array(NOTATIONS["text"]).dictionary_encode()
    for kind in (pa.decimal128(9, 3), pa.float32(), pa.float16(), pa.uint8()):
        numbers = pa.array([70, 71, 72]).cast(pa.float64()).cast(kind)
        parquet.write_table(pa.table({"arch": texts, "acc": numbers}), tmp_path / "mine.parquet")
        assert load_accuracies(tmp_path / "mine.parquet").at(NETWORKS[2]) == 72.0


# What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"index": [1, 2], "acc": [0.5, 1.0]},
            "these look like shares, and percent are wanted; multiply them by 100",
        ),
        ({"index": [1, 2], "acc": [50.0, 101.0]}, "row 2: acc = 101 is not percent from 0 to 100"),
        ({"index": [1, 2], "acc": [50.0, -1.0]}, "row 2: acc = -1 is not percent"),
        ({"index": [1, 2], "acc": [50.0, 100.00001]}, "row 2: acc = 100.00001 is not percent"),
        ({"index": [1, 91_125], "acc": [50.0, 51.0]}, "row 2: index 91125: space 'blox' has 91125 networks"),
        (
            {"arch": ["conv/conv/conv", "conv/conv"], "acc": [5.0, 6.0]},
            "row 2: architecture 'conv/conv' has 2 blocks",
        ),
        ({"hash": ["0" * 32], "acc": [5.0]}, "row 1: hash 00000000000000000000000000000000: no network"),
        ({"hash": [NOTATIONS["hash"][0], ""], "acc": [5.0, 6.0]}, "row 2: hash is empty"),
        (
            {"index": [4, 5, 4], "acc": [5.0, 6.0, 7.0]},
            "stands in row 1 already; keep one row, or tell them apart",
        ),
        (
            {"index": [4, 4], "seed": [1, 1], "acc": [5.0, 6.0]},
            "row 2: network conv-conv/conv-conv/conv-conv",
        ),
        ({"index": [4, 4], "seed": [1, 0.5], "acc": [5.0, 6.0]}, "row 2: seed = 0.5 is not a whole number"),
        ({"index": [4, 4], "seed": [1, None], "acc": [5.0, 6.0]}, "row 2: seed = nan is not a whole number"),
    ],
)
def test_rows_that_cannot_be_are_refused_with_their_number(
    columns: dict[str, list[object]], message: str, suffix: str, tmp_path: Path
) -> None:
    if "conv-conv/" in message:
        message = f"row 2: network {Architecture.from_index(4)} with seed 1 stands in row 1 already; keep one"
    assert message in refusal(table(tmp_path, suffix, columns))


def test_an_architectures_twin_in_another_notation_is_the_same_network(suffix: str, tmp_path: Path) -> None:
    path = table(
        tmp_path, suffix, {"arch": ["conv+bconv/conv/conv", "bconv+conv/conv/conv"], "acc": [5.0, 6.0]}
    )
    assert "stands in row 1 already" in refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "its title row holds 0 cells"),
        (b"index,acc\n", "holds no row after its titles"),
        (b"index;acc\n1;50\n", "its cells look separated by semicolons"),
        (b"index,acc\n1,50\n2\n", "row 2: 1 cells instead of 2"),
        (b"index,acc\n1,50\n\n2,50\n", "row 2: 0 cells instead of 2"),
        (b"index,acc,acc\n1,50,50\n", "two columns have the title 'acc'"),
        (b'index,acc\n1,"50\n', "row 1 or soon after it: unexpected end of data"),
        (b'index,acc\n1,"50"x\n', "row 1 or soon after it"),
        (b"index,acc\n1,5\xff0\n", "line 2: byte 0xff is not UTF-8; save the table as CSV in UTF-8"),
        ("index,acc\n1,50\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        (b"index,acc\n1,50\n2,5x\n", "row 2: acc = '5x' is not a number"),
        (b"index,acc\n1,50\n2,inf\n", "row 2: acc = 'inf' is not a number"),
        (b"index,acc\n1,1_0\n", "row 1: acc = '1_0' is not a number"),
        (b"index,acc\n1,1e999\n", "row 1: acc = inf is not percent"),
        ("index,acc\n1,\u0661\n".encode(), "is not a number"),
        (b"index,acc\n1," + b"x" * 200_000 + b"\n", "row 1 or soon after it: field larger than field limit"),
        (b"conv/conv/conv,50\nconv/conv/bconv,50\n", "the first row must hold titles"),
    ],
)
def test_text_that_is_no_table_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    assert message in refusal(csv_file(tmp_path, text), metric="acc" if b"acc" in text else "")


def test_damaged_parquet_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    path = table(tmp_path, ".parquet", {"index": list(range(50)), "acc": [50.0] * 50})
    content = path.read_bytes()
    for size in range(0, len(content), 37):
        path.write_bytes(content[:size])
        assert "cannot be read as Parquet" in refusal(path)
    path.write_bytes(b"PAR1 and other text")
    assert "cannot be read as Parquet" in refusal(path)


def test_columns_of_parquet_that_are_no_numbers_or_networks_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, ".parquet", {"index": [1.5], "acc": ["50"]})
    assert "column 'acc' holds string and no numbers" in refusal(path, metric="acc")
    path = table(tmp_path, ".parquet", {"index": [1.5], "acc": [50.0]})
    assert "row 1: 1.5 names no network" in refusal(path)


def test_what_is_too_large_is_refused(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, suffix, {"index": [1, 2, 3], "acc": [50.0, 51.0, 52.0]})
    monkeypatch.setattr("space.accuracies.user_readers.MAX_ROWS", 2)
    message = refusal(path)
    assert "more than 2 rows" in message or "claims 3 rows of 2 columns; at most 2" in message
    monkeypatch.setattr("space.accuracies.user_table.MAX_FILE_BYTES", path.stat().st_size - 1)
    assert f"holds more than {path.stat().st_size - 1} bytes" in refusal(path)


def test_a_parquet_file_that_would_fill_the_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    columns = {"hash": ["x" * 1_000_000] * 8, "acc": [50.0] * 8}
    parquet.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr("space.accuracies.user_readers._MAX_UNPACKED_BYTES", 1 << 22)
    assert "more than 4194304; keep only the columns that are needed" in refusal(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    assert "is not a regular file" in refusal(tmp_path / "pipe.parquet")
    assert "cannot be read: No such file" in refusal(tmp_path / "absent.parquet")
    assert "names no format; use .blox, .csv, .pickle" in refusal(csv_file(tmp_path, "", "mine.xlsx"))


def test_an_epoch_of_an_own_table_is_refused(suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path, suffix, {"index": [1], "acc": [50.0]})
    assert "a table of your own has one value a row" in refusal(path, epoch="last")
    assert "tells no seeds" in refusal(path, seeds=(0,))


def test_without_pyarrow_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path, ".parquet", {"index": [1], "acc": [50.0]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'harness[parquet]'" in refusal(path)


def test_reading_text_loads_no_pyarrow(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "index,acc\n1,50\n")
    code = (
        "import sys; from space.accuracies import load_accuracies; "
        f"load_accuracies({str(path)!r}); print('pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Fuzzing -------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 120), st.integers(0, 20))
def test_any_bytes_within_text_give_a_table_or_an_error(noise: bytes, place: int, removed: int) -> None:
    text = f'arch,seed,acc\n{NOTATIONS["hash"][0]},0,50\n"{NOTATIONS["vector"][1]}",1,51.5\n'.encode()
    read_or_refused(".csv", text[:place] + noise + text[place + removed :])


PARQUET = io.BytesIO()
parquet.write_table(
    pa.table(
        {"arch": NOTATIONS["text"] * 3, "seed": [0, 0, 0, 1, 1, 1, 2, 2, 2], "acc": [50.0, 51.5, None] * 3}
    ),
    PARQUET,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, len(PARQUET.getvalue())), st.integers(0, 40))
def test_any_bytes_within_parquet_give_a_table_or_an_error(noise: bytes, place: int, removed: int) -> None:
    content = PARQUET.getvalue()
    read_or_refused(".parquet", content[:place] + noise + content[place + removed :])


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.text(max_size=8), st.integers(-2, 91_126), st.sampled_from(NOTATIONS["text"])),
            st.one_of(st.text(max_size=5), st.floats(), st.integers()),
            st.one_of(st.integers(-1, 3), st.text(max_size=3)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_cells_of_text_give_a_table_or_an_error(rows: list[tuple[object, object, object]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("model", "acc", "seed"), *rows])
    read_or_refused(".csv", text.getvalue().encode("utf-8", "surrogatepass"))


def read_or_refused(suffix: str, content: bytes) -> None:
    from space.accuracies.user_table import measured_of

    try:
        found = measured_of(content, suffix)
    except DatasetError as error:
        assert len(str(error)) < 1500
        return
    assert np.isnan(found.values).sum() + ((found.values >= 0) & (found.values <= 100)).sum() == len(
        found.values
    )
    assert ((found.indices >= 0) & (found.indices < len(found.config))).all()


def test_sources_hold_the_same_of_the_same_table(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"arch": NOTATIONS["text"], "acc": [50.0, None, 52.5]}
    sources = (
        csv_source(table(tmp_path, ".csv", columns).read_bytes()),
        parquet_source(table(tmp_path, ".parquet", columns).read_bytes()),
    )
    for source in sources:
        assert (source.titles, source.rows) == (("arch", "acc"), 3)
        assert list(source.cells("arch")) == NOTATIONS["text"]
        np.testing.assert_array_equal(source.numbers("acc"), [50.0, np.nan, 52.5])
        assert (source.is_numeric("acc"), source.is_numeric("arch")) == (True, False)


def test_the_trainings_that_told_the_scatter_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = [
        "conv/conv/conv,0,60",
        "conv/conv/conv,1,62",
        "conv/conv/bconv,0,61",
        "conv/conv/bconv,1,61",
        "bconv/conv/conv,0,50",
    ]
    path.write_text("\n".join(["architecture,seed,acc", *rows]))
    found = load_accuracies(path)
    assert (found.seed_freedom, found.seed_sd) == (2, pytest.approx(1.0))
    path.write_text("\n".join(["architecture,seed,acc", rows[0], rows[2]]))
    assert load_accuracies(path).seed_freedom is None
