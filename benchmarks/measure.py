"""Time outside the timing loop, on this machine: a campaign against the script that people write by hand.

    python benchmarks/measure.py [--networks 12]

The script by hand exports each network whole in a fresh process, warms up and times it; the campaign measures the same
networks in the same run, so that the ratio holds on a noisy machine. Prints a table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from campaigns import run
from machine import describe_machine, option_parser

from harness.measurement.plan import Options
from harness.store import Store
from space.selection import select_models

BY_HAND = """
import json, sys, time
import torch, numpy, onnxruntime
from space import Architecture
from space.networks import build_network
network = build_network(Architecture.parse(sys.argv[1])).eval()
torch.onnx.export(network, (torch.randn(1, 3, 32, 32),), sys.argv[2], dynamo=False, opset_version=17)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
name, image = session.get_inputs()[0].name, numpy.random.rand(1, 3, 32, 32).astype("float32")
begin = time.perf_counter()
for _ in range(50):
    session.run(None, {name: image})
for _ in range(250):
    session.run(None, {name: image})
print(json.dumps(time.perf_counter() - begin))
"""


def campaign(selection: list[str], model_format: str, folder: Path) -> tuple[float, float, float]:
    """Measure networks in a new store; return wall time, time in worker processes and time in timing loops, in s."""
    options = Options(formats=(model_format,), sessions=1)
    with Store(str(folder / f"{model_format}.sqlite")) as store:
        run(selection[:1], store, options)  # connection, calibration and sending the weights, once for all
        outcome = run(selection, store, options)
        sessions_of = [s for use in outcome.uses for s in store.sessions(use.configuration)]
    measured = [s for s in sessions_of if s.campaign_id == outcome.campaign_id]
    return outcome.elapsed_s, sum(s.elapsed_s for s in measured), sum(s.loop_s for s in measured)


def by_hand(networks: list[str], folder: Path) -> tuple[float, float]:
    """Run the script by hand on each network; return wall time and time in timing loops, in s."""
    begin, loop_s = time.perf_counter(), 0.0
    for text in networks:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BY_HAND, text, str(folder / "by-hand.onnx")],
            capture_output=True,
            text=True,
            check=True,
        )
        loop_s += json.loads(done.stdout.splitlines()[-1])
    return time.perf_counter() - begin, loop_s


def main() -> None:
    """Run both and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--format", choices=["onnx", "tflite"], action="append", dest="formats")
    arguments = parser.parse_args()
    count, formats = arguments.networks, arguments.formats or ["onnx", "tflite"]
    networks = [str(a) for a in select_models(f"sample:{count}@7")]
    print(describe_machine())
    print(
        f"{'time outside the timing loop, local device':<46}{'wall s':>8}{'loop s':>8}{'outside':>9}{'s a network':>13}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hand_wall_s, hand_loop_s = by_hand(networks[:4], folder)
        rows = [("script by hand, ONNX (4 networks)", 4, hand_wall_s, hand_loop_s)]
        for model_format in formats:
            wall_s, worker_s, loop_s = campaign(networks, model_format, folder)
            rows.append(
                (f"harness, {model_format} ({len(networks) - 1} networks)", len(networks) - 1, wall_s, loop_s)
            )
            rows.append(
                (f"  within its worker processes, {model_format}", len(networks) - 1, worker_s, loop_s)
            )
        for label, number, wall_s, loop_s in rows:
            share = 1 - loop_s / wall_s
            print(f"{label:<46}{wall_s:8.1f}{loop_s:8.1f}{share:9.1%}{(wall_s - loop_s) / number:13.2f}")
        outside = [(wall_s - loop_s) / number for _, number, wall_s, loop_s in rows]
        print(f"time outside a network: by hand / harness = {outside[0] / outside[1]:.1f} (ONNX)")
        print("target: harness <= 20 % outside")


if __name__ == "__main__":
    main()
