"""A device at the other end of the wire that answers as the agent does, and lies where it is told to.

It speaks frames, so everything from the transport's channel to the store is the product's own; it answers at once.
"""

from __future__ import annotations

import copy
import itertools
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, final

from device_agents.frames import PREAMBLE
from harness.devices.transports.contract import CompletedCommand
from harness.errors import LinkError
from rigs.scripted_link import WEIGHED, Run, ScriptedLink

DRIVER = {"vendor": "Mali", "shown_by": "/vendor/lib64/egl/libGLES_mali.so"}
_HEAD = struct.Struct(">4sII")
Path = tuple[str | int, ...]

GPU = {"index": 0, "name": "Made Up GPU", "reasons": 0, "temp_c": 40.0, "clock_mhz": 500}
GPU |= {
    "max_clock_mhz": 900,
    "power_w": 20.5,
    "persistence": True,
    "used": True,
    "programs": 0,
    "busy_percent": 0,
    "limits": {"power_w": 300.0},
}
CONDITIONS: dict[str, Any] = {
    "time_utc": "2024-05-01T00:00:00Z",
    "cpu_model": "Made Up CPU",
    "machine_id": "0123456789abcdef",
    "board": "Made Up Board",
    "os": "Made Up Linux",
    "android": "14",
    "phone": "Made Up",
    "soc": "X1",
    "uptime_s": 1000.5,
    "load_1m": 0.25,
    "memory_total_bytes": 1 << 32,
    "memory_available_bytes": 1 << 31,
    "governors": {"0": "schedutil", "1": "schedutil"},
    "freq_khz": {"0": {"min": 1000, "max": 2000, "current": 1500, "hardware_max": 2000}},
    "boost": True,
    "temps_c": {"cpu": 40.0},
    "cooling": {"fan": 0},
    "battery": {"percent": 80, "status": "Full"},
    "throttled": 0,
    "undervoltage": 0,
    "supply": {"max_ma": 5000, "volts": 5.1},
    "fans_rpm": {"pwmfan fan1": 2140},
    "over_current": {"oc1": 0},
    "driver": {**DRIVER, "trouble": "", "variables": {"LD_LIBRARY_PATH": "/vendor/lib64"}},
    "tegrastats": {"gpu_percent": 3.0},
    "power_mode": "MAXN",
    "thermal_status": 0,
    "gpus": [GPU],
    "probe_errors": {"freq_khz": "core 1: not told"},
}
SAMPLE: dict[str, Any] = {
    "event": "sample",
    "at_ns": 1,
    "freq_khz": {"0": 1500},
    "min_khz": {"0": 1000},
    "max_khz": {"0": 2000},
    "governors": {"0": "schedutil"},
    "boost": True,
    "over_current": {"oc1": 0},
    "cooling": {"cpufreq-cpu0": 0},
    "temps_c": {"cpu": 40.5},
    "throttled": 0,
    "undervoltage": 0,
    "tegrastats": {"gpu_percent": 4.0},
    "thermal_status": 0,
    "gpu_reasons": 0,
    "gpu_temp_c": 41.0,
    "gpu_clock_mhz": 500,
    "gpu_programs": 1,
    "load_1m": 0.5,
}
MEASURED_TOO: dict[str, Any] = {
    "waited_s": 0.0,
    "steal_s": 0.0,
    "others_busy": 0.1,
    "pace_ns": [60000, 61000],
    "paced_by": "CPython 3.11.7",
    "pinned": True,
    "shares": {"CPU": 1.0},
    "arithmetic": "fp32",
    "device_ns": [1000],
    "device_absent": "OSError: no library",
    "reference_output": [0.5],
    "unseen": {"throttled_s": 0.5, "major_faults": 2, "stops": 3, "traced": False},
    "core_to_core": {"ns": [90.0, 91.5], "alone_ns": 95.0, "guest": True},
}
MEASURED_TOO |= {"runtime": dict.fromkeys(("name", "package"), "onnxruntime") | {"version": "2.0"}}
MEASURED_TOO["runtime"]["provider"] = "CPUExecutionProvider"
MEASURED_TOO |= {"request": {"method": "nice", "granted": True, "reason": ""}}
ANSWERS: dict[str, dict[str, Any]] = {
    "boot": {
        "present": True,
        "zlib": True,
        "path": "/agent.pyz",
        "root": "/",
        "error": "",
        "python": [3, 11, 2],
        "executable": "/bin/python3",
        "others": ["/bin/python3.12"],
    },
    "hello": {
        "protocol": 3,
        "agent": "a" * 64,
        "python": "3.11.2",
        "platform": {"system": "Linux", "release": "6", "machine": "made-up"},
        "cores": [0, 1],
        "clusters": [[0, 1]],
        "siblings": {"0": [0], "1": [1]},
        "runtimes": [
            {
                "name": "onnxruntime",
                "package": "onnxruntime",
                "version": "2.0",
                "formats": ["onnx"],
                "providers": ["CPUExecutionProvider"],
            }
        ],
        "broken": [{"name": "tflite", "message": "no module named tflite"}],
        "driver": {**DRIVER, "trouble": "it has folders of 2 chips: a, b", "variables": {"A": "b"}},
        "variables": {"MALLOC_ARENA_MAX": "0a1b2c3d"},
        "environment": {
            "packages": {"numpy": "2.0"},
            "executable": "/bin/python3",
            "version": "3.11.2",
            "is_used": True,
        },
        "limits": {"header_bytes": 1 << 20},
        "free_bytes": 1 << 33,
        "root": "/root",
    },
    "lock": {
        "machine_lock": "held",
        "board": {"power_mode": "MAXN", "before": "15W", "clocks": True},
        "cores": [0, 1],
        "clusters": [[0, 1]],
        "siblings": {"0": [0], "1": [1]},
    },
    "missing": {"missing": [], "received": {"a" * 64: 5}},
    "probe": {"conditions": CONDITIONS},
    "quiet": {
        "cores": [1],
        "waited": {"1": 0.0},
        "waited_asking": {"1": 0.0},
        "quota_cores": 2.0,
        "others_waited": 0.1,
        "slowed": 0.5,
    },
    "permissions": {
        "user": "me",
        "cores": [1],
        "waited": {"0": 0.0, "1": None},
        "grants": [
            {
                "method": "nice",
                "granted": True,
                "waited_before": 0.5,
                "waited_after": 0.0,
                "verified": True,
                "reason": "",
            }
        ],
        "quota": {"cores": 2.0, "group": "/sys/fs/cgroup/x"},
        "withheld": [2],
        "siblings": {"0": [0]},
        "machine_lock": "held",
    },
    "run": {"measured": 1, "threads": 1, "cores": [1], "conditions_after": CONDITIONS},
}
NODE = {"name": "a", "op": "Conv", "provider": "cpu", "runs": 8, "total_ns": 100, "median_ns": 10}
PROFILE = {
    "runtime": {"name": "onnxruntime", "package": "onnxruntime", "version": "1", "provider": "cpu"},
    "threads": 1,
    "cores": [0],
    "runs": 8,
    "quiet_runs": 2,
    "disturbed_runs": 1,
    "wall_median_ns": 1000,
    "plain_median_ns": 800,
    "output": [0.5, -1.0, 2.0],
    "profiled_output": [0.5, -1.0, 2.0],
    "nodes": [NODE],
    "conditions_before": CONDITIONS,
}
RUNTIME = {
    "name": "onnxruntime",
    "package": "onnxruntime",
    "version": "2.0",
    "provider": "CPUExecutionProvider",
}
ERROR = {
    "kind": "worker-error",
    "message": "no such op",
    "network": 0,
    "signal": "SIGKILL",
    "phase": "load",
    "stderr": "x",
    "digest": "a" * 64,
    "received_bytes": 5,
    "owner": "someone",
    "pid": 7,
}
PLAN = {"min_slices": 8, "settled_runs": 8}
JOB = {"networks": [{"parts": ["0"]}], "cores": [1], "runtime": "onnxruntime", "plan": PLAN}

