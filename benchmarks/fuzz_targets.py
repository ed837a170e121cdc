"""What is fuzzed of the harness itself: the wire, what a device says, the files that people write, and stores.

Each function returns a `Target`, whose seeds are real examples: the messages of tests/rigs/lying_device.py, tables of the
documentation, records of tests/factories. Nothing here runs a command or reads a file of this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

JSON_WORDS = (
    *("null", "true", "false", "NaN", "Infinity", "-1", "0", "1e300", "9223372036854775807", "0.5"),
    *('""', "[]", "{}", '{"a":1}', "[[1]]", '"\\u001b[31m"', '"\\ud800"', '"\\u0000"', ",", ":", '"'),
)
SSH_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAILWOGHxsMtHzKAzCm4pZk2ZmYZPxXBBIBVZ3SR4DXtHy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One reader: what it is fed with, inputs to begin with, and the exceptions that it may raise besides HarnessError.

    `words`: what inputs are changed by, besides bytes.
    """

    read: Callable[[bytes], object]
    seeds: list[bytes]
    words: tuple[str, ...] = ()
    expected: tuple[type[Exception], ...] = ()


def frames() -> Target:
    """Frames as the harness reads them: an agent's first line, then message after message."""
    from device_agents.frames import PREAMBLE
    from harness.devices.framing import FrameStream

    def read(data: bytes) -> None:
        stream = FrameStream(_Bytes(data))
        stream.wait_for_preamble(1.0)
        while True:
            stream.read(1.0)

    messages = b"".join(map(_frame, _messages().values()))
    return Target(read=read, seeds=[PREAMBLE + messages[:4000], b"Last login: today\n" + PREAMBLE + b"HRN1"])


def agent() -> Target:
    """Frames as the agent reads them, with the verbs that start no process."""
    from device_agents.agent import Agent
    from device_agents.fields import Fields
    from device_agents.frames import FrameError, FrameReader, FrameWriter
    from device_agents.jobs import parse_block_job, parse_job, parse_memory_job, parse_profile_job
    from device_agents.parts_cache import PartsCache
    from device_agents.refusal import Refusal

    root = Path(_folder())
    served = Agent(root, PartsCache(root, 1 << 16), root, "a" * 64, FrameReader(-1), FrameWriter(-1))

    def read(data: bytes) -> None:
        reader = FrameReader.of(data)
        while (frame := reader.take()) is not None:
            header, payload = frame
            try:
                if header.get("verb") in ("missing", "put", "evict", "lock"):
                    json.dumps(served._handle(header, payload), allow_nan=False)
                parse_job(header.get("job"))
                parse_profile_job(header.get("job"))
                parse_memory_job(header.get("job"))
                parse_block_job(header.get("job"))
                Fields("request", header).choice("verb", ("run",))
            except Refusal as refusal:
                json.dumps(refusal.header(), allow_nan=False)

    part = b"a part " * 40
    whole = {"id": 2, "verb": "put", "digest": hashlib.sha256(part).hexdigest(), "size_bytes": len(part)}
    recipe = {"format": "onnx", "alignment": 1, "parts": [whole["digest"]]}
    job = {"networks": [recipe], "reference": recipe, "runtime": "onnxruntime", "options": {}, "threads": 1}
    job |= {"cores": [0], "plan": {"max_s": 0.5, "min_slices": 3}, "silence_s": 5, "request": "nice"}
    own = recipe | {"shapes": {"input": [1, 3]}, "inputs": whole["digest"]}
    alone = {
        "network": own,
        "runtime": "onnxruntime",
        "options": {},
        "threads": 1,
        "cores": None,
        "silence_s": 5,
    }
    return Target(
        read=read,
        seeds=[
            _frame({"id": 1, "verb": "missing", "digests": [whole["digest"]]}),
            _frame(whole | {"encoding": "zlib", "dictionary": None}, zlib.compress(part)),
            _frame(whole | {"encoding": "raw", "offset": 0, "chunk_bytes": 10}, part[:10]),
            _frame({"id": 3, "verb": "evict", "max_bytes": 0}),
            _frame({"id": 4, "verb": "lock", "owner": "me"}),
            _frame({"id": 5, "verb": "run", "job": job}),
            _frame({"id": 6, "verb": "memory", "job": alone}),
            _frame({"id": 7, "verb": "profile", "job": alone | {"runs": 50}}),
            _frame({"id": 8, "verb": "blocks", "job": alone | {"reference": own, "blocks": [["idle", 1]]}}),
        ],
        expected=(FrameError, OSError),
    )


