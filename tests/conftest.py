"""What all tests share: Ctrl-C that works, skips that CI does not accept, and a folder of fragments, filled once a session."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent
SLOWEST = ("ray", "converter", "training", "ssh", "browser", "simulation", "device", "slow")
CONVERTING = ("tests/exporters/", "tests/benchmarks/test_tflite_converters.py")
# What leaves tests out by their markers and takes none by them.
LEFT_OUT = re.compile(r"not \(\w+(?: or \w+)*\)|not \w+(?: and not \w+)*")
DEADLINES = ("ray", "ssh", "adb", "browser", "device")


def pytest_configure() -> None:
    """Let other test processes, and campaigns, of this machine be; heed Ctrl-C; let no property fail for a busy machine.

    A shell starts what it runs in the background deaf to Ctrl-C, and programs that tests start inherit that.
    """
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("patient", patient)
    settings.load_profile("patient")
    os.environ["HARNESS_LOCK_NAME"] = f"tests-{os.getpid()}"  # agents that tests start inherit it
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read no file whose `pytestmark` has a marker that `-m` leaves out: most of them import torch, which takes seconds."""
    marks = config.getoption("markexpr")
    if not (LEFT_OUT.fullmatch(marks) and collection_path.name.startswith("test_")):
        return None
    of_all = re.search(r"^pytestmark = (\[\n(?: .*\n)*\]|.*)", collection_path.read_text(), re.M)
    return (
        of_all and not {*re.findall(r"\w+", marks)}.isdisjoint(re.findall(r"mark\.(\w+)", of_all[1]))
    ) or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that processes that take a file at a time end together.

    Those whose tests need a cluster, converters or trainings; then those of the repository, which start processes; then the
    others, the largest first.
    """
    tests = Counter(item.path for item in items)
    marks = {item.path: len(SLOWEST) for item in items}
    for item in items:
        names = {mark.name for mark in item.iter_markers()}
        found = [place for place, mark in enumerate(SLOWEST) if mark in names]
        marks[item.path] = min([marks[item.path], *found])
        if flaky := another_try(names.__contains__):
            item.add_marker(flaky)
    items.sort(key=lambda item: (marks[item.path], item.path.parent != ROOT, -tests[item.path], item.path))


def another_try(marked: Callable[[str], object]) -> pytest.MarkDecorator | None:
    """Return the mark of a test that runs again where it fails, if it is one; `marked` says whether it has a marker.

    Another user of a shared machine may hold it for some seconds, longer than the deadlines of other processes.
    """
    if marked("alone"):
        return pytest.mark.flaky(reruns=2, reruns_delay=15)
    return pytest.mark.flaky(reruns=1, reruns_delay=5) if any(map(marked, DEADLINES)) else None


def dealt_with(node: str) -> str:
    """Return what the test of an id is dealt to a process with: its file, or all of the tests that convert.

    These import torch and TensorFlow, which another process of the tests would do again.
    """
    file = node.split("::", 1)[0]
    return "tests/exporters" if file.startswith(CONVERTING) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal files to processes, see `dealt_with`."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return dealt_with(nodeid)

    return ByFile(config, log)


def rotated(folder: Path, part: float) -> list[str]:
    """Return a folder's files of tests and the folders two levels below it, beginning after that part of them."""
    parts = sorted(
        str(one)
        for one in (*folder.glob("test_*.py"), *folder.glob("*/*"))
        if one.match("test_*.py") or (one.is_dir() and one.name != "__pycache__")
    )
    first = int(len(parts) * part)
    return [*parts[first:], *parts[:first]]


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Have each process read the files in another order, and spare the garbage collector what they hold.

    In a new clone each process then compiles its share of the tests and finds the others compiled, where all would compile all.

    Modules and tests last as long as the run, some hundred thousand objects. To look through them again and again takes a third
    of the time that they are collected in. What tests make comes and goes by reference counts: cycles are looked for after tens
    of thousands of objects, not after 700; also after errors, and by the process that only gives out tests.
    """
    config = session.config
    if (worker := getattr(config, "workerinput", None)) and config.args == ["tests"]:
        config.args = rotated(ROOT, int(worker["workerid"].removeprefix("gw")) / worker["workercount"])
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
# Reasons to skip that no complete installation gives: a package of the extra `dev`, or a program that scripts/test installs.
ABSENT = re.compile(
    r"could not import|No module named|is absent|is not installed|needs OpenSSH|needs tcsh|no PostgreSQL server"
)


def unless_absent(report: Report) -> Report:
    """Return a report, failed if something was absent where HARNESS_TEST_ALL says that all is there."""
    if report.skipped and os.environ.get("HARNESS_TEST_ALL") and ABSENT.search(str(report.longrepr)):
        report.outcome, report.longrepr = "failed", f"skipped, and HARNESS_TEST_ALL is set: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a test that was run, or skipped."""
    return unless_absent((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report a file whose tests were found, or that is skipped as a whole."""
    return unless_absent((yield))


@pytest.fixture(scope="module", autouse=True)
def spared_imports() -> None:
    """Spare the garbage collector what the files before have imported and kept: it looks through that once, and no more.

    Trainings and workers collect what is free; among all that torch and TensorFlow make that takes half a second each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def harness_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder of this process for $HARNESS_CACHE, whose `fragments` and `latencies` all processes of the run share.

    While it is there, processes that import torch or TensorFlow are kept for the next test.

    HARNESS_TEST_CACHE names a folder of fragments that outlives the run; without it they are exported once a run.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    fragments = Path(os.environ.get("HARNESS_TEST_CACHE") or shared / "fragments").resolve()
    fragments.mkdir(parents=True, exist_ok=True)
    latencies = shared / "latencies"
    latencies.mkdir(exist_ok=True)
    folder = own / "cache"
    folder.mkdir()
    (folder / "fragments").symlink_to(fragments)
    (folder / "latencies").symlink_to(latencies)
    from rigs.fragment_libraries import exported_once  # late: this file is copied to where no rigs are

    from exporters.processes import kept_processes

    with exported_once(fragments), kept_processes():
        yield folder
