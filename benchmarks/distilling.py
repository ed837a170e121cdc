"""Distilling all blocks of a stage together against one after another, on the same data.

    python benchmarks/distilling.py [--space tiny] [--batch 64] [--steps 4] [--rounds 3] [--threads 1] [--device cpu]

Each way takes the same steps with the same images from the same initial weights; the losses of the last step are compared, so
that a way that is fast because it does something else would show. Making the blocks, and stacking them, is not timed. The ways:

    as usual        a loop over blocks, each with the teacher's features computed anew in every step: plain PyTorch
    cached          the same with the teacher's features computed once for all blocks
    channels last   and with images laid out channels last, the layout that torch's CPU kernels prefer
    stacked         what `search.distillation.distill` does: all blocks as grouped convolutions of one module
    stacked, mixed  the same in bfloat16 where autocast allows it, on an accelerator alone; no recipe of distilling has that

Rounds of all ways alternate after one that warms up, so that a machine whose speed wanders slows all alike; a line shows medians
and the range over rounds, in wall time and in processor time, and how many times as fast as usual that is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from machine import describe_machine, option_parser
from torch import Tensor

from search.distillation.losses import errors
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import fresh_stage
from search.distillation.teacher_features import StageTask, teacher_features, teacher_network
from search.training.history import Epoch, Figures
from search.training.images import Task
from search.training.pixel_ops import normalize
from search.training.recipe import Recipe
from search.training.stacked_modules import StackedStages, repeated
from search.training.tasks import load_task
from search.training.trained import Trained
from space import Architecture, find_space
from space.networks import Stage, build_network
from space.stages import SpaceStage

RECIPE = DistilRecipe(epochs=1)
Way = Callable[[], Callable[[], Tensor]]
SAME = 0.02  # of the loss: rounding grows with the steps


def main() -> None:
    """Print the table of each stage."""
    parser = option_parser(__doc__)
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="of each block in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--blocks", type=int, default=0, help="the first so many blocks only; 0: all")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    config = find_space(chosen.space)
    task = load_task(f"synthetic:0:{-(-chosen.batch * chosen.steps // config.classes)}/2/2", config)
    teacher = untrained_teacher(task, chosen.space)
    blocks = config.blocks[: chosen.blocks or None]
    print(describe_machine())
    print(
        f"{len(blocks)} blocks of a stage of {config.name}, teacher {teacher.architecture}, {chosen.steps} steps of "
        f"{chosen.batch} synthetic images, {chosen.threads} threads, {chosen.device}"
    )
    for stage in range(config.stages):
        with ways_of(teacher, task, stage, chosen) as ways:
            _print(time_ways(ways, chosen.rounds, chosen.device), stage, len(blocks) * chosen.steps)


@contextmanager
def ways_of(teacher: Trained, task: Task, stage: int, chosen: argparse.Namespace) -> Iterator[dict[str, Way]]:
    """Give the ways by name; each makes its blocks and returns what takes the steps and gives the last losses.

    `chosen` has batch, steps, blocks and device.
    """
    config = teacher.architecture.config
    blocks, device = config.blocks[: chosen.blocks or None], chosen.device
    network = teacher_network(teacher, device)
    pixels = torch.tensor(task.train.images, device=device).permute(0, 3, 1, 2)

    with teacher_features(StageTask(teacher, task, stage, device=device)) as features:
        variance = features.variance.to(device)

        def fresh(channels_last: bool) -> list[Stage]:
            layout = torch.channels_last if channels_last else torch.contiguous_format
            made = [fresh_stage(RECIPE, SpaceStage(config, stage), block) for block in blocks]
            return [one.to(device, memory_format=layout) for one in made]

        def batches(layout: torch.memory_format) -> list[tuple[Tensor, Tensor]]:
            found = []
            for begin in range(0, chosen.steps * chosen.batch, chosen.batch):
                rows = slice(begin, begin + chosen.batch)
                found.append(
                    tuple(
                        part[rows].to(device).contiguous(memory_format=layout)
                        for part in (features.inputs, features.targets)
                    )
                )
            return found

        @torch.no_grad()
        def seen(begin: int) -> tuple[Tensor, Tensor]:
            x = network.stem(normalize(pixels[begin : begin + chosen.batch], task.mean, task.std))
            for before in network.stages[:stage]:
                x = before(x)
            return x, network.stages[stage](x)

        def alone(stages: list[Stage], data: Callable[[int], tuple[Tensor, Tensor]]) -> Tensor:
            losses = []
            for one in stages:
                one.train()
                optimizer = torch.optim.Adam(one.parameters(), lr=RECIPE.learning_rate)
                for step in range(chosen.steps):
                    inputs, targets = data(step)
                    loss = errors(one(inputs), targets, variance)[1].sum()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                losses.append(loss.detach())
            return torch.stack(losses)

        def stacked(whole: StackedStages, mixed: bool = False) -> Tensor:
            optimizer = torch.optim.Adam(whole.parameters(), lr=RECIPE.learning_rate)
            for inputs, targets in batches(torch.channels_last):
                with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
                    answers = whole(repeated(inputs, len(blocks)))
                losses = errors(answers.float(), targets, variance)[1]
                optimizer.zero_grad()
                losses.sum().backward()
                optimizer.step()
            return losses.detach()

        plain, last = batches(torch.contiguous_format), batches(torch.channels_last)

        def whole() -> StackedStages:
            return StackedStages(fresh(True)).to(device, memory_format=torch.channels_last).train()

        ways: dict[str, Way] = {
            "as usual": lambda: partial(alone, fresh(False), lambda step: seen(step * chosen.batch)),
            "cached": lambda: partial(alone, fresh(False), lambda step: plain[step]),
            "channels last": lambda: partial(alone, fresh(True), lambda step: last[step]),
            "stacked": lambda: partial(stacked, whole()),
        }
        if device != "cpu":
            ways["stacked, mixed"] = lambda: partial(stacked, whole(), mixed=True)
        yield ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A way's seconds a round, in wall time and in processor time, beside those of the usual way, and how its losses differ."""

    walls: list[float]
    cpus: list[float]
    faster: float  # median over rounds of the usual way's wall time over its own
    lighter: float  # the same of processor time
    off: float  # the losses' median distance to the usual way's, relative


