"""Which stored sessions count for a level: at level final those alone that were as precise."""

from __future__ import annotations

import random
from dataclasses import asdict, replace

import pytest
from rigs.scripted_link import ScriptedLink, run_scripted

from harness.measurement.plan import FINAL, QUICK, SCREEN, Level, Options, SessionPlan
from harness.measurement.rounds import LackingSessions
from harness.store import Store


@pytest.mark.parametrize(
    ("plan", "lacking"),
    [(QUICK.plan, (0, 3, 5)), (SCREEN.shared, (0, 3, 5)), (SCREEN.plan, (0, 3, 5)), (FINAL.plan, (0, 3, 3))],
    ids=["quick", "shared", "screen", "final"],
)
def test_sessions_of_a_shorter_level_do_not_make_a_final_one(
    store: Store, plan: SessionPlan, lacking: tuple[int, ...]
) -> None:
    (use,) = run_scripted(ScriptedLink(), store).uses
    (first,) = store.sessions(use.configuration)
    with store.begin() as connection:
        connection.exec_driver_sql("DELETE FROM sessions")
    for name in ("one", "two"):
        store.add_session(replace(first, session_id=name, plan=asdict(plan)))

    def left(level: Level, *, fresh: bool = False) -> int:
        options = Options(level=level, fresh=fresh)
        work = LackingSessions(device="made-up", options=options, store=store, rng=random.Random(0))
        return sum(one.sessions for one in work.rounds(use))

    assert tuple(map(left, (QUICK, SCREEN, FINAL))) == lacking
    assert left(FINAL, fresh=True) == 5
