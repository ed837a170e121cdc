"""What comes from outside under coverage-guided fuzzing: no exception but the project's own, no hang, no flood of memory.

    pip install 'harness[benchmarks]'
    python benchmarks/fuzz.py [--seconds 30] [--reader blox ...] [--findings fuzz-findings]

Readers of published files, of users' tables and model files, of the wire, of what a device says, of files that people write,
of stores. Each is fed by libFuzzer (through atheris) in a process of its own, from real examples with made-up (synthetic)
values; the reader `all` is all of them in one process, the first byte of an input chooses which. `.blox` payloads are
compressed again after each mutation, so that they pass the checksum. "Edges" are branches of this project's code that some
input took, "features" count how often, too. A finding is written to a folder and ends the run with status 1: an exception
that is not the project's own, an input that takes more than 10 s, or more than 2 GiB of memory.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from fuzz_targets import TARGETS, Target
from machine import describe_machine, option_parser

TIMEOUT_S = 10
MEMORY_MB = 2048
MAX_BYTES = 8192
ALL = "all"
INSTRUMENTED = ("space", "exporters", "harness", "search", "device_agents")
ONE_READER = "--one-reader"  # how this program starts itself


def targets() -> dict[str, Callable[[], Target]]:
    """Return how to make the target of each reader; importing what it reads with is left to the fuzzed process."""
    return {
        "header": _header,
        "blox": lambda: _published(".blox"),
        "csv": lambda: _published(".csv"),
        "pickle": lambda: _published(".pickle"),
        "own-csv": lambda: _own(".csv"),
        "own-parquet": lambda: _own(".parquet"),
        **TARGETS,
    }


def together(made: list[Target]) -> Target:
    """Return a target of several: the first byte of an input chooses one of them."""

    def read(data: bytes) -> None:
        one = made[data[0] % len(made)] if data else made[0]
        with contextlib.suppress(*one.expected):
            one.read(data[1:])

    seeds = [bytes([place]) + seed for place, one in enumerate(made) for seed in one.seeds]
    words = tuple(dict.fromkeys(word for one in made for word in one.words))
    return Target(read=read, seeds=seeds, words=words)


def _synthetic_files(suffix: str) -> list[bytes]:
    """Return small published files of each type, made up."""
    from space.dataset import Dataset, bench_dataset, write_dataset

    extra = {"seed": 0, "epochs": 3, "dataset": "synthetic", "part": "base"}
    indices = [1, 7, 91_124]
    even = {"val_top1": [[1.0, 50.0, 51.02]] * 3, "test_top1": [50.0, 51.0, 52.5], "train_time_s": [1, 2, 3]}
    uneven = {"train_top5": [[2.0], [3.0, 4.0], [5.0, 6.0, 7.0]], "val_loss": [[0.5], [4.6, 1.0], [0.0]]}
    vectors = [[[0, 1, 1, 0, 0]] * 3]
    made = [
        Dataset(dataset_type="training", indices=indices, columns=even, extra=extra),
        Dataset(dataset_type="training", indices=indices, columns=uneven, extra=extra),
        Dataset(
            dataset_type="static",
            indices=[_index_of(vectors[0])],
            columns={"params": [5], "flops": [6], "arch_vec": vectors},
            extra={},
        ),
        Dataset(dataset_type="env", indices=indices, columns={"gpu": ["a", "", "c"]}, extra={"seed": 1}),
        bench_dataset("synthetic", indices, [0.5, 0.25, 1e-6]),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file{suffix}")
        contents = []
        for dataset in made:
            write_dataset(path, dataset)
            contents.append(path.read_bytes())
    return contents


def _index_of(stages: list[list[int]]) -> int:
    from space import Architecture

    return Architecture.from_vector([[[stage[0]], stage[1:]] for stage in stages]).index


def _split(content: bytes) -> tuple[bytes, bytes]:
    end = content.index(b"\n---\n") + 5
    return content[:end], content[end:]


def _header() -> Target:
    from space import BLOX
    from space.dataset.header import parse_header

    seeds = [_split(content)[0] for suffix in (".blox", ".csv") for content in _synthetic_files(suffix)]
    return Target(read=lambda data: parse_header(data, BLOX), seeds=seeds)


def _published(suffix: str) -> Target:
    """Feed the rows of a format; the first byte of an input chooses the header that they follow."""
    from space import BLOX
    from space.dataset import Dataset, csv_rows, custom_rows, pickle_rows
    from space.dataset.header import parse_header
    from space.dataset.keys import indices_of_digests

    decode = {".blox": custom_rows, ".csv": csv_rows, ".pickle": pickle_rows}[suffix].decode
    heads, payloads = zip(*map(_split, _synthetic_files(suffix)), strict=True)
    headers = [parse_header(head, BLOX)[0] for head in heads]

    def read(data: bytes) -> None:
        header = headers[data[0] % len(headers)] if data else headers[0]
        payload = data[1:]
        if suffix == ".blox":
            payload = zlib.compress((8 * len(payload)).to_bytes(8, "little") + payload, 1)
        digests, columns = decode(payload, header, BLOX)
        if len(digests):
            Dataset(
                dataset_type=header.dataset_type,
                indices=indices_of_digests(digests, BLOX),
                columns=columns,
                extra=header.extra,
            )

    if suffix == ".blox":
        payloads = [zlib.decompress(payload)[8:] for payload in payloads]
    return Target(read=read, seeds=[bytes([i]) + payload for i, payload in enumerate(payloads)])


def _own(suffix: str) -> Target:
    from space import Architecture
    from space.accuracies.user_table import measured_of

    networks = [Architecture.from_index(index) for index in (1, 7, 91_124)]
    columns: list[dict[str, list[object]]] = [
        {"model": [str(a) for a in networks], "synthetic": [50.0, 51.5, 52.0]},
        {
            "hash": [a.graph_hash for a in networks] * 2,
            "seed": [0, 0, 0, 1, 1, 1],
            "synthetic": [50.0, None, 3.0] * 2,
        },
        {"index": [a.index for a in networks], "note": ["a", "b", "c"], "val_top1": [50, 51, 52]},
        {"arch_vec": [str(a.vector) for a in networks], "synthetic": [50.0, 51.5, 52.0]},
    ]
    if suffix == ".csv":
        import csv

        seeds = []
        for table in columns:
            text = io.StringIO(newline="")
            csv.writer(text).writerows([list(table), *zip(*table.values(), strict=True)])
            seeds.append(text.getvalue().encode())
    else:
        import pyarrow as pa
        from pyarrow import parquet

        seeds = []
        for table, compression in zip(columns, ("none", "snappy", "zstd", "none"), strict=True):
            content = io.BytesIO()
            parquet.write_table(pa.table(table), content, compression=compression, store_schema=False)
            seeds.append(content.getvalue())
    return Target(read=lambda data: measured_of(data, suffix), seeds=seeds)


def fuzz_one(reader: str, packages: str, arguments: list[str]) -> None:
    """Fuzz a reader here until libFuzzer ends it, by branches of `packages`; `arguments` are libFuzzer's, the corpus first."""
    import atheris

    with atheris.instrument_imports(include=packages.split(",")):  # what a target imports
        made = targets()
        target = together([make() for make in made.values()]) if reader == ALL else made[reader]()
        from space.errors import HarnessError

        expected = (HarnessError, *target.expected)
        corpus = Path(arguments[0])
        for place, seed in enumerate(target.seeds):
            with contextlib.suppress(*expected):
                target.read(seed)
            (corpus / f"seed-{place}").write_bytes(seed)

    if target.words:
        entries = ('"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"\n' for word in target.words)
        (corpus.parent / "words").write_text("".join(entries))
        arguments = [*arguments, f"-dict={corpus.parent / 'words'}"]

    def one_input(data: bytes) -> None:
        with contextlib.suppress(*expected):
            target.read(data)

    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


