"""What fp16 and int8 cost trained networks in accuracy: networks trained on digits, before and after export.

    python benchmarks/ptq.py FOLDER [--space tiny] [--networks 5] [--epochs 10] [--format onnx] [--format tflite]

Networks are random ones of the space, trained by the short recipe; FOLDER keeps the trainings, so that a second run trains
nothing. int8 is calibrated on 256 training images. Printed is top-1 on the 200 validation and 300 test images: of the network
in torch, and of the exported file in its own runtime, with the points that it loses and the images that it classes otherwise.
An image of test is a third of a point.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from machine import describe_machine

import harness
from harness.models.accuracy import SplitAccuracy
from harness.models.exported import export_network

SEED = 5


def main() -> None:
    """Train, export, and print a row for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--format", action="append", dest="formats", choices=["onnx", "tflite"])
    arguments = parser.parse_args()
    trained = harness.train(
        f"sample:{arguments.networks}@{SEED}",
        arguments.folder,
        space=arguments.space,
        recipe={"epochs": arguments.epochs},
        together=arguments.networks,
    )
    print(describe_machine())
    print(f"{'digits, top-1 in %':<50}{'val':>7}{'loss':>7}{'test':>8}{'loss':>7}{'otherwise':>11}")
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for one in trained:
            network = str(one.trained.architecture)
            for number, (model_format, precision) in enumerate(
                (f, p) for f in arguments.formats or ("onnx", "tflite") for p in ("fp16", "int8")
            ):
                found = export_network(
                    network,
                    model_format,
                    Path(folder) / "model",
                    precision=precision,  # type: ignore[arg-type]
                    checkpoint=one.weights,
                    calibration="digits",
                    space=arguments.space,
                    force=True,
                ).accuracy
                assert found is not None
                val, test = found.val, found.test
                if number == 0:
                    print(f"{network + ', torch':<50}{val.torch_top1:>7.2f}{'':>7}{test.torch_top1:>8.2f}")
                name = f"{precision} {model_format}"
                print(f"  {name:<48}{_cells(val)} {_cells(test)}{val.changed + test.changed:>11}", flush=True)
                losses.setdefault(name, []).append(test.loss)
    for name, found_losses in losses.items():
        mean = sum(found_losses) / len(found_losses)
        print(f"{name}: loses {mean:+.2f} points of test on average, {max(found_losses):+.2f} at most")


def _cells(split: SplitAccuracy) -> str:
    return f"{split.model_top1:>7.2f}{split.loss:>+7.2f}"


if __name__ == "__main__":
    main()
