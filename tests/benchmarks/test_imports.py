"""Names that benchmarks import from the product, within functions too: a renaming is not to leave one behind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("device_agents", "exporters", "harness", "search", "space")


def source_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def names_of(module: str) -> set[str]:
    """Return the names that a module binds, and its submodules."""
    source = source_of(module)
    found = {path.stem for path in source.parent.iterdir()} if source.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def missing(benchmark: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(benchmark)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            module = node.module or ""
            known = names_of(module) if source_of(module).exists() else set()
            yield from (f"{module}.{alias.name}" for alias in node.names if alias.name not in known)


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/*.py")), ids=lambda path: path.stem)
def test_a_benchmark_imports_what_is_there(path: Path) -> None:
    assert list(missing(path.read_text())) == []


def test_a_name_or_module_that_is_gone_is_found() -> None:
    lines = "def late():\n    from exporters import Recipe, standalone\n    from harness.gone import Store\n"
    assert list(missing(lines)) == ["exporters.Recipe", "harness.gone.Store"]
