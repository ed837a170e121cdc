"""CIFAR from archives and files that tests make, whole and damaged; no test needs the real ones."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.training import tasks
from search.training.cifar import CIFAR10, CIFAR100, CifarSet, load_cifar, published_split
from search.training.images import moments
from search.training.tasks import load_task
from space import BLOX, MINI
from space.errors import ConfigError

# The public sets but for their numbers of records.
SMALL100 = replace(CIFAR100, records=4, train_records=20, val_records=5)
SMALL10 = replace(CIFAR10, records=4, train_records=20, val_records=5)
Members = dict[str, bytes]


def contents(kind: CifarSet, seed: int = 0) -> Members:
    """Return random records for each file of a set."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, size in kind.sizes.items():
        count = size // (len(kind.label_counts) + 3072)
        labels = [rng.integers(0, classes, (count, 1)) for classes in kind.label_counts]
        made[name] = np.hstack([*labels, rng.integers(0, 256, (count, 3072))]).astype(np.uint8).tobytes()
    return made


def extract(folder: Path, files: Members) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def pack(
    folder: Path, kind: CifarSet, files: Members, alter: Callable[[tarfile.TarInfo], None] | None = None
) -> CifarSet:
    """Write an archive of files and others, as the public ones are built, and return the set with its checksum."""
    path = folder / kind.archive
    with tarfile.open(path, "w:gz") as archive:
        top = tarfile.TarInfo(kind.folder)
        top.type = tarfile.DIRTYPE
        archive.addfile(top)
        for name, content in {"readme.html": b"read me", **files}.items():
            member = tarfile.TarInfo(f"{kind.folder}/{name}")
            member.size = len(content)
            if alter is not None:
                alter(member)
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return replace(kind, md5=hashlib.md5(path.read_bytes()).hexdigest())


def test_the_public_sets_are_as_their_makers_describe_them() -> None:
    assert (
        CIFAR100.md5 == "03b5dce01913d631647c71ecec9e9cb8"
        and CIFAR10.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    )
    assert CIFAR100.sizes == {"train.bin": 50_000 * 3074, "test.bin": 10_000 * 3074}
    assert CIFAR10.sizes == {f"data_batch_{k}.bin": 30_730_000 for k in range(1, 6)} | {
        "test_batch.bin": 30_730_000
    }
    assert (CIFAR100.classes, CIFAR10.classes) == (100, 10)


def test_the_published_split_is_a_shuffle_by_the_legacy_generator() -> None:
    train, val = published_split()
    assert len(train) == 45_000 and len(val) == 5_000
    assert (np.sort(np.concatenate([train, val])) == np.arange(50_000)).all()
    # The same shuffle by hand: the Mersenne twister of Python's library, its state set as numpy seeds it with 0 (Knuth's
    # multiplier), draws for each place from the last down a partner among those before, by masking and rejecting.
    key = [0]
    for k in range(1, 624):
        key.append((1812433253 * (key[-1] ^ key[-1] >> 30) + k) % 2**32)
    twister = random.Random()
    twister.setstate((3, (*key, 624), None))
    order = list(range(50_000))
    for last in range(49_999, 0, -1):
        mask = 2 ** last.bit_length() - 1
        while (partner := twister.getrandbits(32) & mask) > last:
            pass
        order[last], order[partner] = order[partner], order[last]
    assert train.tolist() == order[:45_000] and val.tolist() == order[45_000:]


