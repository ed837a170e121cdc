"""The rooms and their doors: who may import whom, and what importing must not pull in."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest
from import_graph import (
    ROOMS,
    ROOT,
    cycles,
    floors,
    graph_of,
    imported_names,
    modules,
    needless_delays,
    package_of,
)

# From the top; each imports only those below it.
HARNESS = (
    "harness.commands",
    "harness.output",
    "harness.blockwise",
    "harness.query",
    "harness.prediction",
    "harness.training",
    "harness.models",
    "harness.measurement",
    "harness.store",
    "harness.estimates",
    "harness.devices",
    "harness",
)


SEARCH = (
    "search.study",
    "search.blockwise",
    "search.work",
    "search.distillation",
    "search.training",
    "search.proxies",
    "search.methods",
    "search.table",
    "search.integer_program",
    "search.latency",
    "search.accuracy",
    "search",
)
SPACE = ("space.accuracies", "space.dataset", "space")


def below(room: str) -> tuple[str, ...]:
    stack = next(rooms for rooms in (HARNESS, SEARCH, SPACE) if room in rooms)
    return stack[stack.index(room) + 1 :]


# What each room may import of ours: rooms, which do not include the rooms inside them, and single modules.
DOORS: dict[str, tuple[str, ...]] = {
    "harness.commands": ("exporters", *SEARCH, *SPACE, *below("harness.commands")),
    "harness.output": ("device_agents.names", "exporters", *SEARCH, *SPACE, *below("harness.output")),
    "harness.blockwise": ("exporters", *SEARCH, *SPACE, *below("harness.blockwise")),
    "harness.query": (*SEARCH, *SPACE, *below("harness.query")),
    "harness.prediction": (*SEARCH, *SPACE, *below("harness.prediction")),
    "harness.training": (*SEARCH, *SPACE, *below("harness.training")),
    "harness.models": (
        *("device_agents.pacing", "space", "exporters", "search.training"),
        *below("harness.models"),
    ),
    "harness.measurement": (
        *(
            "device_agents.attempts",
            "device_agents.block_plans",
            "device_agents.choices",
            "device_agents.core_gate",
        ),
        *("device_agents.facts", "device_agents.names", "device_agents.pacing", "device_agents.throttling"),
        *("space.assembly", "space.errors", "space.text"),
        *below("harness.measurement"),
    ),
    "harness.store": (
        "device_agents.names",
        "space.errors",
        "space.system_errors",
        "space.text",
        "space.user_paths",
        *below("harness.store"),
    ),
    "harness.estimates": (
        *("device_agents.clean_runs", "device_agents.contention", "device_agents.throttling"),
        *("space.indexing", "space.statistics", "space.text"),
        *below("harness.estimates"),
    ),
    "harness.devices": (
        *(
            "device_agents.archive",
            "device_agents.block_plans",
            "device_agents.choices",
            "device_agents.core_gate",
            "device_agents.facts",
            "device_agents.frames",
            "device_agents.gauges",
            "device_agents.names",
            "device_agents.readings",
            "device_agents.throttling",
        ),
        "device_agents.runtimes",
        *("space.assembly", "space.errors", "space.plugins", "space.text", "space.text_files"),
        *("space.system_errors", "space.user_paths"),
        *below("harness.devices"),
    ),
    "harness": ("device_agents.names", "space.errors"),
    **{room: below(room) for room in SPACE},
    "exporters": ("space",),
    "device_agents": (),
    **{room: (*below(room), *SPACE) for room in SEARCH},
}
# The public names, from any room, and `python -m harness`; no room imports them.
FRONT_DOOR = "harness"
FRONT_DOORS = (FRONT_DOOR, "harness.__main__")
# The agent is built of the standard library and one runtime, imported by the module of that runtime alone.
AGENT_RUNTIMES = {
    "loaded": {"numpy"},
    "onnxruntime_cpu": {"onnxruntime", "numpy"},
    "tflite": {"tflite_runtime", "ai_edge_litert", "tensorflow", "numpy"},
}
HEAVY = (
    "torch",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
    "ray",
    "plotly",
    "matplotlib",
    "moocore",
    "pyarrow",
    "pandas",
    "sklearn",
    "scipy",
)
CONVERTERS = ("torch", "tensorflow", "onnx", "ai_edge_litert")

MODULES = modules()
PACKAGES = sorted(
    path.parent.name
    for path in ROOT.glob("*/__init__.py")
    if path.parent.name not in ("tests", "benchmarks", "examples")
)


@cache
def imports(module: str) -> frozenset[str]:
    """Return the full names that a module imports anywhere, inside functions too."""
    return imported_names(MODULES[module].read_text("utf-8"), package_of(module, MODULES))


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def room_of(name: str) -> str:
    """Return the innermost room that a module or a name in it is in."""
    return max((room for room in DOORS if is_within(name, (room,))), key=len)


def forbidden_imports(module: str) -> list[str]:
    """Return what a module imports of ours through no door."""
    own = "harness.commands" if module in FRONT_DOORS else room_of(module)
    ours = [name for name in imports(module) if is_within(name, ROOMS)]
    modules = tuple(door for door in DOORS[own] if door not in DOORS)
    return sorted(n for n in ours if room_of(n) not in (own, *DOORS[own]) and not is_within(n, modules))


def offenders(check: Callable[[str], Iterable[str]], rooms: tuple[str, ...] = ROOMS) -> dict[str, list[str]]:
    """Return what `check` finds against each module of the rooms; modules without a finding are left out."""
    found = {module: sorted(check(module)) for module in MODULES if is_within(module, rooms)}
    return {module: names for module, names in found.items() if names}


def test_each_module_imports_only_through_the_doors() -> None:
    assert offenders(forbidden_imports) == {}


def test_only_the_commands_import_the_commands() -> None:
    outside = [name for name in MODULES if not is_within(name, ("harness.commands", "harness.__main__"))]
    assert [name for name in outside if any(is_within(i, ("harness.commands",)) for i in imports(name))] == []


def test_only_the_commands_know_typer() -> None:
    users = [name for name in MODULES if "typer" in {i.split(".")[0] for i in imports(name)}]
    assert [name for name in users if not is_within(name, ("harness.commands",))] == []


def test_below_the_commands_only_the_output_prints() -> None:
    def prints(module: str) -> bool:
        text = MODULES[module].read_text("utf-8")
        if "print(" not in text:  # most modules: to parse all takes a second
            return False
        calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        return any(isinstance(call, ast.Name) and call.id == "print" for call in calls)

    rooms = ("harness.commands", "harness.output")
    assert [name for name in MODULES if not is_within(name, rooms) and prints(name)] == []


def test_notes_for_people_are_logged_and_what_is_under_way_is_on_progress() -> None:
    def misnamed(module: str) -> list[str]:
        callbacks = re.findall(
            r"\b(\w+): Callable\[\[str(?:, \w+)*\], None\]", MODULES[module].read_text("utf-8")
        )
        return [name for name in callbacks if name != "on_progress" and not name.startswith("log")]

    assert offenders(misnamed) == {}


def test_student_s_t_and_ranks_are_worked_out_in_one_place() -> None:
    t = {"scipy.special.stdtrit", "scipy.special.stdtr", "scipy.stats.t"}
    ranks = {"scipy.stats.rankdata", "scipy.stats.spearmanr"}
    assert [name for name in MODULES if imports(name) & (t | ranks)] == ["space.statistics"]


def test_every_package_is_in_the_table() -> None:
    assert {door.split(".")[0] for door in DOORS} == set(ROOMS)
    assert set(PACKAGES) <= set(ROOMS)
    assert {"space", "exporters", "device_agents", "harness"} <= set(PACKAGES)


def foreign_to_the_agent(module: str) -> set[str]:
    """Return what a module of the agent imports besides the standard library and the runtime that it is for."""
    allowed = AGENT_RUNTIMES.get(module.rpartition(".")[2], set()) | {"device_agents"}
    return {name.split(".")[0] for name in imports(module)} - sys.stdlib_module_names - allowed


def runtimes_and_converters(module: str) -> list[str]:
    """Return the runtimes and converters that a module imports, lazily or not."""
    return [name for name in imports(module) if is_within(name, (*CONVERTERS, "onnxruntime"))]


def test_the_agent_imports_the_standard_library_and_one_runtime() -> None:
    assert offenders(foreign_to_the_agent, ("device_agents",)) == {}


def test_the_harness_never_imports_a_runtime_or_a_converter() -> None:
    assert offenders(runtimes_and_converters, ("harness",)) == {}


def test_the_rooms_form_no_cycle() -> None:
    # Nothing imports that: it is in no cycle of modules.
    inside = [module for module in MODULES if module not in FRONT_DOORS]
    edges: dict[str, set[str]] = {}
    for module in inside:
        targets = {room_of(name) for name in imports(module) if is_within(name, ROOMS)}
        edges.setdefault(room_of(module), set()).update(targets - {room_of(module)})
    done: set[str] = set()
    while rest := {room for room in edges if room not in done}:
        free = {room for room in rest if edges[room] <= done}
        assert free, f"these rooms import each other: {sorted(rest)}"
        done |= free


def test_no_module_imports_itself_in_a_circle_not_even_lazily() -> None:
    assert cycles(graph_of({module: imports(module) for module in MODULES})) == []


def test_a_circle_is_seen_whatever_hides_its_imports() -> None:
    sources = {
        "space": "from space.first import f",  # the package itself closes a circle where its own names are asked for
        "space.first": "def f():\n    from space import second",
        "space.second": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .third import Third",
        "space.third": "import space.first",
        "space.fourth": "from space.first import f\nfrom space import second",
        "space.fifth": "from space.fourth import space",
    }
    graph = graph_of({name: imported_names(source, "space") for name, source in sources.items()})
    assert cycles(graph) == [["space.first", "space.second", "space.third"]]
    assert floors(graph, "space") == 3, "the circle, the fourth, the fifth"
    closed = dict(graph) | {"space.first": graph["space.first"] | {"space"}}
    assert cycles(closed) == [["space", "space.first", "space.second", "space.third"]]


def test_our_own_modules_are_imported_late_only_where_that_keeps_a_library_out() -> None:
    """Commands import what they run; the agent's roles start on slow boards, each with its own modules alone."""
    free = ("harness.commands", "harness.__main__", "device_agents")
    sources = {name: (path.read_text("utf-8"), package_of(name, MODULES)) for name, path in MODULES.items()}
    found = needless_delays(sources)
    assert {name: names for name, names in found.items() if not is_within(name, free)} == {}