def answers() -> Target:
    """Answers, events and conditions of a device, checked, and then used as a campaign uses them; byte 0 chooses which."""
    from factories.records import make_fresh_run

    from device_agents.choices import version_name
    from device_agents.core_gate import QuietCores, verified_request
    from device_agents.throttling import clock_tier, closed_gates
    from harness.devices.answers import BadAnswer
    from harness.devices.conditions import hardware_name
    from harness.devices.config import LocalDevice
    from harness.devices.runtimes import allowed_cores, choose_runtimes
    from harness.measurement.profile import read_profile

    device = LocalDevice(name="made-up")

    def hello(said: Any) -> None:
        allowed_cores(device, said, 1, ())
        choose_runtimes(device, said, ["onnxruntime"], [])

    def probe(said: Any) -> None:
        closed_gates(said["conditions"], said["conditions"])
        clock_tier(said["conditions"], [0, 1])
        hardware_name({}, said["conditions"])

    def memory(said: Any) -> None:
        names = ("model_bytes", "empty_bytes", "peak_bytes", "is_reset", "load_ns", "first_run_ns")
        with contextlib.suppress(ValueError):  # which is a failure of that network
            run = replace(make_fresh_run(), **{name: said[name] for name in names})
            version_name(said["runtime"]), run.memory_bytes / 1e6

    uses: dict[str, Callable[[Any], object]] = {
        "answer hello": hello,
        "answer memory": memory,
        "answer probe": probe,
        "answer quiet": lambda said: QuietCores.of(said, 1),
        "answer permissions": verified_request,
        "answer profile": read_profile,
    }
    messages = _messages()
    names = list(messages)

    def read(data: bytes) -> None:
        name = names[data[0] % len(names)] if data else names[0]
        said = _json(data[1:])
        if isinstance(said, dict):
            checked = _check(name, said)
            if checked is not None:
                uses.get(name, json.dumps)(checked)

    seeds = [bytes([place]) + json.dumps(message).encode() for place, message in enumerate(messages.values())]
    return Target(read=read, seeds=seeds, expected=(BadAnswer,), words=JSON_WORDS)


def session() -> Target:
    """The events of a worker, made a record, and the record's estimates."""
    from harness.devices.answers import BadAnswer, check_event
    from harness.estimates.reference import reference_level_ns
    from harness.measurement.session_builder import SessionBuilder
    from harness.measurement.session_runner import setback
    from harness.records import SessionRecord
    from harness.store.writing import check_session

    identity = _identity()

    def read(data: bytes) -> None:
        events = _json(data)
        builder = SessionBuilder(
            2, lambda _: identity, lambda: "2024-05-01T00:00:00.000+00:00", scheduling={}
        )
        for event in events if isinstance(events, list) else ():
            checked = check_event(event) if isinstance(event, dict) else None
            found = builder.add(checked) if checked is not None else None
            if isinstance(found, SessionRecord):
                check_session(found)
                setback(found), reference_level_ns(found)

    seeds = [json.dumps(_events()).encode()]
    return Target(read=read, seeds=seeds, expected=(BadAnswer,), words=JSON_WORDS)


def devices_toml() -> Target:
    """devices.toml."""
    from harness.devices.config import parse_devices

    root = Path(__file__).parents[1]
    seeds = [(root / "devices.toml").read_bytes()]
    seeds.append(
        b'[devices.pi4]\ntransport = "ssh"\naddress = "lab@[fe80::1]:22"\nkey = "~/.ssh/id"\njump = "a@b:2222"\n'
        b'host_key = "ssh-ed25519 '
        + SSH_KEY.encode()
        + b'"\nknown_hosts = "x"\nthreads = 2\ncores = [0, 1]\n'
        b'runtimes = ["onnxruntime:cpu"]\nroot = "~/x"\npython = "python3"\n'
    )
    return Target(read=lambda data: parse_devices(data.decode("utf-8", "replace")), seeds=seeds)


