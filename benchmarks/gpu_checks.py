"""The checks that `benchmarks/gpu.py` runs, each in a process of its own, and what each found.

A check returns figures for programs, lines for people, and faults: figures that are not as they should be. A long one
hands over what it has so far to `chosen.keep`, for the case that its time ends. What a machine lacks is told by raising
`NotThere`. The tolerances are below; TF32, which torch and ONNX Runtime take for
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
from itertools import pairwise, product
from pathlib import Path
from typing import Any

NETWORKS = {"tiny": "conv/mbconv-bconv+out", "blox": "conv/mbconv-bconv+out/conv+conv"}
FORWARD_FP32, FORWARD_MIXED = 3e-3, 3e-2  # |y - y'| / |y| of the logits
LOSS_FP32, LOSS_MIXED = 0.01, 0.03  # relative, of each epoch
OUTPUT = 1e-2  # |y - y'| / |y| of a provider's outputs: TF32 through some 30 layers
AUGMENTED = 0.0  # share of values that may differ: randomness and arithmetic are exact on every device
BATCH = 64  # images of a step of distilling
POWER = 0.3  # of a GPU at rest, whose power wavers while nvidia-smi wakes it
PROVIDED = 2  # networks that are measured with each provider
ENERGY_READS = 5
SPEARMAN, DIFFERENCE = 0.98, 0.02  # of the paired ratios of two campaigns
# What loading takes at least where TensorRT compiles; engines of before may be kept.
COMPILED_NS = 2_000_000_000
PRECISIONS = ("fp32", "fp16", "int8")
SAMPLED = 3  # networks that are measured in each of them
# How the agent says that a provider leaves a part of a network to the processor.
REFUSED = "does not run all nodes"
CUDA_REMEDY = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
TENSORRT_LIBRARY = "libnvinfer.so"  # ONNX Runtime lists its provider also where TensorRT itself is absent


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
    from device_agents.facts import Absent, parse_gpus
    from device_agents.nvidia import ask_gpus

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

    from search.training.augment import Augmentation
    from search.training.pixel_ops import augment_batches
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
        each = -(-min(chosen.images, 512) // config.classes)
        task = load_task(f"synthetic:0:{each}/4/4", config)
        pixels = torch.tensor(task.train.images[:256]).permute(0, 3, 1, 2)
        noise = [torch.Generator().manual_seed(0) for _ in range(2)]
        seen = [
            torch.cat(
                augment_batches(pixels.to(device), 96, Augmentation(), task.mean, task.std, numbers)
            ).cpu()
            for device, numbers in zip(("cpu", chosen.device), noise, strict=True)
        ]
        turned = float(seen[0].ne(seen[1]).float().mean())
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
            ("share of augmented values that differ", turned, AUGMENTED),
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

    from search.training.batched_training import train_together
    from search.training.recipe import Recipe
    from search.training.training import train
    from space import Architecture, find_space
    from space.selection import select_models

    found = Found()
    workers = min(16, os.cpu_count() or 1) if chosen.device != "cpu" else 0
    torch.set_num_threads(os.cpu_count() or 1)
    for space in chosen.spaces:
        config = find_space(space)
        architecture = Architecture.parse(NETWORKS[space], config)
        task = training.random_task(config, chosen.epoch_images)
        few = training.random_task(config, chosen.images)
        figures = found.figures[space] = {
            "network": str(architecture),
            "images": len(task.train),
            "train": {},
            "loader_processes": workers,
        }
        batch = min(256, len(few.train))
        usual = Recipe(epochs=2, batch=batch, channels_last=True)
        figures["augmentation_ms_a_batch"] = 1e3 * augmentation_s(task, batch, chosen.device)
        processor = train(architecture, few, usual)
        figures["processor_images_per_s"] = last_rate(processor, few)
        found.lines.append(
            f"{space:6} processor {figures['processor_images_per_s']:.0f} images/s; augmenting a batch takes "
            f"{figures['augmentation_ms_a_batch']:.1f} ms; the plain loop has {workers} loader processes"
        )
        chosen.keep(found)
        for name, changes in LAYOUTS.items():
            recipe = replace(usual, **changes)
            with training.utilization(chosen.device) as shares:
                trained = train(architecture, task, replace(recipe, epochs=4), device=chosen.device)
            figures["train"][name] = {
                "images_per_s": last_rate(trained, task),
                "plain_loop_images_per_s": training.plain_rate(
                    architecture, task, recipe, chosen.device, workers, time.perf_counter_ns
                ),
                "bare_images_per_s": bare_rate(architecture, task, recipe, chosen.device),
                "gpu_busy_percent": statistics.mean(shares) if shares else None,
                "last_loss": trained.history[-1].train.loss,
            }
            found.lines.append(training_line(space, name, figures))
            faster = times_plain(figures["train"][name])
            if chosen.device != "cpu" and faster < 1:
                found.faults.append(f"{space} {name}: trains {faster:.2f} times as fast as the plain loop")
            chosen.keep(found)
        if space != "tiny":
            continue
        networks = select_models(f"sample:{training.TOGETHER}@0", config)
        for name, changes in {"single": {}, "mixed": {"mixed_precision": True}}.items():
            recipe = replace(usual, **changes)
            alone = [train(one, few, recipe, device=chosen.device) for one in networks[:3]]
            together = train_together(networks, few, recipe, device=chosen.device)[0]
            each = statistics.harmonic_mean([last_rate(one, few) for one in alone])
            figures[f"together_{name}"] = {
                "alone_images_per_s": each,
                "together_images_per_s": last_rate(together, few),
            }
            found.lines.append(
                f"{space:6} {len(networks)} networks together, {name} precision: {last_rate(together, few):.0f} images/s, "
                f"{last_rate(together, few) / each:.2f} x one after another"
            )
            chosen.keep(found)
    return found


# Channels first in single precision, the slowest, is left out for the time.
LAYOUTS: dict[str, dict[str, Any]] = {
    "channels first, mixed": {"channels_last": False, "mixed_precision": True},
    "channels last": {},
    "channels last, mixed": {"mixed_precision": True},
}


def training_line(space: str, name: str, found: dict[str, Any]) -> str:
    """Return a layout's figures of training as a line."""
    row = found["train"][name]
    rate, busy = row["images_per_s"], row["gpu_busy_percent"]
    return (
        f"{space:6} {name:22} {rate:9.0f} images/s  {times_plain(row):5.2f} x plain loop  "
        f"{rate / row['bare_images_per_s']:5.2f} x bare steps  {rate / found['processor_images_per_s']:6.1f} x processor  "
        f"GPU busy {'unknown' if busy is None else f'{busy:.0f} %'}"
    )


