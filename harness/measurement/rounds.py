"""The sessions of a campaign in rounds: those that a store lacks of each runtime plan, in random order."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol, TypeVar

from device_agents.pacing import Pace
from device_agents.throttling import number as plain_number
from harness.devices.runtimes import RuntimeUse
from harness.estimates.energy import trouble_with_energy
from harness.measurement.plan import FINAL, FRESH_RUNS, QUICK, Options, SessionPlan
from harness.measurement.session_runner import PlannedSession, now_utc
from harness.measurement.workload import DurationProbe, RuntimePlan
from harness.records import SessionRecord
from harness.store import Store
from harness.store.tables import MACHINE

FEWEST_WORKERS = 3  # to tell what differs from process to process
BRIDGES = 4  # networks that all workers of a round measure: in three of them they tell how sessions scatter

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRound:
    """One more session of each network of a runtime plan that lacks one: batches, each for one worker."""

    use: RuntimePlan
    plan: SessionPlan
    batches: tuple[tuple[PlannedSession, ...], ...]

    @property
    def sessions(self) -> int:
        """Return the number of sessions to be measured."""
        return sum(map(len, self.batches))


class Work(Protocol):
    """The sessions of a campaign: those that a store lacks, or those of a record, which were measured before, elsewhere."""

    @property
    def is_record(self) -> bool:
        """Return whether all was measured before: a store may have some of it already."""

    def begin(self, use: RuntimePlan) -> str:
        """Return the id of the campaign, which begins in the store with this runtime plan."""

    def end(self, campaign_id: str, ending: str) -> None:
        """Note in the store how the campaign ended. Raises: StoreError."""

    def probe(self, runtime: RuntimeUse) -> DurationProbe | None:
        """Return the known durations of models in a runtime; None where the device is to be asked."""

    def rounds(self, use: RuntimePlan) -> list[SessionRound]:
        """Return the rounds of a runtime plan."""

    def further(self, use: RuntimePlan, of: str) -> list[PlannedSession]:
        """Return the measurements of a runtime plan's networks besides sessions: "memory", "energy" or "sustained"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingSessions:
    """The sessions that a store lacks of what was asked for on a device, in an order by `rng`."""

    device: str
    options: Options
    store: Store
    rng: random.Random
    is_record: ClassVar[bool] = False  # all is yet to be measured

    def begin(self, use: RuntimePlan) -> str:
        """Begin a campaign in the store, and return its id."""
        campaign_id = str(uuid.uuid4())
        networks = sorted({model.graph_hash for model in use.models})
        # First: it is read without the networks.
        machine = {MACHINE: use.machine_id} if use.machine_id else {}
        request = machine | asdict(self.options) | {"networks": networks}
        self.store.start_campaign(campaign_id, self.device, now_utc(), request)
        return campaign_id

    def end(self, campaign_id: str, ending: str) -> None:
        """Note in the store how the campaign ended. Raises: StoreError."""
        self.store.finish_campaign(campaign_id, now_utc(), ending)

    def probe(self, runtime: RuntimeUse) -> DurationProbe | None:
        """Return None: the device is there to be asked."""
        return None

    def rounds(self, use: RuntimePlan) -> list[SessionRound]:
        """Return the rounds of sessions that the store lacks, each in random order across networks.

        Where a level has shared sessions, they are those of all rounds but the last: every network soon has a number to show.
        """
        rounds = []
        for number, units in enumerate(self._missing(use)):
            if units:
                plan, workers = plan_round(
                    units, number, self.options, self.rng, pace=use.pace, alone=use.alone
                )
                rounds.append(SessionRound(use=use, plan=plan, batches=workers))
        return rounds

    def _missing(self, use: RuntimePlan) -> list[list[PlannedSession]]:
        """Return the missing units of a runtime plan, by session number."""
        counts: dict[tuple[str, str], int] = {}
        for purpose in self._stored_purposes(use):
            stored = self._counted(use, purpose)
            counts |= {(purpose, key): count for key, count in stored.items()}
        rows: list[list[PlannedSession]] = [[] for _ in range(self.options.sessions_each)]
        for model in use.models:
            for number in range(counts.get((model.purpose, model.graph_hash), 0), len(rows)):
                rows[number].append(PlannedSession(use, model, model.purpose))
        return rows

    def _counted(self, use: RuntimePlan, purpose: str) -> Mapping[str, int]:
        """Return the numbers of stored sessions by network: at level final of those alone that are as precise."""
        if self.options.level.name != FINAL.name:
            return self.store.session_counts(use.configuration, purpose)
        keys = [model.graph_hash for model in use.models]
        sessions = self.store.sessions(use.configuration, keys, purpose=purpose)
        return Counter(one.graph_hash for one in sessions if is_final(one))

    def further(self, use: RuntimePlan, of: str) -> list[PlannedSession]:
        """Return the fresh workers or the runs of blocks that networks lack; runs under load are never there already."""
        if of == "memory":
            return self._fresh_workers(use)
        runs = [] if of == "sustained" or self.options.fresh else self.store.block_runs(use.configuration, of)
        stored = {run.graph_hash for run in runs if not trouble_with_energy(run)}
        return [PlannedSession(use, model, of) for model in use.models if model.graph_hash not in stored]

    def _fresh_workers(self, use: RuntimePlan) -> list[PlannedSession]:
        """Return the fresh workers that networks lack."""
        stored = Counter[tuple[str, str]]()
        for purpose in self._stored_purposes(use):
            runs = self.store.fresh_runs(use.configuration, purpose)
            stored.update((run.purpose, run.graph_hash) for run in runs)
        return [
            PlannedSession(use, model, model.purpose)
            for model in use.models
            for _ in range(FRESH_RUNS - stored[model.purpose, model.graph_hash])
        ]

    def _stored_purposes(self, use: RuntimePlan) -> set[str]:
        """Return the purposes of a runtime plan's models of which stored sessions count; none where all is measured again."""
        return set() if self.options.fresh else {model.purpose for model in use.models}