def ssh_config() -> Target:
    """~/.ssh/config, and the way to a host by it. No command is run, and no file included."""
    from harness.devices.transports import ssh_config as settings

    settings.subprocess = SimpleNamespace(  # type: ignore[assignment]
        run=lambda *_, **__: SimpleNamespace(returncode=0),
        **{
            name: getattr(subprocess, name)
            for name in ("DEVNULL", "PIPE", "TimeoutExpired", "SubprocessError")
        },
    )
    settings.glob = SimpleNamespace(glob=lambda pattern: [])  # type: ignore[assignment]
    path = Path(_folder(), "config")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        settings.read_settings("pi4", str(path))
        settings.read_settings("pi4.lab", str(path), user="me", port=2222)

    return Target(
        read=read,
        seeds=[
            b"Host pi4 *.lab !gone\n  HostName 10.0.0.4\n  User lab\n  Port 2222\n  IdentityFile ~/.ssh/%h-%r\n"
            b"  IdentitiesOnly yes\n",
            b'Match host pi4 exec "true" user me\n  ProxyJump a@b:22,c\nMatch !all\n ProxyCommand nc %h %p\nInclude more/*\n',
            b'Host "pi 4" pi4\nUserKnownHostsFile a "b c" none\nHostKeyAlias %k\nIdentityAgent ~/agent\nAddressFamily inet6\n',
        ],
    )


def known_hosts() -> Target:
    """known_hosts, and keys and certificates that are looked up in it."""
    from harness.devices.transports.known_hosts import parse_key, read_known_keys

    path = Path(_folder(), "known_hosts")
    key = parse_key("ssh-ed25519", SSH_KEY)
    assert key is not None

    def read(data: bytes) -> None:
        path.write_bytes(data)
        known = read_known_keys([path], "[pi4]:2222", "pi4", "known_hosts")
        known.algorithms()
        known.knows(key, "pi4", 1.0)
        for one in known.keys:
            known.knows(one, "pi4", 1.0)

    line = b"ssh-ed25519 " + SSH_KEY.encode()
    return Target(
        read=read,
        seeds=[
            b"[pi4]:2222,10.0.0.* " + line + b" a comment\n@revoked * " + line + b"\n",
            b"@cert-authority *.lab,pi4 " + line + b"\n# nothing\n|1|aGFzaA==|aGFzaA== " + line + b"\n",
            b"pi4 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==\npi4 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=\n",
        ],
    )


def settings() -> Target:
    """Recipes and settings, as JSON files hold them; byte 0 chooses which."""
    from search.distillation.recipe import DistilRecipe
    from search.study.settings import StudySettings
    from search.training.recipe import Recipe

    kinds = (Recipe, DistilRecipe, StudySettings)

    def read(data: bytes) -> None:
        kind = kinds[data[0] % len(kinds)] if data else kinds[0]
        found = kind.from_json(data[1:].decode("utf-8", "replace"))
        kind.from_json(found.to_json())

    seeds = [bytes([place]) + kind().to_json().encode() for place, kind in enumerate(kinds)]
    return Target(read=read, seeds=seeds, words=JSON_WORDS)


def words() -> Target:
    """What is written on the command line: limits, targets, cores, addresses, networks; byte 0 chooses which."""
    from harness.devices.destination import parse_destination
    from harness.devices.runtimes import parse_cores
    from harness.prediction.request import parse_target
    from harness.query.cost_names import parse_limits
    from search.methods.registry import parse_method
    from search.training.task_source import parse_source
    from search.training.tasks import parse_synthetic
    from space.selection import select_models

    readers: dict[str, Callable[[str], object]] = {
        "pixel<8ms": lambda text: parse_limits(text.split(";")),
        "mape=2%": parse_target,
        "0,2-5": parse_cores,
        "me@[fe80::1]:22": parse_destination,
        "evolution": parse_method,
        "synthetic:1000": parse_synthetic,
        "folder:a:fit=crop,mean=0.5/0.5": parse_source,
        "bconv/bconv/bconv": lambda text: select_models([text.replace("/dev", "").lstrip("/.@~")]),
    }

    def read(data: bytes) -> None:
        reader = list(readers.values())[data[0] % len(readers)] if data else parse_target
        try:
            reader(data[1:].decode("utf-8", "replace"))
        except ValueError as error:  # of a destination: its caller names where it is from
            if reader is not parse_destination:
                raise error

    return Target(read=read, seeds=[bytes([p]) + text.encode() for p, text in enumerate(readers)])


