"""Do numbers stay right on a busy machine? The same networks measured free, and beside other programs.

    python benchmarks/contention.py [--case b ...] [--runtime tflite] [--threads 1] [--sessions 2] [--store FOLDER]

The four networks of the first evidence and 16 random ones, each case with the right to ask for the core (root) and without (the
agent under an account without any right): a campaign of quick sessions, compared row by row with those on the free machine,
which is measured first and last. A row is right when it is within 2 % of the free one, or its interval covers that, or its
grade is D. Prints a table for each runtime and number of threads, and at last what the targets come to. With `--store` a second
call goes on where the first stood.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median

import surroundings
from campaigns import models_of
from machine import describe_machine, option_parser
from surroundings import ANOTHER, NOBODY, SPIN, STREAM, agent_python, programs

from harness.devices.config import RUNTIMES, LocalDevice
from harness.errors import Cancelled
from harness.estimates.comparison import compare
from harness.estimates.estimate import RatioEstimate, estimate, scatter_of
from harness.estimates.latency import Latency
from harness.estimates.moved import near_sessions
from harness.measurement.campaign import run_campaign
from harness.measurement.events import Event, SessionDone
from harness.measurement.plan import LEVELS, Options
from harness.records import Configuration, SessionRecord
from harness.store import Store
from harness.store.latencies import latencies
from space.errors import HarnessError

FIRST_EVIDENCE = (
    "bconv/bconv/bconv",
    "conv/conv/conv",
    "mbconv/mbconv/mbconv",
    "bconv-bconv+in+out/bconv-bconv/conv",
)
RIGHT, WITHOUT = "with", "without"
NEAR = 0.02  # of the free ratio
WELL_GRADED, WELL_GRADED_OFF = "AB", 0.03
USABLE = 0.9  # of the rows, where a core can be had
REFUSED_S, SAID_S = 60.0, 15.0
SECOND_START_S = 60.0
KEPT_WAITING = "it waited until the first was done"
ENDLESS = 100  # sessions of a campaign that goes on until it is stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The cores that a campaign of so many threads measures, and what is left."""

    measured: tuple[int, ...]
    others: tuple[int, ...]

    @classmethod
    def here(cls, threads: int) -> Cores:
        """Return the last cores that this process may run on as the measured ones."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(measured=tuple(usable[-threads:]), others=tuple(usable[:-threads]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What goes on beside a campaign. `around` yields the shell lines that the agent starts with, if any.

    `named`: the campaign is told which cores to take. `second`: there is a second campaign, which sees the lock or does not.
    `lacks` returns why the case cannot be had here.
    """

    title: str
    around: Callable[[Cores], AbstractContextManager[list[str] | None]] = lambda cores: nullcontext()
    named: bool = True
    second: str = ""
    lacks: Callable[[Cores], str] = lambda cores: ""


def no_other_core(cores: Cores) -> str:
    """Return that the threads take every core, if they do."""
    return "" if cores.others else "the threads take every core"


CASES = {
    "a": Case(title="free"),
    "b": Case(
        title="busy program on a measured core", around=lambda cores: programs(cores.measured[-1:], SPIN)
    ),
    "b-any": Case(
        title="the same, cores not named",
        around=lambda cores: programs(cores.measured[-1:], SPIN),
        named=False,
        lacks=no_other_core,
    ),
    "c": Case(
        title="one on each core",
        around=lambda cores: programs(cores.measured + cores.others, SPIN),
        named=False,
    ),
    "d": Case(
        title="memory streamer on another core",
        around=lambda cores: programs(cores.others[-1:], STREAM),
        lacks=no_other_core,
    ),
    "e": Case(
        title="CPU quota of 50 %",
        around=lambda cores: surroundings.quota(len(cores.measured) / 2),
        lacks=lambda cores: surroundings.quota_refusal(),
    ),
    "f": Case(title="second campaign, lock seen", named=False, second="seen"),
    "g": Case(title="second campaign, lock not seen", named=False, second="hidden"),
    "a-again": Case(title="free, again"),
}


