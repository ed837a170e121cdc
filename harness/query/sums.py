"""Costs of networks as sums over blocks, for integer programs in spaces of any size: latencies from the store, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, nan

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.prediction.provenance import Provenance
from harness.prediction.space_latencies import predicted_by
from harness.prediction.space_prediction import (
    fit,
    graded_segments,
    measured_networks,
    stored_provenance,
    unmeasured_text,
)
from harness.query.costs import configuration_in
from harness.query.latencies import LatencySource, measured_estimate
from harness.query.properties import property_sums, size_precision
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import measure_command, title_of
from search.latency.additive import Additive, as_additive
from search.latency.candidates import enough_models
from search.table import CostEstimate
from search.table.constraints import PROPERTIES, split_subject
from search.table.costs import AdditiveCosts, BlockSums
from space import SpaceConfig, is_enumerable
from space.errors import ConfigError
from space.indexing import BoolArray, FloatArray, available
from space.text import counted, first_of

SHOWN = 3  # blocks that a message names
FAILED = CostEstimate(value=nan, low=nan, high=nan)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LatencySums:
    """A device's latencies as sums over blocks, with the fitted predictor and its measurements.

    `unseen` (stages, B): blocks that no measured network tells of, see `SelectedPredictor.unseen_blocks`; `cost` has each at
    least as costly as the costliest other of its stage, as the predictor may say 0. `segments`: measured ratios to the
    reference's latency, `reference_ms`; `apart` are those of grade D.
    """

    cost: AdditiveCosts
    provenance: Provenance
    fitted: Additive
    unseen: BoolArray
    reference_ms: float
    segments: Mapping[str, float]
    apart: Doubtful

    @property
    def unseen_text(self) -> str:
        """A clause on the unseen blocks; empty where there is none."""
        places = [self.cost.config.place_text(*place) for place in np.argwhere(self.unseen).tolist()]
        return unmeasured_text(places) if places else ""


def unseen_blocks(config: SpaceConfig, latencies: Mapping[str, LatencySums]) -> BoolArray:
    """Return which blocks measured networks do not tell of on some device, (stages, B).

    Raises: ConfigError when these are all blocks of a stage, with each device's others and what to type.
    """
    unseen = np.zeros((config.stages, len(config.blocks)), dtype=np.bool_)
    for one in latencies.values():
        unseen |= one.unseen
    bare = np.flatnonzero(~(available(config) & ~unseen).any(axis=1)).tolist()
    if bare:
        stage = bare[0]
        site = config.place_text(stage, config.choices[stage][0]).partition(":")[0]
        seen = []
        for name, one in latencies.items():
            known = [str(config.blocks[b]) for b in config.choices[stage] if not one.unseen[stage, b]]
            seen.append(f"on {name} they have {first_of(known, SHOWN)}")
        raise ConfigError(
            f"{site}: nothing there is in measured networks of every device: {'; '.join(seen)}; measure each once: "
            "harness measure --models design:1 with each device"
        )
    return unseen


def cost_sums(
    store: Store,
    config: SpaceConfig,
    subjects: Sequence[str],
    latencies: LatencySource,
    log: Callable[[str], None],
) -> tuple[dict[str, AdditiveCosts], dict[str, LatencySums]]:
    """Return the costs of a space as sums over blocks, and each device's latency sums with their provenance; both by name.

    `subjects` are names of `search.table.constraints.PROPERTIES`, else devices.
    Raises: ConfigError, naming a device without (enough) measurements of the space and what to type, or what cannot be a sum.
    """
    _check_sums(config, latencies)
    check_no_fresh(subjects)
    names = list(dict.fromkeys(subjects))
    found: dict[str, LatencySums] = {}
    for name in (name for name in names if name not in PROPERTIES):
        configuration = configuration_in(store, config, name, latencies)
        found[name] = latency_sums(store, name, configuration, config, latencies, log)
    precision = size_precision(names, latencies.choice.precision, [one.provenance for one in found.values()])
    costs = {
        name: found[name].cost if name in found else property_sums(name, config, log, precision)
        for name in names
    }
    return costs, found


def check_no_fresh(subjects: Sequence[str]) -> None:
    """Raise ConfigError for limits on costs of fresh processes, which neither sums over blocks nor signatures predict."""
    for name in subjects:
        device, fresh = split_subject(name)
        if fresh:
            raise ConfigError(
                f"{name}: a blockwise search, or one by --objective, has no limits on energy, nor on what fresh processes "
                f"take; limit {device!r}, 'memory' (by arithmetic) or the size of files, or search with another --method"
            )


def _check_sums(config: SpaceConfig, latencies: LatencySource) -> None:
    if latencies.files:
        why = (
            "an integer program takes sums over blocks, and a file has latencies of networks"
            if is_enumerable(config)
            else f"a file names networks by hashes, and those of the {len(config):,} networks of space {config.name!r} cannot be "
            "looked up"
        )
        raise ConfigError(f"--latencies: {why}; measure with --store, and leave it out")
    if latencies.measured_only:
        why = (
            "an integer program takes sums over blocks, which are predicted"
            if is_enumerable(config)
            else f"of the {len(config):,} networks of space {config.name!r} hardly any is measured"
        )
        raise ConfigError(f"--measured-only: {why}; leave it out: measured latencies count where they are")


def latency_sums(
    store: Store,
    name: str,
    configuration: Configuration,
    config: SpaceConfig,
    latencies: LatencySource,
    log: Callable[[str], None],
) -> LatencySums:
    """Return the latencies of a configuration: measured where they are, elsewhere by the best predictor that is a sum.

    Raises: ConfigError when too few networks are measured.
    """
    coverage, doubtful = latencies.coverage, latencies.doubtful
    measured = measured_networks(store, configuration, config, coverage=coverage, doubtful=doubtful)
    segments, apart = graded_segments(store, configuration, doubtful=doubtful)
    fitted = as_additive(fit(measured, segments=segments, as_sum=True))
    known = dict(zip(measured.indices.tolist(), map(measured_estimate, measured.rows), strict=True))
    known |= dict.fromkeys(measured.failed.tolist(), FAILED)
    reference_ms, unseen = measured.reference_ms, fitted.predictor.unseen_blocks()
    blocks = _no_cheaper(fitted.blocks, unseen, config) * reference_ms
    cost = AdditiveCosts(
        name=name,
        unit="ms",
        title=f"latency on {title_of(configuration)}",
        config=config,
        totals=(BlockSums(blocks=blocks, constant=fitted.constant * reference_ms),),
        margin=hypot(fitted.margin(coverage), measured.reference_reach(coverage)),
        coverage=coverage,
        known=known,
    )
    about = stored_provenance(store, measured, apart).of(configuration)
    provenance = predicted_by(fitted, config, len(known), about)
    if np.isinf(cost.margin):
        log(
            f"{name}: {counted(provenance.measured, 'measured network is', 'measured networks are')} too few for intervals of "
            f"{coverage:.0%}: "
            f"predicted latencies have no upper bound there; measure more: {measure_command(configuration)} "
            f"--models {enough_models(config)}"
        )
    return LatencySums(
        cost=cost,
        provenance=provenance,
        fitted=fitted,
        unseen=unseen,
        reference_ms=reference_ms,
        segments=segments,
        apart=apart,
    )


def _no_cheaper(blocks: FloatArray, unseen: BoolArray, config: SpaceConfig) -> FloatArray:
    """Return the blocks' addends, (stages, B), of those `unseen` at least that of the costliest other of their stage."""
    costliest = blocks.max(axis=1, keepdims=True, where=available(config) & ~unseen, initial=-np.inf)
    return np.where(unseen, np.maximum(blocks, costliest), blocks)
