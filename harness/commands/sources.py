"""Where space, exporters and harness meet: selections become architectures, architectures become models."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, overload

from harness.models import Assembly, Model
from space.errors import ConfigError

if TYPE_CHECKING:
    from exporters import Format, FragmentLibrary
    from space import Architecture, SpaceConfig
    from space.segments import Segment

Chosen = TypeVar("Chosen")

PRECISION = "fp32"
SEGMENTS = "segments"  # as a selection: stem, cells, reductions and head, each as a model of its own
# The reference of every slice: one network of middling cost that holds all three ops and both kinds of sum.
REFERENCE = "conv/mbconv-bconv+out/conv+conv"  # of Blox; a space of other stages has as many of its blocks


def in_spaces(choose: Callable[[SpaceConfig], Chosen]) -> dict[str, Chosen]:
    """Return what is chosen in each known space, by its name: for networks of a store, whose spaces the user does not name.

    A space in which the choice fails is left out.
    Raises: ConfigError, that of Blox, when it fails in every space.
    """
    from space import SPACES

    chosen: dict[str, Chosen] = {}
    errors = []
    for config in SPACES.values():
        try:
            chosen[config.name] = choose(config)
        except ConfigError as error:
            errors.append(error)
    if not chosen:
        raise errors[0]
    return chosen


def select_architectures(selections: Sequence[str], config: SpaceConfig | None = None) -> list[Architecture]:
    """Return the architectures of a space, Blox if none is given, that the user named. Raises: ConfigError."""
    from space import BLOX
    from space.sampling import select_models

    return select_models(list(selections), config or BLOX)


def select_models(
    selections: Sequence[str], config: SpaceConfig | None = None
) -> list[Architecture | Segment]:
    """Return what the user named to be measured: architectures, and with the word `segments` the space's segments.

    Raises: ConfigError.
    """
    words = [word for text in selections for word in text.split(",")]
    if SEGMENTS not in words:
        return list(select_architectures(selections, config))
    from space import BLOX
    from space.segments import all_segments

    rest = [",".join(word for word in text.split(",") if word != SEGMENTS) for text in selections]
    rest = [text for text in rest if text]
    return [*(select_architectures(rest, config) if rest else []), *all_segments(config or BLOX)]


def reference_of(config: SpaceConfig) -> Architecture:
    """Return the network of a space that every other one is timed against."""
    from space import Architecture

    blocks = "/".join(islice(cycle(REFERENCE.split("/")), config.stages))
    return Architecture.parse(blocks, config)


def cache_folder() -> Path:
    """Return the folder for exported fragments: $HARNESS_CACHE, or the user's cache folder."""
    import os

    import platformdirs

    return Path(os.environ.get("HARNESS_CACHE") or platformdirs.user_cache_dir("harness")) / "fragments"


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
        from space import BLOX

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
        from exporters import FragmentLibrary, Weights

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
    from space.segments import Segment

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
