"""What int8 networks compute on processors without 8-bit dot products: the kernels of AVX2 saturate sums of pairs at 16 bits.

    python benchmarks/saturation.py [--networks 4] [--processor Haswell] [--processor Nehalem]

Networks run in ONNX Runtime here, and under qemu's user mode as older processors (Debian package qemu-user-static): Haswell has
AVX2 and no VNNI, Nehalem neither. Printed is how far the logits of one image are from fp32's, |y - y'| / |y|, and whether
they equal this machine's: weights of 7 bits are to keep them equal. Emulation says nothing of time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import describe_machine, option_parser

from exporters import FragmentLibrary
from harness.models.exported import cache_folder
from space import BLOX
from space.selection import select_models

EMULATOR = "qemu-x86_64-static"
TIMEOUT_S = 900
_RUN = """
import sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
found, folder = [], sys.argv[1]
for path in sys.argv[2:]:
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found.append(session.run(None, {"image": numpy.load(folder + "/image.npy")})[0])
numpy.save(folder + "/found.npy", numpy.stack(found))
"""


def main() -> None:
    """Run the networks as each processor and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--processor", action="append", dest="processors", help="as qemu calls it")
    arguments = parser.parse_args()
    if shutil.which(EMULATOR) is None:
        sys.exit(f"no {EMULATOR}; install Debian's qemu-user-static")
    networks = select_models(f"sample:{arguments.networks}@3", BLOX)
    libraries = [
        FragmentLibrary.open("onnx", cache_dir=cache_folder(), precision=p) for p in ("fp32", "int8")
    ]
    models = [one.assembly(network).whole() for one in libraries for network in networks]
    image = (
        np.random.default_rng(0).uniform(-1, 1, (1, 3, BLOX.image_size, BLOX.image_size)).astype(np.float32)
    )
    print(describe_machine())
    print(f"{'int8 logits, off fp32 by':<34}{'median':>8}{'worst':>8}{'equal to here':>15}")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "image.npy", image)
        for k, model in enumerate(models):
            (Path(folder) / f"{k:03}.onnx").write_bytes(model)
        here, count = logits([], Path(folder)), len(networks)
        for name in ("", *(arguments.processors or ["Haswell", "Nehalem"])):
            found = logits([EMULATOR, "-cpu", name], Path(folder)) if name else here
            pairs = list(zip(found[count:], here[:count], strict=True))
            off = [float(np.linalg.norm(ours - single) / np.linalg.norm(single)) for ours, single in pairs]
            equal = sum(np.array_equal(a, b) for a, b in zip(found[count:], here[count:], strict=True))
            row = f"{name or 'this processor':<34}{np.median(off):8.3f}{max(off):8.3f}{f'{equal} of {count}':>15}"
            print(row, flush=True)


def logits(emulator: list[str], folder: Path) -> np.ndarray:
    """Return the logits of the folder's models, fp32 first, (models, 1, classes), computed in a process of its own."""
    paths = sorted(map(str, folder.glob("*.onnx")))
    command = [*emulator, str(Path(sys.executable).resolve()), "-c", _RUN, str(folder), *paths]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run(command, check=True, timeout=TIMEOUT_S, env=environment, stderr=subprocess.DEVNULL)
    return np.asarray(np.load(folder / "found.npy"))


if __name__ == "__main__":
    main()
