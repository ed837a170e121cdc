"""A store of made-up sessions of the whole space's kind: latencies by a rule plus noise, of a device named "made-up"."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sin
from pathlib import Path
from typing import Any

import numpy as np
from rigs.made_files import once_a_run

from factories.records import CAMPAIGN, CONFIGURATION, make_session, make_slice
from factories.segments import segments_of
from harness.records import Configuration, SessionRecord
from harness.store import Store
from harness.store.writing import WRITERS
from space import BLOX, Architecture, SpaceConfig
from space.segments import Segment, all_segments
from space.selection import select_models

REFERENCE_NS = 5_000_000
MANY = CONFIGURATION  # 60 networks with two sessions, and all segments
FEW = replace(CONFIGURATION, threads=4, cores=(0, 1, 2, 3))  # 12 networks with two sessions
# Of `in_two_precisions` alone. What is exported differs between precisions, and with it the name of the parts.
IN_INT8 = replace(MANY, precision="int8", weights=f"{MANY.weights}, parts 0123456789ab")
OP_COSTS = {"conv": 0.31, "mbconv": 0.12, "bconv": 0.19}  # of the reference
STAGES = (1.3, 1.0, 0.8, 0.6, 0.5)
WIRING = {"+in": 0.004, "+out": 0.007}
INT8_GAIN = 0.4  # int8 over fp32, of every network
FIXED = 0.02  # stem, reductions and head, each


def networks(count: int, config: SpaceConfig = BLOX) -> list[Architecture]:
    """Return the first networks of a random order."""
    return select_models(f"sample:{count}@7", config)


def true_ratio(item: Architecture | Segment, configuration: Configuration = MANY) -> float:
    """Return the ratio to the reference that sessions scatter about: a network's is the sum of its segments'."""
    if isinstance(item, Architecture) and item.config.chain is not None:
        return 0.1 + item.macs / 4e6  # of the reference
    if isinstance(item, Architecture):
        return sum(true_ratio(segment, configuration) for segment in segments_of(item))
    if item.block is None or item.stage is None:
        return FIXED
    block = item.block
    ops = [op for op in (block.op0, block.op1) if op]
    dear = 1.2 if configuration.threads > MANY.threads else 1.0  # elsewhere mbconv costs more
    cost = sum(OP_COSTS[op] * (dear if op == "mbconv" else 1.0) for op in ops)
    return STAGES[item.stage] * cost + sum(extra for sign, extra in WIRING.items() if sign in str(block))


def add_sessions(
    store: Store, items: Sequence[Architecture | Segment], configuration: Configuration = MANY, **how: Any
) -> None:
    """Store sessions of `made_sessions`. Equal calls in equal order make equal stores, whose predictions share a key."""
    before = sum(sum(store.session_counts(configuration, of).values()) for of in ("network", "segment"))
    made = made_sessions(items, configuration, before=before, **how)
    with store.begin() as connection:  # one transaction: each waits for the disk
        for session in made:
            WRITERS["session"](connection, session, False)


def made_sessions(
    items: Sequence[Architecture | Segment],
    configuration: Configuration,
    *,
    before: int = 0,
    sessions: int = 1,
    scatter: float = 0.004,
    twist: float = 0.0,
    factor: float = 1.0,
    seed: int = 0,
    rule: Callable[[Any, Configuration], float] = true_ratio,
    **changes: Any,
) -> list[SessionRecord]:
    """Return made-up sessions. Shares: sessions of a network scatter by `scatter`, it leaves the rule by up to `twist`.

    All ratios are `factor` times too large; `changes` replace fields of the sessions; `rule` gives the ratios; ids are others
    after `before` sessions of the configuration.
    """
    rng = np.random.default_rng(seed)
    made = []
    for number, (item, turn) in enumerate((item, turn) for turn in range(sessions) for item in items):
        ratio = factor * rule(item, configuration) * np.exp(rng.normal(0, scatter))
        if isinstance(item, Architecture):
            ratio *= 1 + twist * sin(item.index)
        count = int(rng.integers(12, 15))
        reference = REFERENCE_NS * np.exp(rng.normal(0.003, 0.002, (count, 4)))
        network = ratio * reference.min(axis=1)[:, None] * np.exp(np.abs(rng.normal(0, 0.002, (count, 5))))
        slices = [
            make_slice(runs.tolist(), around[:2].tolist(), around[2:].tolist(), int(runs[0]))
            for runs, around in zip(network.astype(int), reference.astype(int), strict=True)
        ]
        is_segment = isinstance(item, Segment)
        name = f"{configuration.digest} {before} {number} {item} {seed} {factor}"
        made.append(
            make_session(
                slices,
                session_id=str(uuid.uuid5(uuid.UUID(CAMPAIGN), name)),
                configuration=configuration,
                architecture=str(item),
                graph_hash=item.key if isinstance(item, Segment) else item.graph_hash,
                model_digest=(item.key if isinstance(item, Segment) else item.graph_hash) * 2,
                started_utc=f"2024-05-{1 + turn:02d}T00:{number // 60 % 60:02d}:{number % 60:02d}.000+00:00",
                purpose="segment" if is_segment else "network",
                **changes,
            )
        )
    return made


def calibrate(store: Store, configuration: Configuration) -> None:
    """Store a made-up session of the reference against itself, of 5 ms."""
    slices = [make_slice([REFERENCE_NS] * 5, [REFERENCE_NS] * 2, [REFERENCE_NS] * 2)] * 12
    before = sum(store.session_counts(configuration, "calibration").values())
    name = str(uuid.uuid5(uuid.UUID(CAMPAIGN), f"{configuration.digest} calibration {before}"))
    store.add_session(
        make_session(slices, session_id=name, number=2, purpose="calibration", configuration=configuration)
    )


def new_store(path: Path) -> Store:
    """Return a new store that knows the campaign of made-up records."""
    store = Store(str(path))
    store.start_campaign(CAMPAIGN, "made-up", "2024", {})
    return store


@once_a_run
def stored(
    networks_of_many: int = 60, networks_of_few: int = 12, segments: bool = True, config: SpaceConfig = BLOX
) -> bytes:
    """Return the file of a store: `MANY` and, where it has networks, `FEW`, in a space. Made once in a test session."""
    many, few = (replace(one, space=config.name) for one in (MANY, FEW))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        store = new_store(path)
        for configuration, count in ((many, networks_of_many), (few, networks_of_few)):
            if count:
                calibrate(store, configuration)
                add_sessions(store, networks(count, config), configuration, sessions=2, seed=count)
        if segments:
            add_sessions(store, all_segments(config), many, scatter=0.001, seed=1)
        store.close()
        return path.read_bytes()


@once_a_run
def in_two_precisions() -> bytes:
    """Return the file of a store of 20 networks in fp32, `MANY`, 18 of them in int8 too: `INT8_GAIN` of the latency."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with new_store(path) as store:
            for configuration, skipped, factor in ((MANY, 0, 1.0), (IN_INT8, 2, INT8_GAIN)):
                calibrate(store, configuration)
                add_sessions(store, networks(20)[skipped:], configuration, factor=factor, seed=skipped)
        return path.read_bytes()