@dataclass(slots=True, kw_only=True)
class Told:
    """What a campaign came to, beside its sessions: times in s since it began; empty texts for what did not happen."""

    seconds: float = 0.0
    first_words: str = ""
    said_s: float | None = None
    refusal: str = ""
    failures: list[str] = field(default_factory=list)
    second: str = ""
    second_s: float = 0.0


class Watch:
    """An observer that notes when a campaign said that its cores are busy, and when it had its first session."""

    def __init__(self) -> None:
        self.first_words = ""
        self.said_s: float | None = None
        self.has_begun = threading.Event()
        self._start_s = time.monotonic()

    def restart(self) -> None:
        """Count from now."""
        self._start_s = time.monotonic()

    def event(self, device: str, event: Event) -> None:
        """Note that a session is done, or the first word of busy cores."""
        if isinstance(event, SessionDone):
            self.has_begun.set()
        elif self.said_s is None and any(word in str(event) for word in ("busy", "quota", "in use")):
            self.first_words, self.said_s = str(event), time.monotonic() - self._start_s


class Bench:
    """Where campaigns run: their models, store and folder, and what they came to so far."""

    def __init__(self, folder: Path, store_folder: Path, networks: int, sessions: int) -> None:
        self.folder, self.sessions = folder, sessions
        names = [*FIRST_EVIDENCE, f"sample:{networks}@31"] if networks else list(FIRST_EVIDENCE)
        self.source = models_of(names)
        self.store = Store(str(store_folder / "contention.sqlite"))
        self._told_file = store_folder / "told.json"
        known = json.loads(self._told_file.read_text()) if self._told_file.exists() else {}
        self._told = {key: Told(**value) for key, value in known.items()}

    def measure(self, letter: str, right: str, runtime: str, threads: int) -> Told:
        """Run the campaign of a case unless it is stored already."""
        key = f"{letter}-{right} {runtime} {threads}"
        if key not in self._told:
            start_s = time.monotonic()
            self._told[key] = self._run(CASES[letter], f"{letter}-{right}", right, runtime, threads)
            print(f"  {key}: {time.monotonic() - start_s:.0f} s", file=sys.stderr, flush=True)
            text = json.dumps({key: asdict(told) for key, told in self._told.items()}, indent=1)
            self._told_file.write_text(text)
        return self._told[key]

    def _run(self, case: Case, device: str, right: str, runtime: str, threads: int) -> Told:
        account = NOBODY if right == WITHOUT and os.getuid() == 0 else None
        cores, watch, told = Cores.here(threads), Watch(), Told()
        options = Options(
            runtimes=(runtime,),
            threads=threads,
            cores=cores.measured if case.named else (),
            level=LEVELS["quick"],
            sessions=self.sessions,
        )
        with case.around(cores) as lines, self._second(case, account, options, watch, told):
            python, root = agent_python(self.folder, device, account, lines or ())
            watch.restart()
            start_s = time.monotonic()
            try:
                outcome = run_campaign(
                    LocalDevice(name=device, python=python, root=root),
                    self.source,
                    options,
                    self.store,
                    watch,
                    rng=random.Random(0),
                    cancel=threading.Event(),
                )
            except HarnessError as error:
                told.refusal = str(error)
            else:
                told.refusal = str(outcome.error or "")
                told.failures = [failure.message for failure in outcome.failures]
            told.seconds = time.monotonic() - start_s
        told.first_words, told.said_s = watch.first_words, watch.said_s
        return told

    @contextmanager
    def _second(
        self, case: Case, account: int | None, options: Options, first: Watch, told: Told
    ) -> Iterator[None]:
        """Run a second campaign, under another account where that has no right either, until the first is done."""
        if not case.second:
            yield
            return
        hidden = case.second == "hidden"
        lines = [f"export HARNESS_LOCK_NAME=second-{os.getpid()}"] if hidden else []
        python, root = agent_python(
            self.folder, f"second-{account or 0}", None if account is None else ANOTHER, lines
        )
        cancel, watch = threading.Event(), Watch()

        def run() -> None:
            if not hidden:
                first.has_begun.wait()
            start_s = time.monotonic()
            error: HarnessError | None
            store = Store(str(self.folder / "second.sqlite"))
            try:
                outcome = run_campaign(
                    LocalDevice(name="second", python=python, root=root),
                    self.source,
                    replace(options, sessions=ENDLESS, fresh=True),
                    store,
                    watch,
                    rng=random.Random(1),
                    cancel=cancel,
                )
                error = outcome.error
            except HarnessError as refusal:
                error = refusal
            finally:
                store.close()
            told.second_s = time.monotonic() - start_s
            if not isinstance(error, Cancelled):
                told.second = str(error or "it was done")
            elif not watch.has_begun.is_set():
                told.second = KEPT_WAITING

        thread = threading.Thread(target=run)
        thread.start()
        try:
            if hidden and not watch.has_begun.wait(SECOND_START_S):
                told.second = (
                    f"it measured nothing within {SECOND_START_S:.0f} s, and kept waiting for a free core"
                )
            yield
        finally:
            cancel.set()
            first.has_begun.set()
            thread.join()

    def rows(self, letter: str, right: str, runtime: str, threads: int) -> list[Latency]:
        """Return what the campaign of a case measured, as the product prints it."""
        return [
            row
            for configuration in self._configurations(f"{letter}-{right}", runtime, threads)
            for row in latencies(self.store, configuration)
        ]

    def free(self, rights: Sequence[str], runtime: str, threads: int) -> dict[str, RatioEstimate]:
        """Return the estimates of the free machine, first and last campaigns together, by network; none of grade D."""
        by_network: dict[str, list[SessionRecord]] = {}
        for letter, right in product(("a", "a-again"), rights):
            usable = [
                row.graph_hash for row in self.rows(letter, right, runtime, threads) if row.grade != "D"
            ]
            for configuration in self._configurations(f"{letter}-{right}", runtime, threads):
                reference = self.store.reference_latency(configuration)
                if reference is None:
                    continue
                for key in usable:
                    near = near_sessions(self.store.sessions(configuration, [key]), reference)
                    by_network.setdefault(key, []).extend(
                        replace(session, configuration=_one(configuration)) for session in near
                    )
        scatter = scatter_of(by_network.values())
        return {key: estimate(sessions, scatter) for key, sessions in by_network.items()}

    def requests(self, letter: str, right: str, runtime: str, threads: int) -> str:
        """Return how the sessions of a case asked for the core."""
        found = [
            session.scheduling.get("request", {}).get("method", "")
            for configuration in self._configurations(f"{letter}-{right}", runtime, threads)
            for session in self.store.sessions(configuration)
        ]
        return "/".join(sorted({method or "-" for method in found}))

    def _configurations(self, device: str, runtime: str, threads: int) -> list[Configuration]:
        return [
            one
            for one in self.store.configurations(device)
            if (one.runtime, one.threads) == (runtime, threads)
        ][-1:]


