"""Data files that are damaged, cut, mislabelled, too large or hostile: an error that says so, and nothing else."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from space import BLOX, Architecture
from space.dataset import Dataset, bench_dataset, read_dataset, write_dataset
from space.dataset.csv_rows import decode as decode_csv
from space.dataset.custom_rows import decode as decode_custom
from space.dataset.header import Header, parse_header
from space.dataset.keys import indices_of_digests
from space.dataset.pickle_rows import decode as decode_pickle
from space.dataset.plain_pickle import load_plain
from space.errors import DatasetError

SAMPLES = Path(__file__).parents[1] / "data" / "blox-sample"
SUFFIXES = (".blox", ".csv", ".pickle")
DECODERS: dict[str, Callable[..., tuple[np.ndarray, dict[str, object]]]] = {
    ".blox": decode_custom,
    ".csv": decode_csv,
    ".pickle": decode_pickle,
}
HASHES = [Architecture.from_index(i).graph_hash for i in range(3)]


@pytest.fixture(params=SUFFIXES)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"small{request.param}"
    write_dataset(path, bench_dataset("pixel-x", [1, 7, 91_124], [0.5, 0.25, 0.125]))
    return path


def parts(path: Path) -> tuple[bytes, bytes]:
    content = path.read_bytes()
    split = content.index(b"\n---\n") + 5
    return content[:split], content[split:]


def decoded(suffix: str, payload: bytes, header: Header) -> Dataset:
    """What read_dataset makes of a payload, without the file and its header."""
    digests, columns = DECODERS[suffix](payload, header, BLOX)
    indices = indices_of_digests(digests, BLOX)
    return Dataset(dataset_type=header.dataset_type, indices=indices, columns=columns, extra=header.extra)


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_dataset(path, allow_pickle=True)
    assert str(path) in str(caught.value)
    return str(caught.value)


def bench_file(tmp_path: Path, suffix: str, payload: bytes, **changed: str) -> Path:
    """Write a bench file's header, some of its text replaced, and any payload."""
    path = tmp_path / f"planted{suffix}"
    write_dataset(path, bench_dataset("pixel-x", [1], [0.5]))
    header = parts(path)[0].decode()
    for old, new in changed.items():
        assert old in header
        header = header.replace(old, new)
    path.write_bytes(header.encode() + payload)
    return path


# Damage -----------------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(small: Path) -> None:
    content = small.read_bytes()
    wanted = read_dataset(small, allow_pickle=True)
    header, payload = parts(small)
    for size in range(0, len(content), 1 if len(content) - len(header) < 200 else 3):
        small.write_bytes(content[:size])
        rows = payload[: max(0, size - len(header))]
        if small.suffix == ".csv" and rows.endswith(b"\r\n"):  # nothing in text tells that rows are missing
            found = read_dataset(small)
            assert found.indices.tolist() == wanted.indices.tolist()[: rows.count(b"\n")]
            continue
        refusal(small)


def test_a_flipped_bit_in_packed_rows_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "small.blox"  # the format that carries a checksum
    write_dataset(path, bench_dataset("pixel-x", [1, 7, 91_124], [0.5, 0.25, 0.125]))
    head, payload = parts(path)
    header, _ = parse_header(head, BLOX)
    wanted = decoded(".blox", payload, header)
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = decoded(".blox", bytes(flipped), header)
        except DatasetError:
            continue
        assert found.indices.tolist() == wanted.indices.tolist()
        assert found.columns["latency"].tolist() == wanted.columns["latency"].tolist()


def test_a_flipped_bit_in_any_rows_gives_rows_or_an_error(small: Path) -> None:
    head, payload = parts(small)
    header, _ = parse_header(head, BLOX)
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = decoded(small.suffix, bytes(flipped), header)
        except DatasetError:
            continue
        assert np.isfinite(found.columns["latency"]).all()


def test_a_flipped_bit_in_the_header_gives_a_header_or_an_error() -> None:
    head, _ = parts(SAMPLES / "blox-bench-pixel-x.blox")
    for place in range(len(head)):
        flipped = bytearray(head)
        flipped[place] ^= 1 << place % 8
        try:
            header, _ = parse_header(bytes(flipped), BLOX)
        except DatasetError:
            continue
        assert header.dataset_type == "benchmarking"
        assert header.columns == ("latency",)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SUFFIXES), st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 40))
