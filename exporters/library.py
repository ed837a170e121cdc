"""A fragment library: all fragments of a space in one format, from which any network's recipe is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from exporters import onnx_linking, tflite_layout, tflite_linking
from exporters.cache import ExportedFragment, FragmentCache, cache_key
from exporters.conversion import CHECKS_VERSION, EXPORTER_VERSION, convert_fragments, converter_versions
from exporters.errors import ConversionError
from exporters.formats import FORMATS, PRECISIONS, Format, Precision
from exporters.fragments import (
    GLUE,
    Fragment,
    Step,
    all_fragments,
    fragments_in,
    fragments_of,
    possible_steps,
    steps,
    value_shape,
)
from exporters.weights import Weights
from space import BLOX, Architecture, SpaceConfig
from space.assembly import Assembly
from space.segments import Segment

Progress = Callable[[int, int, str], None]  # fragments ready, all fragments, the name of the last


class Skeletons(Protocol):
    """Make the skeletons of one format."""

    def skeleton(self, steps: tuple[Step, ...], part_bytes: Mapping[Fragment, int]) -> bytes:
        """Return the skeleton of the model that runs these steps, its parts in order with their sizes.

        The model reads the first step's input and writes the last step's output.
        """
        ...

    def dictionary(self) -> bytes:
        """Return a zlib preset dictionary for skeletons; empty if they need none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentLibrary:
    """Verified fragments of a space, exported in one format and precision.

    `part_digests` lists what a device needs to hold for every network, besides the dictionary.
    """

    format: Format
    precision: Precision
    config: SpaceConfig
    weights: Weights
    alignment: int
    dictionary: str | None
    part_digests: tuple[str, ...]
    _skeletons: Skeletons = field(repr=False)
    _parts: Mapping[str, bytes] = field(repr=False)
    _digest_of: Mapping[Fragment, str | None] = field(repr=False)

    @classmethod
    def open(
        cls,
        format: Format,
        *,
        cache_dir: Path | str,
        config: SpaceConfig = BLOX,
        weights: Weights | None = None,
        precision: Precision = "fp32",
        on_progress: Progress | None = None,
    ) -> FragmentLibrary:
        """Load the fragments of a space from a cache folder, exporting first what is absent or damaged.

        `weights` default to `Weights.seeded(0)`. For a checkpoint only its own architecture's fragments are
        exported. `on_progress(done, total, name)` is called as fragments become ready.

        Raises:
            ConversionError: the format or the precision is unknown, a converter is absent or fails, a checkpoint does not
                fit, or the cache cannot be written.
        """
        if format not in FORMATS:
            raise ConversionError(f"format {format!r} is unknown; choose from {', '.join(FORMATS)}")
        if precision not in PRECISIONS:
            raise ConversionError(f"precision {precision!r} is unknown; choose from {', '.join(PRECISIONS)}")
        weights = weights or Weights.seeded(0)
        progress = on_progress or (lambda done, total, name: None)
        loaded = _load_fragments(format, precision, Path(cache_dir), config, weights, progress)
        layouts = {fragment: exported.layout for fragment, exported in loaded.items()}
        skeletons: Skeletons
        if format == "onnx":
            skeletons = onnx_linking.OnnxSkeletons.from_layouts(layouts, config)
            alignment = onnx_linking.ALIGNMENT
        else:
            skeletons = tflite_linking.TfliteSkeletons.from_layouts(layouts, config, precision)
            alignment = tflite_layout.ALIGNMENT
        parts = {f: exported.part for f, exported in loaded.items() if exported.part is not None}
        digests = {f: hashlib.sha256(part).hexdigest() for f, part in parts.items()}
        by_digest = {digests[f]: part for f, part in parts.items()}
        dictionary = skeletons.dictionary()
        dictionary_digest = hashlib.sha256(dictionary).hexdigest() if dictionary else None
        if dictionary_digest is not None:
            by_digest[dictionary_digest] = dictionary
        return cls(
            format=format,
            precision=precision,
            config=config,
            weights=weights,
            alignment=alignment,
            dictionary=dictionary_digest,
            part_digests=tuple(digests.values()),
            _skeletons=skeletons,
            _parts=by_digest,
            _digest_of={f: digests.get(f) for f in loaded},
        )

    def assembly(self, model: Architecture | Segment, batch: int = 1) -> Assembly:
        """Return a network, or a segment as a model of its own, that takes `batch` images a run, in well under a millisecond.

        A TFLite model is that of one image: its input is resized where it is loaded, and all else follows. A segment is made of
        parts that networks have too. Its input is one tensor of float32 for one image, (1, *segment.input_shape), with the
        channels last in TFLite; its output is what it writes within a network, in the same order of axes.

        Raises:
            ConversionError: the model is of another space, or not of the architecture that a checkpoint holds, or a segment of a
                checkpoint in int8.
        """
        name = str(model) if isinstance(model, Segment) else f"architecture {model}"
        if model.config != self.config:
            raise ConversionError(
                f"{name} is of space {model.config.name!r}; this library holds {self.config.name!r}"
            )
        if isinstance(model, Segment) and self.precision == "int8" and self.weights.checkpoint is not None:
            raise ConversionError(
                f"{name}: int8 fits a checkpoint's whole network alone; take segments from seeded weights"
            )
        plan, sizes, parts = steps(model), dict[Fragment, int](), []
        for fragment in fragments_in(plan):
            if fragment not in self._digest_of:
                raise ConversionError(
                    f"{name} needs {fragment}, which {self.weights.identity} lacks; "
                    "open a library for that architecture's own weights"
                )
            digest = self._digest_of[fragment]
            if digest is not None:
                sizes[fragment] = len(self._parts[digest])
                parts.append(digest)
        skeleton, shapes, value = self._skeletons.skeleton(plan, sizes), {}, plan[0].inputs[0]
        if batch > 1 and self.format == "onnx":
            skeleton = onnx_linking.with_batch(skeleton, batch)
        elif batch > 1:
            _, channels, *sides = value_shape(value, self.config)
            shapes = {value: (batch, *sides, channels)}
        return Assembly(
            format=self.format,
            alignment=self.alignment,
            skeleton=skeleton,
            parts=tuple(parts),
            dictionary=self.dictionary,
            shapes=shapes,
            batch=batch,
            read_part=self.part,
        )

    def part(self, digest: str) -> bytes:
        """Return a weight part or the compression dictionary.

        Raises:
            ConversionError: the library holds no part of this digest.
        """
        if digest not in self._parts:
            raise ConversionError(
                f"part {digest} is not in this {self.format} library; take digests from its recipes"
            )
        return self._parts[digest]


