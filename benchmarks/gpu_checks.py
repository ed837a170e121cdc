"""The checks that `benchmarks/gpu.py` runs, each in a process of its own, and what each found.

A check returns figures for programs, lines for people, and faults: figures that are not as they should be. What a
machine lacks is told by raising `NotThere`. The tolerances are below; TF32, which torch and ONNX Runtime take for
convolutions unasked, rounds inputs to 11 bits, so that one layer differs by some 3e-4.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

NETWORKS = {"tiny": "conv/mbconv-bconv+out", "blox": "conv/mbconv-bconv+out/conv+conv"}
FORWARD_FP32, FORWARD_MIXED = 3e-3, 3e-2  # |y - y'| / |y| of the logits
LOSS_FP32, LOSS_MIXED = 0.01, 0.03  # relative, of each epoch
OUTPUT = 1e-2  # |y - y'| / |y| of a provider's outputs: TF32 through some 30 layers
TURNED = (
    0.01  # share of augmented values that may differ: nearest pixels of turned images, rounded the other way
)
SPEARMAN, DIFFERENCE = 0.98, 0.02  # of the paired ratios of two campaigns
MEASURED = 12


class NotThere(Exception):
    """What a check needs is not on this machine; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a check found: `figures` to keep, `lines` to print, `faults` that should not be."""

    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_machine(chosen: argparse.Namespace) -> Found:
    """Say what machine this is, with the GPUs as the agent's own probe reads them."""
    from device_agents.facts import parse_gpus
    from device_agents.nvidia import ask_gpus
    from device_agents.readings import Absent

    def run(command: list[str]) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=15).stdout

    try:
        gpus = parse_gpus(ask_gpus(run)[1])
        driver = run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).split()[0]
    except (Absent, OSError, subprocess.SubprocessError):
        gpus, driver = [], ""
    figures = {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in ("torch", "onnxruntime", "onnxruntime-gpu", "numpy")},
        "driver": driver,
        "gpus": gpus,
    }
    names = ", ".join(str(gpu["name"]) for gpu in gpus) or "no NVIDIA GPU"
    lines = [f"{names}, driver {driver or 'none'}; {figures['processor']}, {figures['cores']} cores"]
    faults = [] if gpus or chosen.device == "cpu" else ["nvidia-smi told of no GPU that the agent can read"]
    return Found(figures=figures, lines=lines, faults=faults)


