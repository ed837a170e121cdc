"""Client of the agent protocol, and deployment of the agent.

docs/interfaces.md holds the protocol. Errors that the agent reports become AgentError; a broken connection LinkError.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from device_agents.archive import build_archive
from harness.devices.assembly import Assembly
from harness.devices.config import Device, default_python, runtime_sources
from harness.devices.framing import FrameStream
from harness.devices.sending import DIGESTS_AT_ONCE, Part, PartSender, Progress, parts_of, patience_s
from harness.devices.transports.contract import Channel, Transport
from harness.errors import AgentError, DeviceError, LinkError
from harness.version import __version__

PROTOCOL = 3
START_TIMEOUT_S = 60.0
HELLO_TIMEOUT_S = 150.0  # importing a large runtime on a small board takes long
ANSWER_TIMEOUT_S = 60.0
SILENCE_S = 30.0  # the agent's heart beats every 2 s while it runs a job
MIN_PYTHON = (3, 8)
MAX_QUOTED = 500  # characters of what a worker printed

# No sitecustomize, no module of the folder where a login begins: only Python's own.
ISOLATED = ("-I", "-S")

# Run on the device before there is an agent: argv = root, digest; with an archive on standard input it is stored.
_BOOT = """
import hashlib, json, os, sys
root, digest = sys.argv[1], sys.argv[2]
root = os.path.expanduser(root)
path = os.path.join(root, 'agent-' + digest[:16] + '.pyz')
def good():
    try:
        with open(path, 'rb') as f:
            return hashlib.sha256(f.read()).hexdigest() == digest
    except OSError:
        return False
data = sys.stdin.buffer.read()
error = ''
if data and not good():
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        temporary = path + '.' + str(os.getpid())
        try:
            with open(temporary, 'wb') as f:
                f.write(data)
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    except OSError as e:
        error = str(e)
print('\\nHARNESS-BOOT ' + json.dumps({'present': good(), 'path': path, 'root': root, 'error': error,
    'python': list(sys.version_info[:3]), 'executable': sys.executable}))
"""


_BOOT_FIELDS = {"present", "path", "root", "error", "python", "executable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployed agent: its path on the device and the Python that will run it."""

    python: str
    python_version: tuple[int, ...]
    executable: str
    root: str
    path: str
    digest: str
    sent_bytes: int


def deploy(transport: Transport, device: Device) -> Deployment:
    """Copy the agent to the device unless this version is there.

    Raises: DeviceError when Python is missing or too old, or the agent cannot be stored, with the remedy.
    """
    python = default_python(device)
    archive, digest = build_archive(runtime_sources())
    root = device.root or ".cache/harness-agent"
    boot = [python, *ISOLATED, "-c", _BOOT, root, digest]
    answer = _boot(transport, device, boot, b"")
    version = tuple(answer["python"])
    if version < MIN_PYTHON:
        raise DeviceError(
            f"device {device.name!r}: {python!r} is Python {'.'.join(map(str, version))}; the agent needs 3.8 or newer: "
            f'name one with python = "..." in [devices.{device.name}]'
        )
    sent_bytes = 0
    if not answer["present"]:
        answer = _boot(transport, device, boot, archive)
        sent_bytes = len(archive)
        if not answer["present"]:
            raise DeviceError(
                f"device {device.name!r}: the agent cannot be stored in {answer['root']!r}: {answer['error']}; free some "
                f'space or name another folder with root = "..." in [devices.{device.name}]'
            )
    return Deployment(
        python=python,
        python_version=version,
        executable=str(answer["executable"]),
        root=str(answer["root"]),
        path=str(answer["path"]),
        digest=digest,
        sent_bytes=sent_bytes,
    )


