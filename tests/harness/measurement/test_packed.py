"""Packed jobs: run out of the zip file in a process of its own, and read at home as if the results came over a link."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from factories.model_files import dense, save, save_tflite
from factories.records import CONFIGURATION, make_session, make_slice
from rigs.other_pythons import find_interpreters, stand_in
from rigs.packed_jobs import (
    Change,
    Ran,
    SmallModels,
    any_core_of_a_job,
    changed,
    contents,
    pack,
    results_of,
    run,
    started,
    system_python,
    take,
    with_agent_code,
    with_code,
    with_sensor,
    write_results,
    write_zip,
)
from rigs.read_only import read_only
from rigs.short_campaigns import LONG_PLAN, ONNX, SHORT
from rigs.sleeping_models import SLEEPING, SleepingModels, sleeping_installed
from rigs.sshd import start_sshd
from rigs.watcher import Watcher

import harness
from device_agents import block_plans, core_gate, packed_job
from device_agents.packed_agent import Stop
from device_agents.packed_job import JobDriver
from device_agents.packed_signs import SessionEvents
from device_agents.packed_uses import choose_uses, greet
from device_agents.runtimes.loaded import output_sums
from device_agents.throttling import POLL_S
from harness.devices import job_files
from harness.devices.config import Device, LocalDevice
from harness.devices.runtimes import choose_runtimes
from harness.estimates.clean_runs import spoiled_by
from harness.estimates.outputs import is_wrong
from harness.measurement import campaign, packed, session_runner
from harness.measurement.campaign import run_campaign
from harness.measurement.packed import pack_campaign
from harness.measurement.plan import Level
from harness.models.file_names import GivenInputs
from harness.models.file_source import MeasuredModels
from harness.models.files import open_files
from harness.output.packed import print_imported
from harness.prediction.measure import Progress, runs_under_load
from harness.prediction.pack import Imported, import_requested
from harness.records import FILE_SPACE, SessionRecord, Slice
from harness.store import Store
from space.errors import ConfigError

pytestmark = pytest.mark.device

TOGETHER = replace(ONNX, level=replace(SHORT, at_once=2))
ONE = SleepingModels(["first"])
IN_1970 = """
time.time = lambda: 12.0
def close(journal, close=Journal.close):
    close(journal)
    os.utime(journal._file.name, (12, 12))
