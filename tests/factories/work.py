"""Functions for tests of units of work, named as kinds "factories.work:add" and so on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from search.work.kinds import Context, Message
from space.errors import ConfigError

PATIENCE_S = 120.0


def add(config: Mapping[str, Any], inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Return the numbers of the inputs, summed, plus the config's; note the call in a file."""
    _note(config)
    context.on_progress(Message(text=f"adding {config['number']}"))
    total = sum(content["numbers"] for content in inputs.values())
    return {
        "numbers": total + torch.tensor([config["number"]], dtype=torch.float64),
        "threads": context.threads,
    }


def fail(config: Mapping[str, Any], inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Raise."""
    raise ValueError("the well is dry")


def refuse(config: Mapping[str, Any], inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Raise what says that the config is to blame."""
    raise ConfigError("the bucket has a hole; mend it")


def killed(config: Mapping[str, Any], inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Kill the process in the middle, as often as the config says; note each call in a file."""
    if _note(config) <= config["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"numbers": torch.tensor([7.0])}


def steps(config: Mapping[str, Any], inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Count to `steps`, one file in the scratch folder a step, each taking `seconds`; tell process and step."""
    assert context.scratch is not None
    _note(config)
    for step in range(config["steps"]):
        file = context.scratch / str(step)
        if not file.exists():
            context.on_progress(Message(text=f"process {os.getpid()} step {step}"))
            time.sleep(config["seconds"])
            file.write_text(str(os.getpid()))
    return {"processes": [int((context.scratch / str(step)).read_text()) for step in range(config["steps"])]}


def held(config: Mapping[str, Any], inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Tell that it waits, and wait until the config's file is there; note the call in a file."""
    _note(config)
    context.on_progress(Message(text=f"process {os.getpid()} waits"))
    deadline = time.monotonic() + PATIENCE_S
    while not Path(config["go"]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return {"numbers": torch.tensor([config["number"]])}


def place(config: Mapping[str, Any], inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Return which file of this project's code ran."""
    import search

    return {"file": str(search.__file__)}


def _note(config: Mapping[str, Any]) -> int:
    """Add a line to the config's file, where it names one, and return how many there are."""
    if "calls" not in config:
        return 0
    path = Path(config["calls"])
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().splitlines())