def _one(configuration: Configuration) -> Configuration:
    """Return the configuration under a name that all campaigns on the free machine have."""
    return replace(configuration, device="free")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A row beside the free machine: how far off its ratio is, whether its interval holds the free one, its grade.

    `covers` allows for the free one's own uncertainty, `covers_plainly` does not.
    """

    architecture: str
    ratio: float
    free: float
    interval: tuple[float, float] | None
    grade: str
    covers: bool
    covers_plainly: bool

    @property
    def off(self) -> float:
        """Return how far off the ratio is, relative."""
        return self.ratio / self.free - 1

    @property
    def is_used(self) -> bool:
        """Whether predictions and searches take the row."""
        return self.grade != "D"

    @property
    def is_right(self) -> bool:
        """Whether the row is near the free one, or its interval says that it may not be, or it is set apart."""
        return not self.is_used or abs(self.off) <= NEAR or self.covers


def judge(row: Latency, free: RatioEstimate) -> Judged:
    """Compare a row with the free machine."""
    interval = row.estimate.interval
    ratio = compare(row.estimate, free).interval
    return Judged(
        architecture=row.architecture,
        ratio=row.estimate.ratio,
        free=free.ratio,
        interval=interval,
        grade=row.grade,
        covers=ratio is not None and ratio[0] <= 1 <= ratio[1],
        covers_plainly=interval is not None and interval[0] <= free.ratio <= interval[1],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case with one right or without: what its campaign came to, and its rows."""

    letter: str
    right: str
    told: Told
    request: str
    rows: Sequence[Judged]

    @property
    def used(self) -> list[Judged]:
        """Return the rows that are not D."""
        return [row for row in self.rows if row.is_used]