Journal.close = close
"""
SHORT_BLOCKS = {"ENERGY_BLOCK_S": 0.2, "SETTLE_S": 0.05, "LEAST_READING_S": 0.02, "ENERGY_CYCLES": 1}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("packed")
    with Store(str(folder / "store.sqlite")) as store:
        job_id = pack(store, folder / "job.zip", TOGETHER, tries_cores=True)
    status, said = run(folder / "job.zip")
    assert status == 0, said
    return Ran(folder, job_id)


@pytest.fixture
def sleeping() -> Iterator[None]:
    with sleeping_installed():
        yield


@pytest.fixture
def store(ran: Ran, tmp_path: Path) -> Iterator[Store]:
    with ran.store(tmp_path) as store:
        yield store


def sessions(store: Store, purpose: str = "network") -> list[SessionRecord]:
    return [one for c in store.configurations() for one in store.sessions(c, purpose=purpose)]


def everything(store: Store) -> list[Any]:
    return [sessions(store), sessions(store, "contended"), store.failures(), store.configurations()]


def test_python_takes_results_once_however_often_they_are_given(ran: Ran, store: Store) -> None:
    lines: list[str] = []
    found = harness.import_results(str(ran.results), store=store, log=lines.append)
    assert sorted(row.architecture for row in found) == ["first", "second"]
    assert found.failures == () and any(line.startswith("board: ") for line in lines)
    before = everything(store)
    again = harness.import_results(ran.results, store=store)
    assert [row.latency_ms for row in again] == [row.latency_ms for row in found]
    assert everything(store) == before


# --- what a job measures is what a campaign would --------------------------------------------------


@pytest.mark.ssh
def test_results_are_of_the_same_kind_as_those_of_a_campaign_over_ssh(
    ran: Ran, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = take(ran.results, store)
    assert (outcome.measured, outcome.failures, outcome.error) == (2, [], None)
    monkeypatch.setattr(core_gate, "FREE_SHARE", 1.0)
    monkeypatch.setattr(session_runner, "is_contended", lambda session: False)
    with Store(str(tmp_path / "live.sqlite")) as other, start_sshd(tmp_path / "sshd") as server:
        device = server.device("board")
        live = run_campaign(
            device, SmallModels(), TOGETHER, other, Watcher(), rng=random.Random(0), cancel=threading.Event()
        )
        assert (live.measured, live.failures, live.error) == (2, [], None)
        assert store.configurations() == other.configurations()
        pairs = list(zip(by_network(store), by_network(other), strict=True))
    for mine, theirs in pairs:
        same = (
            "architecture", "graph_hash", "model_digest", "output", "expected", "purpose", "plan",
            "agent_digest", "arithmetic",
        )  # fmt: skip
        assert [getattr(mine, name) for name in same] == [getattr(theirs, name) for name in same]
        for name in ("conditions_before", "conditions_after", "scheduling", "gate"):
            assert getattr(mine, name).keys() == getattr(theirs, name).keys(), name
        assert {len(one.delays_ns) for one in mine.slices} == {len(one.delays_ns) for one in theirs.slices}


def by_network(store: Store) -> list[SessionRecord]:
    return sorted(sessions(store), key=lambda one: one.graph_hash)


def test_batches_are_measured_apart_and_the_job_holds_the_environment_of_devices_toml(tmp_path: Path) -> None:
    device = Device(name="board", transport="packed", litert_library="/no/such/libLiteRt.so")
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, tmp_path / "job.zip", replace(ONNX, batches=(1, 4)), device=device, count=1)
        status, said = run(tmp_path / "job.zip")
        assert status == 0, said
        outcome = take(results_of(tmp_path / "job.zip"), store)
        assert (outcome.measured, outcome.failures, outcome.error) == (2, [], None)
        assert sorted(one.batch for one in store.configurations()) == [1, 4]
    environment = json.loads(contents(results_of(tmp_path / "job.zip"))["job.json"])["environment"]
    assert environment == device.worker_environment and "/no/such/libLiteRt.so" in environment.values()


@pytest.mark.parametrize(
    "runtime", ["onnxruntime:cuda", "onnxruntime:cuda+graph", "onnxruntime", "litert:gpu"]
)
def test_a_job_gives_a_runtime_the_options_that_a_campaign_gives_it(runtime: str, store: Store) -> None:
    given = {"cuda": {"use_tf32": False, "prefer_nhwc": True}, "gpu": {"of": "onnxruntime"}}
    device = Device(name="board", transport="packed", provider_options=given)
    options = replace(ONNX, runtimes=(runtime,))
    job = pack_campaign(device, SmallModels(), options, store, rng=random.Random(0), log=lambda text: None)
    document = json.loads(zipfile.ZipFile(io.BytesIO(job.data)).read("job.json"))
    there = ["CPUExecutionProvider", "CUDAExecutionProvider", "CUDAExecutionProvider+graph"]
    found = {"name": runtime.partition(":")[0], "package": "p", "version": "1.24.0"}
    hello = {
        "runtimes": [found | {"providers": there if "onnx" in runtime else ["CPU", "GPU"]}],
        "broken": [],
    }
    (use,) = choose_uses(document, hello)
    back = Device(name="board", transport="packed", provider_options=document["provider_options"])
    for one in (device, back):
        (chosen,) = choose_runtimes(one, hello, [runtime], [])
        assert use.options == chosen.options


def test_the_machine_of_a_job_is_noted_as_that_of_a_campaign_over_a_link(
    ran: Ran, store: Store, tmp_path: Path
) -> None:
    def on(machine: str) -> Change:
        def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for line in lines:
                for name in {"conditions", "conditions_after"} & set(line.get("said", {})):
                    line["said"][name]["machine_id"] = machine
            return lines

        return change

    first, second = "00112233445566aa", "00112233445566bb"
    assert take(changed(ran, tmp_path / "first.zip", on(first)), store).measured == 2
    (configuration,) = store.configurations()
    assert store.machines(configuration) == {first}
    outcome = take(changed(ran, tmp_path / "second.zip", on(second)), store)
    assert "more than one machine" in str(outcome.error)
    assert store.machines(configuration) == {first}


def test_importing_twice_is_importing_once(ran: Ran, store: Store) -> None:
    take(ran.results, store)
    before = everything(store)
    again = take(ran.results, store)
    assert (again.measured, again.reused) == (0, 2)
    assert everything(store) == before


def test_a_device_that_was_changed_under_a_worker_is_told_at_each_import(
    ran: Ran, store: Store, tmp_path: Path
) -> None:
    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for said in (line["said"] for line in lines if "said" in line):
            for name, machine in (
                ("conditions", "00112233445566aa"),
                ("conditions_after", "00112233445566bb"),
            ):
                if name in said:
                    said[name]["machine_id"] = machine
        return lines

    path = changed(ran, tmp_path / "moved.zip", change)
    for _ in range(2):
        outcome = take(path, store)
        assert [one.kind for one in outcome.failures] == ["conditions-changed"] * 2
        assert all("pack another job, once it is set back" in one.message for one in outcome.failures)
        assert (outcome.measured, outcome.reused) == (0, 0)
        assert len(store.failures()) == 2 and sessions(store) == []


@pytest.mark.parametrize(
    ("mode", "after", "kept"),
    [("", None, True), ("15W", None, False), ("15W", "15W", True), ("15W", "MAXN", False)],
)
def test_sessions_of_a_worker_that_broke_off_are_set_apart_unless_something_tells_how_it_was_set(
    ran: Ran, store: Store, tmp_path: Path, mode: str, after: str | None, kept: bool
) -> None:
    """after: the power mode that the device told when it was asked next, None where it was not."""

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        told = [line.get("said", {}) for line in lines]
        for said in told:
            if "conditions" in said and mode:
                said["conditions"]["power_mode"] = mode
        broken = next(place for place, said in enumerate(told) if said.get("event") == "measured") + 1
        over = next(place for place in range(broken, len(lines)) if told[place].get("type") == "result")
        at = lines[over]["at"]
        error = {"type": "error", "kind": "worker-killed", "message": "killed"}
        further: list[dict[str, Any]] = [{"at": at, "said": error}]
        if after is not None:
            start = next(line for line in lines if line.get("answer") == "probe")
            conditions = start["said"]["conditions"] | {"power_mode": after}
            further.append(
                {"at": at, "answer": "probe", "said": {"type": "result", "conditions": conditions}}
            )
        return [*lines[:broken], *further, *lines[over + 1 :]]

    outcome = take(changed(ran, tmp_path / "broken.zip", change), store)
    assert outcome.measured == len(sessions(store)) == kept
    expected = ["worker-killed"] + ["conditions-changed"] * (after == "MAXN")
    assert sorted(one.kind for one in outcome.failures) == sorted(expected)


def test_the_times_lie_between_the_packing_and_now(ran: Ran, store: Store) -> None:
    take(ran.results, store)
    packed_utc = json.loads(contents(ran.results)["job.json"])["packed_utc"]
    assert all(packed_utc[:19] <= one.started_utc for one in sessions(store))


def test_files_are_timed_beside_what_the_device_chooses_and_judged_at_home_memory_and_energy_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = open_files([save(dense(), tmp_path / "dense.onnx")], GivenInputs())
    networks = SmallModels(count=1, wrong=(7.0, 7.0))
    right = SmallModels()
    references = [right.model("wide", 96), right.model("narrow", 3)]
    monkeypatch.setattr(MeasuredModels, "_references", lambda self, model_format: references)
    monkeypatch.setattr(packed, "FRESH_RUNS", 1)
    source = MeasuredModels(networks=networks, files=[file], reference=None, on_progress=lambda *_: None)
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, replace(ONNX, memory=True, energy=True), source=source)
        with_sensor(path, SHORT_BLOCKS)
        for name, value in SHORT_BLOCKS.items():
            monkeypatch.setattr(block_plans, name, value)
        status, said = run(path)
        assert status == 0 and "trying onnxruntime dense.onnx" in said, said
        take(results_of(path), store)
        of_networks, of_files = sorted(store.configurations(), key=lambda one: one.space == FILE_SPACE)
        assert [one.expected for one in store.sessions(of_networks)] == [(7.0, 7.0)]
        assert [one.expected for one in store.sessions(of_files)] == [file.expected()]
        assert not any(map(is_wrong, store.sessions(of_files)))
        assert (of_files.space, of_files.reference) == (FILE_SPACE, references[1].graph_hash)
        weighed = [run for one in (of_networks, of_files) for run in store.fresh_runs(one)]
        assert [run.model_digest for run in weighed] == [file.digest]
        (blocks,) = store.block_runs(of_files, "energy")
        assert (blocks.ended, blocks.sensor["kind"], bool(blocks.readings)) == ("complete", "rapl", True)
        assert store.block_runs(of_networks, "energy") == [], "its output is false"
        failures = [(failure.kind, failure.configuration) for failure in store.failures()]
        assert failures == [("wrong-output", of_networks)] * 2, "of its memory and of its energy"
        first = everything(store)

        journal = tmp_path / "job-work/visit-0001.jsonl"
        lines = [line for line in journal.read_text().splitlines(True) if '"done":[0,0,0]' not in line]
        journal.write_text("".join(lines))
        status, said = run(path)  # what was chosen stays chosen
        assert status == 0 and "2 sessions to measure" in said and "trying" not in said, said
        assert take(results_of(path), store).error is None
        assert everything(store) == first
        assert weighed == [run for one in (of_networks, of_files) for run in store.fresh_runs(one)]


def test_each_file_of_a_job_has_its_own_reference_failures_and_latency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(dense(width=width), tmp_path / name) for name, width in (("a.onnx", 8), ("c.onnx", 9))]
    files = open_files([paths[0], Path(shutil.copy(paths[0], tmp_path / "b.onnx")), paths[1]])
    models = SmallModels()
    references = [models.model("wide", 96), models.model("narrow", 3)]
    monkeypatch.setattr(MeasuredModels, "_references", lambda self, model_format: references)
    source = MeasuredModels(networks=None, files=files, reference=None, on_progress=lambda *_: None)
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        job_id = pack(store, path, replace(ONNX, energy=True), source=source)
    # The second, whose bytes are those of the first, is timed beside another reference than the first and the third.
    with_code(path, "packed_job", "places = [1, 0, 1]\ndef nearest(all, run): return run(all[places.pop()])")
    with_agent_code(path, "energy", "def find_meter(*_): raise OSError('it is broken')")
    status, said = run(path)
    assert status == 0 and "energy is not measured in onnxruntime: " in said and "it is broken" in said, said

    ran = Ran(tmp_path, job_id)
    for name in ("whole", "lying"):
        (tmp_path / name).mkdir()
    with any_core_of_a_job(), ran.store(tmp_path / "whole") as store:
        found = import_requested(ran.results, store, Progress(lambda line: None))
        assert (found.outcome.measured, found.outcome.failures, found.outcome.error) == (3, [], None)
        beside = {row.architecture: row.configuration.reference for row in found.rows}
        wide, narrow = (one.graph_hash for one in references)
        assert beside == {"a.onnx": narrow, "b.onnx": wide, "c.onnx": narrow}

    monkeypatch.setattr(campaign, "FAILURES_IN_A_ROW", 2)
    with ran.store(tmp_path / "lying") as store:
        outcome = take(changed(ran, tmp_path / "lie.zip", lie("slice", "network_ns", [-1])), store)
        assert (len(outcome.failures), outcome.error) == (3, None)  # of each file one


@pytest.mark.usefixtures("sleeping")
def test_runs_under_load_are_kept_and_also_as_far_as_they_came(tmp_path: Path) -> None:
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, replace(SLEEPING, sustained_s=3.0), source=ONE)
        journal = tmp_path / "job-work/visit-0001.jsonl"
        with started(path) as process:
            while process.poll() is None and not (
                journal.exists() and journal.read_text().count('"event":"block"') > 1
            ):
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)[0]
        assert process.returncode == 130, said
        status, said = run(path)
        assert status == 0, said
        for _ in range(2):
            outcome = take(results_of(path), store)
            assert outcome.error is None
            ended = [one.run.ended for one in runs_under_load([outcome], store)]
            assert ended == ["stopped by the user", "complete"]
        assert sessions(store) == []
        found = Imported(outcome=outcome, rows=(), sustained=runs_under_load([outcome], store))
    print_imported(found, json_output=True, figure=tmp_path / "load.svg")
    assert "<svg" in (tmp_path / "load.svg").read_text()
    assert len((tmp_path / "load.data.csv").read_text().splitlines()) > 1


def test_results_without_runs_under_load_are_not_drawn_and_that_is_said(
    ran: Ran, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = import_requested(ran.results, store, Progress(lambda line: None))
    print_imported(found, json_output=True, figure=tmp_path / "load.svg")
    assert "hold no run under load" in capsys.readouterr().err
    assert not (tmp_path / "load.svg").exists()


def test_a_file_that_is_named_twice_is_packed_once_and_that_is_said(tmp_path: Path) -> None:
    for folder in ("one/a", "two/a"):
        (tmp_path / folder).mkdir(parents=True)
    first = save(dense(), tmp_path / "one/a/m.onnx")
    other = save(dense(), tmp_path / "one/m.onnx")
    copied = Path(shutil.copy(first, tmp_path / "two/a/m.onnx"))
    files = open_files([first, first, copied, other], GivenInputs())
    source = MeasuredModels(networks=None, files=files, reference=files[3], on_progress=lambda *_: None)
    told: list[str] = []
    with Store(str(tmp_path / "store.sqlite")) as store:
        job = pack_campaign(
            LocalDevice(name="board"), source, ONNX, store, rng=random.Random(0), log=told.append
        )
    groups = json.loads(zipfile.ZipFile(io.BytesIO(job.data)).read("job.json"))["groups"]
    names = [group["models"][0]["architecture"] for group in groups]
    assert names == ["one/a/m.onnx", "two/a/m.onnx", "one/m.onnx"]
    (said,) = (line for line in told if "more than once" in line)
    assert said.startswith("one/a/m.onnx")


@pytest.mark.long
def test_a_file_whose_trial_failed_keeps_its_reference_once_a_session_of_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = open_files([save(dense(), tmp_path / "dense.onnx")], GivenInputs())
    models = SmallModels()
    references = [models.model("wide", 96), models.model("narrow", 3)]
    monkeypatch.setattr(MeasuredModels, "_references", lambda self, model_format: references)
    source = MeasuredModels(networks=None, files=[file], reference=None, on_progress=lambda *_: None)
    path, two = tmp_path / "job.zip", replace(SHORT, sessions=2)
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, replace(ONNX, level=two), source=source)
        with_code(path, "packed_job", "def nearest(all, run): return None")
        status, said = run(path)
        assert status == 0 and "trying" in said, said
        journal = tmp_path / "job-work/visit-0001.jsonl"
        whole = journal.read_text().splitlines(True)
        journal.write_text("".join(line for line in whole if '"done":[1,0,0]' not in line))
        with_code(path, "packed_job", "def nearest(all, run): return run(all[1])")
        status, said = run(path)
        assert status == 0 and "1 sessions to measure" in said and "trying" not in said, said
        assert take(results_of(path), store).error is None
        (configuration,) = store.configurations()
        assert configuration.reference == references[0].graph_hash

        journal.write_text("".join(line for line in whole if '"done"' not in line))
        (tmp_path / "job-work/visit-0002.jsonl").unlink()
        status, said = run(path)  # nothing of it is there: it is tried again
        assert status == 0 and "trying" in said, said


@pytest.mark.parametrize(("losses", "says"), [(1, ""), (9, "energy is not measured in sleeping: ")])
@pytest.mark.usefixtures("sleeping")
def test_an_agent_that_is_lost_over_a_sensor_ends_no_job(tmp_path: Path, losses: int, says: str) -> None:
    path, marks = tmp_path / "job.zip", tmp_path / "losses"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, replace(SLEEPING, energy=True), source=ONE)
        with_sensor(path, SHORT_BLOCKS)
        lost = f"""
