"""Client of the agent protocol, and deployment of the agent.

docs/protocol.md holds the protocol, harness.devices.answers the schema by which all that the agent says is checked. Errors
that the agent reports become AgentError; a broken connection LinkError.
"""

from __future__ import annotations

import functools
import json
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from device_agents.archive import build_archive
from harness.devices.answers import BadAnswer, check_answer, check_boot, check_event, check_refusal
from harness.devices.config import Device, default_python, runtime_sources
from harness.devices.framing import FrameStream
from harness.devices.runtime_packages import vendor_libraries
from harness.devices.sending import AHEAD, DIGESTS_AT_ONCE, Part, PartSender, Progress, parts_of, patience_s
from harness.devices.transports.contract import Channel, Transport
from harness.errors import AgentError, DeviceError, LinkError
from harness.version import __version__
from space.assembly import Assembly
from space.system_errors import remedy_for
from space.text import printable

PROTOCOL = 3
START_TIMEOUT_S = 60.0
HELLO_TIMEOUT_S = 150.0  # importing a large runtime on a small board takes long
ANSWER_TIMEOUT_S = 60.0
# Programs of the board's maker, first to put back what a loss of power left, each at most 20 s.
BOARD_TIMEOUT_S = 300.0
SILENCE_S = 30.0  # the agent's heart beats every 2 s while it runs a job
PROFILE_S = 1800.0  # for a whole profile, of at most 1000 runs
NETWORK_BYTES = 1 << 24  # of all that is told of one network; 150 s of slices are 5 MB
BLOCKS_BYTES = 1 << 26  # of a day of blocks; half an hour with 30 sensors is 3 MB
RESULT_S = 60.0  # for what stands between a job's networks, beside what its plan allows
MIN_PYTHON = (3, 8)
NOTHING: Mapping[str, str] = MappingProxyType({})
MAX_QUOTED = 500  # characters of what a worker printed

# No sitecustomize, no module of the folder where a login begins: only Python's own.
ISOLATED = ("-I", "-S")
_GONE = "can't open file"  # as Python says
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]{1,100})'")

# Run on the device before there is an agent: argv = root, digest; an archive on standard input, compressed, is stored.
_BOOT = """
import hashlib, json, os, sys
try:
    import zlib
except ImportError:
    zlib = None
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
error, others = '', []
if sys.version_info < (3, 8):
    import shutil, subprocess
    folders = os.pathsep.join([os.environ.get('PATH', ''), '/usr/local/bin', '/usr/bin'])
    found = [shutil.which('python3.%d' % minor, path=folders) for minor in range(8, 30)]
    others = [one for one in found if one and subprocess.call([one, '-I', '-S', '-c', ''], stderr=subprocess.DEVNULL) == 0]
if data and not good():
    try:
        data = zlib.decompress(data)
        os.makedirs(root, mode=0o700, exist_ok=True)
        temporary = path + '.' + str(os.getpid())
        try:
            with open(temporary, 'wb') as f:
                f.write(data)
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    except (OSError, zlib.error) as e:
        error = str(e)
def text(name):  # as it came, in UTF-8, whatever characters this login takes the bytes for
    return os.fsencode(name).decode('utf-8', 'replace')
print('\\nHARNESS-BOOT ' + json.dumps({'present': good(), 'zlib': zlib is not None, 'path': text(path), 'root': text(root),
    'error': error, 'python': list(sys.version_info[:3]), 'executable': sys.executable, 'others': others}))
"""


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


