"""A device that lies, in each field of each message: told of that device alone, in words, and soon."""

from __future__ import annotations

import itertools
import json
import random
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rigs.lying_device import ANSWERS, CONDITIONS, MEASURED_TOO, SAMPLE, LyingDevice, changed, leaves
from rigs.scripted_link import PLAN, Run, ScriptedLink, ScriptedSource, Silent

from harness.devices import answers, client
from harness.devices.answers import BadAnswer, check_answer, check_event, check_refusal, protocol_schema
from harness.devices.config import LocalDevice
from harness.errors import DeviceError
from harness.measurement import campaign, session_builder
from harness.measurement.campaign import Outcome
from harness.measurement.plan import Level, Options
from harness.store import Store
from space.errors import HarnessError

ROOT = Path(__file__).parents[3]
LIES: list[Any] = [
    *(KeyError, None, True, -1, 1.5, 10**30, float("nan"), float("inf"), "", "x" * 100_000),
    *([], {}, [["a"]], {"a": {"b": 1}}, "\x1b[31mred\u202e"),
]
JOB = {"networks": [{"parts": ["0"]}], "cores": [1], "runtime": "onnxruntime", "plan": {"min_slices": 8}}


def events() -> dict[str, dict[str, Any]]:
    """Return an example of each event."""
    told: list[dict[str, Any]] = []
    ScriptedLink([Run()]).run(JOB, told.append)
    examples = {event["event"]: event for event in told}
    examples["conditions"] = {"event": "conditions", "conditions": CONDITIONS}
    examples["sample"] = SAMPLE
    examples["measured"] = examples["measured"] | MEASURED_TOO
    failure = {"kind": "worker-error", "message": "no such op", "network": 0, "phase": "load", "stderr": "x"}
    examples["refused"] = {"event": "refused", "network": 0, "failure": failure}
    return {kind: event for kind, event in examples.items() if kind != "started"}


PROFILE = {
    "runtime": {"name": "onnxruntime", "package": "onnxruntime", "version": "1", "provider": "cpu"},
    **{
        "threads": 1,
        "cores": [0],
        "runs": 8,
        "quiet_runs": 2,
        "wall_median_ns": 1000,
        "plain_median_ns": 800,
    },
    "nodes": [{"name": "a", "op": "Conv", "provider": "cpu", "runs": 8, "total_ns": 100, "median_ns": 10}],
}
TOLD = {
    f"answer {verb}": answer for verb, answer in (ANSWERS | {"profile": PROFILE}).items() if verb != "boot"
}
TOLD |= {f"event {kind}": event for kind, event in events().items()}


def check(name: str, message: Any) -> Any:
    what, kind = name.split(" ")
    return check_answer(kind, message) if what == "answer" else check_event(message)


@pytest.mark.parametrize("name", TOLD)
def test_what_an_agent_says_passes_as_it_is(name: str) -> None:
    dropped = {"measured", "threads", "cores"} if name == "answer run" else set()
    assert check(name, TOLD[name]) == {key: value for key, value in TOLD[name].items() if key not in dropped}


@pytest.mark.parametrize("name", TOLD)
def test_a_field_that_the_schema_does_not_know_is_dropped(name: str) -> None:
    assert "weather" not in check(name, TOLD[name] | {"weather": ["blue"] * 10_000})


@pytest.mark.parametrize("name", TOLD)
def test_each_lie_in_each_field_is_refused_or_harmless(name: str) -> None:
    """What passes has the type and the size that the true value has, or is absent as it may be."""
    for path, lie in itertools.product(leaves(TOLD[name]), LIES):
        try:
            found = check(name, changed(TOLD[name], path, lie))
        except BadAnswer as error:
            assert len(str(error)) < 1000 and str(error).isprintable(), path
            continue
        for place in leaves(found or {}):
            true, now = at(TOLD[name], place), at(found, place)
            if true is not None and now is not None and lie is not KeyError:
                assert type(now) is type(true) or {type(now), type(true)} == {int, float}, (path, lie)
            if isinstance(now, str):
                assert len(now) <= answers.MAX_MESSAGE * 8 and now.replace("\n", "").isprintable(), (
                    path,
                    lie,
                )