def times_plain(row: dict[str, Any]) -> float:
    """Return how many times as fast as the plain loop of the same layout and precision a training was."""
    return float(row["images_per_s"] / row["plain_loop_images_per_s"])


def last_rate(trained: Any, task: Any) -> float:
    """Return the images per second of a training's last epoch."""
    return float(len(task.train) / trained.history[-1].train_ns * 1e9)


def augmentation_s(task: Any, batch: int, device: str) -> float:
    """Return the seconds that augmenting one batch takes."""
    import torch

    from search.training.augment import Augmentation
    from search.training.pixel_ops import augment

    pixels = torch.tensor(task.train.images[:batch], device=device).permute(0, 3, 1, 2)
    noise = torch.Generator().manual_seed(0)
    taken = []
    for _ in range(8):
        begin = time.perf_counter()
        augment(pixels, Augmentation(), task.mean, task.std, noise)
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def bare_rate(architecture: Any, task: Any, recipe: Any, device: str, seconds: float = 1.0) -> float:
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
    """Time the ways of distilling a stage on the device, and distill the same blocks there and on the processor."""
    import distilling
    import torch
    import training

    from search.distillation.distill import together_for
    from search.distillation.recipe import DistilRecipe
    from search.training.tasks import load_task
    from space import find_space
    from space.stages import SpaceStage

    torch.set_num_threads(os.cpu_count() or 1)
    recipe = DistilRecipe(epochs=4, batch=BATCH)
    found = Found(figures={"ways": {}, "stages": {}})
    for space in chosen.spaces:
        config = find_space(space)
        # All, or what fits in memory.
        most = len(config.blocks) if together_for(SpaceStage(config, 0), BATCH) > 1 else 4
        blocks = config.blocks[: chosen.blocks or most]
        asked = argparse.Namespace(batch=BATCH, steps=chosen.steps, blocks=len(blocks), device=chosen.device)
        task = load_task(f"synthetic:0:{-(-BATCH * chosen.steps // config.classes)}/2/2", config)
        teacher = distilling.untrained_teacher(task, space)
        with distilling.ways_of(teacher, task, 0, asked) as ways:
            timed = distilling.time_ways(ways, 1, chosen.device)
        each = {name: 1e3 * one.walls[0] / chosen.steps / len(blocks) for name, one in timed.items()}
        found.figures["ways"][space] = {
            name: {
                "ms_a_step_of_a_block": each[name],
                "times_as_fast_as_usual": one.faster,
                "losses_off": one.off,
            }
            for name, one in timed.items()
        }
        found.lines.append(
            f"{space:6} stage 0: a step of one of {len(blocks)} blocks takes, in ms: "
            + ", ".join(f"{name} {value:.2f}" for name, value in each.items())
        )
        if not timed["stacked"].off <= distilling.SAME:
            found.faults.append(
                f"{space} stage 0: stacked losses are off the usual ones by {timed['stacked'].off:.2%}"
            )
        chosen.keep(found)
        images = -(-min(chosen.images, 512) // config.classes)
        task = load_task(f"synthetic:0:{images}/4/4", config)
        with training.utilization(chosen.device) as shares:
            there, device_s = distilled(teacher, task, recipe, blocks, chosen.device)
        few = blocks[:2]
        here, processor_s = distilled(teacher, task, recipe, few, "cpu")
        off = float(abs(there.history[0, : len(few)] / here.history[0] - 1).max())
        steps = -(-len(task.train) // BATCH)
        at_once = min(len(blocks), together_for(SpaceStage(config, 0), BATCH))
        busy = statistics.mean(shares) if shares else None
        one = found.figures["stages"][space] = {
            "blocks": len(blocks),
            "images": len(task.train),
            "epochs": recipe.epochs,
            "device_s": there.seconds,
            "device_ms_a_step_of_a_block": 1e3 * device_s / steps / at_once,
            "processor_ms_a_step_of_a_block": 1e3 * processor_s / steps / len(few),
            "first_epoch_off": off,
            "gpu_busy_percent": busy,
        }
        faster = one["processor_ms_a_step_of_a_block"] / one["device_ms_a_step_of_a_block"]
        found.lines.append(
            f"{space:6} stage 0: `distill` of {len(blocks)} blocks takes {one['device_ms_a_step_of_a_block']:.2f} ms for a step "
            f"of a block, {faster:.1f} x as fast as on the processor; "
            f"GPU busy {'unknown' if busy is None else f'{busy:.0f} %'}; first epoch off by {off:.2%}"
        )
        if not off <= LOSS_MIXED or not all(map(math.isfinite, there.nsr.tolist())):
            found.faults.append(
                f"{space} stage 0: losses of the first epoch are off the processor's by {off:.2%}"
            )
        chosen.keep(found)
    return found


def distilled(teacher: Any, task: Any, recipe: Any, blocks: Sequence[Any], device: str) -> tuple[Any, float]:
    """Distill blocks of the first stage; return them, and the median seconds of an epoch after the first of its group."""
    from search.distillation.distill import distil_stage
    from search.distillation.teacher_features import StageTask
    from search.training.history import EpochDone

    ends: list[tuple[int, float]] = []

    def ended(done: EpochDone) -> None:
        ends.append((done.first, time.perf_counter()))

    library = distil_stage(StageTask(teacher, task, 0, device=device), recipe, blocks, on_epoch=ended)
    taken = [later - earlier for (one, earlier), (other, later) in pairwise(ends) if one == other]
    return library, statistics.median(taken)


def check_doctor(chosen: argparse.Namespace) -> Found:
    """Run `harness doctor` on this machine."""
    done = harness(["doctor", "--json"], 60, statuses=[0, 3, 4])  # 3: a check failed
    (checks,) = json.loads(done.stdout).values()
    lines = [f"{one['status']:4} {one['name']}: {one['found']}" for one in checks]
    faults = [line for line, one in zip(lines, checks, strict=True) if one["status"] == "FAIL"]
    return Found(figures={"checks": checks}, lines=lines, faults=faults)


def check_energy(chosen: argparse.Namespace) -> Found:
    """Read the GPU's sensor of energy for some seconds, and compare its mean power with what nvidia-smi tells."""
    from device_agents.energy import find_meter
    from device_agents.facts import parse_gpus
    from device_agents.gauges import find_update_s
    from device_agents.nvidia import ask_gpus, open_gpu
    from device_agents.readings import run_with_deadline

    meter, reasons = find_meter(Path("/"), "CUDAExecutionProvider", lambda: open_gpu(0))
    if meter is None or meter.kind != "nvml":
        raise NotThere("; ".join(reasons) or "NVML is not what tells the energy here")
    update_s = find_update_s(meter.latest)
    first, told_w = meter.read(), list[float]()
    for _ in range(ENERGY_READS):
        time.sleep(1.0)
        told_w.append(parse_gpus(ask_gpus(run_with_deadline)[1])[0]["power_w"])
    last = meter.read()
    if first is None or last is None:
        raise RuntimeError("the sensor fell silent")
    figures: dict[str, Any] = {"sensor": meter.describe(), "update_s": update_s, "nvidia_smi_w": told_w}
    figures["readings"] = [first, last]
    seconds = (last["at_ns"] - first["at_ns"]) / 1e9
    joules = sum(last["uj"][name] - first["uj"][name] for name in first["uj"]) / 1e6
    watts = joules / seconds if first["uj"] else sum(last["uw"].values()) / 1e6
    apart = watts / statistics.fmean(told_w) - 1
    faults = [] if abs(apart) <= POWER else [f"{apart:+.0%} off nvidia-smi's power, more than {POWER:.0%}"]
    if update_s is None:
        faults.append("its value did not change within a minute")
    every = "at no known period" if update_s is None else f"every {1e3 * update_s:.0f} ms"
    kind = "counter" if first["uj"] else "power"
    line = f"NVML's {kind} changes {every}; {watts:.1f} W at rest, {apart:+.1%} off nvidia-smi's {ENERGY_READS} readings"
    return Found(figures=figures | {"watts": watts}, lines=[line], faults=faults)


def check_measuring(chosen: argparse.Namespace) -> Found:
    """Measure random networks in two campaigns with empty stores on the processor."""
    return campaigns(chosen, "onnxruntime:cpu", chosen.networks)


def check_measuring_cuda(chosen: argparse.Namespace) -> Found:
    """Measure random networks in two campaigns on the GPU; compare outputs and see which provider ran the nodes."""
    need_provider("CUDAExecutionProvider", CUDA_REMEDY)
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


def check_precisions(chosen: argparse.Namespace) -> Found:
    """Measure networks in fp32, fp16 and int8 on the GPU: latencies, outputs off torch's, and what fails with which words."""
    need_provider("CUDAExecutionProvider", CUDA_REMEDY)
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/s.sqlite"
        asked = [word for precision in PRECISIONS for word in ("--precision", precision)]
        asked += ["--runtime", "onnxruntime:cuda", "--models", f"sample:{SAMPLED}@11", "--level", "quick"]
        done = harness(["measure", *asked, "--store", store, "--json"], 110, statuses=[0, 3])
        failures = failures_of(store)
    rows = json.loads(done.stdout or "[]")
    figures: dict[str, Any] = {"status": done.returncode, "said": done.stderr[-3000:], "failures": failures}
    lines = list(failures)
    for precision in PRECISIONS:
        of_it = [row for row in rows if row["precision"] == precision]
        found = {key: [row[key] for row in of_it] for key in ("latency_ms", "output_error", "grade")}
        figures[precision] = found
        latencies = ", ".join(f"{value:.3f}" for value in found["latency_ms"])
        off = max((value for value in found["output_error"] if value is not None), default=None)
        lines.append(f"{precision}: {len(of_it)} of {SAMPLED} networks; {latencies} ms; outputs off by {off}")
    return Found(figures=figures, lines=lines, faults=precision_faults(rows, failures))


def precision_faults(rows: Sequence[dict[str, Any]], failures: Sequence[str]) -> list[str]:
    """Return what is wrong with networks in each precision: int8 alone may be refused, for nodes that the GPU does not run."""
    faults = [one for one in failures if REFUSED not in one]
    for precision in PRECISIONS:
        errors = [row["output_error"] for row in rows if row["precision"] == precision]
        may_lack = precision == "int8" and len(faults) < len(failures)
        if len(errors) < SAMPLED and not may_lack:
            told = "; ".join(failures) or "no failure is told"
            faults.append(f"{precision}: {len(errors)} of {SAMPLED} networks are measured: {told}")
        if precision != "int8" and any(is_off(error) for error in errors):
            faults.append(f"{precision}: outputs are off by {errors}")
    return faults


def is_off(error: float | None) -> bool:
    """Tell whether outputs are off by more than they may be, or by what no comparison tells."""
    return error is None or not error <= FORWARD_MIXED


def check_graphs(chosen: argparse.Namespace) -> Found:
    """Measure networks with and without CUDA graphs, of 1 and of 64 images a run, with the card's own times beside the walls."""
    need_provider("CUDAExecutionProvider", CUDA_REMEDY)
    return provider_rows(["onnxruntime:cuda", "onnxruntime:cuda+graph"], ["--batch", "1,64"])


def check_tensorrt(chosen: argparse.Namespace) -> Found:
    """Measure networks by TensorRT in fp16, with and without graphs; see whether the second worker finds the engines."""
    need_provider("TensorrtExecutionProvider", "install TensorRT: pip install tensorrt-cu12")
    options = "[devices.local.provider_options.tensorrt]\ntrt_fp16_enable = true\n"
    asked = ["onnxruntime:tensorrt", "onnxruntime:tensorrt+graph"]
    found = provider_rows(asked, ["--sessions", "2"], "[devices.local]\ntransport = 'local'\n" + options)
    faults = list(found.faults)
    for architecture, loads_ns in found.figures["loads_ns"].items():
        if loads_ns[-1] > COMPILED_NS and not loads_ns[-1] < loads_ns[0] / 2:
            faults.append(
                f"{architecture}: engines were compiled again, or not kept: loaded in {loads_ns} ns"
            )
    return replace(found, faults=faults)


def check_litert(chosen: argparse.Namespace) -> Found:
    """Measure networks by LiteRT on the processor and on the GPU (WebGPU, by Vulkan): outputs, shares of operators, latencies.

    The first file is what the others, and itself, are timed beside. Each runtime has a store and a process of its own.
    """
    devices = need_vulkan()
    found = Found(figures={"vulkan": devices, "runtimes": {}})
    found.lines.append("; ".join(f"{one['name']} ({one['kind']})" for one in devices))
    is_real = any(one["kind"] != "processor" for one in devices)
    if chosen.device != "cpu" and not is_real:
        found.faults.append("Vulkan finds no GPU here but one in software, whose times say nothing")
    with tempfile.TemporaryDirectory() as folder:
        files = [str(path) for path in chosen.tflite] or exported_files(chosen.spaces, folder)
        for runtime in LITERT:
            one = litert_rows(runtime, files, folder)
            found.figures["runtimes"][runtime] = one
            if one["status"] is None:
                found.faults.append(f"{runtime}: {one['said']}")
            for name in (Path(file).name for file in files):
                line, faults = judged_litert(runtime, name, found.figures["runtimes"])
                found.lines.append(line)
                # A GPU in software computes on the measured core, so that sessions may give no latency.
                found.faults.extend(f for f in faults if is_real or not f.endswith(NO_LATENCY))
            chosen.keep(found)
    return found


LITERT = ("litert", "litert:gpu-fp32", "litert:gpu", "litert:gpu-fp32+cpu")
LITERT_S = 30.0  # for one runtime: some 10 s on a free machine
NO_LATENCY = "no latency: every session was contended or throttled"


def need_vulkan() -> list[dict[str, str]]:
    """Return the devices that Vulkan finds. Raises: NotThere without them, or without LiteRT and its library for GPUs."""
    from vulkan import LOADER, vulkan_devices

    from device_agents.refusal import Refusal
    from device_agents.runtimes import litert

    try:
        providers = litert.providers()
    except (ModuleNotFoundError, Refusal) as error:
        raise NotThere(f"no LiteRT here: {error}; pip install ai-edge-litert") from error
    if not any(name.startswith("GPU") for name in providers):
        raise NotThere(f"LiteRT has no library for GPUs here, but: {', '.join(providers)}")
    try:
        devices = vulkan_devices()
    except OSError as error:
        remedy = f"install {LOADER} (Debian: apt install libvulkan1) and the card's driver; VK_DRIVER_FILES names its .json"
        raise NotThere(f"no Vulkan here: {error}; {remedy}") from error
    if not devices:
        raise NotThere("Vulkan finds no device; VK_DRIVER_FILES names the .json of the card's driver")
    return devices


def exported_files(spaces: Sequence[str], folder: str) -> list[str]:
    """Write a network of each space as TFLite. Raises: NotThere without TensorFlow."""
    import importlib.util

    if importlib.util.find_spec("tensorflow") is None:
        raise NotThere("no TensorFlow to export networks with; name files made elsewhere: --tflite FILE...")
    paths = [str(Path(folder, f"{space}.tflite")) for space in spaces]
    for space, path in zip(spaces, paths, strict=True):
        harness(["export", NETWORKS[space], "--space", space, "--format", "tflite", "-o", path], 90)
    return paths


def litert_rows(runtime: str, files: Sequence[str], folder: str) -> dict[str, Any]:
    """Measure files in one of LiteRT's runtimes; return the rows of latencies, and what each session and failure tells."""
    from harness.estimates.outputs import output_error, output_limit
    from harness.records import PURPOSES
    from harness.store import Store
    from harness.store.latencies import latencies

    url = f"sqlite:///{folder}/{runtime.replace(':', '-')}.sqlite"
    asked = ["--reference", files[0], "--level", "quick", "--sessions", "2", "--store", url]
    begin = time.perf_counter()
    status, said = None, f"did not end within {LITERT_S:.0f} s"
    try:
        done = harness(["measure", *files, "--runtime", runtime, *asked], LITERT_S, statuses=[0, 3, 4])
        status, said = done.returncode, done.stderr[-3000:]
    except subprocess.TimeoutExpired:  # its sessions so far are in the store
        pass
    with Store(url) as store:
        sessions = [
            session
            for configuration in store.configurations()
            for purpose in PURPOSES
            for session in store.sessions(configuration, purpose=purpose)
        ]
        rows = [row for configuration in store.configurations() for row in latencies(store, configuration)]
        failures = [f"{one.architecture}: {one.kind}: {one.message}" for one in store.failures()]
    return {
        "seconds": time.perf_counter() - begin,
        "rows": {
            row.architecture: {
                "latency_ms": row.latency_ms,
                "interval_ms": row.interval_ms,
                "grade": row.grade,
                "findings": [finding.kind for finding in row.findings],
            }
            for row in rows
        },
        "sessions": [
            {
                "name": session.architecture,
                "purpose": session.purpose,
                "shares": session.conditions_after.get("shares"),
                "arithmetic": session.arithmetic,
                "output_error": output_error(session),
                "output_limit": output_limit(session.configuration),
                "gpu_clocks_mhz": [s["gpu_clock_mhz"] for s in session.samples if "gpu_clock_mhz" in s],
                "load_ms": session.load_ns / 1e6,
                "first_run_ms": session.first_run_ns / 1e6,
            }
            for session in sessions
        ],
        "failures": failures,
        "status": status,
        "said": said,
    }


def judged_litert(runtime: str, name: str, found: dict[str, Any]) -> tuple[str, list[str]]:
    """Return a line of a file's measurements in a runtime, `found` by runtime, and its faults."""
    told = f"{runtime} {name}"
    sessions = [one for one in found[runtime]["sessions"] if one["name"] == name]
    if not sessions:
        why = "; ".join(found[runtime]["failures"]) or found[runtime]["said"][-800:]
        return f"{told}: not measured", [f"{told}: not measured: {why}"]
    faults = []
    errors = [one["output_error"] for one in sessions]
    if not all(e is not None and e <= one["output_limit"] for e, one in zip(errors, sessions, strict=True)):
        faults.append(f"{told}: outputs are off by {errors}, beyond {sessions[0]['output_limit']:g}")
    shares = [one["shares"] for one in sessions]
    accelerator = runtime.partition(":")[2].partition("+")[0] or "cpu"
    if not all(isinstance(s, dict) and list(map(str.lower, s)) == [accelerator] for s in shares):
        faults.append(f"{told}: operators ran elsewhere: {shares}")
    row, beside = (found[one]["rows"].get(name) for one in (runtime, LITERT[0]))
    if row is None:
        faults.append(f"{told}: {NO_LATENCY}")
        latency = "no latency"
    else:
        times = f", {row['latency_ms'] / beside['latency_ms']:.2f} x the processor's" if beside else ""
        latency = f"{row['latency_ms']:.3f} ms{times}, grade {row['grade']}"
    clocks = [clock for one in sessions for clock in one["gpu_clocks_mhz"]]
    at = f", GPU at {min(clocks):.0f} to {max(clocks):.0f} MHz" if clocks else ""
    return f"{told}: {latency}; off by {max(e or 0.0 for e in errors):.1e}; {shares[0]}{at}", faults


def need_provider(provider: str, remedy: str) -> None:
    """Raise NotThere where ONNX Runtime here has no such provider."""
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise NotThere(f"{provider} is absent: onnxruntime has no such provider here; {remedy}")


def provider_rows(runtimes: Sequence[str], asked: Sequence[str], devices: str = "") -> Found:
    """Measure two networks in some runtimes; compare outputs, and device times with walls. devices: a devices.toml."""
    from device_agents.names import short_provider
    from harness.devices.config import parse_runtime
    from harness.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store, path = f"sqlite:///{folder}/s.sqlite", Path(folder, "devices.toml")
        path.write_text(devices, encoding="utf-8")
        named = [word for runtime in runtimes for word in ("--runtime", runtime)]
        command = [
            "measure",
            *named,
            "--models",
            f"sample:{PROVIDED}@11",
            "--level",
            "screen",
            "--store",
            store,
            "--json",
        ]
        many = [] if "--sessions" in asked else ["--sessions", "1"]
        done = harness([*command, *asked, *many, "--devices", str(path)], 110, statuses=[0, 3])
        with Store(store) as kept:
            sessions = [one for c in kept.configurations() for one in kept.sessions(c)]
        failures = failures_of(store)
    rows = json.loads(done.stdout or "[]")
    if not rows and any(TENSORRT_LIBRARY in told for told in failures):
        raise NotThere(f"TensorRT is absent: ONNX Runtime lists its provider, but {failures[0]}")
    keys = (
        *("provider", "batch", "latency_ms", "wall_median_ms", "device_ms", "images_per_s"),
        *("output_error", "grade"),
    )
    kept_rows = [{key: row[key] for key in keys} for row in rows]
    loads: dict[str, list[int]] = {}
    for session in sorted(sessions, key=lambda one: one.started_utc):
        loads.setdefault(f"{session.architecture} {session.configuration.provider}", []).append(
            session.load_ns
        )
    faults = [] if rows else [f"nothing was measured: {done.stderr[-1500:]} {failures}"]
    batches = asked[asked.index("--batch") + 1].split(",") if "--batch" in asked else ["1"]
    counts = Counter((short_provider(row["provider"]), str(row["batch"])) for row in rows)
    for runtime, batch in product(runtimes, batches):
        if (count := counts[parse_runtime(runtime)[1], batch]) < PROVIDED and rows:
            told = "; ".join(failures) or done.stderr[-1500:]
            faults.append(f"{runtime} at batch {batch}: {count} of {PROVIDED} networks are measured: {told}")
    for row in kept_rows:
        name = f"{row['provider']} at batch {row['batch']}"
        if is_off(row["output_error"]):
            faults.append(f"{name}: outputs are off by {row['output_error']}")
        if row["device_ms"] is None:
            faults.append(f"{name}: no time by the card's events")
        elif not row["device_ms"] <= 1.2 * row["wall_median_ms"]:
            faults.append(
                f"{name}: {row['device_ms']:.3f} ms by its events are more than {row['wall_median_ms']:.3f} ms of wall"
            )
    lines = failures + [
        f"{row['provider']} batch {row['batch']}: {row['latency_ms']:.3f} ms, wall {row['wall_median_ms']:.3f} ms, "
        f"device {row['device_ms']} ms, "
        f"{row['images_per_s']:.0f} images/s, off by {row['output_error']}, grade {row['grade']}"
        for row in kept_rows
    ]
    figures = {"rows": kept_rows, "loads_ns": loads, "status": done.returncode, "said": done.stderr[-3000:]}
    figures["failures"] = failures
    return Found(figures=figures, lines=lines, faults=faults)


def provider_outputs(providers: Sequence[str]) -> dict[str, list[list[float]]]:
    """Return the first output values of some networks under each provider, each on the agent's fixed input."""
    from campaigns import models_of

    from device_agents.runtimes import onnxruntime_cpu

    outputs: dict[str, list[list[float]]] = {provider: [] for provider in providers}
    for model in models_of(["sample:4@11"]).models("onnx"):
        data = model.assemble().whole()
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
            first_s = f"the first campaign measured {len(rows[0])} networks in {seconds[0]:.0f} s"
            chosen.keep(Found(figures={"rows": [[*each.values()] for each in rows]}, lines=[first_s]))
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

    with Store(store_url) as store:
        sessions = [s for c in store.configurations() for s in store.sessions(c)]
        throttled = [s for c in store.configurations() for s in store.sessions(c, purpose="throttled")]
    samples = [sample for session in [*sessions, *throttled] for sample in session.samples]
    clocks = [sample["gpu_clock_mhz"] for sample in samples if "gpu_clock_mhz" in sample]
    return {
        "count": len(sessions),
        "throttled": len(throttled),
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


def failures_of(store_url: str) -> list[str]:
    """Return what the failures of a store say, each once."""
    done = harness(["results", "--failures", "--store", store_url, "--json"], 30, statuses=[0, 3])
    told = json.loads(done.stdout or "[]")
    return sorted({f"{one['kind']}: {one['message']}" for one in told})


def counted(values: Iterable[Any]) -> dict[str, int]:
    """Return how often each value is there."""
    return {str(value): count for value, count in Counter(values).items()}


def harness(
    arguments: Sequence[str], timeout_s: float, statuses: Sequence[int] = (0,)
) -> subprocess.CompletedProcess[str]:
    """Run the command `harness`. Raises: RuntimeError with what it said, where it ends with another status."""
    command = [sys.executable, "-m", "harness.commands.app", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode not in statuses:
        raise RuntimeError(
            f"harness {' '.join(arguments)} ended with {done.returncode}: {(done.stderr or done.stdout)[-1500:]}"
        )
    return done


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
    "machine": (check_machine, 10.0),
    "measuring-cuda": (check_measuring_cuda, 115.0),
    "tensorrt": (check_tensorrt, 65.0),
    "litert": (check_litert, 65.0),
    "training": (check_training, 75.0),
    "distilling": (check_distilling, 60.0),
    "agreement": (check_agreement, 35.0),
    "doctor": (check_doctor, 25.0),
    "energy": (check_energy, 15.0),
    "graphs": (check_graphs, 70.0),
    "precisions": (check_precisions, 95.0),
    "measuring": (check_measuring, 75.0),
}
"""Name -> the check and the seconds that it needs, in the order in which they run: by importance.

Up to `energy` they fit into eight minutes together, whatever each takes; the others run in what those leave over, as a
check that is not there leaves all of its time. What each took on an H100 is in docs/evidence/gpu-h100.json.
"""
