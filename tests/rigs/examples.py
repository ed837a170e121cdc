"""Examples in docstrings: run as they stand, and which of them no test runs."""

from __future__ import annotations

import ast
import doctest
import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import harness

ROOT = Path(__file__).parents[2]


def run_example(name: str, **known: Any) -> None:
    """Run the examples of a public function of harness, or of one by its full name; `known` are the names that they use."""
    module, _, short = name.rpartition(".")
    function = getattr(import_module(module) if module else harness, short)
    (found,) = doctest.DocTestFinder(recurse=False).find(function, short, globs={short: function} | known)
    assert found.examples
    told = io.StringIO()
    assert doctest.DocTestRunner().run(found, out=told.write).failed == 0, told.getvalue()


def names_with_examples() -> set[str]:
    """Return the names, as for `run_example`, of the public functions and of all others of harness that show an example."""
    found = {name for name in harness.__all__ if name != "__version__"}
    for path in (ROOT / "harness").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text("utf-8")).body:
            if (
                isinstance(node, ast.FunctionDef)
                and node.name not in found
                and ">>> " in (ast.get_docstring(node) or "")
            ):
                found.add(f"{module}.{node.name}")
    return found


def names_run(source: str) -> Iterator[str]:
    """Yield the names whose examples a file of tests runs: in the calls of `run_example`, or as their test's parameters."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call) and _runs(one)]
            named = [one.args[0] for one in calls] + (node.decorator_list if calls else [])
            for tree in named:
                for one in ast.walk(tree):
                    if isinstance(one, ast.Constant) and isinstance(one.value, str):
                        yield one.value


def _runs(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "run_example"
