"""The process that talks to Ray, and what runs on the nodes; only here is ray imported.

Retries are counted here, not by Ray, so that each is reported. Inputs are put into Ray's object store once, sealed; results
come back sealed and are verified before they are kept.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from search.work.events import Event, UnitAgain, UnitProgress, UnitStarted
from search.work.kinds import Context, Message, Step, find_kind
from search.work.results import ResultStore, sealed_kind
from search.work.unit import Unit
from search.work.unit_runs import Done, Failed, Outcome, compute, failed, given_up
from space.errors import ConfigError, HarnessError
from space.system_errors import refused
from space.text import counted

_TICK_S = 0.5  # how often progress is asked for
_POST_S = 5.0  # to wait for a unit's last report
_LOOK_S = 5.0  # how often nodes are counted
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns of a change to come unless it is set
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Configuration of the process that talks to Ray; `code` is the folder of packages that travels to the nodes."""

    address: str
    threads: int
    device: str
    retries: int
    patience_s: float
    code: Path


def drive(link: Connection, order: Order, units: Sequence[Unit], folder: Path, log: Path) -> None:
    """Run units on a cluster and send how each ended: events, `Done`, `Failed`, or one error and no more."""
    os.environ.update(_SETTINGS)
    try:
        _redirect(log)
        _connect(order)
        for said in _run(order, units, ResultStore(folder=folder)):
            link.send(said)
    except HarnessError as e:
        link.send(e)
    except Exception as e:
        logging.exception("the driver of Ray ends")
        link.send(HarnessError(f"Ray: {type(e).__name__}: {e}; see {log}, and run it again"))


def _redirect(log: Path) -> None:
    """Send Ray's own messages to a file, off the screen and off our stdout. Raises: ConfigError."""
    with refused(f"{log}: cannot be written", "check the folder"):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())


def _connect(order: Order) -> None:
    ray = _ray()
    try:
        ray.init(
            address=order.address,
            runtime_env={"working_dir": str(order.code)},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError) as e:
        raise ConfigError(
            f"Ray: no cluster at {order.address!r} that this machine is a node of: {e}. Start one with "
            "`ray start --head --include-dashboard=false`, or join it with `ray start --address=HOST:PORT`"
        ) from e


def _run(order: Order, units: Sequence[Unit], results: ResultStore) -> Iterator[Outcome | Event]:
    ray = _ray()
    lost: type[Exception] = import_module("ray.exceptions").RayError
    strategies: Any = import_module("ray.util.scheduling_strategies")
    here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    mailbox = ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here, max_restarts=-1).remote()
    work = ray.remote(_work).options(
        num_cpus=order.threads, num_gpus=int(order.device.startswith("cuda")), max_retries=0
    )
    nodes = _Nodes(order)
    able = counted(len(nodes.able), "node")
    yield Message(text=f"connected to Ray at {order.address}: {able} that can run a unit")

    digests = {digest for unit in units for digest in unit.inputs.values()}
    inputs = {digest: ray.put(results.sealed(digest)) for digest in digests}

    def submit(unit: Unit) -> Any:
        given = [inputs[digest] for digest in unit.inputs.values()]
        return work.remote(unit, order.threads, order.device, mailbox, *given)

    running = {submit(unit): unit for unit in units}
    attempts = Counter[str]()
    mail: list[Any] = []

    def post(patience_s: float) -> list[Event]:
        if patience_s or not mail:
            mail.append(mailbox.take.remote())
        events: list[Event] = []
        for reference in ray.wait(mail, num_returns=len(mail), timeout=patience_s)[0]:
            mail.remove(reference)
            with suppress(lost):  # lost with its node, and restarted by Ray: losing an event does no harm
                events += ray.get(reference)
        return events

    while running:
        finished, _ = ray.wait(list(running), timeout=_TICK_S)
        yield from post(_POST_S if finished else 0.0)  # a unit's reports come before its end
        for reference in finished:
            unit = running.pop(reference)
            try:
                answer = ray.get(reference)
            except lost as e:
                if raised := _raised(unit, e):
                    yield raised
                    continue
                reason = f"its process or node was lost ({type(e).__name__})"
                attempts[unit.key] += 1
                if attempts[unit.key] > order.retries:
                    yield given_up(unit, reason, attempts[unit.key])
                else:
                    yield UnitAgain(unit=unit, reason=reason)
                    running[submit(unit)] = unit
                continue
            yield answer if isinstance(answer, Failed) else _kept(unit, results, *answer)
        yield from nodes.look(len(running))


