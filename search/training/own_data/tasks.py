"""Tasks of a user's own images, from a folder or a file of arrays.

    load_own_task(parse_source("folder:flowers:fit=crop"), config)

Its name ends in the beginning of its digest of images, labels, class names and normalization: trainings and files under a name
are of exactly these images.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from search.training.images import SYNTHETIC, Images, Task, moments
from search.training.own_data.arrays import read_parts
from search.training.own_data.cache import Log, cached_images
from search.training.own_data.decoding import (
    VERSION,
    Format,
    check_image,
    decode,
    pillow,
    pixels_of,
    refuse_unfit,
)
from search.training.own_data.folders import ALL, PARTS, ListedPart, list_folder
from search.training.task_source import DataSettings, OwnSource
from space import SpaceConfig
from space.errors import ConfigError
from space.system_errors import refused
from space.text import counted, printable

MAX_DECODED_BYTES = 4 << 30  # a task's images are in memory, and on the device that trains
MAX_FILE_BYTES = 1 << 28
_AT_ONCE = 16  # images of a thread, before it takes the next: to hand over takes longer than to hash one
_NAME_CHARACTERS, DIGEST_CHARACTERS = 40, 8  # of a task's name

_One = TypeVar("_One")
_Other = TypeVar("_Other")


def load_own_task(source: OwnSource, config: SpaceConfig, log: Log = lambda line: None) -> Task:
    """Return the task of a source, in a space's image size and channels; `log` is told before files are decoded.

    Raises:
        ConfigError: an image, its label or a setting cannot be used; the message names the file and the remedy.
    """
    if source.kind == "folder":
        classes, parts = _decoded_parts(source, config, log)
    else:
        classes, found = read_parts(source.path)
        parts = fitted_parts(source, classes, found, config, log)
    task = own_task(source, classes, parts)
    tell_repeats(task, log)
    return task


def own_task(source: OwnSource, classes: tuple[str, ...], parts: Mapping[str, Images]) -> Task:
    """Return the task of decoded parts, split and normalized as the source's settings say. Raises: ConfigError."""
    split = split_parts({part: one.labels for part, one in parts.items()}, classes, source.settings)
    train, val, test = (parts[of].at(rows) for of, rows in map(split.__getitem__, PARTS))
    normalization = _normalization(train, source)
    task = Task(
        name="",
        train=train,
        val=val,
        test=test,
        classes=len(classes),
        mean=normalization["mean"],
        std=normalization["std"],
        synthetic=False,
        origin=_origin(source, parts),
        source=str(source),
        class_names=classes,
    )
    return _named(source.path.stem if source.kind == "npz" else source.path.name, task)


def tell_repeats(task: Task, log: Log) -> None:
    """Report images of a part that are, pixel by pixel, in another part, too: those of train, of val, then of test."""
    uses = {"train": "train", "val": "validate", "test": "test"}
    hashes = {part: list(map(_pixels_hash, getattr(task, part).images)) for part in uses}
    for former, part in combinations(uses, 2):
        known = set(hashes[former])
        if count := sum(one in known for one in hashes[part]):
            log(
                f"{task.name}: {count:,} of {counted(len(hashes[part]), 'image')} to {uses[part]} are among those to "
                f"{uses[former]}, too"
            )


def _pixels_hash(image: NDArray[np.uint8]) -> int:
    # 64 bits: of a million images two unlike ones collide once in 10 million times.
    return hash(image.tobytes())


def _named(stem: str, task: Task) -> Task:
    """Return a task under a name of a stem and its digest; a stem that is such a name, as of a file from memory, is kept.

    A name that says synthetic makes the task a synthetic one.
    """
    ending = f"-{task.images_digest[:DIGEST_CHARACTERS]}"
    if re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{_NAME_CHARACTERS}}}{ending}", stem):
        name = stem
    else:
        plain = re.sub(r"[^A-Za-z0-9_.]+", "-", stem).strip("-.").removesuffix(ending)
        name = f"{plain[:_NAME_CHARACTERS] or 'images'}{ending}"
    return replace(task, name=name, synthetic=SYNTHETIC in name)


def _check_classes(source: OwnSource, config: SpaceConfig, classes: Sequence[str]) -> None:
    if len(classes) != config.classes:
        some = ", ".join(map(printable, classes[:5])) + (" ..." if len(classes) > 5 else "")
        raise ConfigError(
            f"{source} has {counted(len(classes), 'class', 'classes')} ({some}), space {config.name!r} has {config.classes}; "
            "take a space with that number"
        )


