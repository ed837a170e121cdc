"""Search what a store holds, from Python: by devices and limits as on the command line, the best measured before the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from harness.devices.config import Device
from harness.models.exported import ExportObserver
from harness.models.names import as_list, space_meant, whole_number
from harness.prediction.measure import Progress, raise_first
from harness.query.accuracies import AccuracySource, architectures_in
from harness.query.answer import SearchAnswer
from harness.query.by_objective import ObjectiveAnswer
from harness.query.join import GivenAccuracies, accuracies_of, renewed
from harness.query.latencies import SHOWN_COVERAGE, LatencySource
from harness.query.query import Query
from harness.query.run import ObjectiveRequest, SearchRequest, run_search, search_sums
from harness.query.search import EXHAUSTIVE, answer_in, as_constraints
from harness.query.verify import searched_configurations, searched_devices, verify_finalists
from harness.store import Store
from harness.store.configurations import ConfigurationChoice, several
from harness.store.opening import check_store
from search.table.constraints import Constraint
from space import Space
from space.accuracies import Accuracies
from space.errors import ConfigError
from space.registry import space_name

Limits = str | Constraint | Iterable[str | Constraint]
NO_ACCURACIES = AccuracySource(paths=())


def search_store(
    store: Store,
    accuracies: GivenAccuracies,
    limits: Limits = (),
    *,
    device: str | Device | Sequence[str | Device] = (),
    costs: str | Iterable[str] = (),
    verify: int | None = None,
    confidence: float | None = None,
    method: str = EXHAUSTIVE,
    budget: int = 100,
    seed: int = 0,
    metric: str = "",
    epoch: str = "best",
    runtime: str = "",
    threads: int | None = None,
    precision: str = "",
    batch: int | None = None,
    space: str | Path | Space = "",
    latencies: str | Path | Sequence[str | Path] = (),
    measured_only: bool = False,
    doubtful: bool = False,
    wait_s: float = 0.0,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> SearchAnswer:
    """Return the networks within limits on devices of a store, most accurate first, as `harness search` does.

    It predicts, joins and searches in one. Seeds, pickles and a spread of accuracies: `space.accuracies.load_accuracies`.

    - `accuracies`, their `metric` and `epoch`, and the `space`: as for `join`.
    - `limits`, `device`, `costs`: one or several; a limit, a device and a cost may name a pattern or a group, or a runtime, such
      as "pi4:tflite<40ms". `runtime`, `threads`, `precision` and `batch` narrow what a device has.
    - `verify`: measure this many of the best networks at level final on the devices, which `devices_file` names, and correct the
      answer: its rows are then measured ones, if any of these is within the limits. `wait_s`: how long a device in use is
      waited for. `log` is given a line of progress at a time.
    - `confidence`: the probability with which the far ends of intervals meet the limits, such as 0.95.
    - `method`, with a `budget` of evaluations and a `seed`: as for `search`.
    - `latencies`: blox-bench files or a folder of them. `measured_only`: nothing is predicted. `doubtful`: grade D counts.

    Raises: ConfigError as `join` and `search`; DeviceError and others where a campaign had to be given up: what was measured is
    stored, and the same call goes on from there.

    >>> answer = search_store(store, "synthetic", "made-up<5ms", runtime="onnxruntime", threads=2, costs="params")
    >>> answer[0]["made-up_ms"] < 5, "params" in answer[0]
    (True, True)
    """
    check_store(store)
    query = query_of(
        limits, accuracies=accuracies, device=device, costs=costs, confidence=confidence, metric=metric, epoch=epoch,
        runtime=runtime, threads=threads, precision=precision, batch=batch, space=space, latencies=latencies,
        measured_only=measured_only, doubtful=doubtful, devices_file=devices_file,
    )  # fmt: skip
    request = SearchRequest(
        query=query,
        method=method,
        budget=budget,
        seed=seed,
        verify=whole_number("verify", verify, least=1),
        wait_s=wait_s,
    )
    found = run_search(request, store, observe=observed_by(log), log=log)
    raise_first(found.outcomes)
    return found.answer


def maximize(
    store: Store,
    objective: str | Path | Mapping[str, float],
    limits: Limits = (),
    *,
    device: str | Device | Sequence[str | Device] = (),
    costs: str | Iterable[str] = (),
    top: int = 10,
    verify: int | None = None,
    confidence: float | None = None,
    runtime: str = "",
    threads: int | None = None,
    precision: str = "",
    batch: int | None = None,
    space: str | Path | Space = "",
    doubtful: bool = False,
    wait_s: float = 0.0,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> ObjectiveAnswer:
    """Return the `top` networks of the largest sum within limits, in a space of any size, as `harness search --objective` does.

    `objective`: "params", "macs", or scores of your own for each block of a stage or candidate at a site, as a mapping such as
    {"site0:mb3": 0.31, ...} or a CSV file. Other arguments are as for `search_store`; no accuracies are needed. The answer's
    `front(cost)` is a Pareto front.
    Raises: ConfigError for an objective that is none or lacks scores, or where no network is within the limits.

    >>> answer = maximize(store, "params", "made-up<5ms", runtime="onnxruntime", threads=2, top=3)
    >>> len(answer), answer.best.params == answer[0]["objective"]
    (3, True)
    """
    check_store(store)
    query = query_of(
        limits, device=device, costs=costs, confidence=confidence, runtime=runtime, threads=threads, precision=precision,
        batch=batch, space=space, doubtful=doubtful, devices_file=devices_file,
    )  # fmt: skip
    request = ObjectiveRequest(
        query=query,
        objective=objective if isinstance(objective, Mapping) else str(objective),
        top=whole_number("top", top, least=1),
        verify=whole_number("verify", verify, least=1),
        wait_s=wait_s,
    )
    found = search_sums(request, store, observe=observed_by(log), log=log)
    raise_first(found.outcomes)
    return found.answer


def verify(
    answer: SearchAnswer,
    store: Store,
    count: int = 3,
    *,
    wait_s: float = 0.0,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> SearchAnswer:
    """Measure the `count` best networks of an answer of `search` on the devices of its latencies, and correct it by them.

    As `search_store` with `verify`: at level final, and what is not measured is predicted anew from what `store` then holds.
    `answer`: of a table whose latencies `predict` took from this store. `wait_s`, `devices_file`, `log`: as for `search_store`.

    Raises: ConfigError where no latency is of a stored device, `store` has not what the answer is of, or no network is within the
    limits any more; DeviceError and others as `search_store`.

    >>> answer = verify(answer, store, 2)
    >>> {row["made-up_source"] for row in answer}
    {'measured'}
    """
    check_store(store)
    if not isinstance(answer, SearchAnswer):
        raise ConfigError(f"answer = {type(answer).__name__}: no answer of harness.search or search_store")
    found, count = answer.answer, whole_number("count", count, least=1)
    devices = searched_devices(searched_configurations(answer.provenance).values(), devices_file)
    _check_is_of_store(answer, store)

    def search_again() -> SearchAnswer:
        table = renewed(answer.table, store)
        return answer_in(table, found.constraints, confident=found.confident, trace=answer.trace)

    corrected, outcomes = verify_finalists(
        answer, search_again, store, devices, Progress(log), count=count, wait_s=wait_s, log=log
    )
    raise_first(outcomes)
    return corrected


def _check_is_of_store(answer: SearchAnswer, store: Store) -> None:
    """Raise ConfigError where a store lacks the last measurement that some cost of an answer was computed from."""
    for name, configuration in searched_configurations(answer.provenance).items():
        last = answer.provenance[name].measured_utc
        times = chain(
            (
                session.started_utc
                for network in store.session_counts(configuration)
                for session in store.sessions(configuration, [network])
            ),
            (run.started_utc for run in store.fresh_runs(configuration)),
            (run.started_utc for run in store.block_runs(configuration, "energy")),
        )
        if last not in times:
            raise ConfigError(
                f"store = {store.name}: does not hold the measurement of {last} that {name!r} of the answer is of; give the "
                "store that it is from, or search this one: harness.search_store"
            )


def observed_by(log: Callable[[str], None]) -> Callable[[], AbstractContextManager[ExportObserver]]:
    """Return a maker of observers of campaigns, which pass lines of progress to `log`."""
    return lambda: nullcontext(Progress(log))


def query_of(
    limits: Limits,
    *,
    accuracies: GivenAccuracies | None = None,
    device: str | Device | Sequence[str | Device] = (),
    costs: str | Iterable[str] = (),
    confidence: float | None = None,
    metric: str = "",
    epoch: str = "best",
    space: str | Path | Space = "",
    latencies: str | Path | Sequence[str | Path] = (),
    measured_only: bool = False,
    doubtful: bool = False,
    **choice: Any,
) -> Query:
    """Return the query of what a caller from Python asks; `choice`: the rest of a `ConfigurationChoice`. Raises: ConfigError."""
    if isinstance(accuracies, Accuracies):
        space = space or accuracies.config.name
    elif named := architectures_in(accuracies):
        space = space_meant(named, space)
    constraints = as_constraints(limits)
    devices = several([device] if isinstance(device, str) else device)  # no device has an empty name
    return Query(
        accuracies=NO_ACCURACIES if accuracies is None else accuracies_of(accuracies, metric, epoch, space),
        latencies=LatencySource(
            coverage=SHOWN_COVERAGE if confidence is None else confidence,
            files=tuple(map(Path, as_list(latencies))),
            choice=ConfigurationChoice(space=space_name(space), **choice),
            measured_only=measured_only,
            doubtful=doubtful,
        ),
        costs=tuple(dict.fromkeys([*devices, *(one.subject for one in constraints), *as_list(costs)])),
        constraints=constraints,
        confident=confidence is not None,
    )