def images() -> Target:
    """Image files of a user's own, and files of arrays."""
    from io import BytesIO

    import numpy as np
    from PIL import Image

    from search.training.own_data.arrays import read_parts
    from search.training.own_data.decoding import Format, decode
    from search.training.task_source import DataSettings

    form, path = Format(size=8, channels=3, settings=DataSettings(fit="crop")), Path(_folder(), "images.npz")
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)

    def read(data: bytes) -> None:
        if data[:2] != b"PK":
            assert decode(data, form, "image").shape == form.shape
            return
        path.write_bytes(data)
        read_parts(path)

    def file_of(mode: str, kind: str) -> bytes:
        buffer, exif = BytesIO(), Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).convert(mode).save(buffer, kind, exif=exif)
        return buffer.getvalue()

    arrays = BytesIO()
    np.savez(arrays, x=pixels[None].repeat(4, 0), y=np.arange(4), classes=list("abcd"))
    kinds = {
        "PNG": ("L", "P", "RGBA", "1", "LA"),
        "JPEG": ("RGB", "CMYK", "L"),
        "GIF": ("P",),
        "BMP": ("RGB",),
        "TIFF": ("CMYK",),
    }
    seeds = [file_of(mode, kind) for kind, modes in kinds.items() for mode in modes]
    return Target(read=read, seeds=[*seeds, arrays.getvalue()], words=("IDAT", "PLTE", "tRNS", "acTL"))


def job_results() -> Target:
    """Results of a packed job; byte 0 chooses what of them was changed: the file, the manifest, or a record, with right codes."""
    import hmac
    import io
    import zipfile

    from harness.devices.job_files import KnownJob, open_results

    path, key, job, visit = Path(_folder(), "job-results.zip"), "0" * 64, b'{"job": "j"}', "visit-0001.jsonl"
    job_digest = hashlib.sha256(job).hexdigest()
    record = b'{"at": 0}\n{"at": 1.5, "answer": "lock", "said": {"owner": "x"}}\n{"at": 2, "end": true}\n'

    def manifest_of(record: bytes) -> bytes:
        manifest = {
            "format": 1,
            "job": "0" * 8 + "-0000" * 3 + "-" + "0" * 12,
            "job_digest": job_digest,
            "run": "0" * 32,
        }
        files = {visit: hashlib.sha256(record).hexdigest()}
        return json.dumps({**manifest, "written_utc": "2026-01-01T00:00:00Z", "files": files}).encode()

    def packed(manifest: bytes, record: bytes) -> bytes:
        code = hmac.new(key.encode(), manifest, "sha256").hexdigest().encode()
        files = {"job.json": job, visit: record, "manifest.json": manifest, "manifest.mac": code}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return buffer.getvalue()

    def read(data: bytes) -> None:
        changed = data[1:]
        made = (
            lambda: changed,
            lambda: packed(changed, record),
            lambda: packed(manifest_of(changed), changed),
        )
        path.write_bytes(made[data[0] % len(made)]() if data else b"")
        results = open_results(path, lambda job: KnownJob(job_digest=job_digest, key=key))
        for name in results.visits:
            with results.entries(name) as entries:
                list(entries)

    whole = packed(manifest_of(record), record)
    seeds = [b"\x00" + whole, b"\x01" + manifest_of(record), b"\x02" + record]
    return Target(read=read, seeds=seeds, words=(*JSON_WORDS, "visit", "begin", "again", "lost", "run"))


def own_space() -> Target:
    """The TOML file of a space of one's own, of shipped candidates: what names code of its author's runs it, and is left out."""
    from space.definition import load_space

    path = Path(_folder(), "own.toml")

    def read(data: bytes) -> None:
        if b":" not in data:
            path.write_bytes(data)
            load_space(path)

    seed = """name = "own"
image_size = 8
classes = 3
[candidates]
a = { module = "mbconv", expansion = 2, kernel = 3 }
b = "identity"
[stem]
module = "conv"
channels = 4
[[sites]]
candidates = ["a"]
channels = 6
stride = 2
[[sites]]
candidates = ["a", "b"]
repeat = 2
choice = "c"
[head]
module = "linear"
"""
    words = (
        "[[sites]]",
        "[candidates]",
        "repeat = ",
        "stride = ",
        "inf",
        "nan",
        "-1",
        "9223372036854775808",
        "[]",
        "{}",
    )
    return Target(read=read, seeds=[seed.encode()], words=words)