_found = find_meter
def find_meter(*args):
    import os
    with open({str(marks)!r}, "a+b") as file:
        file.write(b"x")
        if file.tell() <= {losses}:
            file.flush()
            os._exit(1)
    return _found(*args)
"""
        with_agent_code(path, "energy", lost)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in SHORT_BLOCKS.items():
                patch.setattr(block_plans, name, value)
            status, said = run(path)
            assert (
                status == 0 and says in said and "looking for a sensor of energy; starting it again" in said
            ), said
            outcome = take(results_of(path), store)
        assert (outcome.error, outcome.measured) == (None, 1)
        runs = [run for one in store.configurations() for run in store.block_runs(one, "energy")]
        assert [one.ended for one in runs] == ([] if says else ["complete"])


def test_a_job_tells_the_sessions_of_the_runtime_that_has_most(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = [save(dense(), tmp_path / "a.onnx")]
    paths += [save_tflite(tmp_path / f"{width}.tflite", width) for width in (8, 9)]
    models = SmallModels()
    monkeypatch.setattr(MeasuredModels, "_references", lambda self, kind: [models.reference(kind, "fp32")])
    source = MeasuredModels(
        networks=None, files=open_files(paths), reference=None, on_progress=lambda *_: None
    )
    options = replace(ONNX, runtimes=(), formats=("onnx", "tflite"))
    job = pack_campaign(
        Device(name="board", transport="packed"), source, options, store, rng=random.Random(0), log=print
    )
    assert (job.networks, job.sessions) == (3, 2)


def test_more_networks_than_can_be_kept_under_load_are_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "MOST_SUSTAINED", 1)
    with pytest.raises(ConfigError, match="--sustained takes 1:00 for each of 2 networks; name 1 at most"):
        pack(store, tmp_path / "job.zip", replace(ONNX, sustained_s=60.0))


def test_the_oldest_python_of_this_machine_runs_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FRESH_RUNS", 1)
    pythons = find_interpreters()
    if not pythons:
        pytest.skip("this machine has no other Python than the one that runs the tests")
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, tmp_path / "job.zip", replace(ONNX, runtimes=("tflite",), memory=True), count=1)
        status, said = run(tmp_path / "job.zip", pythons[0], str(stand_in(tmp_path / "packages")))
        assert status == 0, said
        assert take(tmp_path / "job-results.zip", store).measured == 1
        assert {one.output for one in sessions(store)} == {tuple(output_sums([0.5] * 10))}
        assert len(store.fresh_runs(store.configurations()[0])) == 1


# --- what is refused -------------------------------------------------------------------------------


def test_results_with_any_byte_altered_are_refused_or_mean_the_same(
    ran: Ran, store: Store, tmp_path: Path
) -> None:
    take(ran.results, store)
    right, whole = everything(store), ran.results.read_bytes()
    refused, draw = 0, random.Random(1)
    (tmp_path / "other").mkdir()
    for place in [*range(0, 40), *draw.sample(range(len(whole)), 40), *range(len(whole) - 30, len(whole))]:
        altered = bytearray(whole)
        altered[place] ^= 1 << draw.randrange(8)
        path = tmp_path / "altered.zip"
        path.write_bytes(altered)
        with ran.store(tmp_path / "other") as other:
            try:
                take(path, other)
            except ConfigError as error:
                refused += 1
                assert len(str(error)) < 1000, place
                assert everything(other) == [[], [], [], []], place
            else:  # such as a time of day in the zip file's directory
                assert everything(other) == right, place
    assert refused > 60


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_results_are_refused(ran: Ran, store: Store, tmp_path: Path, share: float) -> None:
    whole = ran.results.read_bytes()
    path = tmp_path / "cut.zip"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ConfigError, match=r"cut\.zip: no whole results of a packed job: .*copy"):
        take(path, store)
    assert sessions(store) == []


def test_a_record_that_lacks_its_end_is_refused(ran: Ran, store: Store, tmp_path: Path) -> None:
    files = contents(ran.results)
    files["visit-0001.jsonl"] = files["visit-0001.jsonl"][:-200]
    with pytest.raises(ConfigError, match="another digest than in its manifest; nothing of it is taken"):
        take(write_zip(tmp_path / "cut.zip", files), store)


def test_a_record_that_is_there_twice_is_refused(ran: Ran, store: Store, tmp_path: Path) -> None:
    files = contents(ran.results)
    files["visit-0002.jsonl"] = files["visit-0001.jsonl"]
    with pytest.raises(ConfigError, match="does not hold the records that its manifest names"):
        take(write_zip(tmp_path / "replayed.zip", files), store)


def test_a_record_that_its_device_repeats_is_taken_once(ran: Ran, store: Store, tmp_path: Path) -> None:
    files = contents(ran.results)
    files["visit-0002.jsonl"] = files["visit-0001.jsonl"]
    assert take(write_results(tmp_path / "replayed.zip", files, ran.key), store).measured == 2


def test_results_signed_with_another_key_are_refused(ran: Ran, store: Store, tmp_path: Path) -> None:
    path = changed(ran, tmp_path / "forged.zip", lambda lines: lines, key=b"0" * 64)
    with pytest.raises(ConfigError, match="no valid code by the job's key"):
        take(path, store)


def test_results_of_a_job_that_the_store_did_not_pack_are_refused(ran: Ran, tmp_path: Path) -> None:
    with Store(str(tmp_path / "other.sqlite")) as other:
        pack(other, tmp_path / "other.zip")  # one of its own changes nothing
        with pytest.raises(ConfigError, match=f"{ran.job_id}, which store .* never asked for"):
            take(ran.results, other)
        assert sessions(other) == []


def test_results_with_the_description_of_another_job_are_refused(
    ran: Ran, store: Store, tmp_path: Path
) -> None:
    files = contents(ran.results)
    job = json.loads(files["job.json"])
    job["groups"][0]["rounds"][0]["plan"]["max_s"] = 0.1
    path = write_results(tmp_path / "foreign.zip", files | {"job.json": json.dumps(job).encode()}, ran.key)
    with pytest.raises(ConfigError, match=r"job\.json is not that of job"):
        take(path, store)


@pytest.mark.parametrize(
    "name", ["../evil.py", "/tmp/evil", "visit-0001.jsonl/../x", "parts/00", "visit-1.jsonl"]
)
def test_a_name_that_no_results_have_is_refused_and_nothing_is_written(
    ran: Ran, store: Store, tmp_path: Path, name: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = write_zip(tmp_path / "slip.zip", contents(ran.results) | {name: b"evil"})
    with pytest.raises(ConfigError, match="which none has; nothing of it is taken"):
        take(path, store)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(ran: Ran, store: Store, tmp_path: Path) -> None:
    path = Path(shutil.copy(ran.results, tmp_path / "twice.zip"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("job.json", b"{}")
    with pytest.raises(ConfigError, match="holds a file twice"):
        take(path, store)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.mac", "job.json", "visit-0001.jsonl"])
def test_a_file_of_more_than_its_most_bytes_is_refused(
    ran: Ran, store: Store, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("MAX_MANIFEST_BYTES", "MAX_JOB_BYTES", "MAX_VISIT_BYTES"):
        monkeypatch.setattr(job_files, limit, 1 << 20)
    path = write_zip(tmp_path / "bomb.zip", contents(ran.results) | {name: bytes(1 << 21)})
    with pytest.raises(ConfigError, match=f"{name} has more than"):
        take(path, store)


def test_the_job_itself_and_other_files_are_refused(ran: Ran, store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no results of a packed job"):
        take(ran.folder / "job.zip", store)
    with pytest.raises(ConfigError, match="cannot be read"):
        take(tmp_path / "absent.zip", store)


@pytest.mark.parametrize(
    "told",
    [
        {"networks": [0, 1, 2]},
        {"beside": {"reference": "another", "network_ns": 1e6, "reference_ns": 1e6}},
    ],
)
def test_sessions_that_were_not_asked_for_are_refused(
    told: dict[str, Any], ran: Ran, store: Store, tmp_path: Path
) -> None:
    def more(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for line in lines:
            if "begin" in line:
                line["begin"] |= told
        return lines

    with pytest.raises(ConfigError, match="sessions that it did not ask for"):
        take(changed(ran, tmp_path / "more.zip", more), store)
    assert sessions(store) == []


def test_another_plan_than_the_one_asked_for_is_not_taken(ran: Ran, store: Store, tmp_path: Path) -> None:
    def other(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [line | ({"run": "0" * 64} if "run" in line else {}) for line in lines]

    outcome = take(changed(ran, tmp_path / "other.zip", other), store)
    assert (outcome.measured, [one.kind for one in outcome.failures]) == (0, ["link-lost", "link-lost"])


def lie(kind: str, field: str, value: Any) -> Change:
    """Return a change of a record that has another value in a field of all events of a kind."""

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for line in lines:
            if line.get("said", {}).get("event") == kind:
                line["said"][field] = value
        return lines

    return change


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("slice", "network_ns", [-1]),
        ("slice", "network_ns", ["fast"]),
        ("measured", "output", [float("nan")]),
        ("measured", "loop_s", 1e-6),
        ("measured", "slices", 10**9),
        ("measured", "others_busy", 7.5),  # of which only what checks a live device's answers knows
    ],
)
def test_an_answer_that_no_device_may_give_is_taken_from_no_record(
    ran: Ran, store: Store, tmp_path: Path, kind: str, field: str, value: Any
) -> None:
    outcome = take(changed(ran, tmp_path / "lie.zip", lie(kind, field, value)), store)
    assert (outcome.measured, sessions(store)) == (0, [])
    assert outcome.failures


def test_what_a_device_measured_after_many_failures_is_taken(
    ran: Ran, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_first(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        said = next(line["said"] for line in lines if line.get("said", {}).get("event") == "measured")
        said |= {"event": "refused", "failure": {"kind": "worker-error", "message": "no"}}
        return lines

    monkeypatch.setattr(campaign, "FAILURES_IN_A_ROW", 1)
    outcome = take(changed(ran, tmp_path / "lie.zip", refuse_first), store)
    assert (len(outcome.failures), outcome.measured) == (1, 1)
    assert "1 networks failed in a row" in str(outcome.error)


# --- what is decided on the device -----------------------------------------------------------------


def test_a_session_that_was_measured_again_there_is_kept_apart(
    ran: Ran, store: Store, tmp_path: Path
) -> None:
    def again(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        begin = next(place for place, line in enumerate(lines) if "begin" in line)
        end = next(place for place, line in enumerate(lines) if "end" in line)
        mark = {"again": lines[begin]["begin"]["networks"], "at": lines[end]["at"]}
        return [*lines[:end], mark, *lines[begin + 1 : end], *lines[end:]]

    outcome = take(changed(ran, tmp_path / "again.zip", again), store)
    assert outcome.error is None, outcome.error
    assert (len(sessions(store)), len(sessions(store, "contended")), outcome.setbacks.total()) == (2, 2, 2)
    assert outcome.measured == 2


def test_a_session_set_aside_by_a_start_that_was_interrupted_does_not_stand_for_that_of_the_next(
    ran: Ran, store: Store, tmp_path: Path
) -> None:
    files = contents(ran.results)
    lines = [json.loads(line) for line in files["visit-0001.jsonl"].splitlines()]
    end = next(place for place, line in enumerate(lines) if "end" in line)
    lines[end:] = [{"again": [0, 1], "at": lines[end]["at"]}]
    files["visit-0002.jsonl"] = files["visit-0001.jsonl"]
    files["visit-0001.jsonl"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    outcome = take(write_results(tmp_path / "two.zip", files, ran.key), store)
    assert (outcome.error, len(sessions(store)), len(sessions(store, "contended"))) == (None, 2, 2)


@pytest.mark.usefixtures("sleeping")
def test_a_disturbed_session_that_a_killed_start_did_not_measure_again_does_not_stand_for_one_of_the_next(
    tmp_path: Path,
) -> None:
    with Store(str(tmp_path / "store.sqlite")) as store:
        ran = Ran(tmp_path, pack(store, tmp_path / "job.zip", SLEEPING, source=ONE, redos=1))
    status, said = run(tmp_path / "job.zip")
    assert status == 0, said
    files = contents(ran.results)
    lines = [json.loads(line) for line in files["visit-0001.jsonl"].splitlines()]
    lines = lines[: next(place for place, line in enumerate(lines) if "again" in line)]
    told = next(line["said"] for line in lines if line.get("said", {}).get("event") == "measured")
    told["steal_s"] = told["loop_s"] / 2
    files["visit-0002.jsonl"] = files["visit-0001.jsonl"]
    files["visit-0001.jsonl"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    (tmp_path / "home").mkdir()
    with ran.store(tmp_path / "home") as store:
        for _ in range(2):
            assert take(write_results(tmp_path / "two.zip", files, ran.key), store, redos=1).error is None
            assert [one.gate["attempt"] for one in sessions(store)] == [1]
            assert [one.gate["attempt"] for one in sessions(store, "contended")] == [0, 0]


@pytest.mark.usefixtures("sleeping")
def test_a_session_that_was_disturbed_is_measured_again_as_often_as_in_a_campaign(tmp_path: Path) -> None:
    """In a runtime without a choice of providers, of which drivers of before noted none."""

    def of_before(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for line in lines:
            if "begin" in line:
                line["begin"]["use"]["provider"] = ""
        return lines

    with Store(str(tmp_path / "store.sqlite")) as store:
        ran = Ran(tmp_path, pack(store, tmp_path / "job.zip", SLEEPING, source=ONE, redos=1))
    status, said = run(tmp_path / "job.zip")
    assert status == 0, said
    for results in (ran.results, changed(ran, tmp_path / "before.zip", of_before)):
        (tmp_path / results.stem).mkdir()
        with ran.store(tmp_path / results.stem) as store:
            outcome = take(results, store)
            assert (outcome.measured, outcome.setbacks.total(), outcome.error) == (1, 1, None)
            kept = [*sessions(store, "contended"), *sessions(store)]
            assert [one.gate["attempt"] for one in kept] == [0, 1]
            assert len({one.process for one in kept}) == 2


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("asked", "kept", "failed"),
    [
        (None, 0, ["worker-killed"]),
        ({}, 1, ["worker-killed"]),
        ({"power_mode": "MAXN"}, 0, ["conditions-changed", "worker-killed"]),
    ],
)
def test_sessions_of_a_worker_that_broke_off_are_held_against_what_the_device_was_asked_next(
    ran: Ran,
    store: Store,
    tmp_path: Path,
    asked: dict[str, Any] | None,
    kept: int,
    failed: list[str],
    again: bool,
) -> None:
    """again: whether others of the worker are measured again before that."""

    def break_off(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for said in (line["said"] for line in lines if "conditions" in line.get("said", {})):
            said["conditions"] |= {"power_mode": "15W"}  # which no file tells, so that no sample does
        events = [line.get("said", {}).get("event") for line in lines]
        end = events.index("measured") + 2  # and that it is done
        killed = {"said": {"type": "error", "kind": "worker-killed", "message": "killed"}}
        probe = next(line for line in lines if line.get("answer") == "probe")
        conditions = probe["said"]["conditions"] | (asked or {})
        told = [] if asked is None else [probe | {"said": probe["said"] | {"conditions": conditions}}]
        failed = [line for line in lines if "done" in line][1]
        repeated = [{"again": [failed["done"][2]]}] if again else []
        then = (killed, failed, *repeated, *told, {"end": True})
        return [*lines[:end], *(one | {"at": lines[end]["at"]} for one in then)]

    outcome = take(changed(ran, tmp_path / "killed.zip", break_off), store)
    assert outcome.error is None
    assert (len(sessions(store)), sorted(one.kind for one in store.failures())) == (kept, failed)


@pytest.mark.usefixtures("sleeping")
def test_what_a_device_waited_for_between_its_sessions_is_told_of_them(tmp_path: Path) -> None:
    """A job may have asked for conditions that home would have known by the worker before."""

    def waited(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        second = [place for place, line in enumerate(lines) if "begin" in line][1] + 1
        probe = next(line for line in lines if line.get("answer") == "probe") | {"at": lines[second]["at"]}
        said = probe["said"]
        hot = probe | {"said": said | {"conditions": said["conditions"] | {"thermal_status": 2}}}
        return [*lines[:second], hot, probe, *lines[second:]]

    options = replace(SLEEPING, level=Level(name="two", sessions=2, plan=SHORT.plan))
    with Store(str(tmp_path / "store.sqlite")) as store:
        ran = Ran(tmp_path, pack(store, tmp_path / "job.zip", options, source=ONE))
    status, said = run(tmp_path / "job.zip")
    assert status == 0, said
    (tmp_path / "home").mkdir()
    with ran.store(tmp_path / "home") as store:
        assert take(changed(ran, tmp_path / "waited.zip", waited), store).error is None
        assert sorted(one.gate["waited_s"] for one in sessions(store)) == [0.0, POLL_S]


def test_sessions_on_a_provider_of_which_nothing_is_known_are_told_and_not_passed_over(
    ran: Ran, store: Store, tmp_path: Path
) -> None:
    def elsewhere(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for line in lines:
            if "begin" in line:
                line["begin"]["use"]["provider"] = "Elsewhere"
        return lines

    outcome = take(changed(ran, tmp_path / "elsewhere.zip", elsewhere), store)
    assert (outcome.measured, sessions(store)) == (0, [])
    assert "sessions in onnxruntime" in str(outcome.error) and "provider 'Elsewhere'" in str(outcome.error)


def test_a_clock_that_began_anew_counts_from_the_packing_on(ran: Ran, store: Store, tmp_path: Path) -> None:
    def long_ago(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines[0]["visit"]["utc"] = "1970-01-01T00:00:12Z"
        return lines

    path = changed(ran, tmp_path / "old.zip", long_ago)
    take(path, store)
    packed_utc = json.loads(contents(ran.results)["job.json"])["packed_utc"]
    assert all(packed_utc <= one.started_utc for one in sessions(store))
    before = everything(store)
    take(path, store)
    assert everything(store) == before


@pytest.mark.parametrize(("booted_s", "pause_s"), [(None, 7200.0), (3000.0, 3000.0), (60.0, 60.0)])
def test_starts_of_a_device_without_a_clock_are_as_far_apart_as_is_certain(
    ran: Ran,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    booted_s: float | None,
    pause_s: float,
) -> None:
    """`booted_s`: how long ago the device was started anew when the second start began; None where it was not."""
    files = contents(ran.results)
    lines = [json.loads(line) for line in files["visit-0001.jsonl"].splitlines()]
    end = next(place for place, line in enumerate(lines) if "end" in line)
    first = [*lines[:end], {"again": [0, 1], "at": lines[end]["at"]}]
    lasted_s = first[-1]["at"] - first[0]["at"]
    began_s = {"visit-0001.jsonl": 10_000.0, "visit-0002.jsonl": booted_s or 10_000.0 + lasted_s + pause_s}
    for (name, at_s), start in zip(began_s.items(), (first, lines), strict=True):
        told = [line | {"at": line["at"] - lines[0]["at"] + at_s} for line in start]
        told[0] = told[0] | {"visit": told[0]["visit"] | {"utc": "1970-01-01T00:00:12Z"}}
        files[name] = b"".join(json.dumps(line).encode() + b"\n" for line in told)
    monkeypatch.setattr(packed, "now_utc", lambda: (datetime.now(UTC) + timedelta(days=1)).isoformat())
    assert take(write_results(tmp_path / "two.zip", files, ran.key), store).error is None
    begun = [
        min(datetime.fromisoformat(one.started_utc) for one in sessions(store, purpose))
        for purpose in ("contended", "network")
    ]
    assert (begun[1] - begun[0]).total_seconds() == pytest.approx(lasted_s + pause_s, abs=0.01)


def test_a_start_with_a_wrong_clock_leaves_the_others_alone(ran: Ran, store: Store, tmp_path: Path) -> None:
    files = contents(ran.results)
    wrong = json.loads(files["visit-0001.jsonl"].splitlines()[0])
    wrong["visit"]["utc"] = "2190-01-01T00:00:00Z"
    files["visit-0002.jsonl"] = json.dumps(wrong).encode() + b"\n"
    assert take(write_results(tmp_path / "two.zip", files, ran.key), store).error is None
    times = [one.started_utc for one in sessions(store)]
    take(ran.results, store)
    assert times == [one.started_utc for one in sessions(store)] and max(times) < "2190"


def test_a_job_that_would_set_a_board_is_refused(store: Store) -> None:
    device = LocalDevice(name="nano", jetson_clocks=True)
    with pytest.raises(ConfigError, match="a packed job sets no power mode or clocks"):
        pack_campaign(device, SmallModels(), TOGETHER, store, rng=random.Random(0), log=lambda text: None)


def heard_of(session: SessionRecord, before: SessionEvents | None = None) -> SessionEvents:
    """Return what a packed job heard of a session; `before`: of the one before it in the same worker."""
    told = SessionEvents(before)
    if before is None:
        told.add({"event": "conditions", "conditions": session.conditions_before})
    for sample in session.samples:
        told.add({"event": "sample", **sample})
    loops = {"network_loops": session.network_loops, "reference_loops": session.reference_loops}
    told.add({"event": "warm", **loops})
    for piece in session.slices:
        told.add({"event": "slice", **asdict(piece)})
    base = {"network": 0, "reference": 0}
    measured = {"event": "measured", "stop": session.stop, "loop_s": session.loop_s, "baseline_ns": base}
    told.add(measured | session.scheduling | session.conditions_after)
    return told


@pytest.mark.parametrize(
    ("told", "trouble"),
    [
        ({}, ""),
        ({"steal_s": 0.05}, "contended"),
        ({"unseen": {"throttled_s": 0.5}}, "contended"),
        ({"unseen": {"major_faults": 5}}, "contended"),
        ({"unseen": {"stops": 5}}, "contended"),
        ({"unseen": {"traced": True}}, "contended"),
        ({"unseen": {"throttled_s": 0.001, "major_faults": 1, "stops": 1}}, ""),
    ],
)
def test_what_held_a_session_up_is_seen_on_both_sides_alike(told: dict[str, Any], trouble: str) -> None:
    slices = [make_slice([2_000_000] * 5, [1_000_000] * 2, [1_000_000] * 2)] * 12
    session = make_session(slices, loop_s=2.0, scheduling={"delay_source": "schedstat", **told})
    assert session_runner.setback(session) == trouble
    assert heard_of(session).trouble(session.plan["min_slices"]) == trouble


UNTOLD = {"delay_source": ""}
CLEAN = make_slice([2_000_000] * 5, [1_000_000] * 2, [1_000_000] * 2)
DISTURBED = replace(CLEAN, delays_ns=(1_000_000,) * 2 + (0,) * 8)


@pytest.mark.parametrize(
    ("pieces", "changes", "trouble"),
    [
        ([CLEAN] * 12, {"stop": "contended"}, "contended"),
        ([CLEAN] * 12, {"scheduling": UNTOLD, "conditions_after": {"waited_s": 0.21}}, "contended"),
        ([CLEAN] * 12, {"scheduling": UNTOLD, "conditions_after": {"waited_s": 0.19}}, ""),
        ([CLEAN] * 12, {"scheduling": UNTOLD, "conditions_after": {}}, ""),
        ([CLEAN] * 6 + [DISTURBED] * 6, {}, ""),
        ([CLEAN] * 5 + [DISTURBED] * 7, {}, "contended"),
        ([DISTURBED] * 7 + [CLEAN] * 5, {}, ""),  # the seventh has the reference of the eighth
        ([DISTURBED] * 8 + [CLEAN] * 4, {}, "contended"),
    ],
)
def test_what_other_programs_leave_of_a_session_is_judged_on_both_sides_alike(
    pieces: list[Slice], changes: dict[str, Any], trouble: str
) -> None:
    session = make_session(pieces, loop_s=2.0, **changes)
    assert session_runner.setback(session) == trouble
    assert heard_of(session).trouble(session.plan["min_slices"]) == trouble


def test_a_sign_of_throttling_long_before_the_first_slice_is_measured_again_for_it_would_be_a_d() -> None:
    pieces = [replace(CLEAN, at_ns=10**10)] * 12
    samples = ({"at_ns": 10**9, "throttled": 4}, {"at_ns": 10**10, "throttled": 0})
    session = make_session(pieces, samples=samples)
    assert spoiled_by(session) == "throttled"
    assert session_runner.setback(session) == "throttled"
    assert heard_of(session).trouble(session.plan["min_slices"]) == "throttled"


FREE = {"governors": {"0": "schedutil"}, "freq_khz": {"0": {"min": 300, "max": 900, "current": 900}}}
LOCKED = {"governors": {"0": "performance"}, "freq_khz": {"0": {"min": 900, "max": 900, "current": 900}}}
GOVERNED = {"governors": {"0": "performance"}, "freq_khz": {"0": {"min": 300, "max": 900, "current": 900}}}


def clocks(governor: str, least: int, most: int, current: int = 900) -> dict[str, Any]:
    """Return a sample of the clock of core 0."""
    limits = {"governors": {"0": governor}, "min_khz": {"0": least}, "max_khz": {"0": most}}
    return {**limits, "freq_khz": {"0": current}}


@pytest.mark.parametrize(
    ("tier", "before", "samples", "trouble"),
    [
        ("C", {"throttled": 0}, [{"throttled": 0}, {"throttled": 1 << 16}], "throttled"),
        ("C", {"throttled": 1 << 16}, [{"throttled": 1 << 16}], ""),
        ("C", {}, [{"throttled": 1 << 16}], ""),
        ("C", {}, [{"throttled": 0}, {"throttled": 1 << 18}, {"throttled": 1 << 18}], "throttled"),
        ("C", {"over_current": {"oc1": 2}}, [{"over_current": {"oc1": 3}}], "throttled"),
        ("C", {"over_current": {"oc1": 2}}, [{"over_current": {"oc1": 2}}], ""),
        ("C", FREE, [clocks("schedutil", 300, 900, current=300)], ""),
        ("C", FREE, [clocks("schedutil", 600, 900)], ""),
        ("C", FREE, [clocks("schedutil", 300, 600)], "throttled"),
        ("C", {}, [clocks("schedutil", 300, 600), clocks("schedutil", 300, 900)], "throttled"),
        ("A", LOCKED, [clocks("performance", 900, 900)], ""),
        ("A", LOCKED, [clocks("performance", 600, 600)], "throttled"),
        ("A", LOCKED, [clocks("performance", 300, 900)], "throttled"),
        ("A", LOCKED, [clocks("performance", 900, 900, current=860)], ""),
        ("A", LOCKED, [{"freq_khz": {"0": 850}}], "throttled"),
        ("B", GOVERNED, [clocks("performance", 300, 900, current=300)], ""),
        ("B", GOVERNED, [clocks("schedutil", 300, 900)], "throttled"),
        ("B", GOVERNED, [clocks("performance", 300, 600)], "throttled"),
    ],
)
def test_what_held_a_board_back_between_samples_is_seen_on_both_sides_alike(
    tier: str, before: dict[str, Any], samples: list[dict[str, Any]], trouble: str
) -> None:
    at_ns = 10**9
    one = replace(make_slice([2_000_000] * 5, [1_000_000] * 2, [1_000_000] * 2), at_ns=at_ns)
    told = [sample | {"at_ns": at_ns} for sample in samples]
    session = make_session(
        [one] * 12,
        configuration=replace(CONFIGURATION, clock_tier=tier, cores=(0,), threads=1),
        conditions_before=before,
        samples=tuple(told),
        scheduling={"delay_source": "schedstat", "cores": [0]},
    )
    assert session_runner.setback(session) == trouble
    heard = heard_of(session)
    assert heard.trouble(session.plan["min_slices"]) == trouble
    later = replace(session, conditions_before={}, samples=session.samples[-1:])  # of the same worker
    assert heard_of(later, heard).trouble(session.plan["min_slices"]) == (
        trouble if before in (FREE, LOCKED, GOVERNED) else ""
    )


# --- a job that is interrupted ---------------------------------------------------------------------


@pytest.mark.usefixtures("sleeping")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_job_keeps_what_is_done_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    plan = replace(SHORT.plan, max_s=0.5, half_width=0.0)
    options = replace(SLEEPING, level=Level(name="two", sessions=2, plan=plan))
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, options, source=ONE)
        with started(path) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "1 of 2" in line:
                    break
            process.send_signal(signal.SIGSTOP)  # the second waits while another start of the job is refused
            status, said = run(path)
            assert status == 3 and "runs already" in said, said
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            said = process.communicate(timeout=30)[0]
        if number is signal.SIGKILL:
            assert not results_of(path).exists()
        else:
            assert process.returncode == 130, said
            assert take(results_of(path), store).measured == 1
        first = sessions(store)
        with (tmp_path / "job-work/visit-0001.jsonl").open("ab") as journal:  # as where the power fails
            journal.write(b'\0\0\0{\n\xff\n{"at":1}\n{"answer":"pro')
        status, said = run(path)
        assert status == 0 and "1 sessions to measure" in said, said
        outcome = take(results_of(path), store)
        assert (outcome.error, len(sessions(store)), outcome.reused) == (None, 2, len(first))
        assert [one for one in sessions(store) if one in first] == first


def test_a_folder_that_has_lost_its_mark_or_a_record_mixes_no_two_jobs_or_starts(
    ran: Ran, tmp_path: Path
) -> None:
    mark = tmp_path / "run.json"
    with zipfile.ZipFile(ran.folder / "job.zip") as archive:
        driver = JobDriver(archive, tmp_path, print)
        mark.write_bytes(b"")
        run_id = driver._mark_folder()
        assert driver._next_visit() == 1
        (tmp_path / "visit-0002.jsonl").touch()  # the first was removed
        assert driver._next_visit() == 3
        assert driver._mark_folder() == run_id
        mark.write_bytes(b"\0" * 40)
        with pytest.raises(Stop, match=r"run\.json is damaged or gone, .* another folder with --folder"):
            driver._mark_folder()


def test_results_of_another_start_of_the_same_job_are_refused(ran: Ran, store: Store, tmp_path: Path) -> None:
    take(ran.results, store)
    files = contents(ran.results)
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | {"run": "0" * 32}).encode()
    before = everything(store)
    with pytest.raises(ConfigError, match="started anew after results of another start were imported"):
        take(write_results(tmp_path / "other.zip", files, ran.key), store)
    assert everything(store) == before


def test_a_job_that_needs_what_the_device_lacks_says_so_and_measures_nothing(tmp_path: Path) -> None:
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, tmp_path / "job.zip", replace(ONNX, runtimes=("onnxruntime:migraphx",)))
        status, said = run(tmp_path / "job.zip")
        assert status == 3 and "onnxruntime has no provider migraphx (there: " in said, said
        outcome = take(tmp_path / "job-results.zip", store)
        assert (outcome.measured, sessions(store)) == (0, [])


@pytest.mark.usefixtures("sleeping")
def test_cores_that_home_would_refuse_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, tmp_path / "job.zip", replace(SLEEPING, cores=(4000,)), source=ONE)
    status, said = run(tmp_path / "job.zip")
    assert status == 3 and "core 4000 is not usable (usable: " in said and "asking" not in said, said


def test_a_core_that_others_hold_ends_a_job_before_its_first_session(ran: Ran, tmp_path: Path) -> None:
    path = Path(shutil.copy(ran.folder / "job.zip", tmp_path))
    with_code(path, "core_gate", "PATIENCE_S, FREE_SHARE, HOPELESS_SHARE = 0.0, 0.05, 0.3")
    with_agent_code(path, "agent", "def told(waited): return dict.fromkeys(map(str, waited), 0.5)")
    status, said = run(path)
    assert status == 3 and "busy: another program takes 50% of the time, and did not stop for 0 s" in said, (
        said
    )
    assert "stop that program, and run the job again" in said and " of 2: " not in said, said


def test_a_device_without_a_runtime_for_one_of_the_files_is_told_what_to_install() -> None:
    groups = [
        {"format": one, "precision": "fp32", "batch": 1, "rounds": [], "reference": {}, "shorter": []}
        | {"models": [{"architecture": f"net.{one}"}]}
        for one in ("onnx", "tflite")
    ]
    formats = {"onnxruntime": "onnx", "tflite": "tflite", "litert": "tflite"}
    job = {"runtimes": [], "formats": formats, "groups": groups, "provider_options": {}}
    hello = {"runtimes": [{"name": "onnxruntime", "package": "p", "version": "1"}], "broken": []}
    with pytest.raises(
        Stop, match=r"no runtime for net\.tflite, a \.tflite file; install one of tflite, litert"
    ):
        choose_uses(job, hello)


@pytest.mark.parametrize(
    "there",
    [["onnxruntime", "tflite", "litert"], ["litert", "tflite"], ["litert"], ["onnxruntime", "litert"]],
)
def test_a_job_that_names_no_runtime_measures_in_those_that_a_campaign_would(
    there: list[str], store: Store
) -> None:
    options = replace(ONNX, runtimes=(), formats=())
    device = Device(name="board", transport="packed")
    job = pack_campaign(device, SmallModels(), options, store, rng=random.Random(0), log=lambda text: None)
    document = json.loads(zipfile.ZipFile(io.BytesIO(job.data)).read("job.json"))
    runtimes = [{"name": name, "package": name, "version": "1.24.0"} for name in there]
    hello = {"runtimes": runtimes, "broken": []}
    at_home = [one.name for one in choose_runtimes(device, hello, (), ())]
    assert [use.name for use in choose_uses(document, hello)] == at_home


def test_a_runtime_that_is_too_old_to_read_the_models_ends_a_job_before_it_measures() -> None:
    job = {"runtimes": ["onnxruntime"], "formats": {"onnxruntime": "onnx"}, "groups": []}
    old = {"name": "onnxruntime", "package": "onnxruntime", "version": "1.11.0"}
    with pytest.raises(Stop, match=r"1\.11\.0 of onnxruntime is too old, 1\.12 is the first .*; upgrade it"):
        choose_uses(job, {"runtimes": [old], "broken": []})


@pytest.mark.parametrize(
    ("named", "found", "about"),
    [
        (["onnxruntime:cpu", "onnxruntime:cuda"], ["onnxruntime"], [["onnxruntime"]]),
        (["onnxruntime:cpu"], [], [["onnxruntime"], None]),
        ([], ["onnxruntime"], [None]),
    ],
)
def test_a_job_asks_about_the_runtimes_it_names_or_about_all_where_it_names_or_finds_none_of_them(
    named: list[str], found: list[str], about: list[list[str] | None]
) -> None:
    asked: list[list[str] | None] = []
    told: list[object] = []

    class Agent:
        def ask(self, *_: object, runtimes: list[str] | None = None, **fields: object) -> dict[str, Any]:
            asked.append(runtimes)
            told.append(fields["environment"])
            return {"type": "result", "runtimes": found}

    agent: Any = Agent()
    job = {"harness": "1", "runtimes": named, "environment": {"LITERT": "/lib"}}
    greet(agent, job)
    assert asked == about
    assert told == [job["environment"]] * len(about)


@pytest.mark.usefixtures("sleeping")
def test_a_job_whose_standard_streams_are_closed_is_measured(tmp_path: Path) -> None:
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, tmp_path / "job.zip", SLEEPING, source=ONE)
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", system_python(), "job.zip"]
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(closed, cwd=tmp_path, env=environment, check=False, timeout=120)
    assert done.returncode == 0
    assert results_of(tmp_path / "job.zip").exists()


def test_a_job_in_a_folder_that_cannot_be_written_says_what_helps(ran: Ran, tmp_path: Path) -> None:
    shutil.copy(ran.folder / "job.zip", tmp_path)
    with read_only(tmp_path):
        status, said = run(tmp_path / "job.zip")
    assert status == 3
    assert "job-work'; name a folder that can be written, and has room, with --folder" in said


@pytest.mark.parametrize("name", ["job.json", "key", "agent.pyz", "parts/"])
def test_a_job_that_was_damaged_on_its_way_says_so_and_begins_nothing(
    ran: Ran, tmp_path: Path, name: str
) -> None:
    data = bytearray((ran.folder / "job.zip").read_bytes())
    with zipfile.ZipFile(ran.folder / "job.zip") as archive:
        entry = next(one for one in archive.infolist() if one.filename.startswith(name))
    data[entry.header_offset + zipfile.sizeFileHeader + len(entry.filename) + entry.compress_size // 2] ^= 1  # type: ignore[attr-defined]
    path = tmp_path / "job.zip"
    path.write_bytes(data)
    status, said = run(path)
    assert status == 3 and "this job is damaged (" in said and "copy it here again" in said, said
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("sleeping")
def test_a_board_without_a_clock_has_results(tmp_path: Path) -> None:
    """It is in 1970, and the times of zip files begin in 1980."""
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, SLEEPING, source=ONE)
        with_code(path, "packed_job", IN_1970)
        status, said = run(path)
        assert status == 0, said
        assert take(results_of(path), store).measured == 1


@pytest.mark.usefixtures("sleeping")
def test_a_name_that_the_terminal_has_no_characters_for_ends_no_job(tmp_path: Path) -> None:
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, tmp_path / "job.zip", SLEEPING, source=SleepingModels(["caf\u00e9"]))
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib"), "PYTHONIOENCODING": "ascii"}
    command = [system_python(), "job.zip"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0 and b"caf\\xe9" in done.stdout, done


@pytest.mark.usefixtures("sleeping")
@pytest.mark.parametrize("here", [0.3, 1.0])
def test_a_job_that_was_ended_while_it_stored_a_part_goes_on_there(tmp_path: Path, here: float) -> None:
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, SLEEPING, source=ONE)
    name, data = max(contents(path).items(), key=lambda one: one[0].startswith("parts/") and len(one[1]))
    unfinished = tmp_path / "job-work/agent/parts/unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / name.partition("/")[2]).write_bytes(data[: int(here * len(data))])
    status, said = run(path)
    assert status == 0, said


@pytest.mark.usefixtures("sleeping")
def test_a_disk_that_is_full_is_cleared_of_other_models_as_in_a_campaign(tmp_path: Path) -> None:
    path, mark = tmp_path / "job.zip", tmp_path / "was-full"
    full_once = f"""
