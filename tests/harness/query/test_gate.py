"""A gate's judgments of files whose changes are known: sessions are made up, estimates and judgments are not."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import dense, save
from factories.records import CONFIGURATION, make_failure, make_fresh_run, make_session, make_slice

from harness.errors import DeviceError
from harness.estimates.estimate import COVERAGE
from harness.estimates.latency import Latency, LatencyTable, latency_of
from harness.models.file_names import GivenInputs
from harness.models.files import FileModel, open_one
from harness.query.gate import FileCheck, GateReport, Rule, gate, write_baseline
from harness.query.gate_baseline import parse_baseline
from harness.query.gate_changes import open_former
from harness.records import FILE_SPACE, Configuration, Failure, ReferenceLatency
from space.errors import ConfigError

ON = replace(CONFIGURATION, space=FILE_SPACE, precision="fp32")
NOISE = 0.001
NOISY = 0.5


def latency(
    ratio: float, *, key: str = "0" * 32, on: Configuration = ON, noise: float = NOISE, **changes: Any
) -> Latency:
    """Return the latency of a file from five made-up sessions that scatter about a ratio."""
    rng = np.random.default_rng(1)
    sessions = []
    for number in range(5):
        times = 1e6 * ratio * np.exp(rng.normal(0, noise, 30)) * np.exp(rng.normal(0, noise))
        slices = [make_slice([int(ns)] * 3, [1_000_000], [1_000_000], int(ns)) for ns in times]
        session = make_session(slices, configuration=on, process=f"process {number}", **changes)
        sessions.append(replace(session, graph_hash=key))
    reference = ReferenceLatency(configuration=on, latency_ns=1e6, measured_utc="2024-05-01", sd=0.02)
    return latency_of(sessions, reference, None, COVERAGE)


@dataclass
class ScriptedTiming:
    """A device on which files, by their bytes, take so many times the reference; what it is asked is kept in `asked`."""

    ratios: Mapping[str, float]
    on: Configuration = ON
    noise: float = NOISE
    inputs: GivenInputs = field(default_factory=GivenInputs)
    runtime: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    failing: bool = False
    failures: tuple[Failure, ...] = ()
    asked: list[str] = field(default_factory=list)
    references: list[dict[str, str]] = field(default_factory=list)
    peaks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    log: Callable[[str], None] = lambda line: None

    def measure(self, files: Sequence[FileModel], references: Mapping[str, str]) -> LatencyTable:
        self.asked.append("measure " + " ".join(file.name for file in files))
        self.references.append(dict(references))
        if self.failing:
            failures = [replace(make_failure(configuration=self.on), graph_hash=file.key) for file in files]
            return LatencyTable(rows=(), failures=tuple(failures))
        return LatencyTable(rows=tuple(self._row(self.ratios[file.digest], file.key) for file in files))

    def beside(self, file: FileModel, other: FileModel, limits: Sequence[float]) -> LatencyTable:
        self.asked.append(f"beside {file.name}")
        if self.failing:
            raise DeviceError("made-up: no answer; plug it in")
        row = self._row(self.ratios[file.digest] / self.ratios[other.digest], file.key)
        return LatencyTable(rows=(row,), failures=self.failures)

    def weigh(self, files: Sequence[FileModel]) -> LatencyTable:
        self.asked.append("weigh " + " ".join(file.name for file in files))
        if self.failing:
            raise DeviceError("made-up: no answer; plug it in")
        rows = []
        for file in files:
            runs = [
                make_fresh_run(configuration=self.on, memory_bytes=peak) for peak in self.peaks[file.digest]
            ]
            rows.append(replace(self._row(1.0, file.key), fresh=tuple(runs)))
        return LatencyTable(rows=tuple(rows))

    def _row(self, ratio: float, key: str) -> Latency:
        return latency(ratio, key=key, on=self.on, noise=self.noise, **self.changes)


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a small model file; `version` changes its bytes and nothing else."""

    def made(name: str, version: str = "", width: int = 8) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        model = dense(width=width)
        model.doc_string = version
        return save(model, path)

    return made