def nas_bench_macro() -> Target:
    """A file in the form of NAS-Bench-Macro's published accuracies."""
    from factories.own_spaces import own_space as listed

    from space.accuracies.nas_bench_macro import json_source

    config = listed()
    text = "0" * len(config.radices)
    fields = {"test_acc": [90.0, 91.0, 92.0], "mean_acc": 91.0, "std": 0.82}

    def read(data: bytes) -> None:
        json_source(data, config)

    return Target(
        read=read, seeds=[json.dumps({text: fields}).encode()], words=(*JSON_WORDS, "params", "flops", text)
    )


def sidecar() -> Target:
    """The sidecar of a published file of latencies."""
    from harness.prediction.bench_files import file_latency
    from space import BLOX
    from space.dataset import bench_dataset, write_dataset

    path = Path(_folder(), "blox-bench-made-up.csv")
    dataset = bench_dataset("made-up", [1, 7, 91_124], [0.5, 0.25, 1e-6])
    write_dataset(path, dataset)
    columns = {"graph_hash": dataset.hashes.tolist(), "low_s": [0.4, None, 1e-7], "high_s": [0.6, None, 1e-5]}
    columns |= {"source": ["measured", "predicted", "measured"], "grade": ["A", "", "D"]}

    def read(data: bytes) -> None:
        path.with_suffix(".json").write_bytes(data)
        file_latency(path, "made-up", BLOX)

    seeds = [json.dumps({"version": 1, "columns": columns}).encode()]
    return Target(read=read, seeds=seeds, words=JSON_WORDS)


def rows() -> Target:
    """Rows of a store, of whatever types SQLite keeps in them; read by all that reads a store."""
    import sqlalchemy as sa

    from harness.models.results import results
    from harness.store import Store
    from harness.store import tables as schema
    from harness.store.maintenance import check_store, export_documents, list_sessions
    from harness.store.selection import Selection

    store = Store("sqlite://", log=lambda _: None)
    names = ("campaigns", "configurations", "sessions", "failures", "recalibrations")
    known = {name: schema.METADATA.tables[name] for name in names}
    _fill(store)
    with store.begin() as connection:
        base = {
            name: dict(connection.execute(table.select()).mappings().first() or {})
            for name, table in known.items()
        }
    raw = json.loads(zlib.decompress(base["sessions"].pop("raw")))

    def put(said: dict[str, Any]) -> None:
        with store.begin() as connection:
            for name in reversed(names):
                connection.execute(known[name].delete())
            for name in names:
                changes = said.get(name) if isinstance(said.get(name), dict) else {}
                row = base[name] | {
                    key: value for key, value in changes.items() if key in known[name].columns
                }
                if name == "sessions" and "raw" in said:
                    row["raw"] = zlib.compress(json.dumps(said["raw"]).encode(), 1)
                if row:
                    columns = ", ".join(row)
                    marks = ", ".join(f":{key}" for key in row)
                    connection.execute(sa.text(f"INSERT INTO {name} ({columns}) VALUES ({marks})"), row)

    def read(data: bytes) -> None:
        said = _json(data)
        if not isinstance(said, dict):
            return
        try:
            put(said)
        except (sa.exc.SQLAlchemyError, OverflowError, UnicodeError):
            return  # SQLite does not take it, so no store holds it
        store.unreadable.clear()
        check_store(store)
        list_sessions(store, Selection())
        for _ in export_documents(store, Selection()):
            pass
        for row in results(store):
            json.dumps(row.latency_ms)

    put({"raw": raw})  # what is as it should be is taken
    seeds = [json.dumps({"sessions": {"loop_s": 2.0, "purpose": "network"}, "raw": raw}).encode()]
    seeds += [json.dumps({name: base[name]}).encode() for name in names if base[name]]
    return Target(read=read, seeds=seeds, words=JSON_WORDS)


