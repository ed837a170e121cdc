"""Run units: finished ones are skipped, failures are reported by unit, and the others finish.

    results = ResultStore(folder=Path("results"))
    done = run_units(units, results, LocalPool(processes=2))
    results.get(done[unit.key])

A runner only computes and keeps content; this module chooses the units to run, records them and raises errors, for all runners.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from search.work.events import OnProgress, UnitAgain, UnitDone, UnitFailed, UnitsFound, sentence
from search.work.kinds import Content, Context, Message, Step, find_kind, load_function
from search.work.results import ResultStore
from search.work.unit import Unit
from space.errors import ConfigError, HarnessError

_TOLD_FAILURES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished unit: its content's digest, seconds and host."""

    unit: Unit
    digest: str
    seconds: float
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A failed unit: the reason; `is_input` where its inputs are the cause, as in a ConfigError."""

    unit: Unit
    message: str
    is_input: bool = False
    details: str = ""


Outcome = Done | Failed


class Runner(Protocol):
    """Executor of units. A unit's content is in `results` when its `Done` is yielded; units come in any order."""

    def run(self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress) -> Iterator[Outcome]:
        """Yield how each unit ended, as it ends; close the iterator to stop the others."""
        ...


class RunUnits(Protocol):
    """A way to run units with a runner and to show their progress. Raises: as `run_units`."""

    def __call__(
        self, units: Sequence[tuple[str, Unit]], results: ResultStore, *, epochs: int, title: str
    ) -> dict[str, str]:
        """Return the digest of each result by the unit's key; each unit has a name for people.

        `epochs` are those of one unit, `title` describes the work of all.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedUnits:
    """Units that are run together: their `names` for people, by the units' keys, and the `epochs` of each.

    `title` describes the work of all.
    """

    names: Mapping[str, str]
    epochs: int
    title: str

    def called(self, unit: Unit) -> str:
        """Return the name of a unit."""
        return self.names.get(unit.key) or str(unit)


# Shows the progress of units while they run.
Watch = Callable[[NamedUnits], AbstractContextManager[OnProgress]]


def logged(log: Callable[[str], None]) -> Watch:
    """Return a watch that passes lines of progress to `log`."""

    @contextmanager
    def watch(units: NamedUnits) -> Iterator[OnProgress]:
        yield lambda event: log(sentence(event, units.called))

    return watch


def run_watched(
    units: Sequence[tuple[str, Unit]],
    results: ResultStore,
    *,
    epochs: int,
    title: str,
    runner: Runner,
    watch: Watch,
) -> dict[str, str]:
    """Run units as a `RunUnits` does, while a watch shows them. Raises: as `run_units`, in the names."""
    named = NamedUnits(names={unit.key: name for name, unit in units}, epochs=epochs, title=title)
    with watch(named) as on_progress:
        return run_units([unit for _, unit in units], results, runner, on_progress, called=named.called)


def run_units(
    units: Iterable[Unit],
    results: ResultStore,
    runner: Runner,
    on_progress: OnProgress = lambda event: None,
    *,
    called: Callable[[Unit], str] = str,
) -> dict[str, str]:
    """Run unfinished units and return the digest of each unit's result by the unit's key, in the order of the units.

    The results folder is locked meanwhile: while another process runs units there, this one waits. `on_progress` is called in
    this process. `called` names a unit in errors.

    Raises:
        ConfigError: an input is not in the results folder, or there is no such kind: nothing was run. Also where all that
            failed, failed by what it was given.
        HarnessError: units failed; the message names them. The others are done and kept.
    """
    wanted = {unit.key: unit for unit in units}
    with results.locked(lambda text: on_progress(Message(text=text))):
        done: dict[str, str] = {}
        for unit in wanted.values():
            if digest := results.result_of(unit, partial(_report_again, on_progress, unit)):
                done[unit.key] = digest
        rest = [unit for unit in wanted.values() if unit.key not in done]
        _check(rest, results, called)
        failures: list[Failed] = []
        if done:
            on_progress(UnitsFound(keys=frozenset(done), units=len(wanted)))
        if rest:
            outcomes = runner.run(rest, results, on_progress)
            try:
                for outcome in outcomes:
                    if isinstance(outcome, Failed):
                        failures.append(outcome)
                        on_progress(UnitFailed(unit=outcome.unit, message=outcome.message))
                        continue
                    results.record(outcome.unit, outcome.digest, outcome.seconds, outcome.host)
                    done[outcome.unit.key] = outcome.digest
                    on_progress(
                        UnitDone(
                            unit=outcome.unit, seconds=outcome.seconds, done=len(done), units=len(wanted)
                        )
                    )
            finally:
                close = getattr(outcomes, "close", None)
                if close:
                    close()  # at once, not when the collector comes by: workers must not outlive an error here
    if failures:
        raise _error(failures, len(wanted), called)
    return {key: done[key] for key in wanted}


def compute(unit: Unit, inputs: Mapping[str, Content], context: Context) -> Content:
    """Call the function of a unit's kind."""
    content = load_function(unit.kind)(unit.config, inputs, context)
    if not isinstance(content, dict):
        raise TypeError(f"the function of kind {unit.kind!r} returned {type(content).__name__}, not a dict")
    return content