@dataclass
class Rig:
    """A baseline of `a.onnx`, which takes half the reference, and the candidate of that name, in folders of their own."""

    folder: Path
    old: Path
    new: Path
    base: Path
    timing: ScriptedTiming

    def judge(self, *rules: str) -> GateReport:
        return gate([self.new], self.base, self.timing, fail_if=rules)

    def check(self, *rules: str) -> FileCheck:
        (found,) = self.judge(*rules).checks
        return found

    def takes(self, share: float, **changes: Any) -> None:
        """Let the candidate take `share` more time than the baseline's file."""
        digests = {open_one(str(self.old)).digest: 0.5, open_one(str(self.new)).digest: 0.5 * (1 + share)}
        self.timing = replace(self.timing, ratios=digests, asked=[], **changes)


@pytest.fixture
def rig(tmp_path: Path, make: Make) -> Rig:
    old, new = make("kept/a.onnx", "one"), make("now/a.onnx", "two")
    timing = ScriptedTiming({open_one(str(old)).digest: 0.5})
    base = tmp_path / "kept" / "base.json"
    assert write_baseline([old], base, timing).exit_status == 0
    return Rig(folder=tmp_path, old=old, new=new, base=base, timing=timing)


@pytest.mark.parametrize("is_kept", [True, False], ids=["beside", "through the reference"])
@pytest.mark.parametrize(
    ("share", "outcome", "status"), [(0.0, "pass", 0), (0.06, "fail", 1), (-0.2, "pass", 0)]
)
def test_the_interval_of_a_known_change_decides(
    rig: Rig, is_kept: bool, share: float, outcome: str, status: int
) -> None:
    rig.takes(share)
    if not is_kept:
        rig.old.rename(rig.old.with_name("moved.onnx"))
    report = rig.judge()
    (check,) = report.checks
    assert (check.outcome, report.exit_status) == (outcome, status)
    assert check.way == ("beside" if is_kept else "reference")
    assert rig.timing.asked == ["beside a.onnx" if is_kept else "measure a.onnx"]
    assert check.change == pytest.approx(share, abs=0.005)
    assert check.interval is not None
    assert check.interval[0] < share < check.interval[1]


def test_through_the_reference_the_interval_holds_the_baselines_own_doubt_too(rig: Rig) -> None:
    rig.takes(0.0)
    beside = rig.check().interval
    rig.old.unlink()
    through = rig.check().interval
    assert beside is not None
    assert through is not None
    assert through[1] - through[0] == pytest.approx((beside[1] - beside[0]) * 2**0.5, rel=0.1)


def test_through_the_reference_another_hour_may_have_moved_all_ratios(rig: Rig) -> None:
    rig.old = rig.old.rename(rig.old.with_name("moved.onnx"))
    rig.takes(0.033)
    assert rig.check().outcome == "fail", "of the hour of the baseline"
    rig.takes(0.033, changes={"started_utc": "2024-05-02T00:00:00.000+00:00"})
    check = rig.check()
    assert (check.outcome, rig.judge().exit_status) == ("pass", 0)
    assert "could be hidden" in check.note
    rig.takes(0.06)
    assert rig.check().outcome == "fail"


def test_what_failed_in_a_runtime_is_told_of_files_side_by_side_too(rig: Rig) -> None:
    failed = make_failure(configuration=replace(ON, runtime="tflite"))
    rig.takes(0.0, failures=(failed,))
    report = rig.judge()
    assert [(one.runtime, one.outcome) for one in report.checks] == [
        ("onnxruntime", "pass"),
        ("tflite", "not judged"),
    ]
    assert (report.exit_status, report.checks[1].note) == (2, f"{failed.kind}: {failed.message}")


def test_what_an_interval_that_reaches_over_the_limit_could_hide_is_told(rig: Rig) -> None:
    rig.takes(0.03)
    check = rig.check()
    assert (check.outcome, rig.judge().exit_status) == ("pass", 0)
    assert check.interval is not None
    assert check.note == f"up to {check.interval[1]:+.1%} could be hidden"
    assert rig.check("latency > +20%").note == ""