def blobs() -> Target:
    """The blob of raw times in a row of a store, and lines of the file of what waits."""
    from factories.records import make_block_run, make_energy_run, make_failure, make_session

    from harness.estimates.energy import newest_energy
    from harness.estimates.sustained import sustained
    from harness.records import Failure
    from harness.store.documents import (
        block_run_of,
        document_of,
        pack_raw,
        record_of,
        session_of,
        unpack_raw,
    )

    def read(data: bytes) -> None:
        if data[:1] == b"\0":
            unpack_raw(data[1:])
        elif data[:1] == b"\1":
            unpack_raw(zlib.compress(data[1:], 1))
        elif not isinstance(said := _json(data[1:]), dict):
            return
        elif "blocks" in said:
            run = block_run_of(said)
            json.dumps(sustained(run).to_json())
            newest_energy([run])
        else:
            session_of(said) if "slices" in said else record_of(Failure, said)

    text = zlib.decompress(pack_raw(make_session()))
    return Target(
        read=read,
        seeds=[
            b"\0" + zlib.compress(text),
            b"\1" + text,
            b"\2" + json.dumps(document_of(make_session())).encode(),
            b"\2" + json.dumps(asdict(make_failure())).encode(),
            b"\2" + json.dumps(document_of(make_block_run())).encode(),
            b"\2" + json.dumps(document_of(_short(make_energy_run()))).encode(),
        ],
        expected=(ValueError, TypeError),  # which the store's reading expects
        words=JSON_WORDS,
    )


def store_file() -> Target:
    """A store's SQLite file of which bytes were changed: an input is of places (3 bytes) and what stands there (1 byte)."""
    from harness.errors import StoreError
    from harness.models.results import results
    from harness.store import Store
    from harness.store.maintenance import check_store

    path = Path(_folder(), "store.sqlite")
    with Store(str(path)) as store:
        _fill(store)
    whole = path.read_bytes()
    path.unlink()

    def read(data: bytes) -> None:
        content = bytearray(whole)
        for place, value in struct.iter_unpack(">IB", data[: len(data) // 5 * 5]):
            content[place % len(content)] = value
        path.write_bytes(content)
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        with Store(str(path), read_only=True, log=lambda _: None) as store:
            check_store(store)
            results(store)

    seeds = [b"", *(struct.pack(">IB", place, 255) for place in (0, 18, 100, 4096, 5000, len(whole) - 8))]
    return Target(read=read, seeds=seeds, expected=(StoreError,))


def model_files() -> Target:
    """Model files as commands open them; byte 0 chooses: ONNX, with its data beside it, TFLite, or values of inputs (.npz)."""
    import numpy as np
    from factories.model_files import dense, save, save_tflite, save_with_data

    from harness.models.file_names import GivenInputs
    from harness.models.files import open_files

    folder = Path(_folder())
    plain, beside = save(dense(), folder / "plain.onnx"), save_with_data(dense(), folder / "data.onnx")
    tflite, values = save_tflite(folder / "a.tflite"), folder / "values.npz"
    fixed = save(dense(), folder / "fixed.onnx")
    np.savez(values, x=np.zeros((1, 8), np.float32))
    kinds = [plain, beside, tflite, values]

    def read(data: bytes) -> None:
        path = kinds[data[0] % len(kinds)] if data else plain
        path.write_bytes(data[1:])
        if path is values:
            open_files([fixed], GivenInputs(values=values))
            return
        (found,) = open_files([path])
        json.dumps([found.key, found.precision, found.versions, str(found)])
        open_files([path], GivenInputs(shapes={one.name: (1, 8) for one in found.inputs[:1]}))

    seeds = [bytes([place]) + path.read_bytes() for place, path in enumerate(kinds)]
    return Target(
        read=read, seeds=seeds, words=("location", "offset", "length", "weights.bin", "../x", "TFL3")
    )


def checkpoint() -> Target:
    """A file of trained weights, as `harness export --checkpoint` reads it."""
    from io import BytesIO

    import torch

    from exporters.networks import task_of_checkpoint
    from exporters.weights import Weights
    from space import Architecture, SpaceConfig
    from space.networks import build_network
    from space.state_notes import with_note

    space = SpaceConfig(name="small", ops=("conv",), widths=(2,), image_size=2, classes=2)
    network, path = Architecture.from_index(0, space), Path(_folder(), "trained.pt")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        weights = Weights.from_checkpoint(path, network)
        assert weights.checkpoint is not None
        task_of_checkpoint(weights.checkpoint)

    def saved(state: Any, *, is_archive: bool) -> bytes:
        file = BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=is_archive)
        return file.getvalue()

    state = with_note(build_network(network).state_dict(), network, "digits")
    few = dict(list(state.items())[:3])
    return Target(read=read, seeds=[saved(state, is_archive=False), saved(few, is_archive=True)])


def baseline() -> Target:
    """The baseline of `harness gate`, and what is compared with it."""
    from factories.baselines import made_baseline
    from factories.records import CONFIGURATION

    from harness.estimates.comparison import compare
    from harness.estimates.estimate import RatioEstimate
    from harness.query.gate_baseline import parse_baseline

    path = Path(_folder(), "base.json")
    now = RatioEstimate(ratio=0.5, interval=(0.49, 0.51), sessions=5, slices=60)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for file in parse_baseline(path).files:
            for latency in file.latencies:
                latency.differences(CONFIGURATION)
                compare(now, latency.estimate)

    seeds = [made_baseline("a.onnx").model_dump_json().encode()]
    return Target(read=read, seeds=seeds, words=JSON_WORDS)


def expected() -> Target:
    """Kept expected outputs, and what a session's are judged by: lines whose checksums are right, whatever they say."""
    from factories.records import make_session

    from exporters.expected import read_values
    from harness.estimates.outputs import is_wrong

    path = Path(_folder(), "expected.jsonl")

    def read(data: bytes) -> None:
        path.write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in data.split(b"\n")))
        for found in read_values(path).values():
            for values in found.values():
                session = replace(make_session(), expected=tuple(values))
                is_wrong(session)

    line = {"name": "conv/conv/conv", "onnx": [0.5, -1.0], "tflite": [0.5, -1.0]}
    return Target(read=read, seeds=[json.dumps(line).encode()], words=JSON_WORDS)


