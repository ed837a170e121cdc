"""Latencies of the same networks in two precisions: their ratio, how far they agree in rank, and which ops gain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from math import hypot, inf, nan
from pathlib import Path

import numpy as np

from harness.dataframe import RowTable
from harness.devices.config import DEFAULT_PRECISION, PRECISIONS, Device, parse_precision
from harness.estimates.comparison import latency_ratio
from harness.estimates.doubtful import Doubtful, set_apart
from harness.estimates.estimate import COVERAGE, combined_interval
from harness.estimates.latency import Latency
from harness.prediction.space_prediction import relative_sd, space_of
from harness.records import FILE_SPACE, PARTS, Configuration
from harness.store import Store
from harness.store.configurations import (
    ConfigurationChoice,
    configuration_id,
    fitting_configurations,
    measure_command,
)
from harness.store.latencies import latencies
from harness.store.opening import check_store
from search.latency.candidates import enough_models
from search.statistics import FEWEST_RANKED, Estimate, finite, spearman_of_rows
from space import Architecture, Space
from space.errors import ConfigError
from space.indexing import BoolArray, FloatArray
from space.registry import space_name
from space.statistics import normal
from space.text import counted

FEWEST = 5  # networks that are measured in both precisions
DRAWS = 2000
FIT_DRAWS = 1000
ROWS_A_COLUMN = 3  # networks for each number that is fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRatio:
    """One network in both precisions: latency in b over that in a, with its 95 % interval, None where either has none."""

    a: Latency
    b: Latency
    ratio: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """Mean time of an op in ms in either precision, and `ratio`, b over a: NaN where it takes none in a.

    `op` is empty for what all networks have: stem, reductions and head.
    """

    op: str
    a_ms: float
    b_ms: float
    ratio: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionComparison:
    """Networks measured on two configurations that differ in precision alone, in order of their ratio, least first.

    `ratio`: the median of latency in b over latency in a, its interval covers the choice of the measured networks and `common`,
    the relative uncertainty of both reference latencies, which moves all ratios alike. `spearman`: the rank correlation of the
    latencies. `ops`: a fit of latencies as sums of ops, empty where these have no times of their own; its median relative errors
    in a and in b are `fit_error`. `doubtful`:
    networks of grade D in a and in b, which are left out.
    """

    networks: tuple[NetworkRatio, ...]
    ratio: Estimate
    common: float
    spearman: Estimate
    ops: tuple[OpTime, ...]
    fit_error: tuple[float, float]
    doubtful: tuple[Doubtful, Doubtful]

    @property
    def configurations(self) -> tuple[Configuration, Configuration]:
        """The configurations of a and of b."""
        return self.networks[0].a.configuration, self.networks[0].b.configuration

    def to_json(self) -> dict[str, object]:
        """Return the comparison as plain values: intervals of 95 %, times in ms, uncertainties and errors as shares."""
        a, b = self.configurations
        alike = (
            "device",
            "runtime",
            "runtime_version",
            "provider",
            "threads",
            "cores",
            "clock_tier",
            "hardware",
            "space",
        )
        return {name: getattr(a, name) for name in alike} | {
            "cores": list(a.cores),
            "precisions": [a.precision, b.precision],
            "configurations": [configuration_id(one) for one in (a, b)],
            "ratio": self.ratio.to_plain(),
            "reference_uncertainty": self.common,
            "spearman": self.spearman.to_plain(),
            "ops": [
                {
                    "op": one.op or "rest",
                    "a_ms": one.a_ms,
                    "b_ms": one.b_ms,
                    "ratio": one.ratio.to_plain(),
                }
                for one in self.ops
            ],
            "fit_error": [finite(error) for error in self.fit_error],
            "doubtful": [one.to_json() for one in self.doubtful],
            "networks": [network_row(one) for one in self.networks],
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PrecisionComparisons(RowTable[PrecisionComparison]):
    """A comparison of precisions for each pair of configurations, at least one, with `FEWEST` networks in both.

    `too_few`: of the other configurations, the number of networks measured in both. `precisions`: a and b.
    """

    precisions: tuple[str, str]
    rows: tuple[PrecisionComparison, ...]
    too_few: Mapping[Configuration, int]

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return a row a network and pair of configurations as plain values, and the columns."""
        rows = []
        for one in self:
            a, b = one.configurations
            names = {
                "device": a.device,
                "runtime": a.runtime,
                "precision_a": a.precision,
                "precision_b": b.precision,
                "configuration_a": configuration_id(a),
                "configuration_b": configuration_id(b),
            }
            rows += [names | network_row(network) for network in one.networks]
        return rows, list(rows[0])