def test_a_file_of_the_same_bytes_is_unchanged_and_nothing_is_timed(rig: Rig) -> None:
    rig.takes(0.0)
    report = gate([rig.old], rig.base, rig.timing, fail_if=["latency > 0%", "size > 0%"])
    assert [(c.outcome, c.way, c.change) for c in report.checks] == [("pass", "same bytes", 0.0)] * 2
    assert rig.timing.asked == []


def test_a_baselines_file_that_was_replaced_is_not_taken_for_it(rig: Rig) -> None:
    rig.old.write_bytes(rig.new.read_bytes())
    rig.takes(0.06)
    rig.timing.ratios = {open_one(str(rig.new)).digest: 0.53}
    check = rig.check()
    assert (check.outcome, check.way) == ("fail", "reference")
    rig.old.write_bytes(b"damaged")
    assert rig.check().way == "reference"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"device": "pixel"}, "device made-up -> pixel"),
        ({"hardware": "another"}, "hardware x86_64 Made Up CPU -> another"),
        ({"runtime_version": "2.0"}, "runtime version 1.0 -> 2.0"),
        ({"provider": "CUDAExecutionProvider"}, "provider CPUExecutionProvider -> CUDAExecutionProvider"),
        ({"threads": 4}, "threads 2 -> 4"),
        ({"batch": 8}, "batch 1 -> 8"),
        ({"cores": (1, 2)}, "cores 4,5 -> 1,2"),
        ({"clock_tier": "A"}, "clock tier C -> A"),
        ({"reference": "e" * 32}, "reference f"),
        ({"runtime": "tflite"}, "no latency in tflite"),
    ],
)
def test_through_the_reference_only_what_is_alike_is_compared(
    rig: Rig, changed: dict[str, Any], told: str
) -> None:
    rig.takes(0.5, on=replace(ON, **changed))
    assert rig.judge().checks[0].outcome == "fail", "beside its own file a file is judged anywhere"
    rig.old.unlink()
    report = rig.judge()
    assert report.exit_status == 2
    assert told in report.checks[0].note
    assert report.checks[0].change is None
    if "runtime" in changed:
        assert "measured in the baseline, and not now" in report.checks[1].note


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_measurement_with_a_false_output_or_that_failed_is_not_judged(rig: Rig, is_kept: bool) -> None:
    if not is_kept:
        rig.old.rename(rig.old.with_name("moved.onnx"))
        rig.old = rig.old.with_name("moved.onnx")
    for change, told in (
        ({"changes": {"expected": (9.0, 9.0)}}, "wrong-output"),
        ({"failing": True}, "no answer" if is_kept else "killed by signal 9"),
    ):
        rig.takes(2.0, **{"noise": NOISE, "changes": {}, "failing": False} | change)
        report = rig.judge()
        assert (report.exit_status, report.checks[0].outcome) == (2, "not judged"), change
        assert told in report.checks[0].note


HOT = {"gate": {"closed": ["made-up heat"], "waited_s": 300.0}}


@pytest.mark.parametrize(
    ("share", "change", "outcome", "told"),
    [
        (0.03, {"noise": NOISY}, "not judged", "grade D"),
        (9.0, {"noise": NOISY}, "fail", "grade D"),
        (-0.9, {"noise": NOISY}, "pass", "grade D"),
        (0.5, {"changes": HOT}, "not judged", "made-up heat"),
        (-0.5, {"changes": HOT}, "not judged", "made-up heat"),
        (1.2, {"changes": HOT}, "fail", "made-up heat"),
    ],
)
def test_a_change_of_grade_d_is_judged_where_it_is_beyond_any_doubt(
    rig: Rig, share: float, change: dict[str, Any], outcome: str, told: str
) -> None:
    rig.takes(share, **change)
    check = rig.check()
    assert (check.outcome, check.grade) == (outcome, "D")
    assert told in check.note