TARGETS: dict[str, Callable[[], Target]] = {
    "frames": frames,
    "agent": agent,
    "answers": answers,
    "session": session,
    "devices-toml": devices_toml,
    "ssh-config": ssh_config,
    "known-hosts": known_hosts,
    "settings": settings,
    "words": words,
    "sidecar": sidecar,
    "job-results": job_results,
    "own-space": own_space,
    "nas-bench-macro": nas_bench_macro,
    "images": images,
    "rows": rows,
    "blobs": blobs,
    "store-file": store_file,
    "model-files": model_files,
    "checkpoint": checkpoint,
    "baseline": baseline,
    "expected": expected,
}


def _short(run: Any) -> Any:
    """Return a run of blocks with a few readings, of some KB."""
    return replace(run, readings=run.readings[::40], blocks=run.blocks[:7])


class _Bytes:
    """A channel whose other end says some bytes and ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, timeout_s: float) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data

    def write(self, data: bytes, timeout_s: float) -> None:
        """Take anything."""

    def stderr_tail(self) -> str:
        return ""

    def close(self) -> None:
        """Do nothing."""


def _frame(header: Any, payload: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack(">4sII", b"HRN1", len(text), len(payload)) + text + payload


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _check(name: str, said: Any) -> Any:
    from harness.devices import answers as door

    what, _, kind = name.partition(" ")
    if what == "answer":
        return door.check_answer(kind, said)
    if what == "event":
        return door.check_event(said)
    return door.check_boot(said) if what == "boot" else door.check_refusal(said)


@cache
def _messages() -> dict[str, Any]:
    from rigs.lying_device import MESSAGES

    return MESSAGES


def _events() -> list[dict[str, Any]]:
    from rigs.scripted_link import Run, ScriptedLink

    plan = {"min_slices": 8, "settled_runs": 8}
    job = {"networks": [{"parts": ["0"]}], "cores": [1], "runtime": "onnxruntime", "plan": plan}
    told: list[dict[str, Any]] = []
    ScriptedLink([Run(ratio=0.1, reference_ns=1_000_000)]).run(job, told.append)
    return told


def _identity() -> dict[str, Any]:
    from factories.records import make_session

    made = make_session()
    names = ("session_id", "campaign_id", "configuration", "architecture", "graph_hash", "model_digest")
    return {
        name: getattr(made, name) for name in (*names, "agent_digest", "plan", "purpose", "gate", "process")
    }


def _fill(store: Any) -> None:
    """Put a row into each table of a store that a campaign fills."""
    from factories.records import CAMPAIGN, CONFIGURATION, make_failure, make_session, make_slice

    store.start_campaign(CAMPAIGN, "made-up", "2024-05-01T00:00:00.000+00:00", {"level": "quick"})
    slices = [make_slice([2_000_000 + n] * 5, [1_000_000] * 2, [1_000_000 + n] * 2) for n in range(8)]
    store.add_session(make_session(slices))
    store.add_failure(make_failure())
    store.start_recalibration(CONFIGURATION, "2024-05-01T00:00:00.000+00:00")


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _folder() -> str:
    _folders.append(tempfile.TemporaryDirectory())
    return _folders[-1].name