def test_a_needless_delay_is_seen_and_a_needed_one_is_not() -> None:
    late = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from space.types import T\ndef f():\n    "
    )
    sources = {
        "space": "",
        "space.light": "import json",
        "space.types": "",
        "space.heavy": "import torch",
        "space.through": "from space.heavy import g",
        "space.needless": f"{late}from space.light import x\n    import space.light",
        "space.needed": f"{late}from space.through import g",
        "space.both": f"from space.heavy import g\n{late}from space.through import g",
    }
    found = needless_delays({name: (text, "space") for name, text in sources.items()})
    assert found == {
        "space.needless": ["space.light", "space.light.x"],
        "space.both": ["space.through.g"],
    }


def test_a_class_name_has_one_meaning() -> None:
    """What both ends of the agent's protocol name alike is one thing."""
    both_ends = {"Grant", "Interrupted", "Quota", "Refusal"}
    homes: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        for name in re.findall(r"^class ([A-Z]\w*)", path.read_text("utf-8"), re.MULTILINE):
            homes.setdefault(name, set()).add(module)
    assert {name for name, modules in homes.items() if len(modules) > 1} == both_ends


def test_importing_the_rooms_is_light_and_quiet() -> None:
    """Import room after room in a fresh process: no heavy library, no output, no logging set up, no thread started."""
    code = (
        "import importlib, json, logging, sys, threading\n"
        "heavy = {}\n"
        f"for room in {[*PACKAGES, 'harness.commands.app']!r}:\n"
        "    importlib.import_module(room)\n"
        f"    heavy[room] = sorted(sys.modules.keys() & set({HEAVY!r}))\n"
        "found = {room: names for room, names in heavy.items() if names}\n"
        "print(json.dumps([found, [str(h) for h in logging.getLogger().handlers], threading.active_count()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [{}, [], 1]
    assert done.stderr == ""


def test_a_door_that_is_closed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = {
        "space.planted": "import harness.estimates.estimate",
        "space.second": "from space.accuracies import Accuracies",
        "space.dataset.planted": "from space.accuracies import epochs",
        "exporters.planted": "def f():\n    from device_agents import frames",
        "harness.planted": "from space import Architecture",
        "harness.fourth": "from harness.devices.config import Device",
        "harness.devices.planted": "def f():\n    from harness.store import Store",
        "harness.estimates.planted": "from harness.store import Store",
        "harness.store.second": "from harness.measurement.plan import LEVELS",
        "harness.measurement.planted": "from harness.models.names import select_models_and_segments",
        "harness.store.planted": "from harness.models.names import select_models_and_segments",
        "harness.models.planted": "from harness.commands.options import JsonFlag",
        "harness.models.second": "import search.table.table",
        "harness.models.third": "from harness.prediction.space_latencies import space_rows",
        "harness.prediction.planted": "from exporters import Weights",
        "harness.blockwise.planted": "from harness.output.tables import echo",
        "harness.query.planted": "from harness.blockwise.run import search_library",
        "harness.second": "from device_agents.worker import main",
        "search.planted": "from harness import records",
        "search.second": "import harness.records",
        "search.fourth": "from search.table import Cost",
        "search.distillation.planted": "from search.work.unit import Unit",
        "search.work.planted": "def f():\n    from search.blockwise.rounds import search_round",
        "search.table.planted": "def f():\n    from search.methods import run",
        "search.methods.planted": "from search.training.recipe import Recipe",
        "device_agents.planted": "from harness import errors",
    }
    allowed = {
        "search.third": "from space.errors import ConfigError\nfrom search import statistics",
        "search.blockwise.third": "from search.work.unit import Unit\nfrom search.distillation import block_scores",
        "harness.devices.third": "from device_agents.archive import build_archive\nfrom space import errors",
        "harness.models.fourth": "from harness.measurement.workload import Model\nfrom exporters import Weights",
        "harness.blockwise.third": "from harness.query.query import Query\nfrom search.blockwise import rounds",
        "harness.fifth": "def f():\n    from onnx import helper",
        "device_agents.runtimes.tflite": "import numpy\ndef f():\n    import tensorflow, torch",
        "exporters.third": "from space import Architecture\nfrom . import recipe\nfrom .recipe import link",
        "harness.commands.third": "import space, search, exporters\nfrom harness import store",
    }
    folder = ROOT / "tests" / "no-such-folder"
    texts = {folder / name: text for name, text in (planted | allowed).items()}
    monkeypatch.setattr(sys.modules[__name__], "MODULES", {name: folder / name for name in planted | allowed})
    monkeypatch.setattr(Path, "read_text", lambda self, *_: texts[self])
    imports.cache_clear()
    assert offenders(forbidden_imports).keys() == planted.keys()
    assert offenders(foreign_to_the_agent, ("device_agents",)) == {
        "device_agents.planted": ["harness"],
        "device_agents.runtimes.tflite": ["torch"],
    }
    assert offenders(runtimes_and_converters, ("harness",)) == {"harness.fifth": ["onnx.helper"]}
    imports.cache_clear()