HEADER = (
    f"{'':<34}{'core by':<10}{'rows':>5}{'D':>4}{'wrong':>6}{'median':>8}{'worst':>8}{'A, B':>8}"
    f"{'in 2 %':>8}{'covers':>8}{'s':>6}{'x':>5}"
)


def line(result: Result, free_s: float) -> str:
    """Return the line of a case: shares are of the rows that are not D, `covers` plainly in brackets."""
    used, told = result.used, result.told
    name = f"{result.letter.removesuffix('-again')} {CASES[result.letter].title}"
    front = f"{name:<34.33}{result.request:<10}{len(result.rows):>5}{len(result.rows) - len(used):>4}"
    times = f"{told.seconds:>6.0f}{told.seconds / free_s:>5.1f}"
    if not used:
        return f"{front}{'':>46}{times}"
    off = [abs(row.off) for row in used]
    well = [abs(row.off) for row in used if row.grade in WELL_GRADED]
    worst_well = f"{max(well):>8.1%}" if well else f"{'-':>8}"
    wrong = sum(not row.is_right for row in used)
    near, covered = (
        sum(value) / len(used) for value in ([o <= NEAR for o in off], [row.covers for row in used])
    )
    return (
        f"{front}{wrong:>6}{median(off):>8.1%}{max(off):>8.1%}{worst_well}{near:>8.0%}{covered:>8.0%}{times}"
    )


def remarks(result: Result) -> Iterator[str]:
    """Yield what is to be said below the line of a case."""
    told = result.told
    if told.said_s is not None:
        yield f"said after {told.said_s:.0f} s: {told.first_words}"
    if told.refusal:
        yield f"ended after {told.seconds:.0f} s: {told.refusal}"
    for failure in dict.fromkeys(told.failures):
        yield f"failed {told.failures.count(failure)} times: {failure}"
    if told.second:
        why = told.second.partition(", process ")[0]  # whose command line has paths of this machine
        yield f"the second campaign ended after {told.second_s:.0f} s: {why}"
    for row in result.used:
        if not row.is_right or (row.grade in WELL_GRADED and abs(row.off) > WELL_GRADED_OFF):
            held = "" if row.interval is None else f" [{row.interval[0]:.3f}, {row.interval[1]:.3f}]"
            yield f"{row.grade} {row.architecture}: {row.ratio:.3f}{held}, free {row.free:.3f}, off {row.off:+.1%}"


def targets(results: Sequence[Result]) -> Iterator[str]:
    """Yield each target with what came of it."""
    used = [row for result in results for row in result.used]
    if used:
        wrong = sum(not row.is_right for row in used)
        yield _verdict(wrong == 0, f"every row right, or D: {wrong} of {len(used)} rows are wrong")
        worst = max((abs(row.off) for row in used if row.grade in WELL_GRADED), default=0.0)
        yield _verdict(
            worst <= WELL_GRADED_OFF, f"rows of grade B or better off by at most 3 %: {worst:.1%} at worst"
        )
        covered, plainly = (
            sum(values) / len(used)
            for values in ([row.covers for row in used], [row.covers_plainly for row in used])
        )
        yield f"      intervals of 95 % hold the free ratio in {covered:.0%} of rows ({plainly:.0%} taking that as exact)"
    for result in results:
        name = f"{result.letter} {result.right} the right"
        share = len(result.used) / len(result.rows) if result.rows else 0.0
        if (result.letter in ("b", "b-any", "c") and result.right == RIGHT) or result.letter == "b-any":
            yield _verdict(share >= USABLE, f"{name}: at least 90 % of the rows are not D: {share:.0%}")
        told = result.told
        if result.letter not in ("a", "a-again") and told.refusal:
            yield _verdict(
                told.seconds <= REFUSED_S, f"{name}: refused within a minute: {told.seconds:.0f} s"
            )
            said_s = told.seconds if told.said_s is None else told.said_s
            yield _verdict(
                said_s <= SAID_S, f"{name}: said within 15 s that the machine is busy: {said_s:.0f} s"
            )
        if result.letter == "f":
            is_kept = told.second == KEPT_WAITING or (
                "in use by" in told.second and told.second_s <= REFUSED_S
            )
            yield _verdict(is_kept, f"{name}: the second one refused within a minute, or kept waiting")