class AgentClient:
    """Client of one agent. Every wait has a deadline, which grows with the size of what is sent."""

    def __init__(self, channel: Channel, who: str) -> None:
        self._channel = channel
        self._frames = FrameStream(channel, who)
        self._who = who
        self._last_id = 0
        self._sender = PartSender(self._ask_sized)
        self._there: set[str] = set()  # parts that the device is known to hold

    @classmethod
    def start(cls, transport: Transport, device: Device, deployment: Deployment) -> AgentClient:
        """Start the deployed agent on the device and wait for its first line."""
        argv = [deployment.python, "-I", deployment.path, "serve", "--root", deployment.root]
        client = cls(transport.start(argv), f"device {device.name!r}")
        try:
            client._frames.wait_for_preamble(START_TIMEOUT_S)
        except LinkError:
            client.close()
            raise
        return client

    def hello(self) -> dict[str, Any]:
        """Return the agent's description of the device and of the runtimes on it."""
        answer = self._ask("hello", timeout_s=HELLO_TIMEOUT_S, protocol=PROTOCOL, harness=__version__)
        if answer.get("protocol") != PROTOCOL:
            raise DeviceError(
                f"{self._who}: the agent speaks protocol {answer.get('protocol')!r}, not {PROTOCOL}"
            )
        for name in ("cores", "clusters", "runtimes", "broken"):
            self._field(answer, name, list)
        return answer

    def lock(self, owner: str, *, wait_s: float = 10.0) -> str:
        """Lock the device for this campaign until the agent ends; return the state of the machine's lock, `held` or why not.

        Raises: AgentError `busy` that names the owner when another campaign holds it for longer than `wait_s`.
        """
        deadline = time.monotonic() + wait_s
        while True:
            try:
                return str(self._field(self._ask("lock", owner=owner), "machine_lock", str))
            except AgentError as error:
                if error.kind != "busy" or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def probe(self) -> dict[str, Any]:
        """Return the device's present conditions."""
        return dict(self._field(self._ask("probe"), "conditions", dict))

    def quiet(self, cores: Sequence[int], threads: int, request: str) -> dict[str, Any]:
        """Return the `threads` quietest of some cores; empty `cores`: of the fastest like ones."""
        return self._ask("quiet", cores=list(cores) or None, threads=threads, request=request)

    def permissions(self, owner: str, cores: Sequence[int], threads: int) -> dict[str, Any]:
        """Return how `threads` of some cores may be asked for, tried for a second, and what else limits them.

        Raises: AgentError `busy` when a campaign holds the device, which the trial would disturb.
        """
        answer = self._ask("permissions", owner=owner, cores=list(cores), threads=threads)
        for name, kind in (("grants", list), ("waited", dict), ("siblings", dict), ("withheld", list)):
            self._field(answer, name, kind)
        return answer

    def evict(self, max_bytes: int) -> dict[str, Any]:
        """Shrink the device's cache of parts to `max_bytes`, least recently used first."""
        self.forget_parts()
        return self._ask("evict", max_bytes=max_bytes)

    def forget_parts(self) -> None:
        """Forget which parts the device holds, after it reported a missing or damaged one."""
        self._there.clear()

    @property
    def sent_bytes(self) -> int:
        """Bytes of parts on the wire so far, each counted when the device has confirmed it."""
        return self._sender.sent_bytes

    @property
    def sent_part_bytes(self) -> dict[str, int]:
        """Bytes on the wire of each part that was sent, by digest."""
        return self._sender.sent_part_bytes

    def send_models(
        self, models: Sequence[Assembly], on_progress: Progress = lambda done, total: None
    ) -> int:
        """Send the parts of the models that the device lacks; return the bytes of parts sent.

        on_progress: called after each chunk. Raises: LinkError; the device keeps what it has, and the next call goes on there.
        """
        before = self.sent_bytes
        parts = parts_of(models)
        asked = [digest for digest in parts if digest not in self._there]
        missing: list[Part] = []
        received: dict[str, int] = {}
        for start in range(0, len(asked), DIGESTS_AT_ONCE):
            answer = self._ask("missing", digests=asked[start : start + DIGESTS_AT_ONCE])
            lacking = set(self._field(answer, "missing", list))
            missing += [parts[digest] for digest in asked if digest in lacking]
            received |= self._field(answer, "received", dict)
        self._sender.send(missing, _plausible(received), on_progress)
        self._there.update(asked)
        return self.sent_bytes - before

    def run(self, job: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Run a job, handing each event on, and return the session's summary.

        Raises: AgentError with the reason the job failed; LinkError when the agent falls silent.
        """
        return self._ask("run", timeout_s=SILENCE_S, on_event=on_event, job=job)

    def profile(self, job: dict[str, Any]) -> dict[str, Any]:
        """Time each node of a network by the runtime's own profiler, and return the answer.

        Raises: AgentError with the reason it failed (`no-profiler`: the runtime has none); LinkError when the agent falls silent.
        """
        return self._ask("profile", timeout_s=SILENCE_S, job=job)

    def close(self) -> None:
        """End the agent: its input ends, so it kills its worker and leaves."""
        self._channel.close()

    def _ask_sized(self, verb: str, payload: bytes, **fields: Any) -> int:
        self._last_id += 1
        more_s = patience_s(len(payload))
        header = {"id": self._last_id, "verb": verb, **fields}
        size = self._frames.write(header, payload, timeout_s=ANSWER_TIMEOUT_S + more_s)
        self._answer(ANSWER_TIMEOUT_S, None, more_s)
        return size

    def _ask(
        self,
        verb: str,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        self._last_id += 1
        size = self._frames.write({"id": self._last_id, "verb": verb, **fields})
        return self._answer(timeout_s, on_event, patience_s(size))

    def _field(self, answer: dict[str, Any], name: str, kind: type) -> Any:
        if not isinstance(answer.get(name), kind):
            raise LinkError(f"{self._who}: the agent broke the protocol: {name} = {answer.get(name)!r}")
        return answer[name]

    def _answer(
        self, timeout_s: float, on_event: Callable[[dict[str, Any]], None] | None, more_s: float = 0.0
    ) -> dict[str, Any]:
        """Return the result of the last request; its first word may take `more_s` longer, until it is across."""
        while True:
            header, _ = self._frames.read(timeout_s + more_s)
            more_s = 0.0
            kind = header.get("type")
            if header.get("id") != self._last_id:
                raise LinkError(f"{self._who}: the agent broke the protocol: answer to {header.get('id')!r}")
            if kind == "result":
                return header
            if kind == "error":
                printed = str(header.get("stderr") or "")[-MAX_QUOTED:]
                message = f"{self._who}: {header.get('message')}" + (
                    f"; it printed: {printed}" if printed else ""
                )
                raise AgentError(str(header.get("kind")), message, header)
            if kind != "event":
                raise LinkError(f"{self._who}: the agent broke the protocol: type {kind!r}")
            if on_event is not None:
                on_event(header)


def _plausible(received: dict[str, Any]) -> dict[str, int]:
    """Return how much the device says to have of parts, where that can be."""
    return {digest: size for digest, size in received.items() if type(size) is int and size >= 0}


def _boot(transport: Transport, device: Device, argv: Sequence[str], archive: bytes) -> dict[str, Any]:
    done = transport.run(argv, stdin=archive, timeout_s=START_TIMEOUT_S + patience_s(len(archive)))
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith("HARNESS-BOOT "):
            try:
                answer = dict(json.loads(line.removeprefix("HARNESS-BOOT ")))
                if (
                    not all(isinstance(number, int) for number in answer["python"])
                    or not set(answer) >= _BOOT_FIELDS
                ):
                    raise ValueError("fields are missing")
            except (ValueError, TypeError, KeyError) as error:
                raise DeviceError(f"device {device.name!r}: unreadable answer {line[:200]!r}") from error
            return answer
    if done.status in (126, 127):
        raise DeviceError(
            f"device {device.name!r}: no Python at {argv[0]!r} ({done.stderr or 'not found'}); install one (Debian: "
            f"apt install python3; Termux: pkg install python) or name it: "
            f'python = "/path/to/python3" in [devices.{device.name}]'
        )
    raise DeviceError(
        f"device {device.name!r}: {argv[0]!r} ended with status {done.status}: {done.stderr or done.stdout[:200]!r}"
    )