@pytest.mark.parametrize("kind", [SMALL100, SMALL10], ids=lambda kind: kind.name)
@pytest.mark.parametrize("layout", ["archive", "files", "folder"])
def test_images_and_labels_come_out_as_they_were_put_in(tmp_path: Path, kind: CifarSet, layout: str) -> None:
    files = contents(kind)
    if layout == "archive":
        kind = pack(tmp_path, kind, files)
    else:
        extract(tmp_path if layout == "files" else tmp_path / kind.folder, files)
    task = load_cifar(tmp_path, kind)
    assert [len(part) for part in (task.train, task.val, task.test)] == [15, 5, 4]
    assert task.shape == (32, 32, 3) and task.classes == kind.classes and not task.synthetic
    assert str(tmp_path) in task.origin
    size = 3072 + len(kind.label_counts)
    whole = b"".join(files[name] for name in kind.train_files)
    order = np.random.RandomState(0).permutation(20)
    for part, places, source in (
        (task.train, order[:15], whole),
        (task.val, order[15:], whole),
        (task.test, np.arange(4), files[kind.test_file]),
    ):
        for image, label, place in zip(part.images, part.labels, places, strict=True):
            record = source[place * size : (place + 1) * size]
            assert label == record[len(kind.label_counts) - 1]
            pixels = record[-3072:]
            for y, x, channel in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (31, 30, 2), (7, 19, 1)):
                assert image[y, x, channel] == pixels[channel * 1024 + y * 32 + x]
    expected = (kind.mean, kind.std) if kind.name == "cifar100" else moments(task.train.images)
    assert (task.mean, task.std) == expected


def test_the_archive_goes_before_files_as_its_checksum_is_known(tmp_path: Path) -> None:
    files = contents(SMALL100, 1)
    kind = pack(tmp_path, SMALL100, files)
    extract(tmp_path, contents(SMALL100, 2))
    task = load_cifar(tmp_path, kind)
    assert task.test.images[0, 0, 0, 0] == files["test.bin"][2]
    assert task.test.labels.tolist() == [files["test.bin"][3074 * k + 1] for k in range(4)]
    assert task.origin.endswith(kind.archive)


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"neither cifar-100-binary\.tar\.gz nor train\.bin, test\.bin; download https"
    ):
        load_cifar(tmp_path, SMALL100)
    extract(tmp_path, {"train.bin": contents(SMALL100)["train.bin"]})
    with pytest.raises(ConfigError, match=r"test\.bin is missing"):
        load_cifar(tmp_path, SMALL100)


def test_an_archive_of_another_checksum_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = pack(tmp_path, SMALL100, contents(SMALL100))
    path = tmp_path / kind.archive
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ConfigError, match=f"has the md5 .*the public archive {kind.md5}; download it again"):
        load_cifar(tmp_path, kind)


def test_a_cut_archive_is_refused_even_where_its_checksum_is_right(tmp_path: Path) -> None:
    kind = pack(tmp_path, SMALL100, contents(SMALL100))
    path = tmp_path / kind.archive
    whole = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        cut = replace(kind, md5=hashlib.md5(path.read_bytes()).hexdigest())
        with pytest.raises(ConfigError, match=r"cifar-100-binary\.tar\.gz"):
            load_cifar(tmp_path, cut)


def _link(kind: bytes, target: str) -> Callable[[tarfile.TarInfo], None]:
    """Make test.bin a link that claims the right size; tarfile would follow it."""

    def alter(member: tarfile.TarInfo) -> None:
        if member.name.endswith("test.bin"):
            member.type, member.linkname = kind, target

    return alter


def _rename(name: str) -> Callable[[tarfile.TarInfo], None]:
    def alter(member: tarfile.TarInfo) -> None:
        if member.name.endswith("test.bin"):
            member.name = name

    return alter


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (_link(tarfile.SYMTYPE, "train.bin"), "is not one file of"),
        (_link(tarfile.LNKTYPE, "cifar-100-binary/train.bin"), "is not one file of"),
        (_link(tarfile.SYMTYPE, "/etc/passwd"), "is not one file of"),
        (_rename("/cifar-100-binary/test.bin"), r"has no cifar-100-binary/test\.bin"),
        (_rename("../cifar-100-binary/test.bin"), r"has no cifar-100-binary/test\.bin"),
        (_rename("./cifar-100-binary/test.bin"), r"has no cifar-100-binary/test\.bin"),
        (_rename("cifar-100-binary/train.bin"), "is not one file of"),
    ],
    ids=["symlink", "hardlink", "outside", "absolute", "above", "dot", "twice"],
)
def test_members_of_other_kinds_and_names_are_not_read(
    tmp_path: Path, alter: Callable[[tarfile.TarInfo], None], message: str
) -> None:
    kind = pack(tmp_path, SMALL100, contents(SMALL100), alter)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        load_cifar(tmp_path, kind)
    assert sorted(tmp_path.rglob("*")) == before  # nothing was extracted


