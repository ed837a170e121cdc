"""Every command on a made store, with the longest names there are, as a terminal shows it: for a test, and to be looked at.

PYTHONPATH=. python tests/rigs/terminal_cases.py FOLDER [WIDTH]    # a picture of each case in FOLDER

What takes long (measuring, training) is made up; it drives the views and printers as the real one does.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from factories.block_libraries import made_library, made_teacher, tiny_store, write_library
from factories.finished_studies import made_study
from factories.records import make_block, make_block_run, make_energy_run, make_failure
from factories.stores import FEW, MANY, add_sessions, calibrate, in_two_precisions, networks, new_store

from harness.measurement.campaign import Outcome
from harness.measurement.events import (
    Connecting,
    FirstNumbers,
    Measuring,
    Sending,
    SessionDone,
    SessionsPlanned,
)
from harness.measurement.workload import Model, RuntimePlan
from harness.records import BlockRun
from harness.store import Store
from harness.store.latencies import latencies
from rigs.terminals import draw, run_in_terminal
from space import Architecture
from space.assembly import Assembly

LONG = "mbconv-mbconv+in+out/mbconv-bconv+in+out/bconv-mbconv+in+out"
LONGEST = "mbconv-mbconv+in+out/mbconv-mbconv+in+out/mbconv-mbconv+in+out"
MESSAGE = (
    "killed by signal 9: systems kill processes when memory runs out; free some, or measure fewer at a time"
)
DEVICE = ("--device", "made-up", "--threads", "2")
SEARCH = ("--accuracies", "synthetic", "--threads", "2", "-c", "made-up<9ms", "-c", "params<=3M")
BLOCKWISE = ("--method", "blockwise", "--library", "library", "--device", "made-up", "--measured-only")

# By what is typed behind `harness`, more than once where a command shows different things.
CASES: Mapping[str, tuple[str, ...]] = {
    "measure": ("measure", "--device", "made-up-board-in-the-lab"),
    "pack": ("pack", "--device", "board-without-a-network"),
    "import": ("import", "job-results.zip"),
    "measure sustained": ("measure", LONGEST, "--device", "made-up-board-in-the-lab", "--sustained", "30m"),
    "results": ("results",),
    "results sustained": ("results", "--sustained"),
    "results failures": ("results", "--failures"),
    "results batches": ("results", "--store", "batches.sqlite"),
    "compare": ("compare", LONG, LONGEST, *DEVICE),
    "compare precisions": ("compare", "fp32", "int8", *DEVICE, "--store", "precisions.sqlite"),
    "gate": ("gate", "--baseline", "base.json", "models"),
    "gate write": ("gate", "--write", "base.json", "models"),
    "predict": ("predict", *DEVICE),
    "predict models": ("predict", *DEVICE, "--models", f"{LONG},{LONGEST}"),
    "audit": ("audit", *DEVICE),
    "profile": ("profile", LONGEST),
    "report": ("report", *SEARCH, "--output", "report.html"),
    "devices": ("devices",),
    "doctor": ("doctor", "--device", "local", "--device", "made-up-board-in-the-lab"),
    "provision": ("provision", "--device", "made-up-board-in-the-lab"),
    "export": (
        *("export", LONGEST, "--format", "tflite", "--output", "model.tflite", "--precision", "int8"),
        *("--checkpoint", "weights.pt", "--calibration", "digits"),
    ),
    "train": ("train", "all", "--output", "trained"),
    "distill": ("distill", "trained", "--output", "distilled"),
    "study": ("study",),
    "dataset write": ("dataset", "write", *DEVICE, "--format", "csv", "--store", "tiny.sqlite"),
    "search": ("search", *SEARCH, "--top", "5", "--pareto", "made-up"),
    "search confident": ("search", *SEARCH, "--confidence", "0.95", "--show", "macs", "--top", "5"),
    "search blockwise": (
        "search",
        *BLOCKWISE,
        "--finalists",
        "4",
        "--fine-tune",
        "0",
        "--max-latency",
        "5ms",
    ),
    "search compare": ("search", "compare", *SEARCH, "-m", "random,linear", "-n", "2", "-b", "20"),
    "store check": ("store", "check"),
    "store show": ("store", "show", "--models", LONGEST),
    "store show one": ("store", "show", "SESSION"),
    "store quarantine": ("store", "quarantine", "--precision", "int8"),
    "store delete": ("store", "delete", "--precision", "int8", "--yes"),
    "store export": ("store", "export", "--models", LONGEST, "--output", "sessions.jsonl"),
}


def prepare(folder: Path) -> None:
    """Make what the commands read: a store for all, one of `tiny` for the library's, devices."""
    store = new_store(folder / "blox.sqlite")
    named = [Architecture.parse(name) for name in (LONG, LONGEST)]
    for configuration, count in ((MANY, 14), (FEW, 3)):
        calibrate(store, configuration)
        add_sessions(store, [*named, *networks(count)], configuration, sessions=2, seed=count)
    store.add_block_run(_under_load())
    for one in named:
        energy = make_energy_run(configuration=MANY)
        store.add_block_run(
            replace(energy, architecture=str(one), graph_hash=one.graph_hash, model_digest=2 * one.graph_hash)
        )
    store.add_failure(replace(make_failure(), architecture=LONGEST, message=MESSAGE))
    from space.segments import all_segments

    add_sessions(store, all_segments(), scatter=0.001, seed=1)
    store.close()
    (folder / "batches.sqlite").write_bytes((folder / "blox.sqlite").read_bytes())
    with Store(str(folder / "batches.sqlite")) as batches:
        batch = replace(MANY, batch=64, provider="CUDAExecutionProvider+graph", provider_options="use_tf32=0")
        calibrate(batches, batch)
        add_sessions(batches, [*named, *networks(3)], batch, conditions_after={"device_ns": [1_900_000] * 12})
    (folder / "tiny.sqlite").write_bytes(tiny_store())
    (folder / "precisions.sqlite").write_bytes(in_two_precisions())
    write_library(folder / "library")
    for name in ("weights.pt", "base.json", "trained", "job-results.zip"):
        (folder / name).touch()
    (folder / "models").mkdir()
    (folder / "devices.toml").write_text(
        '[devices.made-up-board-in-the-lab]\ntransport = "ssh"\naddress = "board-17.lab.example.org"\nuser = "measuring"\n'
        'description = "the board on the second shelf, 8 GB, with a fan, Küche"\nruntimes = ["onnxruntime", "tflite"]\n'
    )