def check_agreement(chosen: argparse.Namespace) -> Found:
    """Compare the device's numbers with the processor's: augmentation, logits, and the losses of two epochs."""
    import torch

    from search.training.augment import Augmentation, augment
    from search.training.recipe import Recipe
    from search.training.tasks import load_task
    from search.training.training import fresh_network, train
    from space import Architecture, find_space

    figures: dict[str, Any] = {}
    faults: list[str] = []
    lines: list[str] = []
    for space in chosen.spaces:
        config = find_space(space)
        architecture = Architecture.parse(NETWORKS[space], config)
        each = -(-chosen.images // config.classes)
        task = load_task(f"synthetic:0:{each}/4/4", config)
        pixels = torch.tensor(task.train.images[:256]).permute(0, 3, 1, 2)
        seen = [
            augment(
                pixels.to(device), Augmentation(), task.mean, task.std, torch.Generator().manual_seed(0)
            ).cpu()
            for device in ("cpu", chosen.device)
        ]
        turned = float((seen[0] - seen[1]).abs().gt(1e-5).float().mean())
        network = fresh_network(architecture, Recipe()).eval()
        with torch.no_grad():
            there = fresh_network(architecture, Recipe()).eval().to(chosen.device)
            exact = network.double()(seen[0].double())
            near = there(seen[0].to(chosen.device)).cpu().double()
            with torch.autocast(chosen.device, torch.bfloat16):
                mixed = there(seen[0].to(chosen.device)).float().cpu().double()
        forward = float((near - exact).norm() / exact.norm())
        forward_mixed = float((mixed - exact).norm() / exact.norm())
        recipe = Recipe(epochs=2, batch=64)
        runs = {
            "processor": train(architecture, task, recipe),
            "device": train(architecture, task, recipe, device=chosen.device),
            "mixed": train(architecture, task, replace(recipe, mixed_precision=True), device=chosen.device),
        }
        losses = {name: [epoch.train.loss for epoch in one.history] for name, one in runs.items()}
        off, off_mixed = (
            max(abs(a / b - 1) for a, b in zip(losses[name], losses["processor"], strict=True))
            for name in ("device", "mixed")
        )
        figures[space] = {
            "augmented_values_that_differ": turned,
            "logits": {"fp32": forward, "mixed": forward_mixed},
            "losses": losses,
            "loss": {"fp32": off, "mixed": off_mixed},
        }
        for what, value, most in (
            ("share of augmented values that differ", turned, TURNED),
            ("logits in single precision", forward, FORWARD_FP32),
            ("logits in mixed precision", forward_mixed, FORWARD_MIXED),
            ("losses in single precision", off, LOSS_FP32),
            ("losses in mixed precision", off_mixed, LOSS_MIXED),
        ):
            if not value <= most:
                faults.append(f"{space}: {what}: {value:.2g}, more than {most:g}")
        lines.append(
            f"{space:6} logits off by {forward:.1e} (mixed {forward_mixed:.1e}), "
            f"losses by {off:.2%} (mixed {off_mixed:.2%}), {turned:.2%} of augmented values"
        )
    return Found(figures=figures, lines=lines, faults=faults)


def check_training(chosen: argparse.Namespace) -> Found:
    """Time `train` in both precisions against a plain loop, bare steps and the processor; and networks together."""
    import torch
    import training

    from search.training.recipe import Recipe
    from search.training.together import train_together
    from search.training.training import train
    from space import Architecture, find_space
    from space.sampling import select_models

    clock = time.perf_counter_ns
    figures: dict[str, Any] = {}
    lines: list[str] = []
    workers = min(16, os.cpu_count() or 1) if chosen.device != "cpu" else 0
    for space in chosen.spaces:
        config = find_space(space)
        architecture = Architecture.parse(NETWORKS[space], config)
        task = training.random_task(config, chosen.epoch_images)
        here = training.random_task(config, chosen.images)
        rows: dict[str, Any] = {}
        for last in (False, True):
            for mixed in (False, True):
                name = f"channels {'last' if last else 'first'}{', mixed' if mixed else ''}"
                recipe = Recipe(
                    epochs=3, batch=min(256, len(task.train)), channels_last=last, mixed_precision=mixed
                )
                with training.utilisation(chosen.device) as shares:
                    trained = train(architecture, task, recipe, device=chosen.device)
                rows[name] = {
                    "images_per_s": len(task.train) / trained.history[-1].train_ns * 1e9,
                    "bare_images_per_s": bare_rate(architecture, task, recipe, chosen.device),
                    "gpu_busy_percent": statistics.mean(shares) if shares else None,
                    "last_loss": trained.history[-1].train.loss,
                }
        recipe = Recipe(epochs=2, batch=min(256, len(task.train)), channels_last=True)
        plain = training.plain_rate(architecture, task, recipe, chosen.device, workers, clock)
        torch.set_num_threads(os.cpu_count() or 1)
        processor = train(architecture, here, replace(recipe, batch=min(256, len(here.train))))
        together = select_models(f"sample:{training.TOGETHER}@0", config) if space == "tiny" else []
        figures[space] = {
            "network": str(architecture),
            "images": len(task.train),
            "train": rows,
            "plain_loop_images_per_s": plain,
            "loader_processes": workers,
            "processor_images_per_s": len(here.train) / processor.history[-1].train_ns * 1e9,
        }
        if together:
            one = train_together(together, task, replace(recipe, epochs=2), device=chosen.device)[0]
            figures[space]["together_images_per_s"] = len(task.train) / one.history[-1].train_ns * 1e9
            alone = [train(a, task, recipe, device=chosen.device).history[-1].train_ns for a in together[:4]]
            figures[space]["alone_images_per_s"] = len(task.train) / statistics.mean(alone) * 1e9
        lines += training_lines(space, figures[space])
    return Found(figures=figures, lines=lines)


def training_lines(space: str, found: dict[str, Any]) -> list[str]:
    """Return a space's figures of training as lines."""
    lines = []
    for name, row in found["train"].items():
        busy = row["gpu_busy_percent"]
        lines.append(
            f"{space:6} {name:22} {row['images_per_s']:9.0f} images/s  "
            f"{row['images_per_s'] / found['plain_loop_images_per_s']:5.2f} x plain loop  "
            f"{row['images_per_s'] / row['bare_images_per_s']:5.2f} x bare steps  "
            f"{row['images_per_s'] / found['processor_images_per_s']:6.1f} x processor  "
            f"GPU busy {'unknown' if busy is None else f'{busy:.0f} %'}"
        )
    if "together_images_per_s" in found:
        faster = found["together_images_per_s"] / found["alone_images_per_s"]
        lines.append(
            f"{space:6} 15 networks together: {found['together_images_per_s']:.0f} images/s each in turn, {faster:.2f} x alone"
        )
    return lines


def bare_rate(architecture: Any, task: Any, recipe: Any, device: str, seconds: float = 1.5) -> float:
    """Return the images per second of nothing but steps of plain torch on one batch that lies on the device."""
    import torch
    from torch.nn.functional import cross_entropy

    from search.training.training import fresh_network

    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    network = fresh_network(architecture, recipe).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    size, channels = task.shape[0], task.shape[2]
    images = torch.randn(recipe.batch, channels, size, size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(task.classes, (recipe.batch,), device=device)

    def steps(count: int) -> None:
        for _ in range(count):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
                logits = network(images)
            loss = cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    steps(10 if device != "cpu" else 1)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        steps(10 if device != "cpu" else 1)
        count += 10 if device != "cpu" else 1
    return count * recipe.batch / (time.perf_counter() - begin)


def check_distilling(chosen: argparse.Namespace) -> Found:
    """Time the ways of distilling a stage on the device, and distil the same blocks there and on the processor."""
    import distilling
    import torch
    import training

    from search.blockwise.distil_recipe import DistilRecipe
    from search.blockwise.distilling import distil_stage
    from search.training.tasks import load_task
    from space import find_space

    torch.set_num_threads(os.cpu_count() or 1)
    figures: dict[str, Any] = {"ways": {}, "stages": {}}
    lines: list[str] = []
    faults: list[str] = []
    for space in chosen.spaces:
        config = find_space(space)
        asked = argparse.Namespace(batch=64, steps=chosen.steps, blocks=chosen.blocks, device=chosen.device)
        task = load_task(f"synthetic:0:{-(-64 * chosen.steps // config.classes)}/2/2", config)
        teacher = distilling.untrained_teacher(task, space)
        steps = (chosen.blocks or len(config.blocks)) * chosen.steps
        for stage in range(min(2, config.stages)):
            if space != "tiny" and stage:
                break
            with distilling.ways_of(teacher, task, stage, asked) as ways:
                timed = distilling.time_ways(ways, 2, chosen.device)
            figures["ways"][f"{space} stage {stage}"] = {
                name: {
                    "ms_a_step_of_a_block": 1e3 * statistics.median(one.walls) / steps,
                    "times_as_fast_as_usual": one.faster,
                    "losses_off": one.off,
                }
                for name, one in timed.items()
            }
            shown = ", ".join(f"{name} {one.faster:.2f}" for name, one in timed.items() if name != "as usual")
            usual = 1e3 * statistics.median(timed["as usual"].walls) / steps
            lines.append(
                f"{space} stage {stage}: a step of a block takes {usual:.2f} ms as usual; times as fast: {shown}"
            )
            if not timed["stacked"].off <= distilling.SAME:
                faults.append(
                    f"{space} stage {stage}: stacked losses are {timed['stacked'].off:.2%} off the usual ones"
                )
        task = load_task(f"synthetic:0:{-(-chosen.images // config.classes)}/4/4", config)
        blocks = config.blocks[: chosen.blocks or None]
        recipe = DistilRecipe(epochs=2, batch=64)
        with training.utilisation(chosen.device) as shares:
            there = distil_stage(teacher, task, 0, recipe, blocks=blocks, device=chosen.device)
        few = blocks[::15]
        here = distil_stage(teacher, task, 0, recipe, blocks=few)
        places = [there.blocks.index(block) for block in few]
        off = max(abs(float(there.nsr[i]) / float(nsr) - 1) for i, nsr in zip(places, here.nsr, strict=True))
        taken = recipe.epochs * -(-len(task.train) // recipe.batch)
        figures["stages"][f"{space} stage 0"] = {
            "blocks": len(blocks),
            "images": len(task.train),
            "device_s": there.seconds,
            "device_ms_a_step_of_a_block": 1e3 * there.seconds / taken / len(blocks),
            "processor_ms_a_step_of_a_block": 1e3 * here.seconds / taken / len(few),
            "nsr_off": off,
            "gpu_busy_percent": statistics.mean(shares) if shares else None,
        }
        one = figures["stages"][f"{space} stage 0"]
        lines.append(
            f"{space} stage 0: {len(blocks)} blocks in {there.seconds:.1f} s, a step of a block "
            f"{one['processor_ms_a_step_of_a_block'] / one['device_ms_a_step_of_a_block']:.1f} x as fast as on the processor; "
            f"GPU busy {one['gpu_busy_percent'] or 0:.0f} %; held-out NSR off by {off:.2%}"
        )
        if not off <= 0.1 or not all(map(math.isfinite, there.nsr.tolist())):
            faults.append(f"{space} stage 0: held-out NSR is {off:.2%} off the processor's")
    return Found(figures=figures, lines=lines, faults=faults)


def check_doctor(chosen: argparse.Namespace) -> Found:
    """Run `harness doctor` on this machine."""
    done = harness(["doctor", "--json"], 60)
    (checks,) = json.loads(done.stdout).values()
    lines = [f"{one['status']:4} {one['name']}: {one['found']}" for one in checks]
    faults = [line for line, one in zip(lines, checks, strict=True) if one["status"] == "FAIL"]
    return Found(figures={"checks": checks}, lines=lines, faults=faults)


def check_measuring(chosen: argparse.Namespace) -> Found:
    """Measure random networks in two campaigns with empty stores on the processor."""
    return campaigns(chosen, "onnxruntime:cpu", chosen.networks)


def check_measuring_cuda(chosen: argparse.Namespace) -> Found:
    """Measure random networks in two campaigns on the GPU; compare outputs and see which provider ran the nodes."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise NotThere("onnxruntime has no CUDA provider here; pip install 'onnxruntime-gpu[cuda,cudnn]'")
    found = campaigns(chosen, "onnxruntime:cuda", chosen.networks)
    outputs = provider_outputs(["CPUExecutionProvider", "CUDAExecutionProvider"])
    off = max(math.dist(one, other) / math.hypot(*one) for one, other in zip(*outputs.values(), strict=True))
    done = harness(["profile", NETWORKS["blox"], "--runtime", "onnxruntime:cuda", "--json"], 60)
    nodes = counted(node["provider"] for node in json.loads(done.stdout)["nodes"])
    faults = list(found.faults)
    if not off <= OUTPUT:
        faults.append(f"outputs are {off:.2g} off the processor's, more than {OUTPUT:g}")
    if set(nodes) != {"CUDAExecutionProvider"}:
        faults.append(f"nodes ran elsewhere: {nodes}")
    lines = [*found.lines, f"outputs off by {off:.1e}; nodes run by {nodes}"]
    return Found(figures=found.figures | {"outputs_off": off, "nodes": nodes}, lines=lines, faults=faults)


def provider_outputs(providers: Sequence[str]) -> dict[str, list[list[float]]]:
    """Return the first output values of some networks under each provider, each on the agent's fixed input."""
    from device_agents.runtimes import onnxruntime_cpu
    from harness.commands.sources import ExportedModels, select_models

    models = ExportedModels(select_models(["sample:4@11"]), progress=lambda *_: None).models("onnx")
    outputs: dict[str, list[list[float]]] = {provider: [] for provider in providers}
    for model in models:
        assembly = model.assemble()
        data = joined(assembly)
        for provider in providers:
            loaded = onnxruntime_cpu.load(data, 1, {"provider": provider})
            loaded.run()
            outputs[provider].append(loaded.output())
    return outputs


def campaigns(chosen: argparse.Namespace, runtime: str, networks: int) -> Found:
    """Measure the same random networks twice, each time into an empty store, and compare ratios and plain wall times."""
    from scipy.stats import spearmanr

    rows: list[dict[str, dict[str, Any]]] = []
    seconds: list[float] = []
    notes: list[str] = []
    scheduling: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in (1, 2):
            store = f"sqlite:///{folder}/{number}.sqlite"
            begin = time.perf_counter()
            done = harness(
                [
                    *(
                        "measure",
                        "--runtime",
                        runtime,
                        "--models",
                        f"sample:{networks}@11",
                        "--level",
                        "quick",
                    ),
                    *("--seed", str(number), "--store", store, "--json"),
                ],
                150,
            )
            seconds.append(time.perf_counter() - begin)
            notes.append(done.stderr[-2000:])
            rows.append({row["graph_hash"]: row for row in json.loads(done.stdout)})
            scheduling.append(sessions_of(store))
    first, second = rows
    if len(first) < networks or set(first) != set(second):
        raise RuntimeError(f"{len(first)} and {len(second)} of {networks} networks were measured: {notes}")

    def agreement(key: str) -> dict[str, float]:
        pairs = [(first[name][key], second[name][key]) for name in first]
        apart = [abs(b / a - 1) for a, b in pairs]
        rank = float(spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic)
        return {"spearman": rank, "median_difference": statistics.median(apart), "most": max(apart)}

    every = [row for each in rows for row in each.values()]
    figures = {
        "networks": networks,
        "seconds": seconds,
        "ratio": agreement("ratio"),
        "latency_ms": agreement("latency_ms"),
        "wall_median_ms": agreement("wall_median_ms"),
        "latencies_ms": [sorted(row["latency_ms"] for row in each.values()) for each in rows],
        "ratios": [[row["ratio"] for row in each.values()] for each in rows],
        "wall_over_latency": statistics.median(row["wall_median_ms"] / row["latency_ms"] for row in every),
        "grades": counted(row["grade"] for row in every),
        "findings": counted(finding["kind"] for row in every for finding in row["findings"]),
        "runtime_version": every[0]["runtime_version"],
        "provider": every[0]["provider"],
        "sessions": scheduling,
        "said": notes,
    }
    ratio, wall = figures["ratio"], figures["wall_median_ms"]
    lines = [
        f"{networks} networks twice in {seconds[0]:.0f} and {seconds[1]:.0f} s: ratios agree at Spearman "
        f"{ratio['spearman']:.3f}, {ratio['median_difference']:.2%} apart (median), {ratio['most']:.2%} at most; "
        f"plain wall medians {wall['spearman']:.3f}, {wall['median_difference']:.2%}, {wall['most']:.2%}",
        f"latencies {figures['latencies_ms'][0][0]:.3f} to {figures['latencies_ms'][0][-1]:.3f} ms; grades "
        f"{figures['grades']}; findings {figures['findings']}",
    ]
    faults = []
    if not ratio["spearman"] >= SPEARMAN:
        faults.append(f"ratios of two campaigns agree at Spearman {ratio['spearman']:.3f}, below {SPEARMAN}")
    if not ratio["median_difference"] <= DIFFERENCE:
        faults.append(f"ratios of two campaigns are {ratio['median_difference']:.2%} apart")
    return Found(figures=figures, lines=lines, faults=faults)


def sessions_of(store_url: str) -> dict[str, Any]:
    """Return what the sessions of a store tell of their cores, stops, and the GPU's samples."""
    from harness.store import Store

    store = Store(store_url)
    try:
        sessions = [s for c in store.configurations() for s in store.sessions(c)]
    finally:
        store.close()
    samples = [sample for session in sessions for sample in session.samples]
    clocks = [sample["gpu_clock_mhz"] for sample in samples if "gpu_clock_mhz" in sample]
    return {
        "count": len(sessions),
        "cores": sorted({core for session in sessions for core in session.cores}),
        "requests": counted(json.dumps(session.scheduling.get("request")) for session in sessions),
        "delay_sources": counted(session.scheduling.get("delay_source") for session in sessions),
        "stops": counted(session.stop for session in sessions),
        "slices": statistics.median(len(session.slices) for session in sessions),
        "gpu_clock_mhz": [min(clocks), max(clocks)] if clocks else None,
        "gpu_reasons": sorted({sample["gpu_reasons"] for sample in samples if "gpu_reasons" in sample}),
        "load_ms": statistics.median(session.load_ns for session in sessions) / 1e6,
        "first_run_ms": statistics.median(session.first_run_ns for session in sessions) / 1e6,
    }


def counted(values: Iterable[Any]) -> dict[str, int]:
    """Return how often each value is there."""
    return {str(value): count for value, count in Counter(values).items()}


def harness(arguments: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run the command `harness`. Raises: RuntimeError with what it said, when it fails."""
    command = [sys.executable, "-m", "harness.commands.app", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"harness {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-1500:]}"
        )
    return done


def joined(assembly: Any) -> bytes:
    """Return the bytes of an exported model, as a device joins them."""
    from exporters import Recipe, link

    recipe = Recipe(
        format=assembly.format,
        alignment=assembly.alignment,
        skeleton=assembly.skeleton,
        parts=assembly.parts,
        dictionary=assembly.dictionary,
    )
    return link(recipe, assembly.read_part)


def processor_name() -> str:
    """Return the processor's name."""
    from machine import describe_machine

    return describe_machine().split(",")[0]


def version_of(package: str) -> str:
    """Return a package's version, empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


Check = Callable[[argparse.Namespace], Found]
CHECKS: dict[str, tuple[Check, float]] = {
    "machine": (check_machine, 30.0),
    "agreement": (check_agreement, 60.0),
    "measuring": (check_measuring, 110.0),
    "measuring-cuda": (check_measuring_cuda, 120.0),
    "training": (check_training, 120.0),
    "distilling": (check_distilling, 80.0),
    "doctor": (check_doctor, 30.0),
}
"""Name -> the check and the most seconds that it may take, in the order in which they run."""
