"""CIFAR-10 and CIFAR-100 from their public binary archives, or from the files extracted from those.

Krizhevsky 2009, "Learning multiple layers of features from tiny images"; https://www.cs.toronto.edu/~kriz/cifar.html.
A record is its label bytes (CIFAR-100: coarse, then fine; CIFAR-10: one) and 3072 bytes, the planes of red, green and
blue, 32 rows of 32 pixels each. Nothing is unpickled, and nothing that an archive holds is written to disk.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.training.images import Images, Task, moments
from space.errors import ConfigError

SIZE = 32
PIXELS = 3 * SIZE * SIZE
MAX_OTHER_BYTES = 1 << 20  # of a member that is not read: label names, a read-me
URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True, slots=True, kw_only=True)
class CifarSet:
    """One of the two data sets: its archive, its files and their records.

    `label_counts` are the numbers of values of each label byte; the last one is the label that is learned. `mean` and
    `std` are empty where they are to be those of the images trained on.
    """

    name: str
    archive: str
    md5: str
    folder: str  # within the archive
    train_files: tuple[str, ...]
    test_file: str
    label_counts: tuple[int, ...]
    records: int = 10_000  # of a file, but CIFAR-100's one file of train
    train_records: int = 50_000
    val_records: int = 5_000
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.label_counts[-1]

    @property
    def sizes(self) -> Mapping[str, int]:
        """The exact size of each file in bytes."""
        record = len(self.label_counts) + PIXELS
        train = self.train_records // len(self.train_files)
        return {**dict.fromkeys(self.train_files, train * record), self.test_file: self.records * record}


# Mean and deviation as Blox trains with them, arXiv:2210.07271.
CIFAR100 = CifarSet(
    name="cifar100",
    archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    train_files=("train.bin",),
    test_file="test.bin",
    label_counts=(20, 100),
    mean=(0.50706, 0.48667, 0.44078),
    std=(0.26745, 0.25647, 0.27608),
)
CIFAR10 = CifarSet(
    name="cifar10",
    archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    train_files=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    test_file="test_batch.bin",
    label_counts=(10,),
)


def load_cifar(folder: Path, kind: CifarSet) -> Task:
    """Return CIFAR-10 or CIFAR-100 from a folder that holds the archive, or the files extracted from it, as a task.

    The archive goes before the files, as its checksum is known; of files the sizes and the labels are checked.

    Raises:
        ConfigError: neither is there, or what is there is not the public data.
    """
    files, origin = _read(folder, kind)
    images, labels = zip(
        *(_records(files[name], kind, f"{origin}: {name}") for name in kind.sizes), strict=True
    )
    learned = Images(images=np.concatenate(images[:-1]), labels=np.concatenate(labels[:-1]))
    train, val = published_split(kind.train_records, kind.val_records)
    mean, std = (kind.mean, kind.std) if kind.mean else moments(learned.images[train])
    return Task(
        name=kind.name,
        train=learned.at(train),
        val=learned.at(val),
        test=Images(images=images[-1], labels=labels[-1]),
        classes=kind.classes,
        mean=mean,
        std=std,
        synthetic=False,
        origin=origin,
    )


def holds_cifar(folder: Path, kind: CifarSet) -> bool:
    """Return whether a folder holds the archive of a set or any file of it, complete or not."""
    return (folder / kind.archive).exists() or any(_bin_folders(folder, kind))


def published_split(count: int = 50_000, val: int = 5_000) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of training and validation images, in the published order.

    numpy's legacy generator of seed 0 shuffles the places; the last `val` are for validation (arXiv:2210.07271). Its
    stream is frozen: numpy promises the same numbers in every version.
    """
    order = np.random.RandomState(0).permutation(count).astype(np.int64)
    return order[: count - val], order[count - val :]


def _read(folder: Path, kind: CifarSet) -> tuple[dict[str, bytes], str]:
    """Return the bytes of the set's files, and where they are from."""
    archive = folder / kind.archive
    try:
        if archive.exists():
            return _from_archive(archive, kind), str(archive)
        for place in _bin_folders(folder, kind):
            return {name: _from_file(place / name, size) for name, size in kind.sizes.items()}, str(place)
    except OSError as e:
        raise ConfigError(f"{e.filename or archive} cannot be read: {e.strerror or e}") from e
    except (tarfile.TarError, zlib.error, EOFError) as e:
        raise ConfigError(f"{archive} cannot be read: {e}; download it again from {URL}") from e
    raise ConfigError(
        f"{folder} holds neither {kind.archive} nor {', '.join(kind.sizes)}; "
        f"download {URL}{kind.archive} and put it there, as it is"
    )


def _bin_folders(folder: Path, kind: CifarSet) -> Iterable[Path]:
    """Yield the folders that hold a file of the set: the folder itself, the one that extracting makes in it."""
    return (
        place
        for place in (folder, folder / kind.folder)
        if any((place / name).exists() for name in kind.sizes)
    )


def _from_file(path: Path, size: int) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{path} is missing or no file; extract the whole archive there")
    found = path.stat().st_size
    if found != size:
        raise ConfigError(f"{path} has {found} bytes, the public file {size}; extract the archive again")
    return path.read_bytes()


def _from_archive(path: Path, kind: CifarSet) -> dict[str, bytes]:
    """Return the files of an archive, read in one pass; a member counts only by its exact name, kind and size."""
    found: dict[str, bytes] = {}
    wanted = {f"{kind.folder}/{name}": (name, size) for name, size in kind.sizes.items()}
    with path.open("rb") as file:  # the bytes that are hashed are those that are read
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if md5 != kind.md5:
            raise ConfigError(
                f"{path} has the md5 {md5}, the public archive {kind.md5}; download it again from {URL}"
            )
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            for member in archive:
                if member.name not in wanted:
                    if member.size > MAX_OTHER_BYTES:
                        raise ConfigError(
                            f"{path}: member {member.name!r} of {member.size} bytes is none of {kind.name}'s files"
                        )
                    continue
                name, size = wanted[member.name]
                if not member.isreg() or member.size != size or name in found:
                    raise ConfigError(
                        f"{path}: member {member.name!r} is not one file of {size} bytes; "
                        f"download the archive again from {URL}"
                    )
                content = archive.extractfile(member)
                found[name] = b"" if content is None else content.read(size)
    absent = [name for name, size in kind.sizes.items() if len(found.get(name, b"")) != size]
    if absent:
        raise ConfigError(f"{path} has no {kind.folder}/{absent[0]}; download it again from {URL}")
    return found


def _records(content: bytes, kind: CifarSet, what: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (n, 32, 32, 3) and their labels of a file."""
    records = np.frombuffer(content, np.uint8).reshape(-1, len(kind.label_counts) + PIXELS)
    for column, count in enumerate(kind.label_counts):
        wrong = records[:, column] >= count
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ConfigError(
                f"{what}: record {place} has the label {records[place, column]}, labels are 0 to {count - 1}; "
                "extract the archive again"
            )
    first = len(kind.label_counts)
    planes = records[:, first:].reshape(-1, 3, SIZE, SIZE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, first - 1].astype(np.int64)
