"""The graph of this repository's own imports, read from source: who imports whom, on which floors, in which cycles.

Imports inside functions and under TYPE_CHECKING count like those at the top: all of them bind one module to another.
`scripts/layers` prints the summary.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("space", "exporters", "device_agents", "harness", "search")

Graph = Mapping[str, frozenset[str]]


def modules() -> dict[str, Path]:
    """Return the file of each module of the rooms by its dotted name."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def package_of(module: str, files: Mapping[str, Path]) -> str:
    """Return the package that a module's relative imports start from: itself where it is one."""
    return module if files[module].name == "__init__.py" else module.rpartition(".")[0]


class Imports(NamedTuple):
    """The full names that a source imports: anywhere, but for types alone, and as soon as it is run."""

    anywhere: frozenset[str]
    run: frozenset[str]
    at_once: frozenset[str]


@functools.cache
def imports_of(source: str, package: str) -> Imports:
    """Return what a module's source imports; `package` resolves relative names."""
    found: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    for node, is_late, is_for_types in _statements(ast.parse(source), False, False):
        names = set()
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{above}.{base}".rstrip(".")
            names = {f"{base}.{alias.name}" for alias in node.names}
        for some, counts in zip(found, (True, not is_for_types, not (is_late or is_for_types)), strict=True):
            if counts:
                some |= names
    return Imports(*map(frozenset, found))


def imported_names(source: str, package: str) -> frozenset[str]:
    """Return the full names that a module's source imports anywhere."""
    return imports_of(source, package).anywhere


def _statements(tree: ast.AST, is_late: bool, is_for_types: bool) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Yield the statements of a tree at any depth, and whether in a function, and for types: expressions hold none."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            late = is_late or isinstance(child, ast.FunctionDef)
            for_types = is_for_types or _is_for_types(child)
            yield child, late, for_types
            yield from _statements(child, late, for_types)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def needless_delays(sources: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Return of each module what of ours it imports late, in functions, although that brings in no library that it lacks.

    `sources`: the text of each module and its package, by name.
    """
    imports = {name: imports_of(*source) for name, source in sources.items()}
    at_once = {name: one.at_once for name, one in imports.items()}
    late = {name: one.run - one.at_once for name, one in imports.items()}
    libraries: dict[str, frozenset[str]] = {}
    for group in _components(
        {name: frozenset(_run_by(at_once[name] | {name}, sources) - {name}) for name in sources}
    ):
        run = {name for one in group for name in _run_by(at_once[one] | {one}, sources)} - group
        own = {name.split(".")[0] for one in group for name in at_once[one]} - {
            *ROOMS,
            *sys.stdlib_module_names,
        }
        found = frozenset(own).union(*(libraries[name] for name in run))
        libraries |= dict.fromkeys(group, found)
    found = {
        name: [
            one
            for one in sorted(names)
            if (run := _run_by({one}, sources))
            and not frozenset().union(*(libraries[m] for m in run)) - libraries[name]
        ]
        for name, names in late.items()
    }
    return {name: names for name, names in found.items() if names}


def _run_by(names: Iterable[str], modules: Container[str]) -> set[str]:
    """Return the modules that are run where these names are imported: with each the packages that it is in."""
    ways = ([".".join(name.split(".")[: n + 1]) for n in range(name.count(".") + 1)] for name in names)
    return {module for way in ways for module in way if module in modules}


def graph_of(names: Mapping[str, Iterable[str]]) -> Graph:
    """Return which modules each module imports, given the names that it imports.

    A name `a.b` counts as module `a.b` where there is one, else as `a`. A package that is only passed through on the way to
    its module does not count: only where something is imported from its own `__init__`.
    """
    edges = {}
    for module, imported in names.items():
        targets = {name if name in names else name.rpartition(".")[0] for name in imported}
        edges[module] = frozenset(targets & names.keys()) - {module}
    return edges


def cycles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others; none of one module."""
    return sorted(sorted(group) for group in _components(graph) if len(group) > 1)


def floors(graph: Graph, package: str) -> int:
    """Return the number of floors of a package: modules on its longest chain of imports, a cycle counted as one.

    The package's own `__init__` does not count; of an empty `package`, all modules count.
    """
    inside = {
        name: targets for name, targets in graph.items() if not package or name.startswith(package + ".")
    }
    height: dict[str, int] = {}
    for group in _components(inside):  # the imported come before those who import them
        below = {target for name in group for target in inside[name] if target in inside} - group
        height |= dict.fromkeys(group, 1 + max((height[name] for name in below), default=0))
    return max(height.values(), default=0)


def _components(graph: Graph) -> Iterator[set[str]]:
    """Yield the strongly connected components, the imported before those who import them (Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[set[str]]:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for target in sorted(graph[module] & graph.keys()):
            if target not in number:
                yield from visit(target)
            if target in stack:
                lowest[module] = min(lowest[module], lowest[target])
        if lowest[module] == number[module]:
            group = set(stack[stack.index(module) :])
            del stack[-len(group) :]
            yield group

    for module in graph:
        if module not in number:
            yield from visit(module)


def summary() -> str:
    """Return a table of files, lines, floors and modules in cycles of each package, and the cycles, a line each."""
    files = modules()
    texts = {module: path.read_text("utf-8") for module, path in files.items()}
    graph = graph_of({module: imported_names(texts[module], package_of(module, files)) for module in files})
    circular = {module for group in cycles(graph) for module in group}
    row = "{:<40}{:>6}{:>8}{:>8}{:>11}".format
    lines = [row("package", "files", "lines", "floors", "in cycles")]
    for folder in sorted({path.parent for path in files.values()}):
        package = ".".join(folder.relative_to(ROOT).parts)
        own = {module: graph[module] for module, path in files.items() if path.parent == folder}
        length = sum(len(texts[module].splitlines()) for module in own)
        lines.append(row(package, len(own), length, floors(own, package), len(circular & own.keys())))
    total = sum(len(text.splitlines()) for text in texts.values())
    lines.append(row("all", len(files), total, floors(graph, ""), len(circular)))
    return "\n".join([*lines, *("cycle: " + ", ".join(group) for group in cycles(graph))])