def at(message: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        try:
            message = message[key]
        except (LookupError, TypeError):
            return None
    return message


def test_the_schema_file_is_the_schema_of_the_code() -> None:
    assert json.loads((ROOT / "docs" / "protocol.schema.json").read_text()) == protocol_schema()


def test_every_field_of_the_schema_stands_in_an_example() -> None:
    """So that no field goes without its lies."""
    lacking = []
    for name, schema in protocol_schema().items():
        if name in ("boot", "error", "answer put", "answer evict"):
            continue
        example = TOLD[name]
        lacking += [f"{name}: {field}" for field in schema["properties"] if field not in example]
    assert lacking == []


def test_texts_lose_what_moves_a_terminal_and_keep_their_lines() -> None:
    said = check_refusal({"kind": "worker-error\x9b", "message": "one\ntwo\x1b[2J\u202e", "pid": 7})
    assert said == {"kind": "worker-error\\x9b", "message": "one\ntwo\\x1b[2J\\u202e", "pid": 7}


# Whole campaigns with a device that lies, beside one that does not.


def run_one(device: LyingDevice, store: Store, name: str = "liar") -> Outcome:
    """Run a campaign on a device; return what came of it."""
    options = Options(level=Level(name="made-up", sessions=1, plan=PLAN), fresh=True)
    try:
        return campaign.run_campaign(
            LocalDevice(name=name),
            ScriptedSource(),
            options,
            store,
            Silent(),
            rng=random.Random(0),
            cancel=threading.Event(),
            connect=lambda _: device,
        )
    except HarnessError as error:
        return Outcome(device=name, error=error)


def run_both(liars: Sequence[LyingDevice], store: Store) -> tuple[list[Outcome], Outcome]:
    """Run campaigns on lying devices, one after another, and on an honest device at once; return what came of each."""
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.extend(run_one(liar, store) for liar in liars))
    thread.start()
    honest = run_one(LyingDevice(), store, "honest")
    thread.join(60)
    return found, honest


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("harness.devices.connection.RECONNECT_WAITS_S", (0.0,))
    monkeypatch.setattr(campaign, "Gate", lambda _: OpenGate())
    monkeypatch.setattr(session_builder, "CLOCKS_TOLERANCE_S", 100.0)  # the device's clock is made up
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as opened:
        yield opened


class OpenGate:
    """A gate that nothing closes: a lie about heat would be waited for, as heat is."""

    def wait(self, *_: Any) -> dict[str, Any]:
        return {"waited_s": 0.0, "closed": []}


def test_an_honest_device_at_the_end_of_the_wire_is_measured(store: Store) -> None:
    (one,), other = run_both([LyingDevice()], store)
    assert (one.measured, one.error, one.failures) == (1, None, [])
    assert (other.measured, other.error, other.failures) == (1, None, [])


@pytest.mark.parametrize("name", [*ANSWERS, *(f"event {kind}" for kind in events() if kind != "refused")])
def test_a_lie_costs_the_device_that_tells_it_alone(name: str, store: Store) -> None:
    example = ANSWERS.get(name) or events()[name.removeprefix("event ")]
    lies = [(path, LIES[number % len(LIES)]) for number, path in enumerate(leaves(example))]

    def teller(path: Any, lie: Any) -> Callable[[str, dict[str, Any]], Any]:
        def tell(told: str, message: dict[str, Any]) -> Any:
            return changed(message, path, lie) if told == name and at(message, path) is not None else message

        return tell

    liars, honest = run_both([LyingDevice(teller(*one)) for one in lies], store)
    assert (honest.error, honest.failures, honest.measured) == (None, [], 1)
    assert len(liars) == len(lies)
    for liar, one in zip(liars, lies, strict=True):
        told = [str(liar.error or ""), *(failure.message for failure in liar.failures)]
        assert all(text.replace("\n", "").isprintable() and len(text) < 9000 for text in told), one
    for configuration in store.configurations():
        store.sessions(configuration)  # whatever was stored can be read


def test_an_agent_that_only_says_that_it_lives_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "network_limit_s", lambda job: 0.2)
    heartbeats = itertools.repeat({"event": "heartbeat", "elapsed_s": 1.0, "phase": "load"})
    (liar,), honest = run_both([LyingDevice(extra=lambda: heartbeats)], store)
    assert honest.measured == 1
    assert isinstance(liar.error, DeviceError) and "alive, and told no result for 0 s" in str(liar.error)


def test_a_flood_of_samples_ends_the_campaign_before_it_fills_the_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fat = {"event": "sample", "at_ns": 5, "temps_c": {f"zone{number}": 40.0 for number in range(500)}}
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (liar,), honest = run_both([LyingDevice(extra=lambda: itertools.repeat(fat))], store)
    assert honest.measured == 1
    assert isinstance(liar.error, DeviceError) and "more than 16 MiB of one network" in str(liar.error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 200 << 10


def test_an_event_where_none_belongs_breaks_the_protocol(store: Store) -> None:
    def tell(name: str, message: dict[str, Any]) -> dict[str, Any]:
        return {"type": "event", "id": message["id"], "event": "heartbeat"} if name == "hello" else message

    liar = run_one(LyingDevice(tell), store)
    assert "broke the protocol in its answer to hello: type = 'event'" in str(liar.error)
