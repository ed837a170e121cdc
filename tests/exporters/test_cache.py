"""The fragment cache, and libraries opened on one that is empty, shared or damaged."""

from __future__ import annotations

import importlib.metadata
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from exporters import ConversionError, FragmentLibrary, Weights, processes
from exporters import library as library_module
from exporters.cache import ExportedFragment, FragmentCache, cache_key
from space import MINI, Architecture, SpaceConfig

pytestmark = pytest.mark.converter
APART = True

FRAGMENT = ExportedFragment(part=b"weights" * 100, layout=b"{}")
NETWORK = Architecture.from_index(1234, MINI)


def saved(root: Path) -> FragmentCache:
    cache = FragmentCache(root=root)
    cache.save("key", FRAGMENT)
    return cache


def blobs(root: Path) -> list[Path]:
    return sorted(path for path in (root / "blobs").rglob("*") if path.is_file())


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {"a flipped bit": flip_a_bit, "a lost byte": truncate, "a lost file": Path.unlink}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    assert saved(tmp_path).load("key") == FRAGMENT


def test_a_fragment_without_weights_is_kept_too(tmp_path: Path) -> None:
    cache = FragmentCache(root=tmp_path)
    cache.save("glue", ExportedFragment(part=None, layout=b"[]"))
    assert cache.load("glue") == ExportedFragment(part=None, layout=b"[]")


def test_an_unknown_key_is_absent(tmp_path: Path) -> None:
    assert saved(tmp_path).load("other") is None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_blob_is_never_loaded_and_is_replaced(tmp_path: Path, damage: str, which: int) -> None:
    cache = saved(tmp_path)
    DAMAGES[damage](blobs(tmp_path)[which])
    assert cache.load("key") is None
    cache.save("key", FRAGMENT)
    assert cache.load("key") == FRAGMENT


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"part": "../../etc/passwd", "layout": 3}',
        b'{"part": null}',
        b'{"part": null, "layout": "\\u0000"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_entry_counts_as_absent(tmp_path: Path, entry: bytes) -> None:
    cache = saved(tmp_path)
    (tmp_path / "entries" / "key.json").write_bytes(entry)
    assert cache.load("key") is None


def test_saving_leaves_no_temporary_files(tmp_path: Path) -> None:
    saved(tmp_path)
    assert not list(tmp_path.rglob(".new-*"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        ConversionError, match=r"file cannot be written: .*; check the folder; HARNESS_CACHE names"
    ):
        saved(tmp_path / "file")


def test_a_key_depends_on_every_fact_and_not_on_their_order() -> None:
    facts = {"format": "onnx", "fragment": "stem", "converters": {"torch": "2"}}
    assert cache_key(facts) == cache_key(dict(reversed(facts.items())))
    for name in facts:
        assert cache_key(facts | {name: "another"}) != cache_key(facts)


@pytest.fixture(scope="module")
def mini_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that holds the ONNX fragments of the miniature space."""
    root = tmp_path_factory.mktemp("mini")
    open_mini(root)
    return root


def open_mini(
    root: Path, *, weights: Weights | None = None, seen: list[tuple[int, int, str]] | None = None
) -> FragmentLibrary:
    progress = None if seen is None else lambda *step: seen.append(step)
    return FragmentLibrary.open("onnx", cache_dir=root, config=MINI, weights=weights, on_progress=progress)


def no_converter(*args: object, **options: object) -> None:
    raise AssertionError("a converter was started")


def test_a_warm_cache_needs_no_converter_and_reports_every_fragment(
    mini_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "convert_fragments", no_converter)
    seen: list[tuple[int, int, str]] = []
    open_mini(mini_cache, seen=seen)
    assert [done for done, _, _ in seen] == list(range(1, 18))
    assert {total for _, total, _ in seen} == {17}
    assert seen[0][2] == "glue" and seen[-1][2] == "head"


def test_other_weights_are_not_taken_from_the_cache(
    mini_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "convert_fragments", no_converter)
    with pytest.raises(AssertionError, match="a converter was started"):
        open_mini(mini_cache, weights=Weights.seeded(1))


def test_fragments_of_another_converter_version_are_not_taken_from_the_cache(
    mini_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "convert_fragments", no_converter)
    monkeypatch.setattr(
        library_module, "converter_versions", lambda format, precision: {"torch": "0", "onnx": "0"}
    )
    with pytest.raises(AssertionError, match="a converter was started"):
        open_mini(mini_cache)


def test_damaged_fragments_alone_are_exported_anew_and_equal_the_old_ones(
    mini_cache: Path, tmp_path: Path
) -> None:
    before = open_mini(mini_cache)
    root = tmp_path / "copy"
    shutil.copytree(mini_cache, root)
    flip_a_bit(root / "blobs" / before.part_digests[0][:2] / before.part_digests[0])
    truncate(root / "blobs" / before.part_digests[5][:2] / before.part_digests[5])
    next(iter((root / "entries").iterdir())).write_bytes(b"damaged")
    seen: list[tuple[int, int, str]] = []
    after = open_mini(root, seen=seen)
    assert [done for done, _, _ in seen] == list(range(1, 18))
    assert len({name for _, _, name in seen}) == 17
    assert after.assembly(NETWORK).whole() == before.assembly(NETWORK).whole()


@pytest.mark.long
def test_two_processes_may_fill_one_cache_at_once(mini_cache: Path, tmp_path: Path) -> None:
    """Those that write are the converters, of which each open library has its own."""
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(open_mini, [tmp_path / "shared"] * 2))
    expected = open_mini(mini_cache)
    for library in both:
        assert library.assembly(NETWORK).whole() == expected.assembly(NETWORK).whole()


def test_an_absent_converter_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version

    def without_tensorflow(name: str) -> str:
        if name.startswith("tensorflow"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", without_tensorflow)
    with pytest.raises(ConversionError, match="needs tensorflow, not installed here; pip install tensorflow"):
        FragmentLibrary.open("tflite", cache_dir=tmp_path, config=MINI)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="format 'coreml' is unknown; choose from onnx, tflite"):
        FragmentLibrary.open("coreml", cache_dir=tmp_path)  # type: ignore[arg-type]


def test_a_converter_that_dies_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho out of memory >&2\nexit 9\n")
    dying.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(dying))
    with pytest.raises(ConversionError, match="the onnx converter ended with status 9: out of memory"):
        open_mini(tmp_path / "cache")


def test_an_op_without_layers_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="op 'swin' has no layers"):
        FragmentLibrary.open("onnx", cache_dir=tmp_path, config=unknown_space())


def unknown_space() -> SpaceConfig:
    return replace(MINI, name="other", ops=("conv", "swin"))