def test_without_the_baselines_file_the_reference_is_the_baselines(rig: Rig) -> None:
    rig.takes(2.0)
    rig.old.unlink()
    assert rig.check().outcome == "fail"
    assert rig.timing.references[-1] == {open_one(str(rig.new)).key: ON.reference}
    rig.timing.runtime = "tflite"
    rig.judge()
    assert rig.timing.references[-1] == {}, "no latency in that runtime is kept"


def test_a_baseline_of_grade_d_judges_nothing_through_the_reference(rig: Rig) -> None:
    rig.takes(2.0, noise=NOISY)
    written = write_baseline([rig.old], rig.base, rig.timing)
    assert written.exit_status == 2
    assert "grade D" in written.not_measured["a.onnx"]
    rig.takes(0.06, noise=NOISE)
    assert rig.check().outcome == "fail", "its file can still be timed beside the candidate"
    rig.old.unlink()
    check = rig.check()
    assert (check.outcome, rig.judge().exit_status) == ("not judged", 2)
    assert "baseline's own latency has grade D" in check.note


def test_files_that_only_one_side_has_are_told_and_not_judged(rig: Rig, make: Make) -> None:
    report = gate([make("now/b.onnx")], rig.base, rig.timing)
    assert [(c.file, c.outcome) for c in report.checks] == [
        ("b.onnx", "not judged"),
        ("a.onnx", "not judged"),
    ]
    assert "not in the baseline" in report.checks[0].note
    assert "in the baseline, and not among the files" in report.checks[1].note
    assert report.exit_status == 2


def test_a_slower_file_counts_more_than_one_that_cannot_be_judged(rig: Rig, make: Make) -> None:
    rig.takes(0.5)
    report = gate([rig.new, make("now/b.onnx")], rig.base, rig.timing)
    assert {c.outcome for c in report.checks} == {"fail", "not judged"}
    assert report.exit_status == 1


def test_sizes_are_judged_exactly_and_without_a_device(rig: Rig, make: Make) -> None:
    larger = make("now/a.onnx", width=9)
    share = larger.stat().st_size / rig.old.stat().st_size - 1
    for limit, outcome in ((share + 0.001, "pass"), (share - 0.001, "fail")):
        check = rig.check(f"size > +{limit:.4%}")
        assert (check.outcome, check.change, check.way) == (outcome, share, "size")
    assert rig.timing.asked == ["measure a.onnx"], "of the baseline"


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        ((1060, 1061, 1070), "fail"),
        ((1055, 1100, 1100), "pass"),
        ((999, 1000, 1001), "pass"),
    ],
)
def test_memory_fails_where_every_fresh_worker_takes_more_than_any_did(
    rig: Rig, is_kept: bool, now: Sequence[int], outcome: str
) -> None:
    old, new = (open_one(str(path)).digest for path in (rig.old, rig.new))
    rig.takes(0.0, peaks={old: (1000, 1000, 1007), new: now})
    write_baseline([rig.old], rig.base, rig.timing, memory=True)
    if not is_kept:
        rig.old.unlink()
    rig.timing.asked.clear()
    check = rig.check("memory > +5.2%")
    assert (check.outcome, check.change) == (outcome, pytest.approx(now[1] / 1000 - 1))
    assert check.interval == pytest.approx((now[0] / 1007 - 1, now[2] / 1000 - 1))
    assert check.way == ("fresh workers" if is_kept else "then and now")
    assert rig.timing.asked == ["weigh a.onnx a.onnx" if is_kept else "weigh a.onnx"], (
        "nothing else is measured"
    )


def test_memory_is_not_judged_where_it_is_not_known_of_both(rig: Rig) -> None:
    old, new = (open_one(str(path)).digest for path in (rig.old, rig.new))
    rig.takes(0.0, peaks={old: (), new: (1000,)})
    assert "did not run in fresh workers" in rig.check("memory > 5%").note
    rig.timing.peaks = {new: ()}
    rig.old.unlink()
    assert "tells no peak memory" in rig.check("memory > 5%").note
    rig.timing.peaks = {new: (1000,)}
    assert "write it with --memory, or keep its file" in rig.check("memory > 5%").note
    rig.timing.failing = True
    check = rig.check("memory > 5%")
    assert (check.outcome, check.note) == ("not judged", "made-up: no answer; plug it in")