def _normalization(train: Images, source: OwnSource) -> dict[str, tuple[float, ...]]:
    settings, channels = source.settings, train.images.shape[3]
    mean, std = (settings.mean, settings.std) if settings.mean else moments(train.images)
    if len(mean) != channels:
        raise ConfigError(
            f"{source}: mean and std have {counted(len(mean), 'value')}, images {counted(channels, 'channel')}; give one each"
        )
    if not settings.mean and min(std) <= 0:
        raise ConfigError(
            f"{source}: all training images are of one value in a channel, which teaches nothing; check them"
        )
    return {"mean": mean, "std": std}


def _origin(source: OwnSource, parts: Mapping[str, Images]) -> str:
    missing = " and ".join(part for part in ("val", "test") if part not in parts)
    what = f", {missing} split from train" if ALL not in parts else ", split"
    return str(source.path) + (f"{what} by seed {source.settings.seed}" if missing else "")


# --- splitting ------------------------------------------------------------------------------------


def split_parts(
    labels: Mapping[str, NDArray[np.int64]], classes: Sequence[str], settings: DataSettings
) -> dict[str, tuple[str, NDArray[np.int64]]]:
    """Return for each of train, val and test the given part of its images, and their places there, shuffled by the seed.

    A given part stays whole. A missing part takes its share of each class, at least one image, from the part `all` or `train`,
    and leaves at least one for each part after it and for training.

    Raises:
        ConfigError: a class has too few images, or none in a part.
    """
    random = np.random.RandomState(settings.seed)  # a stream that numpy keeps
    pool = ALL if ALL in labels else "train"
    shares = {part: getattr(settings, part) for part in ("val", "test") if part not in labels}
    chosen: dict[str, list[NDArray[np.int64]]] = {part: [] for part in ("train", *shares)}
    for label, name in enumerate(classes):
        places = random.permutation(np.flatnonzero(labels[pool] == label))
        total = len(places)
        if total <= len(shares):
            raise ConfigError(
                f"class {name!r} has {counted(total, 'image')} to share among train"
                f"{''.join(f', {part}' for part in shares)}; add images, or remove the class"
            )
        for needing, (part, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
            count = min(max(1, round(share * total)), len(places) - needing)
            chosen[part].append(places[:count])
            places = places[count:]
        chosen["train"].append(places)
    found = {part: (pool, np.concatenate(places)) for part, places in chosen.items()}
    for part in set(labels) - {pool}:
        counts = np.bincount(labels[part], minlength=len(classes))
        if not counts.all():
            name = classes[int(np.argmin(counts))]
            raise ConfigError(f"{part}: class {name!r} has no image; add some, or remove the class")
        found[part] = (part, np.arange(len(labels[part])))
    return {part: (found[part][0], random.permutation(found[part][1])) for part in PARTS}


# --- folders --------------------------------------------------------------------------------------


def _decoded_parts(
    source: OwnSource, config: SpaceConfig, log: Log
) -> tuple[tuple[str, ...], dict[str, Images]]:
    """Return the names of a folder's classes, and its parts, decoded unless they are in the cache."""
    classes, listed = list_folder(source.path)
    form = _format(source, classes, config)
    files = _Files(root=source.path, names=[name for part in listed.values() for name in part.files])
    every, size_bytes = range(len(files.names)), _size_bytes(source, len(files.names), form)
    digests, sizes = zip(*_in_threads(files.digest, every), strict=True)

    def check(place: int) -> None:
        check_image(files.read(place), form, files.path(place))

    def decoded(place: int) -> NDArray[np.uint8]:
        return decode(files.read(place, digests[place]), form, files.path(place))

    def make(cache: Path) -> Iterator[NDArray[np.uint8]]:
        log(
            f"{source.path}: {counted(len(every), 'image')}, {sum(sizes):,} bytes, decoded once to {size_bytes:,} bytes in "
            f"{cache}"
        )
        for _ in _in_threads(check, every):  # all headers before the first pixel
            pass
        yield from _in_threads(decoded, every)

    images = cached_images(_key(form, digests), (len(every), *form.shape), make, log)
    return classes, _in_parts(images, listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """Image files below a folder, each read whole, by place."""

    root: Path
    names: Sequence[str]

    def path(self, place: int) -> str:
        """Return a file's path for messages."""
        return printable(f"{self.root}/{self.names[place]}")

    def digest(self, place: int) -> tuple[str, int]:
        """Return a file's SHA-256 and its size in bytes."""
        data = self.read(place)
        return hashlib.sha256(data).hexdigest(), len(data)

    def read(self, place: int, digest: str = "") -> bytes:
        """Return a file's content, that of a digest where one is given. Raises: ConfigError."""
        refusal = refused(f"{self.path(place)}: cannot be read", "check its permissions")
        with refusal, (self.root / self.names[place]).open("rb") as file:
            is_large = os.fstat(file.fileno()).st_size > MAX_FILE_BYTES
            data = b"" if is_large else file.read()
        if is_large:
            raise ConfigError(
                f"{self.path(place)}: has more than {MAX_FILE_BYTES:,} bytes; make the image smaller"
            )
        if digest and hashlib.sha256(data).hexdigest() != digest:
            raise ConfigError(
                f"{self.path(place)}: changed while the folder was read; run it again once nothing changes it"
            )
        return data


def _in_parts(images: NDArray[np.uint8], listed: Mapping[str, ListedPart]) -> dict[str, Images]:
    parts, start = dict[str, Images](), 0
    for part, one in listed.items():
        end = start + len(one.files)
        parts[part] = Images(images=images[start:end], labels=np.array(one.labels, np.int64))
        start = end
    return parts


# --- arrays ---------------------------------------------------------------------------------------


def fitted_parts(
    source: OwnSource, classes: Sequence[str], parts: Mapping[str, Images], config: SpaceConfig, log: Log
) -> dict[str, Images]:
    """Return parts in the space's image size and channels, resized where the source's settings say so. Raises: ConfigError."""
    form = _format(source, classes, config)
    wanted = (config.image_size, config.image_size, config.in_channels)
    shapes = {one.images.shape[1:] for one in parts.values()}
    if shapes == {wanted} and source.settings.color == "keep":
        return dict(parts)
    return {part: _fitted(source, part, one, form, log) for part, one in parts.items()}


def _fitted(source: OwnSource, part: str, one: Images, form: Format, log: Log) -> Images:
    count, height, width, channels = one.images.shape
    what = f"{source}: the images of {part}"
    if channels not in (1, 3):
        raise ConfigError(
            f"{what} have {channels} channels; give 1 or 3, or as many as the space reads, in its size"
        )
    refuse_unfit((width, height), channels > 1, form, what)
    size_bytes = _size_bytes(source, count, form)

    def fitted(place: int) -> NDArray[np.uint8]:
        pixels = one.images[place]
        return pixels_of(pillow().fromarray(pixels[..., 0] if channels == 1 else pixels), form, what)

    def make(cache: Path) -> Iterator[NDArray[np.uint8]]:
        log(
            f"{source.path}: {counted(count, 'image')} of {part}, converted once to {size_bytes:,} bytes in {cache}"
        )
        return _in_threads(fitted, range(count))

    digest = hashlib.sha256(np.ascontiguousarray(one.images).data).hexdigest()
    key = _key(form, [f"{one.images.shape} {digest}"])
    return Images(images=cached_images(key, (count, *form.shape), make, log), labels=one.labels)


# --- both -----------------------------------------------------------------------------------------


def _format(source: OwnSource, classes: Sequence[str], config: SpaceConfig) -> Format:
    """Return the images' format, for a space of as many classes. Raises: ConfigError."""
    _check_classes(source, config, classes)
    return Format(size=config.image_size, channels=config.in_channels, settings=source.settings)


def _size_bytes(source: OwnSource, count: int, form: Format) -> int:
    """Return the bytes of all images. Raises: ConfigError for too many."""
    size_bytes = count * form.size**2 * form.channels
    if size_bytes > MAX_DECODED_BYTES:
        raise ConfigError(
            f"{source}: {count:,} images of {form.size} x {form.size} x {form.channels} take {size_bytes:,} bytes, more than "
            f"{MAX_DECODED_BYTES:,}; take fewer images, or a space of smaller ones"
        )
    return size_bytes


def _key(form: Format, digests: Sequence[str]) -> str:
    """Return the digest of everything that determines decoded images: files, settings and decoder."""
    settings = form.settings
    head = f"{VERSION} pillow {pillow().__version__} {form.shape} {settings.fit} {settings.color} {settings.background}\n"
    return hashlib.sha256((head + "\n".join(digests)).encode()).hexdigest()


def _in_threads(function: Callable[[_One], _Other], things: Iterable[_One]) -> Iterator[_Other]:
    """Yield the function of each thing, in order, computed ahead in threads: Pillow and hashes release Python's lock."""
    threads = min(
        8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    rest = iter(things)
    with ThreadPoolExecutor(threads) as pool:
        while some := [part for _ in range(8 * threads) if (part := list(islice(rest, _AT_ONCE)))]:
            for found in pool.map(lambda part: [function(one) for one in part], some):
                yield from found