SENSOR = {"kind": "rapl", "scope": "packages", "counters": {"package-0": 1 << 38}, "powers": ["VDD_IN"]}
BLOCK_JOB = {
    "blocks": [["network", 2.0]],
    "timed_runs": 4,
    "settle_s": 0.0,
    "runtime": "onnxruntime",
    "cores": [1],
}


def events() -> dict[str, dict[str, Any]]:
    """Return an example of each event that tells something."""
    told: list[dict[str, Any]] = []
    ScriptedLink([Run()]).run(JOB, told.append)
    examples = {event["event"]: event for event in told if event["event"] != "started"}
    examples["conditions"] = {"event": "conditions", "conditions": CONDITIONS}
    examples["sample"] = SAMPLE
    examples["measured"] = examples["measured"] | MEASURED_TOO
    examples["loaded"]["model_bytes"] = 500
    ScriptedLink().run_blocks(BLOCK_JOB, told.append)
    for kind in ("began", "runs", "block"):
        examples[kind] = next(event for event in told if event["event"] == kind)
    examples["energy"] = {"event": "energy", "at_ns": 1, "uj": {"package-0": 5}, "uw": {"VDD_IN": 7}}
    examples["began"] |= {"runtime": dict(RUNTIME), "pinned": True}
    examples["began"] |= {"output": [0.5], "reference_output": [0.5]}
    examples["block"] |= {"waited_ns": 5, "others_busy": 0.1, "steal_s": 0.0, "slept_s": 0.0}
    examples["block"]["core_to_core"] = MEASURED_TOO["core_to_core"]
    examples["refused"] = {"event": "refused", "network": 0, "failure": ERROR}
    return examples