def time_ways(ways: dict[str, Way], rounds: int, device: str) -> dict[str, Timed]:
    """Take rounds of all ways in turn, after one that warms up."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, Tensor] = {}
    for number in range(rounds + 1):
        for name, way in ways.items():
            steps = way()
            _settle(device)
            begin, cpu = time.perf_counter(), time.process_time()
            losses[name] = steps()
            _settle(device)
            if number:  # the first round warms up
                walls[name].append(time.perf_counter() - begin)
                cpus[name].append(time.process_time() - cpu)
    usual = "as usual"

    def faster(found: dict[str, list[float]], name: str) -> float:
        return statistics.median(one / other for one, other in zip(found[usual], found[name], strict=True))

    return {
        name: Timed(
            walls=walls[name],
            cpus=cpus[name],
            faster=faster(walls, name),
            lighter=faster(cpus, name),
            off=float(((losses[name] - losses[usual]).abs() / losses[usual]).median()),
        )
        for name in ways
    }


def _print(timed: dict[str, Timed], stage: int, steps: int) -> None:
    print(f"\nstage {stage}: ms for a step of one block")
    print(
        f"{'way':15s} {'wall':>8s} {'range':>17s} {'cpu':>8s} {'wall ratio':>11s} {'cpu ratio':>10s}  losses"
    )
    for name, found in timed.items():
        each = [1e3 * seconds / steps for seconds in found.walls]
        print(
            f"{name:15s} {statistics.median(each):8.2f} {f'{min(each):.2f} .. {max(each):.2f}':>17s} "
            f"{1e3 * statistics.median(found.cpus) / steps:8.2f} {found.faster:10.2f}x {found.lighter:9.2f}x  "
            f"{'the same' if found.off < SAME else f'{found.off:.0%} off'}"
        )


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def untrained_teacher(task: Task, space: str) -> Trained:
    """Return an untrained teacher: what is timed does not depend on its weights."""
    config = find_space(space)
    architecture = Architecture(blocks=(config.blocks[4],) * config.stages, config=config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(architecture)
    none = Figures(images=1, loss=0.0, first=0, among_five=0)
    epoch = Epoch(number=1, rate=0.0, train=none, val=none, train_ns=0, val_ns=0)
    return Trained(
        architecture=architecture,
        task=task.name,
        synthetic=True,
        recipe=Recipe(),
        history=(epoch,),
        test=none,
        weights=network.state_dict(),
        environment={},
    )


if __name__ == "__main__":
    main()
