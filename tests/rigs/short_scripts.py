"""A reader's script as it stands, in a process whose campaigns are short: `python -m rigs.short_scripts FILE`.

What it measures beside other tests may have grade D, which predictions take in here as if the reader had asked for it.
"""

from __future__ import annotations

import functools
import runpy
import sys
from dataclasses import replace

import harness
from device_agents.contention import FEWEST_SLICES
from harness.devices import client
from harness.measurement import plan
from rigs.compiled_agent import build_compiled
from rigs.short_campaigns import SHORT, SHORT_PLAN, any_core

_any_core = any_core(forked=False)  # kept, for its end takes back what it changes


def shorten() -> None:
    """Let the campaigns of this process be short until it ends, on any core and at every level."""
    _any_core.__enter__()
    # As many slices as an interval takes; a process that measures many is started once.
    level = replace(SHORT, at_once=12, plan=replace(SHORT_PLAN, min_slices=FEWEST_SLICES))
    plan.LEVELS.update(dict.fromkeys(plan.LEVELS, level))
    client.build_archive = build_compiled
    harness.predict = functools.partial(harness.predict, doubtful=True)


if __name__ == "__main__":
    shorten()
    runpy.run_path(sys.argv[1], run_name="__main__")