def test_kept_memory_is_that_of_the_same_machine_whatever_its_reference_and_cores(rig: Rig) -> None:
    old, new = (open_one(str(path)).digest for path in (rig.old, rig.new))
    peaks = {old: (1000, 1000, 1000), new: (1300, 1300, 1300)}
    rig.takes(0.0, peaks=peaks)
    write_baseline([rig.old], rig.base, rig.timing, memory=True)
    rig.old.unlink()
    rig.timing.on = replace(ON, reference="e" * 32, cores=(1, 2), clock_tier="A")
    assert rig.check("memory > 5%").outcome == "fail"
    rig.timing.on = replace(ON, runtime_version="2.0")
    check = rig.check("memory > 5%")
    assert (check.outcome, check.note) == ("not judged", "runtime version 1.0 -> 2.0")


def test_a_baseline_of_before_has_no_memory_and_is_read(rig: Rig) -> None:
    document = json.loads(rig.base.read_text())
    assert document["files"][0]["latencies"][0].pop("memory_bytes") == []
    rig.base.write_text(json.dumps(document))
    assert parse_baseline(rig.base).files[0].latencies[0].memory_bytes == ()


def test_other_inputs_than_the_baselines_are_not_compared_through_the_reference(rig: Rig) -> None:
    rig.takes(0.0, inputs=GivenInputs(shapes={"x": (1, 8)}))
    assert rig.check().way == "beside"
    rig.old.unlink()
    assert "inputs differ: none given -> x=1,8" in rig.check().note


def test_kept_memory_of_other_inputs_is_not_compared(rig: Rig) -> None:
    old, new = (open_one(str(path)).digest for path in (rig.old, rig.new))
    rig.takes(0.0, peaks={old: (1000, 1000, 1000), new: (1000, 1000, 1000)})
    write_baseline([rig.old], rig.base, rig.timing, memory=True)
    rig.old.unlink()
    assert rig.check("memory > 5%").outcome == "pass"
    rig.timing.inputs = GivenInputs(shapes={"x": (1, 8)})
    check = rig.check("memory > 5%")
    assert check.outcome == "not judged" and "inputs differ: none given -> x=1,8" in check.note


@pytest.mark.parametrize("text", ["latency > 3%", "latency>+3.0 %", " latency > +3% "])
def test_a_rule_is_read_in_the_ways_that_people_write_it(text: str) -> None:
    assert Rule.parse(text) == Rule(metric="latency", limit=0.03)
    assert str(Rule.parse(text)) == "latency > +3%"