def _load_fragments(
    format: Format,
    precision: Precision,
    cache_dir: Path,
    config: SpaceConfig,
    weights: Weights,
    on_progress: Progress,
) -> dict[Fragment, ExportedFragment]:
    source = weights.checkpoint
    wanted = all_fragments(config) if source is None else fragments_of(source.architecture)
    versions = converter_versions(format, precision)
    facts = {
        "exporter": EXPORTER_VERSION,
        "converters": versions,
        "format": format,
        "precision": precision,
        "weights": weights.identity,
    }
    if source is not None or config.chain is not None:
        facts["checks"] = CHECKS_VERSION
    keys = {
        fragment: cache_key(
            facts | {"space": _identity(fragment, config, format, precision), "fragment": str(fragment)}
        )
        for fragment in wanted
    }
    cache = FragmentCache(root=cache_dir)
    loaded: dict[Fragment, ExportedFragment] = {}
    for fragment in wanted:
        exported = cache.load(keys[fragment])
        if exported is not None:
            loaded[fragment] = exported
            on_progress(len(loaded), len(wanted), str(fragment))
    absent = [fragment for fragment in wanted if fragment not in loaded]
    if absent:
        ready = iter(range(len(loaded) + 1, len(wanted) + 1))
        convert_fragments(
            [(fragment, keys[fragment]) for fragment in absent],
            format,
            precision=precision,
            config=config,
            weights=weights,
            cache_dir=cache_dir,
            on_progress=lambda name: on_progress(next(ready), len(wanted), name),
        )
        for fragment in absent:
            exported = cache.load(keys[fragment])
            if exported is None:
                raise ConversionError(
                    f"fragment cache {cache_dir}: {fragment} was exported but reads back damaged; check the disk"
                )
            loaded[fragment] = exported
    return {fragment: loaded[fragment] for fragment in wanted}


def _identity(fragment: Fragment, config: SpaceConfig, format: Format, precision: Precision) -> object:
    """Return the part of its space that an exported fragment depends on.

    Of a chain, ONNX parts of single modules are kept whatever becomes of the rest of the space; TFLite's places of tensors and
    the scales of int8 are the whole space's.
    """
    if config.chain is None:
        return config.to_plain()
    if fragment == GLUE or format == "tflite" or precision == "int8":
        return config.chain.digest
    module = config.chain.module(fragment.kind, fragment.stage, fragment.op)
    reads = [step.inputs[0] for step in possible_steps(fragment, config)]
    return {"graph": module.traced.digest, "reads": reads}