# Modules that take one of the functions made up below when they are imported: they would keep it for other tests.
KEEPERS = (
    "harness.output.comparison",
    "harness.output.report.page",
    "harness.output.study_text",
    "harness.output.sustained",
    "harness.prediction.under_load",
)


@contextmanager
def made_up(folder: Path) -> Iterator[None]:
    """Let commands in `folder` find what `prepare` made, and what takes long be made up."""
    stores = {"HARNESS_STORE": str(folder / "blox.sqlite"), "HARNESS_CACHE": str(folder / "cache")}
    before = Path.cwd()
    for module in KEEPERS:
        import_module(module)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, stores))
        for target, made in (
            ("harness.prediction.measure.measure_devices", _measure_devices),
            ("harness.prediction.pack.pack_requested", _pack_requested),
            ("harness.prediction.pack.import_requested", _import_requested),
            ("harness.query.gate_baseline.parse_baseline", lambda path: None),
            ("harness.query.gate.gate", _gate),
            ("harness.query.gate.write_baseline", _write_baseline),
            ("harness.models.profile.profile_network", _profile_network),
            ("harness.devices.doctor.diagnose_all", _diagnose_all),
            ("harness.devices.provision.provision_device", _provision_device),
            ("harness.models.exported.export_network", _export_network),
            ("harness.training.train_networks", _train_networks),
            ("harness.training.distill", _distil),
            ("search.study.study.study_folder", _study_folder),
            ("harness.output.study_text.study_regret_picture", lambda found: None),
            ("harness.output.study_text.correlations_picture", lambda found: None),
            ("harness.output.study_text.write_picture", lambda path, picture: None),
        ):
            stack.enter_context(patch(target, made))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def arguments_of(name: str, folder: Path) -> tuple[str, ...]:
    """Return the arguments of a case."""
    if "blockwise" in name:
        return (*CASES[name], "--store", "tiny.sqlite")
    if name != "store show one":
        return CASES[name]
    store = Store(str(folder / "blox.sqlite"))
    try:
        from harness.store.maintenance import list_sessions
        from harness.store.selection import Selection

        session = list_sessions(store, Selection(networks=(LONGEST,)))[0].id
    finally:
        store.close()
    return tuple(session if word == "SESSION" else word for word in CASES[name])