def _verdict(is_met: bool, text: str) -> str:
    return f"{'met' if is_met else 'MISSED':<7}{text}"


def print_table(
    bench: Bench, letters: Sequence[str], rights: Sequence[str], runtime: str, threads: int
) -> list[Result]:
    """Measure the cases of one runtime and number of threads, print their table and return them."""
    cores = Cores.here(threads)
    lacking = {letter: CASES[letter].lacks(cores) for letter in letters}
    chosen = [(letter, right) for letter in letters for right in rights if not lacking[letter]]
    told = {one: bench.measure(*one, runtime, threads) for one in chosen}
    free = bench.free(rights, runtime, threads)
    results = [
        Result(
            letter=letter,
            right=right,
            told=told[letter, right],
            request=bench.requests(letter, right, runtime, threads),
            rows=[
                judge(row, free[row.graph_hash])
                for row in bench.rows(letter, right, runtime, threads)
                if row.graph_hash in free
            ],
        )
        for letter, right in chosen
    ]
    free_s = told["a", rights[0]].seconds
    for right in rights:
        print(f"\n{runtime}, {threads} thread(s), {right} the right to ask for the core\n{HEADER}")
        for result in results:
            if result.right == right:
                print("\n".join([line(result, free_s), *(f"      {text}" for text in remarks(result))]))
        for letter, reason in lacking.items():
            if reason:
                print(f"{letter} {CASES[letter].title}: not run: {reason}")
    return results


def rights_here(wanted: Sequence[str]) -> list[str]:
    """Return which of the rights can be had here, and say why the others cannot.

    An account other than root's has what it has.
    """
    refusal = surroundings.account_refusal()
    if not refusal:
        return list(wanted)
    own = RIGHT if os.getuid() == 0 else WITHOUT
    print("\n".join(f"{right} the right: not run: {refusal}" for right in wanted if right != own))
    return [own]


def main() -> None:
    """Measure the cases and print the tables."""
    parser = option_parser(__doc__)
    parser.add_argument("--case", choices=list(CASES), action="append", dest="cases")
    parser.add_argument("--runtime", choices=list(RUNTIMES), action="append", dest="runtimes")
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--right", choices=[RIGHT, WITHOUT], action="append", dest="rights")
    parser.add_argument("--sessions", type=int, default=2, help="sessions a network [default: 2]")
    parser.add_argument(
        "--random", type=int, default=16, help="random networks beside the four [default: 16]"
    )
    parser.add_argument("--store", help="keep what is measured in this folder")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
    wanted = {"a", "a-again", *(arguments.cases or CASES)}
    letters = [letter for letter in CASES if letter in wanted]
    runtimes = arguments.runtimes or list(RUNTIMES)
    print(describe_machine())
    rights = rights_here(arguments.rights or [RIGHT, WITHOUT])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o711)  # other accounts reach their folders in it
        store_folder = Path(arguments.store or folder)
        store_folder.mkdir(exist_ok=True)
        bench = Bench(folder, store_folder, arguments.random, arguments.sessions)
        for runtime in runtimes:
            bench.source.models(RUNTIMES[runtime])  # exported before a clock runs
        results = []
        for runtime in runtimes:
            for threads in arguments.threads or [1, 2]:
                results.append(
                    (f"{runtime}, {threads} thread(s)", print_table(bench, letters, rights, runtime, threads))
                )
        bench.store.close()
    for name, found in results:
        print("\n".join([f"\n{name}", *targets(found)]))


if __name__ == "__main__":
    main()
