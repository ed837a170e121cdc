"""Latencies of every network of a space: measured where they are stored, by the best predictor elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from harness.dataframe import Tabular
from harness.devices.config import Device
from harness.estimates.doubtful import Doubtful, set_apart
from harness.estimates.estimate import COVERAGE
from harness.estimates.latency import Latency
from harness.models.names import Network, listed_networks, some
from harness.prediction.failed_networks import failed_networks
from harness.prediction.fresh_costs import all_measured_costs, space_costs
from harness.prediction.provenance import Provenance, doubt_text
from harness.prediction.space_latencies import (
    COLUMNS,
    FAR,
    MEASURED_COVERAGE,
    SpaceLatencies,
    SpaceRow,
    indices_of,
    of_equals,
)
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import (
    ConfigurationChoice,
    configuration_id,
    measure_command,
    one_configuration,
    other_spaces_told,
    prior_configuration,
)
from harness.store.latencies import latencies
from harness.store.opening import check_store
from search.integer_program.solve import Limit, Solution, choice_limits, in_order
from search.latency.additive import additive_candidates, as_additive
from search.latency.candidates import FEWEST, enough_models
from search.latency.evaluation import Errors, judge, mape_interval, repeatability
from search.latency.model_selection import COVERAGE as PREDICTED_COVERAGE
from search.latency.model_selection import Prediction, SelectedPredictor, guaranteed, select_predictor
from search.latency.parts import parts_sum
from search.table.constraints import FRESH
from space import (
    Architecture,
    ArchitectureError,
    Space,
    SpaceConfig,
    check_enumerable,
    find_space,
    is_enumerable,
)
from space.errors import ConfigError
from space.hash_table import are_among, first_equals, hash_at, hashes_at, is_first, network_key
from space.indexing import BoolArray, FloatArray, IndexArray, index_of, network_texts
from space.lookup import Named, canonical_index
from space.registry import space_name
from space.segments import all_segments
from space.selection import select_models
from space.statistics import normal
from space.text import counted, first_of

HOLD_OUT_SHARE = 0.2
HOLD_OUT_FROM = 40  # measured networks; of fewer, all are needed to fit
# Random networks whose beginning campaigns measure to judge by, kept apart from the fit that they judge.
JUDGES = "sample:300@20"
JUDGES_FROM = 20  # of fewer, a share of all measured networks judges
# Of the beginning of that sample: some fail, but mostly others tell nothing of random networks.
JUDGES_MEASURED = 0.8
SHOWN_PLACES = 6  # unmeasured ones that a message names
SESSIONS_DF = 10  # fewer do not tell how far a device's sessions lie apart
UNKNOWN_SD = 0.1  # of a ratio without an interval, relative: measured in too few slices to tell


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNetworks:
    """Networks measured on a configuration, in the order of `indices`; `doubtful` are those of grade D.

    `sds`: the relative standard deviation of each ratio, by its own interval. `reference_sd`: that of the reference latency.
    """

    configuration: Configuration
    config: SpaceConfig
    reference_ms: float
    indices: IndexArray
    ratios: FloatArray
    sds: FloatArray
    rows: tuple[Latency, ...]
    doubtful: Doubtful = field(default_factory=Doubtful)
    reference_sd: float = 0.0

    @property
    def failed(self) -> IndexArray:
        """The canonical indices of the networks that the device does not run, (n,)."""
        return indices_of(self.doubtful.failed, self.config)

    def reference_reach(self, coverage: float) -> float:
        """Return the relative uncertainty of the reference latency at this probability, common to all latencies in ms."""
        return self.reference_sd * normal(coverage)

    def milliseconds(
        self, prediction: Prediction, coverage: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return predicted latencies with intervals of this coverage, each (n,): the reference's uncertainty is in them."""
        reach, ratios = self.reference_reach(coverage), prediction.ratios
        with np.errstate(divide="ignore"):
            below = np.hypot(np.log(ratios / prediction.low), reach)
            above = np.hypot(np.log(prediction.high / ratios), reach)
        values = ratios * self.reference_ms
        return values, values * np.exp(-below), values * np.exp(above)

    def ceiling(self) -> Errors | None:
        """Return the agreement of two sessions of a network, over the networks with two; None for fewer than ten."""
        twice = [row.session_medians[:2] for row in self.rows if len(row.session_medians) > 1]
        if len(twice) < 10:
            return None
        first, second = zip(*twice, strict=True)
        return repeatability(first, second)

    @property
    def session_sd(self) -> float:
        """The relative standard deviation between the sessions of one network, for as many as networks usually have.

        Pooled over the networks that have several; 0 where they have fewer than `SESSIONS_DF` degrees of freedom.
        """
        logs = [np.log(row.session_medians) for row in self.rows]
        df = sum(len(each) - 1 for each in logs)
        if df < SESSIONS_DF:
            return 0.0
        variance = sum(float(np.square(each - each.mean()).sum()) for each in logs) / df
        return float(np.sqrt(variance / np.median([len(each) for each in logs])))

    def provenance(self, doubtful: Doubtful) -> Provenance:
        """Return the numbers measured by grade, the last date and the agreement of two sessions; `doubtful` has grade D."""
        given, ceiling = [row.grade for row in self.rows], self.ceiling()
        return Provenance(
            measured=len(given),
            grades={grade: given.count(grade) for grade in "ABCD"},
            measured_utc=max(row.measured_utc for row in self.rows),
            doubtful=doubtful,
            repeatability=None if ceiling is None else (ceiling.mape, ceiling.count),
        )

    def space_rows(self) -> list[SpaceRow]:
        """Return the measured networks, in canonical order."""
        rows = [
            SpaceRow(
                architecture=row.architecture,
                graph_hash=row.graph_hash,
                index=index,
                latency_ms=row.latency_ms,
                low_ms=None if row.interval_ms is None else row.interval_ms[0],
                high_ms=None if row.interval_ms is None else row.interval_ms[1],
                coverage=MEASURED_COVERAGE,
                source="measured",
                grade=row.grade,
                sessions=row.estimate.sessions,
                supported=True,
            )
            for index, row in zip(self.indices.tolist(), self.rows, strict=True)
        ]
        return sorted(rows, key=lambda row: row.index)

    def failed_rows(self) -> list[SpaceRow]:
        """Return the networks that the device does not run, which have no latency."""
        return [
            SpaceRow(
                architecture=name,
                graph_hash=hash_at(self.config, index),
                index=index,
                coverage=MEASURED_COVERAGE,
                source="failed",
                supported=False,
            )
            for index, name in zip(self.failed.tolist(), self.doubtful.failed, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutErrors:
    """Errors of the chosen predictor on networks that it was fitted without: `coverage` is the share inside its 90 % intervals.

    `random`: whether they are a random sample of the space, and not of what somebody chose to measure.
    """

    errors: Errors
    mape_interval: tuple[float, float]
    coverage: float
    random: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SpaceTable(Tabular):
    """Latencies of all networks of a space on one configuration: predicted in ratios, `measured` where there is better.

    `everywhere`: the prediction of every network; None where they are too many to list, and those asked for are predicted.
    `doubtful`: networks and segments of grade D, the prior's apart. `chosen`: indices of networks asked for by name, if any.
    `costs`: of `search.table.constraints.FRESH` those that are measured on the configuration; `unpredicted` are these in a space
    too large to list.
    """

    measured: MeasuredNetworks
    predictor: SelectedPredictor
    everywhere: Prediction | None
    held_out: HeldOutErrors | None
    ceiling: Errors | None
    segments: int
    prior: Configuration | None
    doubtful: Doubtful
    prior_doubtful: Doubtful
    chosen: tuple[int, ...] | None = None
    costs: Mapping[str, SpaceLatencies] = field(default_factory=dict)
    unpredicted: tuple[str, ...] = ()

    @property
    def prediction(self) -> Prediction:
        """The prediction of every network in canonical order. Raises: ArchitectureError where they are too many to list."""
        if self.everywhere is None:
            check_listed(self.measured.config)
        assert self.everywhere is not None  # of a space that can be listed
        return self.everywhere

    def rows(self, indices: Sequence[int] | None = None) -> list[SpaceRow]:
        """Return networks by canonical index, by default all in canonical order: measured where they are, predicted elsewhere.

        Of a network of several names it does not matter by which it was measured.
        Raises: ArchitectureError for an index that is none of the space's, or where all are asked for and are too many to list.
        """
        config, measured = self.measured.config, self.measured
        wanted = range(len(self.prediction.ratios)) if indices is None else indices
        for index in {min(wanted, default=0), max(wanted, default=0)}:
            Architecture.from_index(index, config)
        known = {
            network_key(config, row.index): row for row in (*measured.space_rows(), *measured.failed_rows())
        }
        found = [known.get(network_key(config, index)) for index in wanted]
        others = np.array(
            [index for index, row in zip(wanted, found, strict=True) if row is None], dtype=np.int64
        )
        prediction = self.predictor.predict(others) if self.everywhere is None else self.everywhere.at(others)
        arrays = (*measured.milliseconds(prediction, PREDICTED_COVERAGE), prediction.supported)
        columns = (*(values.tolist() for values in arrays), hashes_at(config, others.tolist()))
        predicted = zip(*columns, strict=True)
        rows = []
        for index, text, row in zip(wanted, network_texts(config, wanted), found, strict=True):
            costs = _costs_at(self.costs, index)
            if row is not None:
                rows.append(replace(row, architecture=text, index=index, **costs))
                continue
            latency_ms, low_ms, high_ms, supported, graph_hash = next(predicted)
            rows.append(
                SpaceRow(
                    architecture=text,
                    graph_hash=graph_hash,
                    index=index,
                    latency_ms=latency_ms,
                    low_ms=low_ms,
                    high_ms=high_ms,
                    coverage=PREDICTED_COVERAGE,
                    source="predicted",
                    supported=supported,
                    **costs,
                )
            )
        return rows

    def ends(self, count: int) -> tuple[list[int], list[int]]:
        """Return the indices of the `count` networks of the lowest and of the highest ratios, each once and in rising order.

        Those that failed are left out. In a space too large to list these are predicted ones, and networks with blocks that no
        measured one has are left out, too.
        """
        config, failed = self.measured.config, self.measured.failed
        if self.everywhere is not None:
            ratios = self.everywhere.ratios.copy()
            ratios[first_equals(config)[self.measured.indices]] = self.measured.ratios
            order = ratios.argsort(kind="stable")
            order = order[is_first(config)[order]]
            order = order[~are_among(config, order, failed)].tolist() if len(failed) else order.tolist()
            return order[:count], order[-count:]
        added = as_additive(self.predictor).blocks
        unseen = self.predictor.unseen_blocks().astype(np.float64)
        limits = [*choice_limits(config), Limit(name="blocks in measured networks", costs=unseen, upper=0.0)]
        lowest, highest = (
            list(islice(_each_once(config, in_order(scores, limits), failed), count))
            for scores in (-added, added)
        )
        return lowest, highest[::-1]

    def far_networks(self) -> list[int] | None:
        """Return the networks unlike any measured one, each by its first index; None in a space too large to list."""
        if self.everywhere is None:
            return None
        far: list[int] = np.flatnonzero(~self.everywhere.supported & is_first(self.measured.config)).tolist()
        return far

    def unmeasured_places(self) -> list[str]:
        """Return the blocks of a stage, or the candidates at a site, that no measured network tells of; see `unseen_blocks`."""
        config = self.measured.config
        return [config.place_text(*place) for place in np.argwhere(self.predictor.unseen_blocks()).tolist()]

    def at(self, network: Named) -> SpaceRow:
        """Return the row of one network of the table's space: itself, its text, vector, index or graph hash.

        Raises: ArchitectureError.
        """
        return self.rows([canonical_index(network, self.measured.config)])[0]

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return the chosen networks, else all in canonical order, as plain values; and the columns of `harness predict --csv`.

        Raises: ArchitectureError where none are chosen of a space too large to list.
        """
        return [row.to_json() for row in self.rows(self.chosen)], COLUMNS

    def __len__(self) -> int:
        """Return the number of rows: of the chosen networks, else of all of a space that is listed."""
        return len(self._shown)

    def head(self, count: int) -> tuple[list[dict[str, object]], int]:
        return [row.to_json() for row in self.rows(self._shown[:count])], len(self)

    @property
    def _shown(self) -> Sequence[int]:
        if self.chosen is not None:
            return self.chosen
        return range(len(self.measured.config)) if self.everywhere is not None else ()


def _each_once(config: SpaceConfig, found: Iterable[Solution], failed: IndexArray) -> Iterator[int]:
    """Yield the canonical index of each choice, of several names of a network only the first, and none that failed."""
    seen = {network_key(config, index) for index in failed.tolist()}
    for index in (index_of(config, one.blocks) for one in found):
        if (key := network_key(config, index)) not in seen:
            seen.add(key)
            yield index


def check_listed(config: SpaceConfig) -> None:
    """Refuse a table of every network where they are too many to list. Raises: ArchitectureError."""
    check_enumerable(config, "the whole table", "name networks with --models, e.g. sample:20")


def load_measured(
    store: Store, configuration: Configuration, *, coverage: float = COVERAGE, doubtful: bool = False
) -> MeasuredNetworks:
    """Return the networks measured on a configuration, with intervals of this coverage, to predict all others of the space.

    Those of grade D are left out, unless `doubtful`.
    Raises: ConfigError when there is none, or the space is not known here or has too many networks to predict each.
    """
    config = space_of(configuration)
    check_enumerable(
        config, "latencies of a whole space", "predict some of them: 'harness predict --models sample:20'"
    )
    return measured_networks(store, configuration, config, coverage=coverage, doubtful=doubtful)


def measured_networks(
    store: Store,
    configuration: Configuration,
    config: SpaceConfig,
    *,
    coverage: float = COVERAGE,
    doubtful: bool = False,
) -> MeasuredNetworks:
    """Return the measured networks as `load_measured` does, of a space of any size.

    Raises: ConfigError when no network is measured, or none well enough.
    """
    reference = store.reference_latency(configuration)
    rows = latencies(store, configuration, coverage=coverage)
    trusted, apart = set_apart(rows, take=doubtful)
    apart = replace(apart, failed=failed_networks(store, configuration, config, rows, doubtful=doubtful))
    if rows and not trusted:
        raise ConfigError(
            f"device {configuration.device!r}, {configuration.runtime}: nothing measured is good enough: "
            f"{doubt_text(apart, configuration)}"
        )
    if reference is None or not rows:
        failures = store.failures(configuration)
        why = (
            f"only failures are stored ({len(failures)}, the last: {failures[-1].message}); "
            f"see 'harness results --device {configuration.device} --failures'"
            if failures
            else f"no network is measured; begin with: {measure_command(configuration)} --models {enough_models(config)}"
        )
        raise ConfigError(f"device {configuration.device!r}, {configuration.runtime}: {why}")
    return MeasuredNetworks(
        configuration=configuration,
        config=config,
        reference_ms=reference.latency_ns / 1e6,
        indices=indices_of([row.architecture for row in trusted], config),
        ratios=np.array([row.estimate.ratio for row in trusted]),
        sds=np.array([relative_sd(row) for row in trusted]),
        rows=tuple(trusted),
        doubtful=apart,
        reference_sd=reference.sd or 0.0,
    )


def stored_provenance(store: Store, measured: MeasuredNetworks, segments: Doubtful) -> Provenance:
    """Return a configuration's provenance, with the conditions in which a session of its fastest measured network began.

    `segments`: those of grade D, counted with the networks.
    """
    last = store.sessions(measured.configuration, [measured.rows[0].graph_hash])[-1]
    return replace(measured.provenance(measured.doubtful + segments), conditions=last.conditions_before)


def relative_sd(row: Latency) -> float:
    """Return the relative standard deviation of a ratio, by its estimate's interval: of 95 %, whatever coverage is shown."""
    if row.estimate.interval is None:
        return UNKNOWN_SD
    low, high = row.estimate.interval
    return (high - low) / 2 / normal(COVERAGE) / row.estimate.ratio


def judges_among(measured: MeasuredNetworks) -> BoolArray:
    """Return which measured networks are held out as judges, bool (n,): those of `JUDGES` if nearly all are measured."""
    kind, _, rest = JUDGES.partition(":")
    count, _, seed = rest.partition("@")
    text = f"{kind}:{min(int(count), len(measured.config))}@{seed}"
    drawn = np.array([architecture.index for architecture in select_models(text, measured.config)])
    known = are_among(measured.config, drawn, measured.indices)
    shares = known.cumsum() / np.arange(1, len(drawn) + 1)
    enough = np.flatnonzero(shares >= JUDGES_MEASURED)
    return are_among(measured.config, measured.indices, drawn[: enough[-1] + 1 if len(enough) else 0])


def graded_segments(
    store: Store, configuration: Configuration, *, doubtful: bool = False
) -> tuple[dict[str, float], Doubtful]:
    """Return the measured ratio of each segment of the space by its text, and those of grade D, left out unless `doubtful`."""
    rows, apart = set_apart(latencies(store, configuration, purpose="segment"), take=doubtful)
    return {row.architecture: row.estimate.ratio for row in rows}, apart


def check_enough(measured: MeasuredNetworks) -> None:
    """Raise ConfigError when fewer networks are measured than a predictor can be fitted to."""
    if len(measured.indices) < FEWEST:
        config = measured.config
        apart = f" ({doubt_text(measured.doubtful, measured.configuration)})" if measured.doubtful else ""
        remedy = f"measure more: {measure_command(measured.configuration)} --models {enough_models(config)}"
        if is_enumerable(config) and len(measured.indices) == int(is_first(config).sum()):
            remedy = (
                "these are all that its space has: 'harness results' and 'harness search' need no predictor"
            )
        raise ConfigError(
            f"device {measured.configuration.device!r}",
            f"{counted(len(measured.indices), 'network is', 'networks are')} measured under "
            f"{configuration_id(measured.configuration)}, too few to fit a predictor, which needs {FEWEST}{apart}; {remedy}",
        )


def fit(
    measured: MeasuredNetworks,
    subset: BoolArray | None = None,
    *,
    segments: Mapping[str, float],
    prior: FloatArray | None = None,
    as_sum: bool = False,
) -> SelectedPredictor:
    """Choose and fit a predictor on measured networks, all or a `subset` (n,); with the sum of parts where all are known.

    `as_sum`, and in a space too large to list: it is a sum over blocks, see `search.latency.additive`.
    `prior` (len(config),): another configuration's prediction of the space. Raises: ConfigError when there are too few networks.
    """
    check_enough(measured)
    config = measured.config
    parts = segments if len(segments) == len(all_segments(config)) else None
    return select_predictor(
        measured.indices if subset is None else measured.indices[subset],
        measured.ratios if subset is None else measured.ratios[subset],
        sds=measured.sds if subset is None else measured.sds[subset],
        session_sd=measured.session_sd,
        config=config,
        parts_sum=None if parts is None else parts_sum(parts, config),
        prior=prior,
        candidates=additive_candidates(config) if as_sum or not is_enumerable(config) else None,
    )


def predict(
    store: Store,
    *,
    device: str | Device = "",
    runtime: str = "",
    threads: int | None = None,
    precision: str = "",
    batch: int | None = None,
    configuration: str = "",
    space: str | Path | Space = "",
    prior: str = "",
    models: Network | Iterable[Network] | None = None,
    doubtful: bool = False,
    devices_file: str | Path | None = None,
    whole: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> SpaceTable:
    """Predict the latency of every network of a space from those measured on one configuration of a device.

    The rows have memory, load, first run and energy where these are measured on the configuration; memory and energy are
    predicted, too. In a space too large to list, the latencies of chosen networks are all that is predicted.

    - `device`: by default `local`, or the one of `configuration`, an id; also a pattern or a group of `devices_file` that
      means one.
    - `runtime`, with or without :PROVIDER, `threads`, `precision`, `batch` (by default 1) and `space`, a name or file, narrow
      the choice.
    - `prior`: the id of another configuration, whose prediction helps where few networks are measured.
    - `models`: networks, written as for `measure`, that are to be the table's rows, its `chosen` ones, where not all are.
      `whole`: the table of every network is wanted where none are chosen.
    - `doubtful`: with measurements of grade D.
    - `log` is given a line about what of these is left out, or cannot be cached.

    Raises: ConfigError when several configurations fit, too little is stored, or names are of no network.

    >>> table = predict(store, device="made-up", threads=2)
    >>> row = table.at("conv/conv/conv")
    >>> row.source, row.low_ms < row.latency_ms < row.high_ms
    ('predicted', True)
    """
    check_store(store)
    choice = ConfigurationChoice(
        device=device,
        runtime=runtime,
        threads=threads,
        precision=precision,
        batch=batch,
        configuration=configuration,
        space=space_name(space),
        devices_file=devices_file,
    )
    chosen = one_configuration(store, choice)
    config = space_of(chosen)
    with other_spaces_told(store, config.name, choice.space or configuration):
        named = listed_networks(some("models", models), config)
        indices = tuple(one.index for one in select_models(named, config)) if named else None
    if whole and indices is None:
        check_listed(config)
    table = predict_space(store, chosen, prior_configuration(store, prior, chosen), doubtful=doubtful)
    fresh = all_measured_costs(
        *(store, table.measured.configuration, config),
        coverage=PREDICTED_COVERAGE,
        doubtful=doubtful,
        failed=table.measured.doubtful.failed,
    )
    if table.everywhere is None:
        return replace(table, chosen=indices, unpredicted=tuple(fresh))
    costs = {
        name: of_equals(
            space_costs(one, name, config, coverage=PREDICTED_COVERAGE, log=log), first_equals(config)
        )
        for name, one in fresh.items()
    }
    return replace(table, chosen=indices, costs=costs)


def predict_space(
    store: Store,
    configuration: Configuration,
    prior: Configuration | None = None,
    *,
    doubtful: bool = False,
) -> SpaceTable:
    """Fit a predictor on what is stored of a configuration and predict the whole space with the best candidate.

    `prior`: another configuration whose own prediction serves as this one's prior. `doubtful`: with networks and segments of
    grade D. Raises: ConfigError when too little is stored.
    """
    measured = measured_networks(store, configuration, space_of(configuration), doubtful=doubtful)
    check_enough(measured)
    guess, prior_apart = None, Doubtful()
    if prior is not None:
        check_enumerable(measured.config, "--prior", "leave it out, and measure more of them")
        if prior.space != configuration.space:
            raise ConfigError(
                f"prior {prior.device!r} is of space {prior.space!r}, not {configuration.space!r}; name another"
            )
        others = load_measured(store, prior, doubtful=doubtful)
        parts, prior_apart = graded_segments(store, prior, doubtful=doubtful)
        prior_apart = others.doubtful + prior_apart
        guess = fit(others, segments=parts).predict(np.arange(len(measured.config))).ratios
    segments, apart_segments = graded_segments(store, configuration, doubtful=doubtful)
    predictor = fit(measured, segments=segments, prior=guess)
    held_out, count = None, len(measured.indices)
    apart = judges_among(measured)
    is_random = bool(apart.sum() >= JUDGES_FROM and (~apart).sum() >= FEWEST)
    if not is_random:
        drawn = np.random.default_rng(0).permutation(count)[: round(HOLD_OUT_SHARE * count)]
        apart = np.isin(np.arange(count), drawn)
    if is_random or count >= HOLD_OUT_FROM:
        rest = fit(measured, ~apart, segments=segments, prior=guess)
        held_out = judge_on(rest, measured.indices[apart], measured.ratios[apart], random=is_random)
    return SpaceTable(
        measured=measured,
        predictor=predictor,
        everywhere=predictor.predict(np.arange(len(measured.config)))
        if is_enumerable(measured.config)
        else None,
        held_out=held_out,
        ceiling=measured.ceiling(),
        segments=len(segments),
        prior=prior,
        doubtful=measured.doubtful + apart_segments,
        prior_doubtful=prior_apart,
    )


def _costs_at(costs: Mapping[str, SpaceLatencies], index: int) -> dict[str, Any]:
    """Return a network's costs besides time as fields of its row."""
    fields: dict[str, Any] = {}
    for fresh, cost in costs.items():
        if np.isnan(cost.values[index]):
            continue
        kind = FRESH[fresh]
        fields[kind.field] = float(cost.values[index])
        if kind.is_predicted:
            unit = kind.field.partition("_")[2]
            predicted = "predicted" if cost.supported[index] else FAR
            fields[f"{fresh}_source"] = "measured" if cost.measured[index] else predicted
            for end, values in (("low", cost.low), ("high", cost.high)):
                value = float(values[index])
                fields[f"{fresh}_{end}_{unit}"] = value if isfinite(value) else None
        if cost.sensor:
            fields["energy_sensor"] = cost.sensor
    return fields


def summary(table: SpaceTable) -> dict[str, object]:
    """Return the predictor, its training networks and its errors as plain values; errors are shares."""
    measured, held_out = table.measured, table.held_out
    far = table.far_networks()
    return {
        "configuration": asdict(measured.configuration) | {"id": measured.configuration.digest},
        "reference_ms": measured.reference_ms,
        "measured_networks": len(measured.indices),
        "measured_segments": table.segments,
        "prior": None if table.prior is None else table.prior.digest,
        "doubtful": table.doubtful.to_json(),
        "prior_doubtful": None if table.prior is None else table.prior_doubtful.to_json(),
        "rungs": [asdict(report) for report in table.predictor.reports],
        "chosen": table.predictor.chosen,
        "held_out": None if held_out is None else asdict(held_out),
        "coverage": {"aimed": PREDICTED_COVERAGE, "guaranteed": guaranteed(PREDICTED_COVERAGE)},
        "unsupported_networks": None if far is None else len(far),
        "unmeasured_places": table.unmeasured_places(),
        "repeatability": None if table.ceiling is None else asdict(table.ceiling),
        "costs": {
            fresh: {key: getattr(cost.about, key) for key in ("measured", "predicted", "predictor", "error")}
            for fresh, cost in table.costs.items()
        },
    }


def unmeasured_text(places: Sequence[str]) -> str:
    """Return a clause on blocks that no measured network tells of; of many it names the first."""
    verb = "is" if len(places) == 1 else "are"
    return f"{first_of(places, SHOWN_PLACES)} {verb} in no measured network"


def judge_on(
    predictor: SelectedPredictor, indices: IndexArray, ratios: FloatArray, *, random: bool
) -> HeldOutErrors:
    """Judge a predictor on networks (n,), of measured ratios (n,), that it was fitted without; `random`: drawn from the space."""
    found = predictor.predict(indices)
    inside = (found.low <= ratios) & (ratios <= found.high)
    return HeldOutErrors(
        errors=judge(found.ratios, ratios),
        mape_interval=mape_interval(found.ratios, ratios),
        coverage=float(inside.mean()),
        random=random,
    )


def space_of(configuration: Configuration) -> SpaceConfig:
    """Return the space of a configuration's networks.

    Raises: ConfigError when it is not known here.
    """
    try:
        return find_space(configuration.space)
    except ArchitectureError as error:
        raise ConfigError(f"device {configuration.device!r}", f"{error}") from error
