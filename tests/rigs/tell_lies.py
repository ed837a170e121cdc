"""Campaigns on devices that lie, each in one field of one message or in the whole of it: `python -m rigs.tell_lies [MESSAGE...]`.

Beside them, on the same store, campaigns on a device that does not. Prints as JSON how many lies were told, what came of them,
the peak of this process's memory, and in `faults` all that should not have happened.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import re
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.devices import client, connection
from harness.devices.config import LocalDevice
from harness.measurement import campaign, rounds, session_builder
from harness.measurement.campaign import Outcome
from harness.measurement.plan import Level, Options
from harness.measurement.profile import take_profile
from harness.output.campaigns import print_outcome
from harness.store import Store, database
from rigs.lying_device import ERROR, LIES, MESSAGES, STREAMS, LyingDevice, at, changed, leaves
from rigs.made_once import copy_new
from rigs.scripted_link import PLAN, ScriptedSource
from rigs.watcher import Watcher
from space.errors import HarnessError

LIMIT_S = 20.0
FAT = {"event": "sample", "at_ns": 5, "temps_c": {f"zone{number}": 40.0 for number in range(500)}}
OPTIONS = Options(level=Level(name="made-up", sessions=1, plan=PLAN), fresh=True, memory=True)
Lie = Callable[[str, dict[str, Any]], Any]


class OpenGate:
    """A gate that nothing closes: a lie about heat would be waited for, as heat is."""

    def __init__(self, *_: Any) -> None:
        """Take anything."""

    def note(self, *_: Any) -> None:
        """Take nothing."""

    def wait(self, *_: Any) -> dict[str, Any]:
        """Do not wait."""
        return {"waited_s": 0.0, "closed": []}


def lies_in(name: str) -> Iterator[tuple[str, Lie]]:
    """Yield each lie about a message with its name: every kind once, in fields spread over the message, then whole ones."""
    paths = list(leaves(MESSAGES[name]))
    for number, (kind, value) in enumerate(LIES.items()):
        path = paths[number * max(1, len(paths) // len(LIES)) % len(paths)]

        def in_field(told: str, message: dict[str, Any], path: Any = path, value: Any = value) -> Any:
            return (
                changed(message, path, value) if told == name and at(message, path) is not None else message
            )

        yield f"{name}: {'.'.join(map(str, path))} is {kind}", in_field
    for kind, stream in STREAMS.items() if name != "boot" else ():

        def whole(told: str, message: dict[str, Any], stream: Any = stream) -> Any:
            return stream(message) if told == name else message

        yield f"{name} is {kind}", whole


def liar(name: str, lie: Lie) -> LyingDevice:
    """Return a device that says a message, and lies in it."""
    error = {"error": ERROR, "answer evict": ERROR | {"kind": "disk-full"}}.get(name)
    return LyingDevice(lie, refuses=name == "event refused", error=error)


def run(device: str, transport: LyingDevice, store: Store, source: ScriptedSource | None = None) -> Outcome:
    """Run a campaign; return what came of it."""
    try:
        return campaign.run_campaign(
            LocalDevice(name=device),
            source or ScriptedSource(),
            OPTIONS,
            store,
            Watcher(),
            rng=random.Random(0),
            cancel=threading.Event(),
            connect=lambda _: transport,
        )
    except HarnessError as error:
        return Outcome(device=device, error=error)


def profile(
    device: str, transport: LyingDevice, expected: Callable[[], Sequence[float]] | None = None
) -> Outcome:
    """Take a profile of a model whose right output may be known; return what came of it."""
    try:
        model = ScriptedSource(expected=expected).reference("onnx", "fp32")
        names: dict[str, Any] = {
            "runtime": "onnxruntime",
            "threads": 1,
            "cores": (),
            "runs": 8,
            "wait_s": 0.0,
        }
        take_profile(
            LocalDevice(name=device), model, **names, log=lambda _: None, connect=lambda _: transport
        )
    except HarnessError as error:
        return Outcome(device=device, error=error)
    return Outcome(device=device)


def tell(name: str, store: Store) -> tuple[list[Outcome], list[str]]:
    """Tell all lies about a message; return what came of each, and all that should not have happened."""
    outcomes, faults = [], []
    for what, lie in lies_in(name):
        begun_s = time.monotonic()
        try:
            device = liar(name, lie)
            outcomes.append(
                profile("liar", device) if name == "answer profile" else run("liar", device, store)
            )
        except Exception:  # noqa: BLE001 - a traceback is what is looked for
            faults.append(f"{what}: {traceback.format_exc()[-1500:]}")
            continue
        if time.monotonic() - begun_s > LIMIT_S:
            faults.append(f"{what}: took {time.monotonic() - begun_s:.0f} s")
        texts = [str(outcomes[-1].error or ""), *(failure.message for failure in outcomes[-1].failures)]
        if not all(text.replace("\n", "").isprintable() and len(text) < 9000 for text in texts):
            faults.append(f"{what}: says {texts!r:.300}")
        if not _is_counted(outcomes[-1]):
            faults.append(f"{what}: is not counted in the summary")
    return outcomes, faults


def _is_counted(outcome: Outcome) -> bool:
    """Tell whether what people are shown at the end has the number of failures, and the error."""
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        print_outcome(outcome)
    text = shown.getvalue()
    count = len(outcome.failures)
    return (not count or bool(re.search(rf"liar: {count} failure", text))) and (
        outcome.error is None or "harness: " in text
    )


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1]) / 1024  # type: ignore[index]


def tell_beside(name: str, store: Store) -> tuple[list[Outcome], list[str]]:
    """Do as `tell`, beside a campaign on a device that does not lie, on the same store, all of which can then be read."""
    honest: list[Outcome] = []
    beside = threading.Thread(target=lambda: honest.append(run("honest", LyingDevice(), store)))
    beside.start()
    outcomes, faults = tell(name, store)
    beside.join(60)
    if not honest or honest[0].measured != 1 or honest[0].error or honest[0].failures:
        faults.append(f"{name}: the honest device's campaign came to {honest!r:.500}")
    return outcomes, faults + unreadable(store)


def unreadable(store: Store) -> list[str]:
    """Return what was stored and cannot be read."""
    for configuration in store.configurations():
        store.sessions(configuration)
    found = [f"{what} was stored and cannot be read: {why}" for what, why in store.unreadable.items()]
    store.unreadable.clear()
    return found


def main() -> None:
    """Tell lies, and print what came of them; each message's have a store of their own, which campaigns read as they go."""
    connection.RECONNECT_WAITS_S = (0.0,)
    campaign.Gate = OpenGate  # type: ignore[assignment, misc]
    session_builder.CLOCKS_TOLERANCE_S = 100.0  # the device's clock is made up
    database.migrate = copy_new
    rounds.FRESH_RUNS = 1  # of each network whose memory is asked for
    most, client.NETWORK_BYTES = client.NETWORK_BYTES, 1 << 18  # that what is told over and over ends soon
    fates: Counter[str] = Counter()
    faults: list[str] = []
    lies = 0
    for name in sys.argv[1:] or MESSAGES:
        with new_store() as store:
            outcomes, found = tell_beside(name, store)
        faults += found
        lies += sum(1 for _ in lies_in(name))
        for outcome in outcomes:
            fates["error" if outcome.error else "failure" if outcome.failures else "harmless"] += 1
    client.NETWORK_BYTES = most
    with new_store() as store:
        flood = run("liar", LyingDevice(extra=lambda: itertools.repeat(FAT)), store)
        faults += unreadable(store)
    if "MiB of one network" not in str(flood.error):
        faults.append(f"a flood of samples came to {flood!r:.500}")
    print(json.dumps({"lies": lies, **fates, "peak_mib": round(peak_mib()), "faults": faults}))  # noqa: T201


@contextlib.contextmanager
def new_store() -> Iterator[Store]:
    """Return a store that is there as long as it is used."""
    with tempfile.TemporaryDirectory() as folder, Store(f"sqlite:///{folder}/store.sqlite") as store:
        yield store


if __name__ == "__main__":
    main()