def run(self, *asked, run=Agent.run):
    if os.path.exists({str(mark)!r}):
        return run(self, *asked)
    open({str(mark)!r}, "w").close()
    raise Refusal("disk-full", "no space left")
Agent.run = run
"""
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, SLEEPING, source=ONE)
        with_agent_code(path, "agent", full_once)
        status, said = run(path)
        assert status == 0 and mark.exists(), said
        outcome = take(results_of(path), store)
        assert (outcome.measured, outcome.failures, outcome.error) == (1, [], None)


@pytest.mark.usefixtures("sleeping")
def test_what_a_device_is_set_to_is_noted_behind_a_worker_that_broke_off_last(tmp_path: Path) -> None:
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, SLEEPING, source=ONE)
    with_agent_code(
        path, "agent", 'def refuse(*_): raise Refusal("worker-killed", "killed")\nAgent.run = refuse'
    )
    status, said = run(path)
    assert status == 3 and "first failed: killed" in said, said
    journal = (tmp_path / "job-work/visit-0001.jsonl").read_text().splitlines()
    *_, probe, end = map(json.loads, journal)
    assert probe["answer"] == "probe" and end["end"]


def test_an_agent_that_was_lost_is_greeted_again_so_that_its_workers_have_the_same_variables(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object]] = []

    class Agent:
        def __init__(self, *_: object) -> None: ...

        def ask(self, verb: str, *_: object, **fields: object) -> dict[str, Any]:
            asked.append((verb, fields.get("environment")))
            return {"type": "result", "runtimes": ["onnxruntime"]}

        def close(self) -> None: ...

    monkeypatch.setattr(packed_job, "AgentProcess", Agent)
    with zipfile.ZipFile(ran.folder / "job.zip") as archive:
        driver = packed_job.JobDriver(archive, tmp_path, print)
    for _ in range(2):
        driver._start_agent()
    assert asked == [("hello", driver.job["environment"]), ("lock", None)] * 2


@pytest.mark.usefixtures("sleeping")
def test_a_worker_that_dies_costs_its_network_alone(tmp_path: Path) -> None:
    plan = replace(LONG_PLAN, max_s=1.5)
    options = replace(SLEEPING, level=Level(name="long", sessions=1, plan=plan, at_once=2))
    path = tmp_path / "job.zip"
    with Store(str(tmp_path / "store.sqlite")) as store:
        pack(store, path, options, source=SleepingModels(["first", "second"]))
        journal = tmp_path / "job-work/visit-0001.jsonl"
        pid = 0
        with started(path) as process:
            while not pid:
                text = journal.read_text() if journal.exists() else ""
                told = [
                    json.loads(line) for line in text.splitlines() if '"slice"' in line or '"started"' in line
                ]
                if told and told[-1]["said"]["event"] == "slice":
                    pid = next(one["said"]["pid"] for one in told if one["said"]["event"] == "started")
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            said = process.communicate(timeout=60)[0]
        assert process.returncode == 3 and "1 of 2" in said, said
        entries = [json.loads(line) for line in journal.read_text().splitlines()]
        broke = next(place for place, one in enumerate(entries) if one.get("said", {}).get("type") == "error")
        assert ("done" in entries[broke + 1], entries[broke + 2].get("answer")) == (True, "probe")
        outcome = take(results_of(path), store)
        assert ([one.kind for one in outcome.failures], outcome.measured) == (["worker-killed"], 1)
        assert len(store.failures()) == 1
        status, said = run(path)  # what failed is tried again
        assert status == 0 and "1 sessions to measure" in said, said
        assert take(results_of(path), store).measured == 1
        assert (len(sessions(store)), len(store.failures())) == (2, 1)