def is_final(session: SessionRecord) -> bool:
    """Return whether a session was to be as precise as those of level final; means of another program have no such plan."""
    aim = plain_number(session.plan.get("half_width"))
    return aim is None or aim <= FINAL.plan.half_width


def plan_round(
    units: Sequence[T],
    number: int,
    options: Options,
    rng: random.Random,
    *,
    pace: Pace | None = None,
    alone: bool = False,
) -> tuple[SessionPlan, tuple[tuple[T, ...], ...]]:
    """Return how the units of round `number` are timed, and the batches of each worker, in random order.

    `pace`: None where the plan's own numbers fit. `alone`: each unit has a worker of its own.
    """
    level, last = options.level, max(options.sessions_each - 1, 1)
    shared = level.shared if number < last else None
    at_once = 1 if alone else QUICK.at_once if shared else level.at_once
    shuffled = list(units)
    rng.shuffle(shuffled)
    workers = batches(shuffled, at_once, is_only=options.sessions_each == 1)
    return (shared or level.plan).at(pace or Pace()), workers


def batches(units: Sequence[T], at_once: int, *, is_only: bool = True) -> tuple[tuple[T, ...], ...]:
    """Distribute units over workers: one each, or, where workers take many, as few as that allows.

    If these are the only sessions of their networks, it is at least three workers with some networks in common, which measure
    the differences between workers; sessions in other rounds do so, too.
    """
    if at_once == 1:
        return tuple((unit,) for unit in units)
    count = -(-len(units) // at_once)
    if is_only:
        count = min(max(FEWEST_WORKERS, count), max(1, len(units) // BRIDGES))
    bridges = tuple(units[:BRIDGES]) if is_only and count > 1 else ()
    rest = units[len(bridges) :]
    return tuple((*bridges, *rest[number::count]) for number in range(count))