def network_row(one: NetworkRatio) -> dict[str, object]:
    """Return a network's latencies in ms and their ratio as plain values."""
    low, high = one.interval or (None, None)
    return {
        "architecture": one.a.architecture,
        "graph_hash": one.a.graph_hash,
        "a_ms": one.a.latency_ms,
        "b_ms": one.b.latency_ms,
        "ratio": one.ratio,
        "low": low,
        "high": high,
        "a_grade": one.a.grade,
        "b_grade": one.b.grade,
    }


def compare_precisions(
    store: Store,
    a: str,
    b: str,
    *,
    device: str | Device = "",
    runtime: str = "",
    threads: int | None = None,
    batch: int | None = None,
    space: str | Path | Space = "",
    devices_file: str | Path | None = None,
) -> PrecisionComparisons:
    """Compare the latencies of networks in precision `b` with those of the same networks in `a`, such as "int8" and "fp32".

    Each configuration in `a` is paired with the one in `b` that is equal in all else; of grade D nothing counts.

    - `device`: by default `local`; also a pattern, a group of `devices_file`, or "all".
    - `runtime`, `threads`, `batch` (by default 1) and `space` narrow the choice.

    Raises: ConfigError for what is no precision, the same one twice, or where no pair has five networks.

    >>> found = compare_precisions(store, "fp32", "int8", device="made-up")
    >>> found[0].ratio.low < found[0].ratio.value < found[0].ratio.high
    True
    """
    check_store(store)
    if parse_precision(a) == parse_precision(b):
        raise ConfigError(f"{a} and {b} are one precision; name two, of {', '.join(PRECISIONS)}")
    choice = ConfigurationChoice(
        device=device,
        runtime=runtime,
        threads=threads,
        batch=batch,
        space=space_name(space),
        devices_file=devices_file,
    )
    rows, too_few = [], dict[Configuration, int]()
    for one, other in _pairs(fitting_configurations(store, choice), a, b):
        if other is None:
            too_few[one] = 0
            continue
        (rows_a, apart_a), (rows_b, apart_b) = (set_apart(latencies(store, c)) for c in (one, other))
        in_b = {row.graph_hash: row for row in rows_b}
        both = [(row, in_b[row.graph_hash]) for row in rows_a if row.graph_hash in in_b]
        if len(both) < FEWEST:
            too_few[one] = len(both)
        else:
            common = _common(store, (one, other))
            rows.append(compare_rows(both, common=common, doubtful=(apart_a, apart_b)))
    if not rows and not too_few:
        raise ConfigError(f"nothing is stored in {a} or {b}; see 'harness results'")
    if not rows:
        lacking, count = max(too_few.items(), key=lambda item: item[1])
        raise ConfigError(
            f"device {lacking.device!r}, {lacking.runtime}: {counted(count, 'network')} measured well in both {a} and {b}, of "
            f"at least {FEWEST}; measure more: {measure_both_command(lacking, a, b)}"
        )
    return PrecisionComparisons(precisions=(a, b), rows=tuple(rows), too_few=too_few)


def measure_both_command(configuration: Configuration, a: str, b: str) -> str:
    """Return the command line that measures networks in both precisions, all else as in a configuration."""
    line = measure_command(replace(configuration, precision=DEFAULT_PRECISION))
    models = "design:1"
    with suppress(ConfigError):  # of a space that is not known here
        models = enough_models(space_of(configuration))
    return f"{line} --precision {a} --precision {b} --models {models}"