class _Nodes:
    """Nodes that are large enough for a unit, whether or not they are busy, by id."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.able = self._count()
        self.looked_s = self.able_s = time.monotonic()

    def look(self, left: int) -> Iterator[Message]:
        """Count the nodes every `_LOOK_S` and yield a message for each lost one; `left` units are not done.

        Raises:
            HarnessError: for longer than the order's patience there was no node.
        """
        now = time.monotonic()
        if now - self.looked_s <= _LOOK_S:
            return
        former, self.able, self.looked_s = self.able, self._count(), now
        for name in former - self.able:
            yield Message(text=f"node {name[:12]} is lost; {counted(len(self.able), 'node')} can run a unit")
        self.able_s = now if self.able else self.able_s
        if now - self.able_s > self.order.patience_s:
            raise HarnessError(
                f"Ray: for {self.order.patience_s:g} s no node of {self.order.address} could run a unit: each needs "
                f"{self.order.threads} processors on device {self.order.device!r}, and {left} are to do; finished units are "
                "kept. Start nodes with `ray start --address=HOST:PORT`, or ask for fewer threads, and run it again"
            )

    def _count(self) -> set[str]:
        gpus = int(self.order.device.startswith("cuda"))
        return {
            node["NodeID"]
            for node in _ray().nodes()
            if node["Alive"]
            and node["Resources"].get("CPU", 0) >= self.order.threads
            and node["Resources"].get("GPU", 0) >= gpus
        }


def _raised(unit: Unit, error: Exception) -> Failed | None:
    """Return the failure of a unit whose node could not begin it, such as where a package is missing; None for a lost process."""
    cause = getattr(error, "cause", None)
    return failed(unit, cause) if isinstance(cause, Exception) else None


def _kept(unit: Unit, results: ResultStore, data: bytes, seconds: float, host: str) -> Outcome:
    try:
        digest = results.accept(data, find_kind(unit.kind).seals, f"its result from {host}")
    except ConfigError as e:
        return failed(unit, e)
    return Done(unit=unit, digest=digest, seconds=seconds, host=host)


def _ray() -> Any:
    """Return the module, to type checkers of machines with and without it the same."""
    return import_module("ray")


# --- on the nodes ---------------------------------------------------------------------------------


class _Mailbox:
    """Mailbox of events until the driver takes them: a Ray actor."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[Event]:
        taken, self.events = self.events, []
        return taken


def _work(
    unit: Unit, threads: int, device: str, mailbox: Any, *given: bytes
) -> Failed | tuple[bytes, float, str]:
    """Compute a unit of sealed inputs, in the order of its own: its sealed content, seconds and host."""
    ray, host = _ray(), socket.gethostname()
    sent: list[Any] = [mailbox.put.remote(UnitStarted(unit=unit))]

    def report(step: Step) -> None:
        sent[:] = [mailbox.put.remote(UnitProgress(unit=unit, step=step))]

    try:
        import torch

        from search.training.sealed import seal, unseal

        torch.set_num_threads(threads)
        begin = time.perf_counter()
        with _scratch() as scratch:
            inputs = {
                name: unseal(sealed_kind(data, name), data, f"input {name!r}")
                for name, data in zip(unit.inputs, given, strict=True)
            }
            context = Context(scratch=scratch, device=device, threads=threads, on_progress=report)
            data = seal(find_kind(unit.kind).seals, compute(unit, inputs, context))
    except Exception as e:  # noqa: BLE001 - a unit, or its node, may raise anything; the others go on
        found = failed(unit, e)
        return replace(found, message=f"{found.message} (on {host})")
    finally:
        ray.wait(sent, timeout=_POST_S)  # it arrives before the result does
    return data, time.perf_counter() - begin, host


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for a unit on its node, and remove those that processes killed there have left.

    Raises:
        ConfigError: the folder of all units is another user's.
        OSError: it cannot be made, such as on a full disk.
    """
    units = Path(tempfile.gettempdir()) / f"harness-units-{os.getuid()}"
    units.mkdir(mode=0o700, exist_ok=True)
    if units.is_symlink() or units.stat().st_uid != os.getuid():
        raise ConfigError(f"{units}: is another user's; remove it, or set TMPDIR to another folder")
    with (units / "lock").open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # so that none is removed before its owner has locked it
        for left in units.glob("*/lock"):
            with suppress(OSError), left.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free: its process is no more
                shutil.rmtree(left.parent)
        folder = tempfile.TemporaryDirectory(dir=units, ignore_cleanup_errors=True)
        held = Path(folder.name, "lock").open("a")  # noqa: SIM115 - it outlives the gate
        fcntl.flock(held, fcntl.LOCK_EX)
    with folder, held:
        scratch = Path(folder.name, "scratch")
        scratch.mkdir()
        yield scratch