@functools.lru_cache(maxsize=1)
def _compressed(archive: bytes) -> bytes:
    """Compress the agent, once a process, for its way alone: compressors differ, and the file's digest is kept with sessions."""
    return zlib.compress(archive, 9)


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
    named = f'python = "..." in [devices.{device.name}]'
    if version < MIN_PYTHON:
        told = f"{python!r} is Python {'.'.join(map(str, version))}; the agent needs 3.8 or newer: name one with {named}"
        there = f" (there: {', '.join(answer['others'])})" if answer.get("others") else ""
        raise DeviceError(device.who, told + there)
    if not answer["zlib"]:
        lacks = f"{python!r} has no module zlib, which the agent needs to unpack models"
        raise DeviceError(device.who, f"{lacks}; name another with {named}")
    sent_bytes = 0
    if not answer["present"]:
        packed = _compressed(archive)
        answer = _boot(transport, device, boot, packed)
        sent_bytes = len(packed)
        if not answer["present"]:
            told = f"the agent cannot be stored in {answer['root']!r}: {answer['error']}"
            raise DeviceError(device.who, told + _on_device(answer["error"], device.name))
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

    def __init__(
        self, channel: Channel, who: str, unanswered: dict[str, list[tuple[int, int]]] | None = None
    ) -> None:
        self._channel = channel
        self._frames = FrameStream(channel, who)
        self._who = who
        self._last_id = 0
        self._unread: set[int] = set()  # requests sent ahead of their answers
        self._sender = PartSender(self._post_sized, unanswered=unanswered)
        self._there: set[str] = set()  # parts that the device is known to hold

    @classmethod
    def start(
        cls,
        transport: Transport,
        device: Device,
        deployment: Deployment,
        unanswered: dict[str, list[tuple[int, int]]] | None = None,
    ) -> AgentClient:
        """Start the deployed agent on the device and wait for its first line; `unanswered` is of a client whose link broke."""
        argv = [deployment.python, *ISOLATED, deployment.path, "serve", "--root", deployment.root]
        client = cls(transport.start(argv), device.who, unanswered)
        try:
            client._frames.wait_for_preamble(START_TIMEOUT_S)
        except LinkError as error:
            client.close()
            if _GONE in str(error):
                raise DeviceError(
                    device.who,
                    f"the agent that was stored in {deployment.root!r} is gone at the next login, as where each has a container "
                    f'of its own; name a folder that stays with root = "..." in [devices.{device.name}]',
                ) from error
            if remedy_for(error):
                raise LinkError(
                    *error.args[:-1], f"{error.args[-1]}{_on_device(str(error), device.name)}"
                ) from error
            raise
        return client

    def hello(
        self,
        environment: Mapping[str, str] = NOTHING,
        libraries: Mapping[str, str] = NOTHING,
        runtimes: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Return the agent's description of the device and of the runtimes on it.

        environment: variables of the processes that run models. libraries: digests of parts that are libraries, by name.
        runtimes: names of the only ones to look for, each of which a process imports; empty for all.
        """
        further: dict[str, Any] = {
            "environment": dict(environment),
            "libraries": dict(libraries),
            "runtimes": list(runtimes),
            "vendor_libraries": vendor_libraries(),
        }
        answer = self._ask(
            "hello",
            timeout_s=HELLO_TIMEOUT_S,
            protocol=PROTOCOL,
            harness=__version__,
            **{name: value for name, value in further.items() if value},
        )
        if answer.get("protocol") != PROTOCOL:
            raise DeviceError(
                self._who, f"the agent speaks protocol {answer.get('protocol')!r}, not {PROTOCOL}"
            )
        return answer

    def lock(self, owner: str, board: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Lock the device for this campaign until the agent ends, its board set as asked; return the whole answer.

        `machine_lock` is the state of the machine's lock, `held` or why not; with `board` (`Device.board_settings`) it tells of
        the board and its cores, too. Raises: AgentError, `busy` that names the owner when another campaign holds it, `board`
        when the board cannot be set, or what an earlier campaign had set not be put back.
        """
        asked: dict[str, Any] = {} if board is None else {"board": dict(board)}
        return self._ask("lock", timeout_s=BOARD_TIMEOUT_S, owner=owner, **asked)

    def probe(self) -> dict[str, Any]:
        """Return the device's present conditions."""
        return dict(self._ask("probe")["conditions"])

    def quiet(self, cores: Sequence[int], threads: int, request: str) -> dict[str, Any]:
        """Return the `threads` quietest of some cores; empty `cores`: of the fastest like ones."""
        return self._ask("quiet", cores=list(cores) or None, threads=threads, request=request)

    def permissions(self, owner: str, cores: Sequence[int], threads: int) -> dict[str, Any]:
        """Return how `threads` of some cores may be asked for, tried for a second, and what else limits them.

        Raises: AgentError `busy` when a campaign holds the device, which the trial would disturb.
        """
        return self._ask("permissions", owner=owner, cores=list(cores), threads=threads)

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
    def unanswered(self) -> dict[str, list[tuple[int, int]]]:
        """Parts on their way, see `PartSender`: for the client that comes after this one where the link broke."""
        return self._sender.unanswered

    def send_models(
        self, models: Sequence[Assembly], on_progress: Progress = lambda done, total: None
    ) -> int:
        """Send the parts of the models that the device lacks; return the bytes of parts sent.

        on_progress: called after each chunk. Raises: LinkError; the device keeps what it has, and the next call goes on there.
        """
        parts = parts_of(models)
        asked = [digest for digest in parts if digest not in self._there]
        missing: list[Part] = []
        received: dict[str, int] = {}
        for start in range(0, len(asked), DIGESTS_AT_ONCE):
            answer = self._ask("missing", digests=asked[start : start + DIGESTS_AT_ONCE])
            lacking = set(answer["missing"])
            missing += [parts[digest] for digest in asked if digest in lacking]
            received |= answer.get("received", {})
        self._sender.settle(asked, {part.digest for part in missing}, received)
        before = self.sent_bytes
        self._sender.send(missing, received, on_progress)
        self._there.update(asked)
        return self.sent_bytes - before

    def run(self, job: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Run a job, handing each event on, and return the session's summary.

        Raises: AgentError with the reason the job failed; LinkError when the agent falls silent; DeviceError when it says that
        it lives and tells of no network for longer than one can take.
        """
        limit = _Limit(limit_s=network_limit_s(job), limit_bytes=NETWORK_BYTES)
        return self._ask("run", timeout_s=SILENCE_S, limit=limit, on_event=on_event, job=job)

    def profile(self, job: dict[str, Any]) -> dict[str, Any]:
        """Time each node of a network by the runtime's own profiler, and return the answer.

        Raises: AgentError with the reason it failed (`no-profiler`: the runtime has none); LinkError when the agent falls silent;
        DeviceError when it says that it lives for longer than a profile can take.
        """
        limit = _Limit(limit_s=PROFILE_S, limit_bytes=NETWORK_BYTES)
        return self._ask("profile", timeout_s=SILENCE_S, limit=limit, job=job)

    def weigh(self, job: dict[str, Any]) -> dict[str, Any]:
        """Load and run a network alone in a fresh worker, and return the answer: its memory, and times of load and first run.

        Raises: AgentError with the reason it failed (`no-memory`: the system does not tell); LinkError when the agent falls
        silent; DeviceError when it says that it lives for longer than that can take.
        """
        limit = _Limit(limit_s=RESULT_S + 2 * float(job["silence_s"]), limit_bytes=NETWORK_BYTES)
        return self._ask("memory", timeout_s=SILENCE_S, limit=limit, job=job)

    def run_blocks(self, job: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Run a job of blocks, handing each event on, and return the answer. Raises: as `run`."""
        seconds = sum(float(seconds) + float(job["settle_s"]) for _, seconds in job["blocks"])
        limit_s = RESULT_S + 2 * float(job["silence_s"]) * (1 + len(job["blocks"])) + 1.1 * seconds
        limit = _Limit(limit_s=limit_s, limit_bytes=BLOCKS_BYTES)
        return self._ask("blocks", timeout_s=SILENCE_S, limit=limit, on_event=on_event, job=job)

    def energy_sensor(self, provider: str) -> dict[str, Any]:
        """Return the sensor of energy for what a provider computes on and how often it measures, or the reasons without one."""
        return self._ask("sensor", timeout_s=2 * ANSWER_TIMEOUT_S, provider=provider)

    def close(self) -> None:
        """End the agent: its input ends, so it kills its worker and leaves."""
        self._channel.close()

    def _post_sized(self, verb: str, payload: bytes, **fields: Any) -> tuple[int, Callable[[], None]]:
        """Send a request; return its size on the wire and what waits for its answer."""
        self._last_id += 1
        number, more_s = self._last_id, patience_s(len(payload))
        header = {"id": number, "verb": verb, **fields}
        size = self._frames.write(header, payload, timeout_s=ANSWER_TIMEOUT_S + AHEAD * more_s)
        self._unread.add(number)

        def answered() -> None:
            self._unread.discard(number)
            self._answer(number, verb, ANSWER_TIMEOUT_S, None, lambda _: None, more_s)

        return size, answered

    def _ask(
        self,
        verb: str,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        limit: _Limit | None = None,
        on_event: Callable[[dict[str, Any]], None] = lambda _: None,
        **fields: Any,
    ) -> dict[str, Any]:
        self._last_id += 1
        size = self._frames.write({"id": self._last_id, "verb": verb, **fields})
        return self._answer(self._last_id, verb, timeout_s, limit, on_event, patience_s(size))

    def _answer(
        self,
        number: int,
        verb: str,
        timeout_s: float,
        limit: _Limit | None,
        on_event: Callable[[dict[str, Any]], None],
        more_s: float,
    ) -> dict[str, Any]:
        """Return the checked answer to a request, handing on the events before it, of which there are none without a limit.

        more_s: how much longer its first word may take, until the request is across.
        """
        while True:
            before = self._frames.received_bytes
            header = self._frames.read(timeout_s + more_s)
            more_s = 0.0
            try:
                kind = header.get("type")
                if self._is_unread(header, number):
                    continue
                if header.get("id") != number:
                    raise BadAnswer(f"its answer to {verb}: id = {_quoted(header.get('id'))}, not {number}")
                if kind == "result":
                    return check_answer(verb, header)
                if kind == "error":
                    raise self._error(check_refusal(header))
                if kind != "event" or limit is None:
                    raise BadAnswer(f"its answer to {verb}: type = {_quoted(kind)}")
                event = check_event(header)
            except BadAnswer as error:
                raise LinkError(self._who, f"the agent broke the protocol in {error}") from error
            if trouble := limit.count(self._frames.received_bytes - before):
                raise DeviceError(self._who, trouble)
            if event is not None:
                limit.see(event)
                on_event(event)

    def _is_unread(self, header: dict[str, Any], number: int) -> bool:
        """Return whether an answer is to an earlier request, which nobody waits for any more; it is awaited no longer."""
        said = header.get("id")
        if type(said) is not int or said >= number or said not in self._unread:
            return False
        self._unread.discard(said)
        return True

    def _error(self, said: dict[str, Any]) -> AgentError:
        printed = said.get("stderr", "")[-MAX_QUOTED:]
        helps = remedy_for(said["message"]) if said["kind"] == "agent-error" else ""
        return AgentError(
            said["kind"],
            said["message"]
            + (f"; on the device: {helps}" if helps else "")
            + (f"; it printed: {printed}" if printed else ""),
            said,
            thing=self._who,
        )


class _Limit:
    """Limit in time and bytes of what is told of one network, or of a profile."""

    def __init__(self, *, limit_s: float, limit_bytes: int) -> None:
        self._limit_s, self._limit_bytes = limit_s, limit_bytes
        self._heard_s = time.monotonic()
        self._passed_s, self._bytes = 0.0, 0

    def see(self, event: Mapping[str, Any]) -> None:
        """Count from nothing again after the last event of a network."""
        if event["event"] in ("measured", "refused"):
            self._passed_s, self._bytes = 0.0, 0

    def count(self, size_bytes: int) -> str:
        """Count what was told; return what is wrong with it, empty where nothing is.

        Whoever waits longer than an agent may be silent was stopped itself, by Ctrl-Z or with this machine.
        """
        now_s = time.monotonic()
        self._passed_s += min(now_s - self._heard_s, SILENCE_S)
        self._heard_s = now_s
        self._bytes += size_bytes
        if self._bytes > self._limit_bytes:
            return (
                f"the agent told more than {self._limit_bytes >> 20} MiB of one network: its device is broken"
            )
        if self._passed_s > self._limit_s:
            return f"the agent says that it is alive, and told no result for {self._limit_s:.0f} s: restart the device"
        return ""


def network_limit_s(job: Mapping[str, Any]) -> float:
    """Return for how long an agent may be busy with one network of a job: two loads, the warm-up and the slices, each doubled."""
    plan = job["plan"]
    return RESULT_S + 2 * (2 * float(job["silence_s"]) + float(plan["warmup_max_s"]) + float(plan["max_s"]))


def _on_device(said: str, name: str) -> str:
    """Return the remedy where the agent's folder cannot be used, as the end of a sentence."""
    other = f'another folder is named by root = "..." in [devices.{name}]'
    helps = remedy_for(said)
    return f"; on the device: {helps}; {other}" if helps else f"; {other}"


def _quoted(value: Any) -> str:
    return printable(repr(value)[:100])


def _boot(transport: Transport, device: Device, argv: Sequence[str], archive: bytes) -> dict[str, Any]:
    done = transport.run(argv, stdin=archive, timeout_s=START_TIMEOUT_S + patience_s(len(archive)))
    for line in done.text.splitlines():
        if line.startswith("HARNESS-BOOT "):
            try:
                return check_boot(json.loads(line.removeprefix("HARNESS-BOOT ")))
            except (ValueError, RecursionError) as error:
                raise DeviceError(device.who, f"unreadable answer {line[:200]!r}") from error
    told = f"{argv[0]!r} ended with status {done.status}: {printable(done.stderr) or done.stdout[:200]!r}"
    if done.status in (126, 127):
        told = (
            f"no Python at {argv[0]!r} ({printable(done.stderr) or 'not found'}); install one (Debian: apt install python3; "
            f'Termux: pkg install python) or name it: python = "/path/to/python3" in [devices.{device.name}]'
        )
    elif missing := _NO_MODULE.search(done.stderr):
        told = (
            f"{argv[0]!r} has no module {missing[1]}, which the standard library has: install all of it (Debian, where "
            f"python3-minimal is a part: apt install python3) or name another Python with "
            f'python = "..." in [devices.{device.name}]'
        )
    raise DeviceError(device.who, told)