def _never() -> Assembly:
    raise AssertionError("no model is sent")


def _measure_devices(request: Any, store: Store, view: Any) -> Any:
    """Show a campaign from its beginning to an end, with a failure."""
    from harness.prediction.measure import Measured

    name = request.devices[0].name
    if request.sustained_s:
        from harness.estimates.sustained import sustained

        outcome = Outcome(device=name, measured=1, elapsed_s=1812.0)
        return Measured(outcomes=(outcome,), sustained=(sustained(_under_load()),))
    rows = latencies(store, MANY)
    model = Model(
        architecture=LONGEST, graph_hash="", format="onnx", precision="fp32", space="blox", weights="",
        assemble=_never,
    )  # fmt: skip
    models = [replace(model, graph_hash=row.graph_hash) for row in rows]
    plan = RuntimePlan(configuration=MANY, runtime=None, models=models, reference=model)  # type: ignore[arg-type]
    view.export("onnx", 3, 24, "stage 1 op 0 mbconv")
    shown = [
        Connecting(),
        Sending(done_bytes=3_100_000, total_bytes=24_100_000, bytes_per_s=99_000),
        SessionsPlanned(sessions=60),
        *[SessionDone(), Measuring(runtime="onnxruntime", architecture=LONGEST)] * 5,
        SessionDone(failure=f"{LONGEST}: {MESSAGE}"),
        FirstNumbers(plan=plan, left=40),
    ]
    for event in shown:
        view.event(name, event)
    failures = [make_failure()]
    outcome = Outcome(
        device=name, measured=59, uses=[plan], sent_bytes=24_100_000, elapsed_s=372, failures=failures
    )
    return Measured(outcomes=(outcome,), rows=tuple(rows))


def _under_load() -> BlockRun:
    """Return a run under load of half an hour, throttled from the middle on, disturbed for three minutes."""
    blocks, samples = [], []
    for minute in range(30):
        begin_s, slow = 10.0 + 60 * minute, 1.0 if minute < 12 else 1.28 + 0.02 * (minute % 3)
        blocks.append(make_block("reference", begin_s, 1.0, [8.2 * slow] * 20))
        runs_ms = [4.1 * slow * (1 + 0.001 * (number % 80)) for number in range(200)]
        waits = {"delays_ns": (round(2e6),) * 200} if minute in (5, 6, 7) else {}
        blocks.append(make_block("network", begin_s + 1, 59.0, runs_ms, others_busy=0.04, **waits))
        for second in range(0, 60, 5):
            told: dict[str, Any] = {"cpu-thermal": 45.0 + min(34.0, 2.4 * minute)}
            samples.append(
                {"at_ns": round((begin_s + second) * 1e9), "temps_c": told, "throttled": 4 * (slow > 1)}
            )
            samples[-1]["freq_khz"] = {"4": round(2.4e6 / slow), "5": round(2.4e6 / slow)}
    return make_block_run(blocks, configuration=MANY, architecture=LONGEST, samples=tuple(samples))


def _pack_requested(request: Any, output: Any, store: Any, view: Any) -> Any:
    from harness.measurement.packed import PackedJob

    view.export("onnx", 3, 24, "stage 1 op 0 mbconv")
    return PackedJob(job_id="0" * 36, data=bytes(24_100_000), networks=20, sessions=100, parts=82)