def test_a_second_copy_of_a_file_is_refused(tmp_path: Path) -> None:
    files = contents(SMALL100)
    path = tmp_path / SMALL100.archive
    with tarfile.open(path, "w:gz") as archive:
        for name in ("train.bin", "test.bin", "test.bin"):
            member = tarfile.TarInfo(f"{SMALL100.folder}/{name}")
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    kind = replace(SMALL100, md5=hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(ConfigError, match="is not one file of"):
        load_cifar(tmp_path, kind)


def test_large_members_that_are_not_wanted_are_refused(tmp_path: Path) -> None:
    kind = pack(tmp_path, SMALL100, {"more.bin": bytes(2 << 20), **contents(SMALL100)})
    with pytest.raises(ConfigError, match=r"member 'cifar-100-binary/more\.bin' of 2097152 bytes is none"):
        load_cifar(tmp_path, kind)


@pytest.mark.parametrize("length", [0, 1, 3074 * 4 - 1, 3074 * 4 + 1, 3074 * 5])
def test_files_of_other_sizes_are_refused(tmp_path: Path, length: int) -> None:
    files = contents(SMALL100)
    files["test.bin"] = (files["test.bin"] * 2)[:length]
    packed = pack(tmp_path, SMALL100, files)
    with pytest.raises(ConfigError, match=f"is not one file of {3074 * 4} bytes"):
        load_cifar(tmp_path, packed)
    extracted = extract(tmp_path / "extracted", files)
    with pytest.raises(ConfigError, match=rf"test\.bin has {length} bytes, the public file {3074 * 4}"):
        load_cifar(extracted, SMALL100)


@pytest.mark.parametrize(("column", "label", "most"), [(0, 20, 19), (1, 100, 99)])
def test_labels_out_of_range_are_refused(tmp_path: Path, column: int, label: int, most: int) -> None:
    files = contents(SMALL100)
    wrong = bytearray(files["train.bin"])
    wrong[3074 * 7 + column] = label
    extract(tmp_path, {**files, "train.bin": bytes(wrong)})
    with pytest.raises(
        ConfigError, match=rf"train\.bin: record 7 has the label {label}, labels are 0 to {most}"
    ):
        load_cifar(tmp_path, SMALL100)


def test_a_folder_in_a_files_place_is_refused(tmp_path: Path) -> None:
    extract(tmp_path, contents(SMALL100))
    (tmp_path / "test.bin").unlink()
    (tmp_path / "test.bin").mkdir()
    with pytest.raises(ConfigError, match=r"test\.bin is missing or no file"):
        load_cifar(tmp_path, SMALL100)
    (tmp_path / SMALL100.archive).mkdir()
    with pytest.raises(ConfigError, match=r"cifar-100-binary\.tar\.gz cannot be read"):
        load_cifar(tmp_path, SMALL100)


def test_the_spaces_classes_choose_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CIFAR100", SMALL100)
    monkeypatch.setattr(tasks, "CIFAR10", SMALL10)
    ten = replace(BLOX, name="ten", classes=10)
    extract(tmp_path, contents(SMALL100))
    with pytest.raises(ConfigError, match="holds cifar100 of 100 classes, space 'ten' has 10"):
        load_task(tmp_path, ten)
    extract(tmp_path / SMALL10.folder, contents(SMALL10))
    assert load_task(tmp_path, BLOX).name == "cifar100" and load_task(str(tmp_path), ten).name == "cifar10"
    with pytest.raises(
        ConfigError, match="cifar10 of images 32 x 32 x 3, space 'mini' reads 16 x 16 x 3; only digits"
    ):
        load_task(tmp_path, MINI)
    with pytest.raises(ConfigError, match="neither cifar-100-binary"):
        load_task(extract(tmp_path / "empty", {}), BLOX)