NOTE = {
    "executable": "/bin/python3",
    "version": [3, 11, 2],
    "packages": {"numpy": "2.0"},
    "runtimes": ["tflite"],
    "how": "pkg",
    "pkg": ["python-tflite-runtime"],
}
SURVEY: dict[str, Any] = {
    "executable": "/bin/python3",
    "implementation": "CPython",
    "version": [3, 11, 2],
    "free_threaded": False,
    "machine": "made-up",
    "bits": 64,
    "libc": "glibc",
    "libc_version": "2.36",
    "pip": "23.0",
    "numpy": "1.24.2",
    "pkg": False,
    "free_bytes": 5,
    "noexec": False,
    "note": NOTE,
}

# An example of each message, by its name in the schema (harness.devices.answers.protocol_schema), with each of its fields.
MESSAGES: dict[str, dict[str, Any]] = {
    **{f"answer {verb}": answer for verb, answer in ANSWERS.items() if verb != "boot"},
    "answer profile": PROFILE,
    "answer memory": {"runtime": RUNTIME, "threads": 1, "cores": [1]}
    | WEIGHED
    | {"output": [0.5, -1.0], "conditions_before": CONDITIONS},
    "answer blocks": {"blocks": 3, "conditions_after": CONDITIONS},
    "answer sensor": {"sensor": SENSOR, "reasons": ["RAPL: none"], "update_s": 0.1},
    "answer put": {"stored": True, "received_bytes": 5},
    "answer evict": {"removed_bytes": 5, "kept_bytes": 7},
    **{f"event {kind}": event for kind, event in events().items()},
    "error": ERROR,
    "boot": ANSWERS["boot"],
    "survey": SURVEY,
    "installed": {"note": NOTE, "refused": "pip ended with status 1"},
}


def nested(depth: int) -> Any:
    """Return an object in an object in an object."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


ENDLESS = 5_000  # longer than all that an answer may hold

# What is said in place of a value; the exception class stands for nothing at all.
LIES: dict[str, Any] = {
    "missing": KeyError,
    "null": None,
    "true": True,
    "negative": -1,
    "fraction": 1.5,
    "huge": 10**30,
    "hugely negative": -(10**30),
    "a large float": 1e300,
    "NaN": float("nan"),
    "infinite": float("inf"),
    "empty text": "",
    "long text": "x" * 100_000,
    "control characters": "\x1b[31mred\u202e\ud800",
    "empty list": [],
    "empty object": {},
    "list in a list": [["a"]],
    "object in an object": {"a": {"b": 1}},
    "nested": nested(300),
    "endless list": [1] * ENDLESS,
    "endless object": {str(number): number for number in range(ENDLESS)},
}
# What is said in place of a whole message, as bytes on the wire.
STREAMS: dict[str, Callable[[Any], Iterable[bytes]]] = {
    "nested without end": lambda message: [_HEAD.pack(b"HRN1", 1 << 20, 0), b"[" * (1 << 20)],
    "larger than memory": lambda message: [_HEAD.pack(b"HRN1", 10, (1 << 32) - 1), *[b"x" * (1 << 16)] * 64],
    "no text": lambda message: [_HEAD.pack(b"HRN1", 4, 0), b"\xff\xfe\x00{"],
    "no frame": lambda message: itertools.repeat(b"\0" * (1 << 16)),
    "over and over": lambda message: itertools.repeat(_frame(message)),
}


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Return the paths of all values within a message, objects and lists included."""
    if path:
        yield path
    inner: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, one in inner:
        yield from leaves(one, (*path, key))