def compute_and_keep(
    unit: Unit, results: ResultStore, device: str, threads: int, on_progress: Callable[[Step], None]
) -> Done | Failed:
    """Compute a unit on this machine, with inputs from the results folder; return its failure as a value."""
    import torch

    torch.set_num_threads(threads)
    begin = time.perf_counter()
    scratch = results.scratch_of(unit)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        inputs = {name: results.get(digest) for name, digest in unit.inputs.items()}
        context = Context(scratch=scratch, device=device, threads=threads, on_progress=on_progress)
        digest = results.add(compute(unit, inputs, context), find_kind(unit.kind).seals)
    except Exception as e:  # noqa: BLE001 - a unit may raise anything; the others go on
        return failed(unit, e)
    return Done(unit=unit, digest=digest, seconds=time.perf_counter() - begin, host=socket.gethostname())


def failed(unit: Unit, error: Exception) -> Failed:
    """Return a unit's exception as a picklable value."""
    message = str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
    details = "".join(traceback.format_exception(error))
    return Failed(unit=unit, message=message, is_input=isinstance(error, ConfigError), details=details)


def given_up(unit: Unit, ended: str, attempts: int) -> Failed:
    """Return the failure of a unit whose process was lost each time; `ended` says how the last time."""
    return Failed(
        unit=unit,
        message=(
            f"{ended}, {attempts} times in a row. Systems kill processes when memory runs out: run fewer at once, "
            "or give a smaller batch, then run it again"
        ),
    )


def _report_again(on_progress: OnProgress, unit: Unit, reason: str) -> None:
    on_progress(UnitAgain(unit=unit, reason=reason))


def _check(units: Sequence[Unit], results: ResultStore, called: Callable[[Unit], str]) -> None:
    known: dict[str, str | None] = {}
    for unit in units:
        for name, digest in unit.inputs.items():
            if digest not in known:
                known[digest] = results.trouble_with(digest)
            if trouble := known[digest]:
                raise ConfigError(
                    f"{called(unit)}: input {name!r} cannot be used: {trouble}; add it to the results first"
                )


def _error(failures: Sequence[Failed], count: int, called: Callable[[Unit], str]) -> HarnessError:
    told = "\n".join(f"{called(failure.unit)}: {failure.message}" for failure in failures[:_TOLD_FAILURES])
    rest = f"\nand {len(failures) - _TOLD_FAILURES} more" if len(failures) > _TOLD_FAILURES else ""
    head = f"{len(failures)} of {count} units failed, the rest is done and kept:\n" if count > 1 else ""
    kind = ConfigError if all(failure.is_input for failure in failures) else HarnessError
    error = kind(head + told + rest)
    for failure in failures[:_TOLD_FAILURES]:
        if failure.details:
            error.add_note(failure.details)  # shown by --debug
    return error