@pytest.mark.parametrize(
    "text", ["", "latency", "latency > 3", "latency < 3%", "energy > 1%", "size > -1%", "size > 1e9%"]
)
def test_what_is_no_rule_is_refused_with_one_that_is(rig: Rig, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no rule; write e\.g\."):
        rig.judge(text)


def test_a_baseline_is_read_as_it_was_written(rig: Rig) -> None:
    (kept,) = parse_baseline(rig.base).files
    assert (kept.name, kept.path, kept.inputs) == ("a.onnx", "a.onnx", "")
    assert (kept.sha256, kept.size_bytes) == (open_one(str(rig.old)).digest, rig.old.stat().st_size)
    (one,) = kept.latencies
    assert (one.device, one.runtime, one.sessions, one.grade) == ("made-up", "onnxruntime", 5, "A")
    assert one.low is not None
    assert one.low < 0.5 < (one.high or 0)


def test_a_baseline_that_could_not_be_written_is_refused_before_anything_is_timed(
    rig: Rig, tmp_path: Path
) -> None:
    before = len(rig.timing.asked)
    for path, reason in ((tmp_path, "Is a directory"), (rig.old / "base.json", "Not a directory")):
        with pytest.raises(ConfigError, match=reason):
            write_baseline([rig.old], path, rig.timing)
    assert len(rig.timing.asked) == before


def test_a_file_whose_name_is_no_text_is_in_a_baseline_and_counts_as_gone(
    rig: Rig, make: Make, tmp_path: Path
) -> None:
    odd = make("kept/b\udcff.onnx")
    timing = replace(rig.timing, ratios={open_one(str(odd)).digest: 0.5})
    assert write_baseline([odd], rig.base, timing).exit_status == 0
    (kept,) = parse_baseline(rig.base).files
    assert (kept.name, kept.path) == ("b?.onnx", "b?.onnx")
    assert open_former(kept, rig.base, GivenInputs()) is None


def test_a_baseline_is_read_however_it_is_kept(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, kept = rig.base.read_bytes(), parse_baseline(rig.base)
    (tmp_path / "base.json.gz").write_bytes(gzip.compress(content))
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    for path in (tmp_path / "base.json.gz", tmp_path / "marked.json", Path("-")):
        assert parse_baseline(path) == kept
    for path in (Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigError, match=f"--baseline {path}: "):
            parse_baseline(path)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(version=2), "version = 2"),
        (lambda d: d.pop("version"), "version: Field required"),
        (lambda d: d.update(fles=[]), "fles"),
        (lambda d: d["files"][0].update(sha256="0"), "files.0.sha256 = '0'"),
        (lambda d: d["files"][0].update(size_bytes=0), "files.0.size_bytes = 0"),
        (lambda d: d["files"][0]["latencies"][0].update(ratio=float("nan")), "files.0.latencies.0.ratio"),
        (lambda d: d["files"][0]["latencies"][0].update(low=0.9), "is not within 0.9"),
        (lambda d: d["files"][0]["latencies"][0].update(low=None), "low and high"),
        (lambda d: d["files"][0]["latencies"][0].update(threads="2"), "files.0.latencies.0.threads = '2'"),
        (lambda d: d["files"].append(d["files"][0]), "'a.onnx' is there twice"),
        (lambda d: d["files"].__setitem__(slice(None), d["files"] * 10_001), "files"),
        (lambda d: d["files"][0].update(name="a" * 5000), "files.0.name"),
    ],
)
def test_a_bad_baseline_is_refused_by_file_key_and_remedy(rig: Rig, change: Change, told: str) -> None:
    document = json.loads(rig.base.read_text())
    change(document)
    rig.base.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as found:
        rig.judge()
    assert str(rig.base) in str(found.value)
    assert told in str(found.value)
    assert f"harness gate --write {rig.base}" in str(found.value)
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe"])
def test_what_is_no_baseline_at_all_is_refused(rig: Rig, content: bytes) -> None:
    rig.base.write_bytes(content)
    with pytest.raises(ConfigError, match="write it again"):
        rig.judge()
    rig.base.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        rig.judge()


def test_a_path_that_no_system_takes_is_a_file_that_is_gone(rig: Rig) -> None:
    document = json.loads(rig.base.read_text())
    rig.takes(0.06)
    for path in ("\0", "x" * 4000, "/dev/zero", "*"):
        document["files"][0]["path"] = path
        rig.base.write_text(json.dumps(document))
        assert rig.check().way == "reference"


def test_a_baseline_larger_than_any_is_refused_before_it_is_parsed(rig: Rig) -> None:
    rig.base.write_bytes(rig.base.read_bytes() + b" " * (1 << 24))
    with pytest.raises(ConfigError, match="more than 16777216 bytes"):
        rig.judge()


def test_a_gate_times_files_at_its_batch_alone_and_beside_others(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.query import gate_changes as module

    asked: list[Any] = []
    monkeypatch.setattr(module, "measure_requested", lambda request, *_: asked.append(request.batches))
    monkeypatch.setattr(
        module, "compare_files", lambda request, *_, **__: asked.append(request.batches) or ([], [])
    )
    timing = module.DeviceTiming(store=None, batch=4)  # type: ignore[arg-type]
    file = open_one(str(make("a.onnx")))
    timing.measure([file], {})
    timing.weigh([file])
    timing.beside(file, file, [])
    assert asked == [(4,)] * 3
