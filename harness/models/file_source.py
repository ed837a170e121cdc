"""A campaign's source of model files, alone or with networks of a space; each is timed beside a reference of like duration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from device_agents.pacing import Durations, Pace, nearest
from exporters import Format
from harness.devices.config import DEFAULT_PRECISION, Precision
from harness.measurement.workload import (
    DurationProbe,
    Model,
    ModelSource,
    SourceGroup,
    network_groups,
)
from harness.models.exported import ExportedModels
from harness.models.files import FileModel
from harness.records import FILE_SPACE
from space import BLOX
from space.errors import ConfigError
from space.segments import Segment

# References beside Blox's own network, each some ten times shorter than the one before: on one core of a server 3 ms, 0.4 ms
# and 0.03 ms. Longer models have the network, run more often in a slice.
SHORTER: Final = ("segment:cell1:conv", "segment:stem")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModels:
    """Models that a measurement asks for: `networks`, None where there are none, and model files.

    `reference`: the file that every other file is timed beside, None for the built-in one of the nearest duration, or for that
    which `beside` names by the key of the file, a graph hash. `exchanged`: each file is the reference's reference, too, in as
    many sessions. `batches`: the numbers of images of a run: `reference` takes as many, a built-in reference one. `on_progress`
    follows the export of the built-in ones.
    Raises: ConfigError when the reference is of another format than a file, and for a file that does not take a batch, the
    reference among them.
    """

    networks: ModelSource | None
    files: Sequence[FileModel]
    reference: FileModel | None
    on_progress: Callable[[str, int, int, str], None]
    beside: Mapping[str, str] = field(default_factory=dict)
    exchanged: bool = False
    batches: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        for file in self.files:
            for batch in self.batches:
                file.at_batch(batch)
                self._references_at(batch)
            if self.reference is not None and file.format != self.reference.format:
                raise ConfigError(
                    f"{self.reference.path}: {file.path} is timed beside models of {file.format} alone, and this one is of "
                    f"{self.reference.format}; name one of its format, or measure both ('harness measure') and look at "
                    "'harness results'"
                )

    @property
    def formats(self) -> tuple[Format, ...]:
        """The files' formats, each once."""
        return tuple(dict.fromkeys(file.format for file in self.files))

    def groups(
        self, model_format: Format, precisions: Sequence[Precision], probe: DurationProbe
    ) -> Iterator[SourceGroup]:
        """Yield the networks in each precision, then the files: those that share reference, precision and pace together."""
        if self.networks is not None:
            yield from network_groups(self.networks, model_format, precisions, self.batches, probe)
        for files, references in self._by_batch(model_format):
            yield from self._at_batch(files, references, probe)

    def choices(self, model_format: Format) -> Iterator[tuple[Model, list[Model]]]:
        """Yield each file at each batch size with the references that it may be timed beside, each shorter than the one before.

        For a job that is packed before the device can be asked.
        """
        for files, references in self._by_batch(model_format):
            for model in (file.model() for file in files):
                chosen = self._preferred(model, references)
                yield model, [_beside(one, model.precision, model.batch) for one in chosen]

    def _by_batch(self, model_format: Format) -> Iterator[tuple[list[FileModel], list[Model]]]:
        """Yield the files of a format at each batch size, with their references; nothing where there are no files."""
        files = [file for file in self.files if file.format == model_format]
        references = self._references(model_format) if files and self.reference is None else []
        for batch in self.batches if files else ():
            yield [file.at_batch(batch) for file in files], self._references_at(batch) or references

    def _at_batch(
        self, files: Sequence[FileModel], references: list[Model], probe: DurationProbe
    ) -> Iterator[SourceGroup]:
        """Yield files of one batch size: those that share reference, precision and pace together."""
        found: dict[tuple[str, str, int, Pace], list[Model]] = {}
        for file in files:
            model = file.model()
            durations = _durations(model, self._preferred(model, references), probe)
            chosen = durations.reference if durations is not None else references[0].graph_hash
            pace = Pace() if durations is None else Pace.of(durations.network_ns, durations.reference_ns)
            found.setdefault((chosen, model.precision, model.batch, pace), []).append(model)
        by_key = {reference.graph_hash: reference for reference in references}
        for (chosen, precision, batch, pace), models in found.items():
            source = _Group(files=models, beside=by_key[chosen], precision=precision, batch=batch)
            yield SourceGroup(source=source, pace=pace, alone=True)
            if self.exchanged and self.reference is not None:
                yield from (_exchanged(model, by_key[chosen], pace) for model in models)

    def _preferred(self, model: Model, references: list[Model]) -> list[Model]:
        """Return the references to choose from for a file: the one that is named for it, if it is there, else all."""
        wanted = self.beside.get(model.graph_hash)
        return [one for one in references if one.graph_hash == wanted] or references

    def _references_at(self, batch: int) -> list[Model]:
        """Return the reference that is named, for as many images as the files take; empty where none is named.

        Configurations tell references apart by their keys alone, so one key has one number of images.
        """
        return [] if self.reference is None else [self.reference.at_batch(batch).model()]

    def _references(self, model_format: Format) -> list[Model]:
        """Return the built-in references to choose from, the default first."""
        shorter = [Segment.parse(text, BLOX) for text in SHORTER]
        exported = ExportedModels(shorter, on_progress=self.on_progress, config=BLOX)
        return [exported.reference(model_format), *exported.models(model_format)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Model files beside one reference, whose configuration says that files are measured, of which precision and batch."""

    files: Sequence[Model]
    beside: Model
    precision: str
    batch: int = 1

    def models(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Sequence[Model]:
        """Return the files' models, whose precision is their own."""
        return self.files

    def reference(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Model:
        """Return the reference."""
        return _beside(self.beside, self.precision, self.batch)


def _beside(reference: Model, precision: str, batch: int) -> Model:
    """Return a reference as the configuration of files of a precision and batch size has it."""
    return replace(reference, space=FILE_SPACE, precision=precision, batch=batch)


def _exchanged(model: Model, reference: Model, pace: Pace) -> SourceGroup:
    """Return the reference as what is measured, beside the model."""
    source = _Group(files=[reference], beside=model, precision=reference.precision, batch=model.batch)
    return SourceGroup(source=source, pace=pace, alone=True)


def _durations(model: Model, references: Iterable[Model], probe: DurationProbe) -> Durations | None:
    """Return how long a model and the reference of the nearest duration run, None where the model does not run.

    A model that is stored keeps its reference, so that its sessions stay together.
    """
    by_key = {reference.graph_hash: reference for reference in references}
    stored = probe.stored(model)
    if stored is not None and stored.reference in by_key:
        return stored
    return nearest(by_key.values(), lambda reference: probe.measured(model, reference))