def compare_rows(
    both: Sequence[tuple[Latency, Latency]],
    *,
    common: float = 0.0,
    doubtful: tuple[Doubtful, Doubtful] = (Doubtful(), Doubtful()),
) -> PrecisionComparison:
    """Compare networks' latencies in a and in b, at least one; `common`: the reach of both references at 95 %, relative."""
    networks = []
    for a, b in both:
        ratio, interval = latency_ratio(b, a)
        networks.append(NetworkRatio(a=a, b=b, ratio=ratio, interval=interval))
    config = space_of(both[0][0].configuration)
    architectures = [Architecture.parse(a.architecture, config) for a, _ in both]
    ms = np.array([[a.latency_ms, b.latency_ms] for a, b in both])
    sds = np.array([[relative_sd(row) for row in pair] for pair in both])
    ops, fit_error = _op_times(architectures, ms, common)
    return PrecisionComparison(
        networks=tuple(sorted(networks, key=lambda one: one.ratio)),
        ratio=median_ratio(ms[:, 1] / ms[:, 0], common),
        common=common,
        spearman=rank_correlation(ms[:, 0], ms[:, 1], sds[:, 0], sds[:, 1]),
        ops=ops,
        fit_error=fit_error,
        doubtful=doubtful,
    )


def rank_correlation(
    x: FloatArray, y: FloatArray, x_sds: FloatArray, y_sds: FloatArray, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return Spearman's rho of latencies (n,) and (n,), measured with relative standard deviations (n,), with its interval.

    Each draw of the bootstrap takes networks anew and adds the noise of their measurements. Noise pulls rho toward 0, in what
    was measured and once more in the draws: so the draws are mirrored at the measured value, too (the basic bootstrap, Davison &
    Hinkley 1997, section 5.2), and the interval holds both. None below `FEWEST_RANKED` networks; NaN where all are tied.
    """
    count, rng = len(x), np.random.default_rng(seed)
    value = float(spearman_of_rows(x[None], y[None])[0])
    if count < FEWEST_RANKED or not np.isfinite(value):
        return Estimate(value=value, low=nan, high=nan, count=count)
    picks = rng.integers(count, size=(draws, count))
    drawn = []
    for values, sds in ((x, x_sds), (y, y_sds)):
        noisy = values * np.exp(sds * rng.standard_normal((draws, count)))
        drawn.append(np.take_along_axis(noisy, picks, axis=1))
    found = spearman_of_rows(*drawn)
    low, high = np.nanquantile(found, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)).tolist()
    return Estimate(
        value=value,
        low=max(min(low, 2 * value - high, value), -1.0),
        high=min(max(high, 2 * value - low, value), 1.0),
        count=count,
    )


def _pairs(
    found: Sequence[Configuration], a: str, b: str
) -> Iterator[tuple[Configuration, Configuration | None]]:
    """Yield each configuration in a with those in b that are equal in all else; with None where one has no partner."""
    alike: dict[Configuration, dict[str, list[Configuration]]] = {}
    for one in found:
        if one.precision in (a, b) and one.space != FILE_SPACE:
            # The same weights in another precision are other files.
            key = replace(one, precision=a, weights=one.weights.partition(PARTS)[0])
            alike.setdefault(key, {}).setdefault(one.precision, []).append(one)
    for group in alike.values():
        if len(group) < 2:
            yield from ((one, None) for rows in group.values() for one in rows)
        else:
            yield from product(group[a], group[b])


def _common(store: Store, configurations: Sequence[Configuration]) -> float:
    """Return the uncertainty of the ratio of two reference latencies at 95 %, relative."""
    references = [store.reference_latency(one) for one in configurations]
    sds = [reference.sd or 0.0 for reference in references if reference is not None]
    return normal(COVERAGE) * hypot(*sds)


def median_ratio(ratios: FloatArray, common: float) -> Estimate:
    """Return the median of ratios (n,) with an interval that assumes no distribution, and with the references' uncertainty.

    The interval is between order statistics (Thompson 1936, Annals of Mathematical Statistics 7). There is none of 5 networks:
    their lowest and highest hold the median in 94 % of cases.
    """
    from scipy.stats import binom

    count, value = len(ratios), float(np.median(ratios))
    rank = int(binom.ppf((1 - COVERAGE) / 2, count, 0.5))
    if rank < 1:
        return Estimate(value=value, low=nan, high=nan, count=count)
    ordered = np.sort(ratios)
    low, high = combined_interval(value, (float(ordered[rank - 1]), float(ordered[count - rank])), common)
    return Estimate(value=value, low=low, high=high, count=count)


def _op_times(
    architectures: Sequence[Architecture], ms: FloatArray, common: float
) -> tuple[tuple[OpTime, ...], tuple[float, float]]:
    """Fit latencies (n, 2) in a and in b as a constant and a time for each op, none below 0; return them, and the fits' errors.

    Least squares on the number of times that each op stands in each stage, averaged over the stages that have it; with few
    networks, on the number in all stages. No op has a time of its own where these numbers and the constant depend on each other,
    as where every network runs one candidate of a choice, none of which takes no time. Intervals are those of the Bayesian
    bootstrap over networks, which leaves none out (Rubin 1981, Annals of Statistics 9), with `common`; NaN where an op's time
    may be 0.
    """
    names = ("", *architectures[0].config.ops)
    counts = np.array([[[b.ops.count(op) for b in one.blocks] for op in names[1:]] for one in architectures])
    config = architectures[0].config
    for stage, places in enumerate(config.choices):
        for place in places:  # what gives back what it is given takes no time
            if all(module.traced.passes for at, module in config.layout.chosen(stage) if at == place):
                counts[:, config.ops.index(config.blocks[place].op1), stage] = 0
    if len(ms) < ROWS_A_COLUMN * (1 + counts[0].size):
        counts = counts.sum(axis=2, keepdims=True)
    columns = np.hstack([np.ones((len(ms), 1)), counts.reshape(len(ms), -1)])
    fitted = _fit(columns, ms)
    errors = np.median(np.abs(columns @ fitted - ms) / ms, axis=0)
    there: BoolArray = np.any(columns, axis=0)
    if np.linalg.matrix_rank(columns) < there.sum():
        return (), (float(errors[0]), float(errors[1]))
    times = _op_means(fitted, there, len(names))
    roots = np.sqrt(np.random.default_rng(0).exponential(size=(FIT_DRAWS, len(ms), 1)))
    drawn = np.array(
        [_ratios(_op_means(_fit(root * columns, root * ms), there, len(names))) for root in roots]
    )
    found = [
        OpTime(op=name, a_ms=a_ms, b_ms=b_ms, ratio=_op_ratio(ratio, drawn[:, place], len(ms), common))
        for place, (name, (a_ms, b_ms), ratio) in enumerate(
            zip(names, times.tolist(), _ratios(times).tolist(), strict=True)
        )
    ]
    return (*found[1:], found[0]), (float(errors[0]), float(errors[1]))


def _op_ratio(ratio: float, drawn: FloatArray, networks: int, common: float) -> Estimate:
    """Return an op's ratio with the interval of its draws (n,) and `common`; NaN for an end without a bound."""
    found = Estimate(value=ratio if ratio < inf else nan, low=nan, high=nan, count=networks)
    if networks < FEWEST_RANKED or not 0 < ratio < inf:
        return found
    ends = ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)
    low, high = np.quantile(drawn[~np.isnan(drawn)], ends, method="nearest").tolist()
    if low <= 0 or high == inf:
        return found
    low, high = combined_interval(ratio, (min(low, ratio), max(high, ratio)), common)
    return replace(found, low=low, high=high)


def _fit(columns: FloatArray, ms: FloatArray) -> FloatArray:
    """Return the times (k, 2), not negative, whose sums by columns (n, k) come closest to latencies ms (n, 2)."""
    from scipy.optimize import nnls

    return np.stack([nnls(columns, one)[0] for one in ms.T], axis=1)


def _op_means(times: FloatArray, there: BoolArray, count: int) -> FloatArray:
    """Return the mean time of each op over the stages where it is `there` (1 + ops * stages,), after a constant: (count, 2)."""
    stages = np.maximum(there[1:].reshape(count - 1, -1, 1).sum(axis=1), 1)
    return np.vstack([times[:1], times[1:].reshape(count - 1, -1, 2).sum(axis=1) / stages])


def _ratios(times: FloatArray) -> FloatArray:
    """Return times in b over those in a, (ops, 2) -> (ops,): infinite where an op takes none in a, NaN where in neither."""
    a, b = times.T
    found: FloatArray = np.divide(b, a, out=np.where(b > 0, inf, nan), where=a > 0)
    return found
