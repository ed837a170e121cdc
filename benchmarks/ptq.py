"""What fp16 and int8 cost trained networks in accuracy, and whether values matter for latency: before and after training.

    python benchmarks/ptq.py FOLDER [--space tiny] [--networks 5] [--epochs 10] [--format onnx] [--format tflite] [--latency]

Networks are random ones of the space, trained by the short recipe; FOLDER keeps the trainings, so that a second run trains
nothing. int8 is calibrated on 256 training images. Printed is top-1 on the 200 validation and 300 test images: of the network
in torch, and of the exported file in its own runtime, with the points that it loses and the images that it classes otherwise.
An image of test is a third of a point.

--latency prints, of int8, another thing: the latency of the network with seeded weights and the space's fixed scales, as
latencies are measured, over that with its trained weights and the scales of its images. The two take turns in one process;
each ratio is the median of pairs of new sessions, and beside it stands the trained model's ratio to itself, by the same pairs:
what this machine tells apart. --task synthetic:0:4/4/4 has images in every space, and figures that are no accuracies.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from export import latency_ratio
from machine import describe_machine, option_parser

import harness
from exporters import Format, Precision
from harness.models.accuracy import SplitAccuracy
from harness.models.exported import ModelFile, export_network
from search.statistics import mean_interval
from search.work.training_folder import FinishedTraining

SEED = 5
PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
PAIRS = 3  # of new sessions, for each ratio


def main() -> None:
    """Train, export, and print a row for each model."""
    parser = option_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--format", action="append", dest="formats", choices=["onnx", "tflite"])
    parser.add_argument("--latency", action="store_true", help="latencies of int8 before and after training")
    arguments = parser.parse_args()
    trained = harness.train(
        f"sample:{arguments.networks}@{SEED}",
        arguments.folder,
        task=arguments.task,
        space=arguments.space,
        recipe={"epochs": arguments.epochs},
        together=arguments.networks if arguments.space == "tiny" else 1,
    )
    formats = arguments.formats or ("onnx", "tflite")
    print(describe_machine())
    if arguments.latency:
        print_latencies(trained, formats, arguments.space, arguments.task)
    else:
        print_accuracies(trained, formats, arguments.space, arguments.task)


def print_accuracies(
    trained: Sequence[FinishedTraining], formats: Sequence[Format], space: str, task: str
) -> None:
    """Print a row for each model, and the mean loss of each kind."""
    print(f"{task + ', top-1 in %':<50}{'val':>7}{'loss':>7}{'test':>8}{'loss':>7}{'otherwise':>11}")
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for one in trained:
            for number, (model_format, precision) in enumerate((f, p) for f in formats for p in PRECISIONS):
                found = export_trained(one, model_format, precision, Path(folder), space, task).accuracy
                assert found is not None
                val, test = found.val, found.test
                if number == 0:
                    name = f"{one.trained.architecture}, torch"
                    print(f"{name:<50}{val.torch_top1:>7.2f}{'':>7}{test.torch_top1:>8.2f}")
                name = f"{precision} {model_format}"
                print(f"  {name:<48}{_cells(val)} {_cells(test)}{val.changed + test.changed:>11}", flush=True)
                losses.setdefault(name, []).append(test.loss)
    for name, found_losses in losses.items():
        mean = sum(found_losses) / len(found_losses)
        print(f"{name}: loses {mean:+.2f} points of test on average, {max(found_losses):+.2f} at most")


def print_latencies(
    trained: Sequence[FinishedTraining], formats: Sequence[Format], space: str, task: str
) -> None:
    """Print a row for each network and format, and the geometric mean over networks with its 95 % interval."""
    print(f"{'int8 latency over that of the trained model':<60}{'seeded':>9}{'itself':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for model_format in formats:
            ratios: dict[str, list[float]] = {"seeded": [], "itself": []}
            for one in trained:
                network = str(one.trained.architecture)
                real = export_trained(one, model_format, "int8", Path(folder), space, task).path.read_bytes()
                path = Path(folder) / "seeded"
                export_network(network, model_format, path, precision="int8", space=space, force=True)
                for name, model in (("seeded", path.read_bytes()), ("itself", real)):
                    pairs = [latency_ratio(model_format, model, real) for _ in range(PAIRS)]
                    ratios[name].append(statistics.median(pairs))
                cells = "".join(f"{found[-1]:>9.3f}" for found in ratios.values())
                print(f"{f'{model_format}, {network}':<60}{cells}", flush=True)
            for name, found in ratios.items():
                mean, low, high = (float(np.exp(end)) for end in mean_interval(np.log(found)))
                print(
                    f"{model_format}: {name} / trained {mean:.4f}, {low:.4f} to {high:.4f} with 95 %",
                    flush=True,
                )


def export_trained(
    one: FinishedTraining, model_format: Format, precision: Precision, folder: Path, space: str, task: str
) -> ModelFile:
    """Export a trained network, calibrated on images of its task, with its accuracies."""
    return export_network(
        str(one.trained.architecture),
        model_format,
        folder / "model",
        precision=precision,
        checkpoint=one.weights,
        calibration=task,
        space=space,
        force=True,
    )


def _cells(split: SplitAccuracy) -> str:
    return f"{split.model_top1:>7.2f}{split.loss:>+7.2f}"


if __name__ == "__main__":
    main()