def test_any_bytes_in_place_of_rows_of_trainings_give_rows_or_an_error(
    suffix: str, noise: bytes, place: int, removed: int
) -> None:
    head, payload = parts(SAMPLES / f"blox-base-0{suffix}")
    header, _ = parse_header(head, BLOX)
    if suffix == ".blox":  # behind the checksum
        body = zlib.decompress(payload)
        body = body[:place] + noise + body[place + removed :]
        payload = zlib.compress((8 * len(body) - 64).to_bytes(8, "little") + body[8:])
    else:
        payload = payload[:place] + noise + payload[place + removed :]
    try:
        decoded(suffix, payload, header)
    except DatasetError as error:
        assert len(str(error)) < 1000


# Mislabelled ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1", "version: 2", "version '2'; only version 1"),
        ("version: 1", "wersion: 1", "version nothing"),
        ("nodes: 2", "nodes: 3", "search_space other than 'blox'"),
        ("- bconv", "- dconv", "search_space other than 'blox'"),
        ("benchmarking", "benchmark", "dataset_type = 'benchmark' is unknown; did you mean 'benchmarking'"),
        ("benchmarking", "static", "column 'latency' is unknown in a file of type 'static'"),
        ("- model_hash\n", "", "columns that begins with model_hash"),
        ("- latency\n", "- latency\n- latency\n", "each once"),
        ("- latency\n", "- []\n", "columns that begins with model_hash"),
        ("device: pixel-x", "device: pixel x", "device = 'pixel x' cannot be published"),
        ("device: pixel-x\n", "", "key 'device' is missing"),
        ("device: pixel-x", "device: [pixel-x]", "device = list, which is no text"),
        ("format: csv", "format: custom", "format 'custom', but its suffix .csv means 'csv'"),
        ("format: csv", "format: []", "format = list"),
        ("---\nversion", "--- version", "begins with"),
        ("version: 1", "version: 1\nseed: x", "seed = 'x', which is not a whole number"),
        ("version: 1", "version: 1\n[]: 1", "header that is not YAML"),
        ("version: 1", "version: *a", "header that is not YAML"),
        ("format: csv", "format: csv\n# " + "x" * 1024, "no end of its header in the first 1024 bytes"),
    ],
)
def test_a_header_that_says_otherwise_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = bench_file(tmp_path, ".csv", f"{HASHES[0]},0.5\r\n".encode(), **{old: new})
    assert message in refusal(path)


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "base.blox"
    path.touch()
    assert "is empty; " in refusal(path)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ("latency: int", "column latency has type 'int' instead of float"),
        ("latency: list[float]", "instead of float"),
        ("latency: b_0_1_1", "instead of float"),
        ("latency: {}", "column_types that give no text"),
        ("x: float", "column_types for other columns"),
    ],
)
def test_columns_of_another_type_are_refused(types: str, message: str, tmp_path: Path) -> None:
    _, payload = parts(SAMPLES / "blox-bench-pixel-x.blox")
    path = bench_file(tmp_path, ".blox", payload, **{"latency: float": types})
    assert message in refusal(path)


@pytest.mark.parametrize("text", ["b_252_3849_11", "b_252_5001_13", "b_9_8_7", "b_0_1_0", "b_1_2_99", "b_x"])
def test_ranges_that_their_bits_or_images_do_not_hold_are_refused(text: str, tmp_path: Path) -> None:
    content = (SAMPLES / "blox-base-0.blox").read_bytes()
    path = tmp_path / "base.blox"
    path.write_bytes(content.replace(b"b_252_3849_12", text.encode(), 1))
    assert "column val_top1 has type" in refusal(path)


def test_an_accuracy_above_its_columns_range_is_refused(tmp_path: Path) -> None:
    content = (SAMPLES / "blox-base-0.blox").read_bytes()
    path = tmp_path / "base.blox"
    path.write_bytes(content.replace(b"b_252_3849_12", b"b_252_3848_12", 1))
    assert "val_top1 holds a number above its range to 3848" in refusal(path)


def test_a_file_with_another_suffix_is_refused(small: Path) -> None:
    for suffix in set(SUFFIXES) - {small.suffix}:
        assert f"its suffix {suffix} means" in refusal(small.rename(small.with_suffix(suffix)))
        small.with_suffix(suffix).rename(small)


# Rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "does not end with a line end"),
        (f"{HASHES[0]},0.5", "does not end with a line end"),
        (f"{HASHES[0]},0.5\r\n{HASHES[1]}\r\n", "row 2: 1 cells instead of 2"),
        (f"{HASHES[0]},0.5\r\n\r\n", "row 2: 0 cells instead of 2"),
        (f"{HASHES[0]},0.5,1\r\n", "row 1: 3 cells instead of 2"),
        (f"{HASHES[0]},0.5\r\n{HASHES[0]},0.5\r\n", f"row 2: hash {HASHES[0]} stands in row 1 already"),
        (f"{HASHES[0]},0.5\r\n{'0' * 32},0.5\r\n", f"row 2: hash {'0' * 32}: no network of space 'blox'"),
        (f"{HASHES[0][:-1]},0.5\r\n", "row 1: hash"),
        (f"{HASHES[0][:-2]} a,0.5\r\n", "row 1: hash"),
        (f"{HASHES[0]},nan\r\n", "row 1: latency = 'nan' is not a number"),
        (f"{HASHES[0]},inf\r\n", "row 1: latency = 'inf' is not a number"),
        (f"{HASHES[0]},1e999\r\n", "row 1: latency = inf is not a number above 0"),
        (f"{HASHES[0]},1_0\r\n", "row 1: latency = '1_0' is not a number"),
        (f"{HASHES[0]},0.5\r\n{HASHES[1]},\r\n", "row 2: latency = '' is not a number"),
        (f"{HASHES[0]},1-2\r\n", "row 1: latency = '1-2' is not a number"),
        (f"{HASHES[0]},-0.5\r\n", "row 1: latency = -0.5 is not a number above 0"),
        (f"{HASHES[0]},0.0\r\n", "row 1: latency = 0.0 is not a number above 0"),
        (f'{HASHES[0]},"0.5\r\n', "row 1 or soon after it"),
        (f"{HASHES[0]},0.5é\r\n", "row 1 or soon after it"),
        (f"{HASHES[0]},{'1' * 200_000}\r\n", "row 1 or soon after it: field larger"),
    ],
)
def test_a_row_of_text_that_cannot_be_is_named(rows: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(bench_file(tmp_path, ".csv", rows.encode()))


@pytest.mark.parametrize(
    "text",
    ["[1", "1", '["a"]', "[[1]]", "[" * 5000, "[1e999]", "[" + "9" * 400 + "]", "[" + "9" * 5000 + "]", "[]"],
)
def test_lists_of_text_that_cannot_be_are_named(text: str) -> None:
    header, _ = parse_header((SAMPLES / "blox-base-0.csv").read_bytes(), BLOX)
    with pytest.raises(DatasetError, match="row 1: val_top1"):
        decoded(".csv", f'{HASHES[0]},"{text.replace(chr(34), chr(34) * 2)}",76.0,1\r\n'.encode(), header)


def test_unknown_hashes_of_packed_rows_are_named(tmp_path: Path) -> None:
    body = (2).to_bytes(4, "little") + bytes.fromhex(HASHES[0])[::-1] + b"\1\0\0" + b"\7" * 19
    payload = zlib.compress((8 * len(body)).to_bytes(8, "little") + body)
    assert f"row 2: hash {'07' * 16}: no network" in refusal(bench_file(tmp_path, ".blox", payload))


def test_a_row_far_down_in_text_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "bench.csv"
    write_dataset(path, bench_dataset("x", list(range(2500)), [0.5] * 2499 + [0.25]))
    path.write_bytes(path.read_bytes().replace(b"0.25", b"zero"))
    assert "row 2500: latency = 'zero' is not a number" in refusal(path)
    path.write_bytes(path.read_bytes().replace(b",zero", b""))
    assert "row 2500: 1 cells instead of 2" in refusal(path)


@pytest.mark.parametrize(
    ("bits", "extra", "tail", "message"),
    [
        (0, b"", slice(0, -1), "was cut: its rows do not end"),
        (0, b"", slice(0, 0), "was cut: its rows do not end"),
        (8, b"", slice(None), "another length than its 31 bytes"),
        (-1, b"", slice(None), "another length than its 31 bytes"),
        (0, b"x", slice(None), "goes on for 1 bytes after its 1 rows"),
    ],
)
def test_packed_rows_of_another_length_are_refused(
    bits: int, extra: bytes, tail: slice, message: str, tmp_path: Path
) -> None:
    body = (1).to_bytes(4, "little") + bytes.fromhex(HASHES[0])[::-1] + b"\1\0\0" + extra
    payload = zlib.compress((8 * len(body) + bits).to_bytes(8, "little") + body)
    assert message in refusal(bench_file(tmp_path, ".blox", payload[tail]))


def test_packed_rows_that_something_follows_are_refused(tmp_path: Path) -> None:
    _, payload = parts(SAMPLES / "blox-bench-pixel-x.blox")
    assert "goes on after its rows" in refusal(bench_file(tmp_path, ".blox", payload + b"x"))


# Limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 2, 91_126, 2**32 - 1])
def test_a_row_count_that_is_not_the_files_is_refused(rows: int, tmp_path: Path) -> None:
    body = rows.to_bytes(4, "little") + bytes.fromhex(HASHES[0])[::-1] + b"\1\0\0"
    payload = zlib.compress((8 * len(body)).to_bytes(8, "little") + body)
    message = refusal(bench_file(tmp_path, ".blox", payload))
    assert f"claims {rows} rows" in message or f"row 2 of {rows} reaches beyond" in message


def test_a_small_file_that_decompresses_without_end_is_refused(tmp_path: Path) -> None:
    path = bench_file(tmp_path, ".blox", zlib.compress(bytes(1 << 25), 9))
    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "decompress to more than" in message
    assert peak < 1 << 23


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_larger_than_its_columns_need_is_not_read(suffix: str, tmp_path: Path) -> None:
    path = bench_file(tmp_path, suffix, b"")
    os.truncate(path, 1 << 40)  # no block of it is on the disk
    assert "do not trust the file" in refusal(path)


def test_more_rows_of_text_than_networks_are_refused() -> None:
    header, _ = parse_header((SAMPLES / "blox-bench-pixel-x.csv").read_bytes(), BLOX)
    with pytest.raises(DatasetError, match="row 91126: more rows than the 91125 networks"):
        decode_csv(f"{HASHES[0]},1\r\n".encode() * 91_126, header, BLOX)


def test_a_header_is_not_looked_for_beyond_its_limit() -> None:
    head, _ = parts(SAMPLES / "blox-bench-pixel-x.csv")
    filled = head.replace(b"format", b"#" + b"x" * (1023 - len(head) - 1) + b"\nformat")
    assert parse_header(filled + b"x", BLOX)[1] == len(filled) == 1024
    with pytest.raises(DatasetError, match="no end of its header"):
        parse_header(filled.replace(b"#x", b"#xx") + b"x", BLOX)


def test_a_long_header_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"its header would have 1[0-9]{3} bytes, and at most 1024"):
        write_dataset(tmp_path / "a.csv", bench_dataset("x" * 900, [1], [0.5]))
    assert list(tmp_path.iterdir()) == []


