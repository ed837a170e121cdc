"""A file in harness/commands parses options, calls one function, and prints the result."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

from import_graph import ROOMS, modules

# Of a function's body, but for imports: where more is to be done, it is to be done below.
MOST_STATEMENTS = 15
# Of options only: where one of our functions is called, none of these is there.
WORK: Mapping[str, tuple[type[ast.AST], ...]] = {
    "loops": (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    "defines a function": (ast.FunctionDef, ast.Lambda),
    "calculates": (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult),
    "catches": (ast.Try,),
}
READS_OPTIONS = ("parse_", "check_")


def faults(source: str) -> list[str]:
    """Return what the functions of a file of commands do besides parsing options, calling one function, and printing.

    Our functions are those imported from other rooms. Classes are none, for a request is made of options, nor are `parse_...` and
    `check_...`, which read options; those of the output may be several.
    """
    tree = ast.parse(source)
    found = ["imports numpy"] if any(name.startswith("numpy") for name in imported(tree)) else []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    calling: set[str] = set()  # those of the file that call one: they are counted where they are called
    for function in sorted(functions, key=lambda one: not one.name.startswith("_")):  # helpers first
        nodes = [node for one in function.body for node in ast.walk(one)]
        names = our_functions(tree.body) | our_functions(nodes)
        below = calling | {name for name, room in names.items() if not is_within(room, "harness.output")}
        if most_calls(function.body, below):
            calling.add(function.name)
        if len(statements(nodes)) > MOST_STATEMENTS:
            found.append(f"{function.name} is long")
        if most_calls(function.body, below) > 1:
            found.append(f"{function.name} calls several functions")
        if any(is_call(node, names) for node in nodes):
            found += [f"{function.name} {does}" for does, what in WORK.items() if has(nodes, what)]
    return sorted(found)


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def has(nodes: Iterable[ast.AST], kinds: tuple[type[ast.AST], ...]) -> bool:
    return any(isinstance(node, kinds) for node in nodes)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a file imports, or imports from, anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def our_functions(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return the module of each function, or module of functions, that is imported from another room, by its name there."""
    return {
        alias.asname or alias.name: node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and is_within(node.module, *ROOMS)
        if not is_within(node.module, "harness.commands")
        for alias in node.names
        if alias.name.islower() and not alias.name.startswith(READS_OPTIONS)
    }


def statements(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    """Return the statements but for imports and docstrings."""
    none = (ast.Import, ast.ImportFrom)
    found = [node for node in nodes if isinstance(node, ast.stmt) and not isinstance(node, none)]
    return [
        node for node in found if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def is_call(node: ast.AST, names: Iterable[str]) -> bool:
    """Return whether a node calls one of these functions, or a function of one of these modules."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func.value if isinstance(node.func, ast.Attribute) else node.func
    return isinstance(called, ast.Name) and called.id in names


def most_calls(body: Sequence[ast.stmt], names: Iterable[str]) -> int:
    """Return how many of these functions are called at most on one way through the statements."""
    count = 0
    for number, one in enumerate(body):
        if isinstance(one, ast.If):
            rest = [] if isinstance(one.body[-1], ast.Return | ast.Raise) else body[number + 1 :]
            ways = ([*one.body, *rest], [*one.orelse, *body[number + 1 :]])
            return count + calls(one.test, names) + max(most_calls(way, names) for way in ways)
        if isinstance(one, ast.With):
            count += sum(calls(item, names) for item in one.items) + most_calls(one.body, names)
        else:
            count += calls(one, names)
    return count


def calls(tree: ast.AST, names: Iterable[str]) -> int:
    return sum(is_call(node, names) for node in ast.walk(tree))


def test_a_command_parses_options_calls_one_function_and_prints_the_result() -> None:
    files = {name: path for name, path in modules().items() if is_within(name, "harness.commands")}
    assert len(files) > 10
    found = {name: faults(path.read_text("utf-8")) for name, path in files.items()}
    assert {name: some for name, some in found.items() if some} == {}


def test_what_else_a_command_could_do_is_seen() -> None:
    head = "from harness.query.run import search_store\nfrom harness.output.tables import echo, print_json\n"
    planted = {
        "def f(a):\n    if a:\n        b = search_store(a)\n    return search_store(a)": "f calls several functions",
        "def f(a):\n    import numpy as np": "imports numpy",
        "def f(a):\n    [echo(one) for one in a]": "f loops",
        "def f(a):\n    while search_store(a):\n        pass": "f loops",
        "def f(a):\n    echo(f'{len(a) / 1e6} MB')": "f calculates",
        "def f(a):\n    search_store(a, lambda b: b)": "f defines a function",
        "def f(a):\n    def g():\n        pass\n    echo(a)": "f defines a function",
        "def f(a):\n    try:\n        search_store(a)\n    finally:\n        a.close()": "f catches",
        "def f(a):\n" + "    a()\n" * (MOST_STATEMENTS + 1): "f is long",
        "def f(a):\n    from harness.models import results\n    results.read(a)\n    with search_store(a):\n        pass": (
            "f calls several functions"
        ),
        "def f(a):\n    _g(a)\n    _g(a)\ndef _g(a):\n    search_store(a)": "f calls several functions",
    }
    assert {source: faults(head + source) for source in planted} == {
        source: [fault] for source, fault in planted.items()
    }
    allowed = (
        "def f(a):\n    if a:\n        return search_store(a)\n    return search_store(0)",
        "def f(a):\n    if a:\n        b = search_store(a)\n    else:\n        b = search_store(0)\n    echo(b)\n    echo(b)",
        "def f(a):\n    from search.methods.registry import parse_methods\n    search_store(parse_methods(a))",
        "def f(a):\n    from harness.query.run import SearchRequest\n    search_store(SearchRequest(a=a))",
        "def f(a):\n    return ['--' + one for one in a]",
    )
    assert {source: faults(head + source) for source in allowed} == {source: [] for source in allowed}