def at(message: Any, path: Path) -> Any:
    """Return what stands at a path; None where nothing does."""
    for key in path:
        try:
            message = message[key]
        except (LookupError, TypeError):
            return None
    return message


def changed(message: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Return the message with another value at a path; the exception class KeyError takes it away."""
    place: Any = copy.copy(message)
    message = place
    for key in path[:-1]:
        place[key] = copy.copy(place[key])
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return message


@final
class LyingDevice:
    """A transport to a made-up device; `lie(name, message)` returns what is said in place of a message, an iterable of bytes raw.

    A message's name is that of `MESSAGES`. `extra`: events told before a job's first. `refuses`: its runtime refuses networks.
    `error`: the answer to its first job. It is its own channel. `requests`: what it was asked.
    """

    def __init__(
        self,
        lie: Callable[[str, dict[str, Any]], Any] = lambda _, message: message,
        extra: Sequence[dict[str, Any]] | Callable[[], Iterator[dict[str, Any]]] = (),
        *,
        refuses: bool = False,
        error: dict[str, Any] | None = None,
    ) -> None:
        self._lie, self._extra, self._error = lie, extra, error
        self._link = ScriptedLink([Run(refusal="no such op" if refuses else "")], probes=[CONDITIONS])
        self._there: set[str] = set()
        self.requests: list[dict[str, Any]] = []
        self._pending: Iterator[bytes] = iter(())
        self._buffer = b""

    def connect(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> CompletedCommand:
        """Answer the boot."""
        said = json.dumps(self._lie("boot", ANSWERS["boot"]))
        return CompletedCommand(status=0, stdout=f"\nHARNESS-BOOT {said}\n".encode(), stderr="")

    def start(self, argv: Sequence[str]) -> LyingDevice:
        """Begin with the agent's first line."""
        self._pending, self._buffer = iter([PREAMBLE]), b""
        return self

    def write(self, data: bytes, timeout_s: float) -> None:
        """Take a request, of which none here is longer than one piece, and prepare its answer."""
        _, size, _ = _HEAD.unpack_from(data)
        request = json.loads(data[_HEAD.size : _HEAD.size + size])
        self.requests.append(request)
        self._pending = itertools.chain(self._pending, self._answers(request))

    def read(self, size: int, timeout_s: float) -> bytes:
        """Return the next of what was answered; nothing is silence."""
        if not self._buffer:
            self._buffer = next(self._pending, b"")
            if not self._buffer:
                raise LinkError(f"no sign of life from the agent for {timeout_s:g} s")
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def stderr_tail(self) -> str:
        """Return nothing."""
        return ""

    def _answers(self, request: dict[str, Any]) -> Iterator[bytes]:
        verb, number = request["verb"], request["id"]
        if verb == "run" and self._error is not None:
            error, self._error = self._error, None
            yield from self._said("error", {"type": "error", "id": number} | error)
            return
        if verb == "run":
            for event in self._events(request["job"]):
                yield from self._said(f"event {event['event']}", {"type": "event", "id": number} | event)
        answer = MESSAGES[f"answer {verb}"]
        if verb == "put":
            self._there.add(request["digest"])
        if verb == "missing":
            answer = answer | {"missing": [one for one in request["digests"] if one not in self._there]}
        yield from self._said(f"answer {verb}", {"type": "result", "id": number} | answer)

    def _said(self, name: str, message: dict[str, Any]) -> Iterator[bytes]:
        said = self._lie(name, message)
        yield from [_frame(said)] if said is None or isinstance(said, dict) else said

    def _events(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._extra() if callable(self._extra) else self._extra
        told: list[dict[str, Any]] = []
        self._link.run(job, told.append)
        for event in told:
            if event["event"] == "conditions":
                event = event | {"conditions": CONDITIONS}
            if event["event"] == "sample":
                event = SAMPLE | event
            if event["event"] == "measured":
                event = event | MEASURED_TOO
            yield event


def _frame(message: Any) -> bytes:
    text = json.dumps(message).encode()
    return _HEAD.pack(b"HRN1", len(text), 0) + text
