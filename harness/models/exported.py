"""Exported models: architectures with seeded weights, made when a campaign asks for a format."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import overload

import platformdirs

from exporters import AssemblyRecipe, Format, FragmentLibrary, Weights, with_node_names
from harness.devices.assembly import Assembly
from harness.measurement.workload import Model
from space import BLOX, Architecture, SpaceConfig
from space.segments import Segment
from space.user_paths import expand_user, own_folder

PRECISION = "fp32"
# The reference of every slice: one network of middling cost that holds all three ops and both kinds of sum.
REFERENCE = "conv/mbconv-bconv+out/conv+conv"  # of Blox; a space of other stages has as many of its blocks


def reference_of(config: SpaceConfig) -> Architecture:
    """Return the network of a space that every other one is timed against."""
    blocks = "/".join(islice(cycle(REFERENCE.split("/")), config.stages))
    return Architecture.parse(blocks, config)


def cache_folder() -> Path:
    """Return the folder for exported fragments: $HARNESS_CACHE, or the user's cache folder. Raises: ConfigError for no $HOME."""
    named = os.environ.get("HARNESS_CACHE")
    return (expand_user(named) if named else own_folder(platformdirs.user_cache_dir("harness"))) / "fragments"


class ExportedModels:
    """Models of some networks and segments with seeded weights, exported when a campaign asks for a format; safe in threads.

    They are of one space: `config`, or that of the first; without both it is Blox.
    """

    def __init__(
        self,
        architectures: Sequence[Architecture | Segment],
        *,
        progress: Callable[[str, int, int, str], None],
        config: SpaceConfig | None = None,
    ) -> None:
        self._config = config or (architectures[0].config if architectures else BLOX)
        self._architectures = architectures
        self._progress = progress
        self._libraries: dict[Format, FragmentLibrary] = {}
        self._lock = threading.Lock()

    def models(self, model_format: Format) -> Sequence[Model]:
        """Return the models, each made when it is looked at."""
        return _Models(self._architectures, self._library(model_format))

    def reference(self, model_format: Format) -> Model:
        """Return the reference network's model."""
        library = self._library(model_format)
        return to_model(library, reference_of(library.config), _weights_name(library))

    def _library(self, model_format: Format) -> FragmentLibrary:
        with self._lock:
            if model_format not in self._libraries:
                self._libraries[model_format] = FragmentLibrary.open(
                    model_format,
                    cache_dir=cache_folder(),
                    config=self._config,
                    weights=Weights.seeded(0),
                    progress=lambda done, total, name: self._progress(model_format, done, total, name),
                )
            return self._libraries[model_format]


class _Models(Sequence[Model]):
    def __init__(self, architectures: Sequence[Architecture | Segment], library: FragmentLibrary) -> None:
        self._architectures, self._library = architectures, library
        self._weights = _weights_name(library)

    def __len__(self) -> int:
        return len(self._architectures)

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Model]: ...

    def __getitem__(self, index: int | slice) -> Model | Sequence[Model]:
        if isinstance(index, slice):
            return _Models(self._architectures[index], self._library)
        return to_model(self._library, self._architectures[index], self._weights)


def _weights_name(library: FragmentLibrary) -> str:
    """Name weights, exported fragments and how they are put together: the name changes when one does."""
    reference = library.recipe(reference_of(library.config))
    parts = "\n".join((*library.part_digests, library.dictionary or "", reference.digest))
    return f"{library.weights.identity}, parts {hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def to_model(library: FragmentLibrary, architecture: Architecture | Segment, weights: str) -> Model:
    """Return a network or a segment of the library's space as a campaign's model; `weights` is their name."""
    is_segment = isinstance(architecture, Segment)

    def assemble() -> Assembly:
        if isinstance(architecture, Segment):
            recipe = library.segment_recipe(architecture)
        else:
            recipe = library.recipe(architecture)
        return Assembly(
            format=recipe.format,
            alignment=recipe.alignment,
            skeleton=recipe.skeleton,
            parts=recipe.parts,
            dictionary=recipe.dictionary,
            digest=recipe.digest,
            read_part=library.part,
        )

    return Model(
        architecture=str(architecture),
        graph_hash=architecture.key if isinstance(architecture, Segment) else architecture.graph_hash,
        format=library.format,
        precision=PRECISION,
        space=library.config.name,
        weights=weights,
        purpose="segment" if is_segment else "network",
        assemble=assemble,
    )


def with_named_nodes(assembly: Assembly) -> Assembly:
    """Return an ONNX model whose nodes have names that tell their fragments, as a profile needs them."""
    recipe = with_node_names(
        AssemblyRecipe(
            format="onnx",
            alignment=assembly.alignment,
            skeleton=assembly.skeleton,
            parts=assembly.parts,
            dictionary=assembly.dictionary,
        )
    )
    return replace(assembly, skeleton=recipe.skeleton, digest=recipe.digest)