def fuzz(
    reader: str, seconds: int, findings: Path, packages: Sequence[str] = INSTRUMENTED
) -> tuple[str, bool]:
    """Fuzz a reader in a process of its own, by branches of some packages; return a line of figures, and whether something was
    found.
    """
    with tempfile.TemporaryDirectory() as folder:
        corpus, artifacts = Path(folder, "corpus"), Path(folder, "artifacts")
        corpus.mkdir(), artifacts.mkdir()
        command = [sys.executable, __file__, ONE_READER, reader, ",".join(packages), str(corpus)]
        command += [f"-max_total_time={seconds}"]
        command += [f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={MAX_BYTES}", "-seed=1"]
        command += [f"-artifact_prefix={artifacts}/", "-print_final_stats=1"]
        begin = time.perf_counter()
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 300,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},  # found as files
        )
        taken = time.perf_counter() - begin
        log = done.stdout + done.stderr
        executions = re.findall(r"stat::number_of_executed_units:\s+([0-9]+)", log)
        memory = re.findall(r"stat::peak_rss_mb:\s+([0-9]+)", log)
        progress = re.findall(r"cov: ([0-9]+) ft: ([0-9]+) corp: ([0-9]+)/", log)
        found = list(artifacts.iterdir())
        for path in found:
            findings.mkdir(parents=True, exist_ok=True)
            kept = findings / f"{reader}-{path.name}"
            kept.write_bytes(path.read_bytes())
            print(f"{reader}: finding kept as {kept}: {base64.b64encode(path.read_bytes()[:300]).decode()}")
        if done.returncode or found or not executions or not progress:
            print(log[-6000:], file=sys.stderr)
            return f"{reader:12} FINDING, or no run at all: status {done.returncode}", True
        edges, features, inputs = progress[-1]
        count = int(executions[0])
        return (
            f"{reader:12} {count:12,} {count / taken:10,.0f} {edges:>8} {features:>9} {inputs:>7} {memory[0]:>9} {'none':>9}",
            False,
        )


def main() -> None:
    """Fuzz each reader and print one table; end with status 1 on a finding."""
    if sys.argv[1:2] == [ONE_READER]:
        fuzz_one(sys.argv[2], sys.argv[3], sys.argv[4:])
        return
    parser = option_parser(__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each reader")
    parser.add_argument(
        "--reader", action="append", choices=[*targets(), ALL], help="only this one; may be repeated"
    )
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="folder for inputs that fail"
    )
    asked = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        raise SystemExit("atheris is missing: pip install 'harness[benchmarks]'") from None
    print(describe_machine())
    print(
        f"{'reader':12} {'executions':>12} {'a second':>10} {'edges':>8} {'features':>9} {'inputs':>7} "
        f"{'peak MiB':>9} {'findings':>9}"
    )
    failed = False
    for reader in asked.reader or targets():
        line, found = fuzz(reader, asked.seconds, asked.findings)
        print(line, flush=True)
        failed |= found
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
