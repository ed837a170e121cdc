"""A device that lies, in each field of each message: told of that device alone, in words, and soon."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs import with_tests
from rigs.lying_device import LIES, MESSAGES, STREAMS, LyingDevice, at, changed, leaves
from rigs.tell_lies import OpenGate, run, tell

from harness.devices import answers, client
from harness.devices.answers import (
    BadAnswer,
    check_answer,
    check_boot,
    check_event,
    check_installed,
    check_refusal,
    check_survey,
    protocol_schema,
)
from harness.errors import DeviceError
from harness.measurement import campaign, session_builder
from harness.measurement.campaign import Outcome
from harness.store import Store

ROOT = Path(__file__).parents[3]


def check(name: str, message: Any) -> Any:
    what, _, kind = name.partition(" ")
    if what == "answer":
        return check_answer(kind, message)
    if what in ("survey", "installed"):
        found = check_survey(message) if what == "survey" else check_installed(message)
        return found.model_dump(exclude_unset=True)
    return {"event": check_event, "error": check_refusal, "boot": check_boot}[what](message)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_an_agent_says_passes_as_it_is(name: str) -> None:
    dropped = {"measured", "threads", "cores"} if name == "answer run" else set()
    assert check(name, MESSAGES[name]) == {
        key: value for key, value in MESSAGES[name].items() if key not in dropped
    }


@pytest.mark.parametrize("name", MESSAGES)
def test_a_field_that_the_schema_does_not_know_is_dropped(name: str) -> None:
    assert "weather" not in check(name, MESSAGES[name] | {"weather": ["blue"] * 10_000})


@pytest.mark.parametrize("name", MESSAGES)
def test_each_lie_in_each_field_is_refused_or_harmless(name: str) -> None:
    """What passes has the type and the size that the true value has, or is absent as it may be."""
    for path, lie in itertools.product(leaves(MESSAGES[name]), LIES.values()):
        try:
            found = check(name, changed(MESSAGES[name], path, lie))
        except BadAnswer as error:
            assert len(str(error)) < 1000 and str(error).isprintable(), path
            continue
        for place in leaves(found or {}):
            true, now = at(MESSAGES[name], place), at(found, place)
            if true is not None and now is not None and lie is not KeyError:
                assert type(now) is type(true) or {type(now), type(true)} == {int, float}, (path, lie)
            if isinstance(now, str):
                assert len(now) <= answers.MAX_MESSAGE * 8 and now.replace("\n", "").isprintable(), (
                    path,
                    lie,
                )


def test_the_schema_file_is_the_schema_of_the_code() -> None:
    assert json.loads((ROOT / "docs" / "protocol.schema.json").read_text()) == protocol_schema()


def test_every_field_of_the_schema_stands_in_an_example() -> None:
    """So that no field of no message goes without its lies."""
    schemas = protocol_schema()
    assert set(schemas) == set(MESSAGES)
    lacking = []
    for name, schema in schemas.items():
        told = {path[-1] for path in leaves(MESSAGES[name])}
        for one in (schema, *schema.get("$defs", {}).values()):
            lacking += [f"{name}: {field}" for field in one["properties"] if field not in told]
    assert lacking == []


def test_texts_lose_what_moves_a_terminal_and_keep_their_lines() -> None:
    said = check_refusal(
        {"kind": "worker-error\x9b", "message": "\x1b[1;31mone\ntwo\x1b[m\x1b[2J\u202e", "pid": 7}
    )
    assert said == {"kind": "worker-error\\x9b", "message": "one\ntwo\\x1b[2J\\u202e", "pid": 7}


# Whole campaigns with a device that lies, beside one that does not.


def run_both(liar: LyingDevice, store: Store) -> tuple[Outcome, Outcome]:
    """Run a campaign on a lying device and one on an honest device, at once; return what came of each."""
    found: dict[str, Outcome] = {}

    def keep(name: str, device: LyingDevice) -> None:
        found[name] = run(name, device, store)

    threads = [
        threading.Thread(target=keep, args=pair) for pair in (("liar", liar), ("honest", LyingDevice()))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found["liar"], found["honest"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("harness.devices.connection.RECONNECT_WAITS_S", (0.0,))
    monkeypatch.setattr(campaign, "Gate", OpenGate)
    monkeypatch.setattr(session_builder, "CLOCKS_TOLERANCE_S", 100.0)  # the device's clock is made up
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as opened:
        yield opened


def test_an_honest_device_at_the_end_of_the_wire_is_measured(store: Store) -> None:
    device = LyingDevice()
    one, other = run_both(device, store)
    assert device.requests[0]["runtimes"] == ["onnxruntime", "tflite"], "those that a campaign may use"
    assert (one.measured, one.error, one.failures) == (1, None, [])
    assert (other.measured, other.error, other.failures) == (1, None, [])


def test_each_kind_of_lie_in_a_message_is_told_in_words_and_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "NETWORK_BYTES", 1 << 18)  # that what is told over and over ends soon
    outcomes, faults = tell("answer hello", store)
    assert faults == [] and len(outcomes) == len(LIES) + len(STREAMS)
    assert any(outcome.error for outcome in outcomes) and any(outcome.measured for outcome in outcomes)
    assert run("honest", LyingDevice(), store).measured == 1


@pytest.mark.long
def test_a_lie_costs_the_device_that_tells_it_alone() -> None:
    """Every kind of lie in each message, and floods: told in words, counted, soon, in little memory; others are measured."""
    command = [sys.executable, "-m", "rigs.tell_lies"]
    done = subprocess.run(command, env=with_tests(), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["faults"] == [] and told["peak_mib"] < 300
    fates = {fate: told.get(fate, 0) for fate in ("error", "failure", "harmless")}
    assert told["lies"] == sum(fates.values()) >= len(MESSAGES) * len(LIES)
    assert fates["error"] > 100 and fates["failure"] > 20 and fates["harmless"] > 20


def test_an_agent_that_only_says_that_it_lives_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "network_limit_s", lambda job: 0.2)
    heartbeats = itertools.repeat({"event": "heartbeat", "elapsed_s": 1.0, "phase": "load"})
    liar, honest = run_both(LyingDevice(extra=lambda: heartbeats), store)
    assert honest.measured == 1
    assert isinstance(liar.error, DeviceError) and "alive, and told no result for 0 s" in str(liar.error)


def test_an_event_where_none_belongs_breaks_the_protocol(store: Store) -> None:
    def tell(name: str, message: dict[str, Any]) -> dict[str, Any]:
        return (
            {"type": "event", "id": message["id"], "event": "heartbeat"}
            if name == "answer hello"
            else message
        )

    liar, _ = run_both(LyingDevice(tell), store)
    assert "broke the protocol in its answer to hello: type = 'event'" in str(liar.error)


def test_a_rail_at_rest_may_read_below_zero() -> None:
    """A Jetson Thor's VDD_GPU at rest was seen at -392 mW."""
    told = {"event": "energy", "at_ns": 1, "uj": {}, "uw": {"VDD_GPU": -392_000, "VIN_SYS_5V0": 3_924_000}}
    assert check_event(told) is not None
    with pytest.raises(BadAnswer, match="uw"):
        check_event(told | {"uw": {"VDD_GPU": -(1 << 63)}})
