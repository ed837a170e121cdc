"""Kinds of units and their functions, in one literal table, and the execution context of a function.

A function is called as `function(config, inputs, context)` and returns its content: a dict of weights, numbers and texts that
`search.training.sealed` writes. It must be pure: its result depends on the config and the inputs alone. A change of its results
requires a higher version. Besides the table a kind may be written `module:function`, for a user's own functions; such a module
is imported where the unit runs, and its version is always 1. A kind's name is part of the keys of stored units and stays when
its module is renamed (`_MODULES`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from search.training.history import EpochDone
from space.errors import ConfigError, did_you_mean

Content = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Progress in words, for people."""

    text: str

    def __str__(self) -> str:
        return self.text


Step = EpochDone | Message  # a unit's report of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Execution context of a unit; its result must not depend on it.

    `scratch` is a folder of the unit's own, or None: files left there by a killed run are there for the next run on this machine,
    and the folder is removed once the result is kept. `device` is as torch names it, `threads` are torch's. `on_progress` takes
    the steps of the unit's progress.
    """

    scratch: Path | None
    device: str
    threads: int
    on_progress: Callable[[Step], None]


Function = Callable[[Mapping[str, Any], Mapping[str, Content], Context], Content]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitKind:
    """Kind of unit: a function by module and name; `seals` is the kind of sealed file of its content."""

    module: str
    function: str
    seals: str
    version: int = 1


_TRAININGS, _DISTILLATIONS = "search.work.trainings", "search.work.distillations"
KINDS: Mapping[str, UnitKind] = {
    "train": UnitKind(module=_TRAININGS, function="run_training", seals="trained network"),
    "train-together": UnitKind(module=_TRAININGS, function="run_together", seals="trained networks"),
    "distil-stage": UnitKind(module=_DISTILLATIONS, function="run_distillation", seals="distilled stage"),
    "finetune": UnitKind(module=_DISTILLATIONS, function="run_finetuning", seals="trained network"),
}
OWN_SEALS = "work result"
# Module in a kind's name: module that holds its function.
_MODULES = {"search.study.works": "search.study.units"}
_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def find_kind(name: str) -> UnitKind:
    """Return the kind of a name: one of the table, or `module:function`.

    Raises:
        ConfigError: it is neither.
    """
    if name in KINDS:
        return KINDS[name]
    if isinstance(name, str) and _OWN.fullmatch(name):
        module, _, function = name.partition(":")
        return UnitKind(module=_MODULES.get(module, module), function=function, seals=OWN_SEALS)
    near = (
        did_you_mean(str(name), KINDS)
        or f"; there are {', '.join(KINDS)}, and 'module:function' for your own"
    )
    raise ConfigError(f"there is no kind of unit {name!r}{near}")


def load_function(name: str) -> Function:
    """Import the function of a kind.

    Raises:
        ConfigError: its module or the function is not there.
    """
    kind = find_kind(name)
    try:
        function: Function = getattr(import_module(kind.module), kind.function)
    except (ImportError, AttributeError) as e:
        raise ConfigError(
            f"kind {name!r}: {kind.module}.{kind.function} cannot be imported: {e}; "
            "install it where the unit runs, as `python -c 'import ...'` would find it"
        ) from e
    return function