def _import_requested(path: Any, store: Store, view: Any) -> Any:
    from harness.prediction.pack import Imported

    outcome = Outcome(device="board-without-a-network", measured=59, reused=41, failures=[make_failure()])
    return Imported(outcome=outcome, rows=tuple(latencies(store, MANY)))


def _gate(files: Any, baseline: Any, timing: Any, **_: Any) -> Any:
    """Return a report with a check of each outcome and way."""
    from harness.query.gate import FileCheck, GateReport, Rule

    rule = Rule.parse("latency > +3%")
    name = "mobilenet_v3_large_minimalistic_224_1.0_float_of_the_second_shelf.tflite"
    differing = "hardware aarch64 Made Up CPU -> aarch64 Another CPU; runtime version 2.19.0 -> 2.20.0"
    slower = FileCheck(
        file=name, rule=rule, outcome="fail", change=0.062, interval=(0.051, 0.073), way="beside", device="made-up",
        runtime="tflite", grade="B",
    )  # fmt: skip
    checks = (
        slower,
        replace(
            slower, outcome="pass", change=0.021, interval=(0.011, 0.034), note="up to +3.4% could be hidden"
        ),
        FileCheck(file="a.tflite", rule=rule, outcome="pass", change=0.0, way="same bytes", note="unchanged"),
        FileCheck(file=name, rule=Rule.parse("size > 1%"), outcome="fail", change=1.25, way="size"),
        FileCheck(
            file="b.tflite",
            rule=rule,
            outcome="not judged",
            way="reference",
            runtime="tflite",
            note=differing,
        ),
    )
    return GateReport(baseline=str(baseline), checks=checks)


def _write_baseline(files: Any, path: Any, timing: Any, **_: Any) -> Any:
    from factories.baselines import made_baseline

    from harness.query.gate import WrittenBaseline

    name = "mobilenet_v3_large_minimalistic_224_1.0_float_of_the_second_shelf.tflite"
    return WrittenBaseline(path=str(path), baseline=made_baseline(name), not_measured={})


def _profile_network(device: Any, network: str, **_: Any) -> Any:
    from harness.measurement.profile import Node, Profile
    from harness.models.profile import NetworkProfile

    nodes = tuple(
        Node(name=name, op="Conv", provider="CPUExecutionProvider", runs=50, total_ns=9 * ns, median_ns=ns)
        for name, ns in (("stem_0", 300_000), ("stage0_op0_1", 2_512_000), ("head_2", 41_000))
    )
    profile = Profile(
        runtime="onnxruntime", version="1.32.0", provider="CPUExecutionProvider", threads=1, cores=(1,), runs=50,
        quiet_runs=12, wall_median_ns=3_000_000, plain_median_ns=2_900_000, nodes=nodes,
    )  # fmt: skip
    return NetworkProfile(profile=profile, network=Architecture.parse(network), device=device.name)


def _diagnose_all(devices: Any, on_progress: Any, check: Any) -> Any:
    from harness.devices.doctor import Check

    venv = "python3 -m venv ~/harness-venv && ~/harness-venv/bin/python -m pip install onnxruntime"
    governor = "sudo cpupower frequency-set -g performance"
    checks = [
        Check(status="ok", name="reach", found="this machine, x86_64 Intel(R) Xeon(R) Processor @ 2.50GHz"),
        Check(status="warn", name="clocks", found="governor schedutil: clocks change with the load", remedy=governor),
        Check(status="FAIL", name="runtime", found="no runtime to measure with is installed for /usr/bin/python3", remedy=venv),
    ]  # fmt: skip
    return ((one.name, checks) for one in devices)


