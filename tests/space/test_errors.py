"""Errors: what a message is about can be told from its reason, and is where a device has trouble."""

from __future__ import annotations

import ast
import copy
import re
from itertools import pairwise
from pathlib import Path

import pytest

from harness.errors import AgentError
from space.errors import ConfigError, HarnessError

ROOT = Path(__file__).parents[2]
HARNESS = ROOT / "harness"


@pytest.mark.parametrize(
    ("error", "text", "reason"),
    [
        (HarnessError("devices.toml: no key 'a'"), "devices.toml: no key 'a'", "devices.toml: no key 'a'"),
        (HarnessError("device 'pi4'", "lost: no route"), "device 'pi4': lost: no route", "lost: no route"),
        (AgentError("busy", "in use", thing="device 'pi4'"), "device 'pi4': in use", "in use"),
        (AgentError("busy", "in use"), "in use", "in use"),
    ],
)
def test_the_reason_of_an_error_is_its_text_without_the_thing(
    error: HarnessError, text: str, reason: str
) -> None:
    assert (str(error), error.reason) == (text, reason)


def test_a_note_tells_which_arguments_of_a_function_the_options_in_a_message_are() -> None:
    error = ConfigError(
        "device 'pi4'", "leave --measured-only out, or name one (--runtime tflite), or add --fresh"
    )
    error.note_arguments({"runtimes": list, "fresh": bool, "measured_only": bool})
    for one in (error, copy.copy(error)):
        assert one.__notes__ == [
            "In Python, options are arguments: measured_only for --measured-only, runtimes for --runtime, "
            "fresh for --fresh."
        ]


@pytest.mark.parametrize(
    "text",
    [
        "no option is in mbconv--fresh, nor in a -- b",
        "name a file with --store",
        "measure it: harness measure --device pi4 --fresh",
        "type: harness measure --fresh; then go on",
    ],
)
def test_options_of_a_command_or_of_other_functions_have_no_note(text: str) -> None:
    error = HarnessError(text)
    error.note_arguments(["device", "fresh"])
    assert not hasattr(error, "__notes__")


def test_errors_of_devices_keep_the_device_apart_from_the_reason() -> None:
    """Else progress, which names the device itself, would name it twice."""
    found = [
        f"{path.name}:{call.lineno}"
        for room in ("devices", "measurement")
        for path in (HARNESS / room).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("Error", "GivenUp"))
        for text in call.args
        if isinstance(text, ast.JoinedStr) and begins_with_a_device(text)
    ]
    assert found == []


def test_a_question_is_followed_by_no_semicolon() -> None:
    """`did_you_mean` ends with a question mark."""
    found = [
        f"{path.name}:{text.lineno}"
        for room in ("space", "exporters", "search", "harness")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"did_you_mean|near|hint", source := path.read_text())
        for text in ast.walk(ast.parse(source))
        if isinstance(text, ast.JoinedStr)
        for one, other in pairwise(text.values)
        if isinstance(other, ast.Constant)
        and other.value[0] in ";:,"
        and re.fullmatch(r"\{(did_you_mean\(.*|near|hint)\}", ast.unparse(one))
    ]
    assert found == []


def begins_with_a_device(text: ast.JoinedStr) -> bool:
    """Tell whether a text goes on after the device that it begins with."""
    source = ast.unparse(text)[2:]
    return len(text.values) > 2 and source.startswith(("device {", "{who}", "{self._who}", "{host.who}"))
