"""What tests take of the processor, which other programs hardly change: `scripts/test -p rigs.processor_time FILES`.

It prints the tests that take most, each with the processor seconds of this process and of those that it started, and the seconds
that passed: a test with many more of these on a free machine waits. Processes that outlive their test count where they end.
With `--numprocesses` "this process" is the one that ran the test.
"""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SHOWN = 30
_TICKS = os.sysconf("SC_CLK_TCK")


class Taken(NamedTuple):
    """Seconds: that passed, of the processor in this process, in others."""

    passed: float = 0.0
    own: float = 0.0
    others: float = 0.0


_taken: defaultdict[str, Taken] = defaultdict(Taken)


def clocks() -> Taken:
    """Return what the clocks say now."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(
        time.perf_counter(), time.process_time(), ended.ru_utime + ended.ru_stime + running_s(os.getpid())
    )


def running_s(pid: int) -> float:
    """Return the processor seconds of a process's children that still run, with theirs."""
    seconds = 0.0
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                seconds += sum(map(int, fields[11:15])) / _TICKS + running_s(int(child))
        except OSError:  # it ended meanwhile
            continue
    return seconds


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Time a test with its fixtures."""
    before = clocks()
    try:
        return (yield)
    finally:
        _taken[item.nodeid] = Taken(*(b - a for a, b in zip(before, clocks(), strict=True)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send what the tests of a process of pytest-xdist took."""
    if (sent := getattr(session.config, "workeroutput", None)) is not None:
        sent["taken"] = {name: list(one) for name, one in _taken.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take in what a process of pytest-xdist has sent; one that died has sent nothing."""
    for name, one in getattr(node, "workeroutput", {}).get("taken", {}).items():
        _taken[name] = Taken(*one)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sum, and the tests that took most."""
    every = sorted(_taken.items(), key=lambda one: -one[1].own - one[1].others)
    own, others = (sum(getattr(one, name) for _, one in every) for name in ("own", "others"))
    terminalreporter.write_line(
        f"{own + others:.1f} s of the processor: {own:.1f} here, {others:.1f} in others"
    )
    for name, one in every[:SHOWN]:
        terminalreporter.write_line(f"{one.own:7.1f} {one.others:7.1f} of {one.passed:7.1f} s  {name}")