def _provision_device(device: Any, **_: Any) -> Any:
    from harness.devices.doctor import Check
    from harness.devices.provision import Provisioned

    packages = {
        "ai-edge-litert": "2.3.0",
        "backports.strenum": "1.2.8",
        "flatbuffers": "25.12.19",
        "numpy": "2.4.6",
    }
    right = "tflite (XNNPACK) runs a model of tflite in a worker, its outputs are right"
    return Provisioned(
        device=device.name, state="installed", how="carried", runtimes=("tflite",), packages=packages,
        left_out={"onnxruntime": "wheels are for aarch64, x86_64, and this Python is for armv7l (32 bits)"},
        notes=("/usr/bin/python3 has no pip",), checks=(Check(status="ok", name="trial", found=right),),
    )  # fmt: skip


def _export_network(architecture: str, model_format: Any, output: Path, **_: Any) -> Any:
    from harness.models.accuracy import ModelAccuracy, SplitAccuracy
    from harness.models.exported import ModelFile

    val, test = (
        SplitAccuracy(images=images, torch_right=images, model_right=images * 9 // 10, changed=images // 10)
        for images in (5_000, 10_000)
    )
    return ModelFile(
        path=output, network=Architecture.parse(architecture), format=model_format, precision="int8",
        size_bytes=11_540_000, weights="weights of weights.pt",
        accuracy=ModelAccuracy(task="synthetic-3-200-50-200", synthetic=True, val=val, test=test),
    )  # fmt: skip


def _train_networks(networks: Any, folder: Path, *, watch: Any, **_: Any) -> Any:
    from harness.training import TrainedNetworks
    from search.training.history import EpochDone
    from search.training.tasks import load_task
    from search.work.events import UnitDone, UnitProgress, UnitStarted
    from search.work.training_folder import FinishedTraining
    from search.work.unit import Unit
    from search.work.unit_runs import NamedUnits

    names = ("mbconv-mbconv+in+out/bconv-bconv+in+out", "conv/conv")
    units = [Unit(kind="train", config={"name": name}) for name in names]
    one = made_teacher()
    named = {unit.key: name for unit, name in zip(units, names, strict=True)}
    with watch(NamedUnits(names=named, epochs=4, title="synthetic:0:6/4/4")) as tell:
        for unit in units:
            tell(UnitStarted(unit=unit))
            for epoch in (1, 2):
                tell(UnitProgress(unit=unit, step=EpochDone(number=epoch, epochs=4, val=one.best.val)))
        tell(UnitDone(unit=units[0], seconds=12.3, done=1, units=2))
    rows = tuple(
        FinishedTraining(
            trained=replace(one, architecture=Architecture.parse(name, one.architecture.config)),
            weights=folder / "weights",
        )
        for name in names
    )
    return TrainedNetworks(
        rows=rows, space="tiny", task=load_task(one.source, one.architecture.config), recipe=one.recipe,
        not_trained=(), error=None, files=(folder / "blox-base-0.csv",), in_folder=2, notes=(),
    )  # fmt: skip


def _distil(teacher: Path, folder: Path, **_: Any) -> Any:
    from harness.training import DistilledBlocks
    from search.distillation.block_scores import cached_signatures
    from search.training.tasks import load_task

    library = made_library()
    task = load_task(library.teacher.source, library.config)
    signatures = cached_signatures(library, task, folder, "cpu", lambda text: None)
    return DistilledBlocks(library=library, signatures=signatures, task=task)


def _study_folder(settings: Any, truth: Any, folder: Path, runner: Any, log: Any) -> Any:
    log("distil-stage 0123456789ab is done in 2.5 s, 1 of 2 units")
    folder.mkdir(exist_ok=True)
    return made_study(replace(settings, marks=(2, 5, 10), decisive=10))


def main(folder: str, width: str = "80") -> int:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made))
        with made_up(Path(made)):
            for name in CASES:
                shown = run_in_terminal(*arguments_of(name, Path(made)), width=int(width))
                line = f"$ harness {' '.join(CASES[name])}"
                draw([line, *shown.lines], int(width), target.resolve() / f"{name.replace(' ', '-')}.png")
                sys.stdout.write(f"{name}: status {shown.status}\n{chr(10).join(shown.lines)}\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