def test_headers_that_grow_nest_or_make_objects_are_harmless(tmp_path: Path) -> None:
    grown = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklm"))
    merged = "a: &a {x: 1}\n" + "".join(
        f"{b}: &{b} {{<<: [*{a}, *{a}, *{a}]}}\n" for a, b in pairwise("abcdefghijklmnop")
    )
    run = f"extra: !!python/object/apply:os.system ['touch {tmp_path}/ran']"
    for planted in (grown, merged, "a: " + "[" * 500, "a: &a [*a]", "? &a [*a]\n: 1", run, "a: 2022-13-45"):
        path = bench_file(
            tmp_path, ".csv", f"{HASHES[0]},0.5\r\n".encode(), **{"version: 1\n": f"version: 1\n{planted}\n"}
        )
        if planted == "a: 2022-13-45":
            assert read_dataset(path).extra["a"] == "2022-13-45"
        else:
            refusal(path)
    assert not (tmp_path / "ran").exists()


# Pickles ----------------------------------------------------------------------------------------------------


class Runs:
    """An object whose pickle creates a file when Python's unpickler reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_read_only_where_it_is_allowed() -> None:
    with pytest.raises(DatasetError, match=r"is a pickle.*\.blox or \.csv .*allow_pickle"):
        read_dataset(SAMPLES / "blox-bench-pixel-x.pickle")


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_a_pickle_runs(protocol: int, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    attack = pickle.dumps([[HASHES[0], Runs(ran)]], protocol=protocol)
    pickle.loads(attack)  # noqa: S301  (the attack works where nothing stops it)
    assert ran.exists()
    ran.unlink()
    message = refusal(bench_file(tmp_path, ".pickle", attack))
    assert "it may run code, so nothing was read; use .csv or .blox" in message
    assert not ran.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_plain_values_are_read(protocol: int) -> None:
    values = [["ab", 0.5, -1, 255, 70_000, 2**40, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "ä" * 300, "ab"]
    values.append(values[0])
    assert load_plain(pickle.dumps(values, protocol=protocol), 1000) == values


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.booleans())
@example(b"]r\xff\xff\xff\xff.", False)  # a place in the memo that would take 64 GiB
@example(b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", False)  # a byte array of so many bytes
@example(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", False)  # a text
@example(b"cos\nsystem\n(S'true'\ntR.", False)
def test_any_bytes_as_a_pickle_give_plain_values_or_an_error(program: bytes, framed: bool) -> None:
    try:
        load_plain(b"\x80\x04" + program + b"." * framed, 1000)
    except DatasetError as error:
        assert "pickle" in str(error)


def test_a_pickle_of_lists_that_hold_each_other_is_refused_at_once(tmp_path: Path) -> None:
    nested: list[object] = []
    for _ in range(200):  # 2 ** 200 when written out
        nested = [nested, nested]
    endless: list[object] = []
    endless.append(endless)
    for value in (nested, endless):
        for rows in (value, [value], [[HASHES[0], value]], [[value, 0.5]]):
            refusal(bench_file(tmp_path, ".pickle", pickle.dumps(rows, protocol=4)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no list of 1 to 91125 rows"),
        ("text", "no list of 1 to 91125 rows"),
        ([[HASHES[0]]], "row 1 is no list of 2 values"),
        ([[HASHES[0], 0.5], HASHES[1]], "row 2 is no list of 2 values"),
        ([[HASHES[0], "0.5"]], "value 1 of latency is str, not int or float"),
        ([[HASHES[0], 0.5], [7, 0.5]], "value 2 of model_hash is int, not str"),
        ([[HASHES[0], 10**60]], "latency: holds other values than numbers"),
        ([[HASHES[0], float("nan")]], "row 1: latency = nan"),
        ([[HASHES[0], 0.5], [HASHES[0], 0.5]], "row 2: hash"),
        ([[HASHES[0], 0.5]] * 91_126, "no list of 1 to 91125 rows"),
    ],
)
def test_a_pickle_of_other_rows_is_refused(rows: object, message: str, tmp_path: Path) -> None:
    assert message in refusal(bench_file(tmp_path, ".pickle", pickle.dumps(rows, protocol=4)))


@pytest.mark.parametrize("value", [[10**400], ["a"], [[1.0]], [0.5] * 256, [], "a", 1.0])
def test_lists_of_pickles_that_cannot_be_are_named(value: object) -> None:
    header, _ = parse_header((SAMPLES / "blox-base-0.pickle").read_bytes(), BLOX)
    with pytest.raises(DatasetError, match="row 1: val_top1"):
        decoded(".pickle", pickle.dumps([[HASHES[0], value, 76.0, 1]], protocol=4), header)


@pytest.mark.parametrize("program", [b"K\1.K", b"(K\1.", b"K\1K\1.", b".", b"K\1"])
def test_a_pickle_that_does_not_end_with_one_value_is_refused(program: bytes) -> None:
    with pytest.raises(DatasetError, match="makes no sense at byte"):
        load_plain(b"\x80\x04" + program, 100)


def test_a_pickle_of_steps_without_end_is_stopped(tmp_path: Path) -> None:
    program = b"\x80\x04" + b"]0" * 10
    with pytest.raises(DatasetError, match="instruction 0x30"):
        load_plain(program, 100)
    with pytest.raises(DatasetError, match="more than 100 steps"):
        load_plain(b"\x80\x04" + b"]" * 200, 100)


def test_floats_read_at_once_are_those_read_one_by_one() -> None:
    for count in (1, 15, 16, 17, 254, 255, 256, 257, 600):
        floats = [float(i) for i in range(count)]
        found = load_plain(pickle.dumps([floats, "end"], protocol=4), 5000)
        assert isinstance(found, list)
        assert np.concatenate([np.atleast_1d(piece) for piece in found[0]]).tolist() == floats
    for ending in (b"a.", b"\x86.", b"\x95" + bytes(8) + b"a."):  # a run that ends otherwise is none
        program = b"\x80\x04]" + b"".join(b"G" + struct.pack(">d", i) for i in range(20)) + ending
        with pytest.raises(DatasetError, match="makes no sense"):
            load_plain(program, 1000)
    assert isinstance(load_plain(pickle.dumps([0.0] * 20), 100), list)
