"""A file in harness/commands parses options, calls one function, and prints the result."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

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
# What options are put into: no other class of ours is made, but for errors.
MADE_OF_OPTIONS = ("Request", "Choice", "Query", "Selection", "Source", "Inputs", "Timing")


def faults(source: str) -> list[str]:
    """Return what the functions of a file of commands do besides parsing options, calling one function, and printing.

    Our functions are those imported from other rooms, their classes, and the methods of what these return. None are classes made
    of options, nor before them `parse_...` and `check_...`, which read options; those of the output may be several.
    """
    tree = ast.parse(source)
    found = ["imports numpy"] if any(name.startswith("numpy") for name in imported(tree)) else []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    calling: set[str] = set()  # those of the file that call one: they are counted where they are called
    for function in sorted(functions, key=lambda one: not one.name.startswith("_")):  # helpers first
        nodes = [node for one in function.body for node in ast.walk(one)]
        rooms = imported_names(tree.body) | imported_names(nodes)
        names = {name for name in rooms if is_our_function(name, rooms[name])}
        shown = {name for name in rooms if is_within(rooms[name], "harness.output")}
        below = calling | (names - shown)
        below |= made_of(function, below | (rooms.keys() - shown))
        checks = {name for name in rooms.keys() - shown if name.startswith(READS_OPTIONS)}
        most = most_calls(function.body, below, checks)
        if most:
            calling.add(function.name)
        if len(statements(nodes)) > MOST_STATEMENTS:
            found.append(f"{function.name} is long")
        if most > 1:
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


def imported_names(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return the module of each name that is imported from one of our rooms."""
    return {
        alias.asname or alias.name: node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and is_within(node.module, *ROOMS)
        for alias in node.names
    }


def is_our_function(name: str, room: str) -> bool:
    """Tell whether an imported name is of a function, a module of functions, or a class that is not made of options."""
    if is_within(room, "harness.commands") or name.startswith(READS_OPTIONS) or name.isupper():
        return False
    return name.islower() or not (name.endswith(MADE_OF_OPTIONS) or room.endswith(".errors"))


def made_of(function: ast.FunctionDef, names: Set[str]) -> set[str]:
    """Return the variables that hold what a call of one of these names, or of an argument's method, returned; or one of these."""
    sources = names | {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}
    found: set[str] = set()
    for node in (node for one in function.body for node in ast.walk(one)):
        pairs: list[tuple[ast.AST | None, ast.AST | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.withitem):
            pairs = [(node.optional_vars, node.context_expr)]
        for target, value in pairs:
            is_made = any(
                (isinstance(one, ast.Call) and callees(one.func) & sources)
                or (isinstance(one, ast.IfExp) and callees(one) & names)
                for one in alternatives(value)
            )
            if isinstance(target, ast.Name) and is_made:
                found.add(target.id)
    return found


def alternatives(value: ast.AST | None) -> list[ast.AST]:
    """Return an expression, and of a conditional one what it may be, too."""
    if isinstance(value, ast.IfExp):
        return [value, *alternatives(value.body), *alternatives(value.orelse)]
    return [] if value is None else [value]


def callees(called: ast.AST) -> set[str]:
    """Return the names that may be called: of a function, of what a method is of, or of either side of a condition."""
    if isinstance(called, ast.IfExp):
        return callees(called.body) | callees(called.orelse)
    if isinstance(called, ast.BoolOp):
        return {name for one in called.values for name in callees(one)}
    if isinstance(called, ast.Attribute):
        return callees(called.value)
    return {called.id} if isinstance(called, ast.Name) else set()


def statements(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    """Return the statements but for imports and docstrings."""
    none = (ast.Import, ast.ImportFrom)
    found = [node for node in nodes if isinstance(node, ast.stmt) and not isinstance(node, none)]
    return [
        node for node in found if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def is_call(node: ast.AST, names: Set[str]) -> bool:
    """Return whether a node calls one of these functions, or a function of one of these modules or variables."""
    return isinstance(node, ast.Call) and not callees(node.func).isdisjoint(names)


def most_calls(
    body: Sequence[ast.stmt], names: Set[str], checks: Set[str] = frozenset(), *, is_late: bool = False
) -> int:
    """Return how many of these functions are called at most on one way through the statements; `checks` count after one."""
    count = 0
    for number, one in enumerate(body):
        called = names | checks if is_late else names
        if isinstance(one, ast.If):
            count += calls(one.test, called)
            is_late |= count > 0
            rest = [] if isinstance(one.body[-1], ast.Return | ast.Raise) else body[number + 1 :]
            ways = ([*one.body, *rest], [*one.orelse, *body[number + 1 :]])
            return count + max(most_calls(way, names, checks, is_late=is_late) for way in ways)
        if isinstance(one, ast.With):
            count += sum(calls(item, called) for item in one.items)
            count += most_calls(one.body, names, checks, is_late=is_late or count > 0)
        else:
            count += calls(one, called)
        is_late |= count > 0
    return count


def calls(tree: ast.AST, names: Set[str]) -> int:
    return sum(is_call(node, names) for node in ast.walk(tree))


def test_a_command_parses_options_calls_one_function_and_prints_the_result() -> None:
    files = {name: path for name, path in modules().items() if is_within(name, "harness.commands")}
    assert len(files) > 10
    found = {name: faults(path.read_text("utf-8")) for name, path in files.items()}
    assert {name: some for name, some in found.items() if some} == {}


def test_what_else_a_command_could_do_is_seen() -> None:
    head = "from harness.query.run import run_search\nfrom harness.output.tables import echo, print_json\n"
    planted = {
        "def f(a):\n    if a:\n        b = run_search(a)\n    return run_search(a)": "f calls several functions",
        "def f(a):\n    import numpy as np": "imports numpy",
        "def f(a):\n    [echo(one) for one in a]": "f loops",
        "def f(a):\n    while run_search(a):\n        pass": "f loops",
        "def f(a):\n    echo(f'{len(a) / 1e6} MB')": "f calculates",
        "def f(a):\n    run_search(a, lambda b: b)": "f defines a function",
        "def f(a):\n    def g():\n        pass\n    echo(a)": "f defines a function",
        "def f(a):\n    try:\n        run_search(a)\n    finally:\n        a.close()": "f catches",
        "def f(a):\n" + "    a()\n" * (MOST_STATEMENTS + 1): "f is long",
        "def f(a):\n    from harness.models import results\n    results.read(a)\n    with run_search(a):\n        pass": (
            "f calls several functions"
        ),
        "def f(a):\n    b = a.query()\n    b.join()\n    b.solve()": "f calls several functions",
        "def f(a):\n    from harness.query.query import Query\n    b = Query(a)\n    run_search(b.joined())": (
            "f calls several functions"
        ),
        "def f(a):\n    b = run_search(a) if a else None\n    b.save()": "f calls several functions",
        "def f(a):\n    with run_search(a) as b:\n        b.save()": "f calls several functions",
        "def f(a):\n    run_search((run_search if a else len)(a))": "f calls several functions",
        "def f(a):\n    b = run_search if a else len\n    run_search(b(a))": "f calls several functions",
        "def f(a):\n    from search.work.local_pool import LocalPool\n    run_search(LocalPool())": (
            "f calls several functions"
        ),
        "def f(a):\n    from harness.query.search import check_limits\n    b = run_search(a)\n    check_limits(b)": (
            "f calls several functions"
        ),
        "def f(a):\n    _g(a)\n    _g(a)\ndef _g(a):\n    run_search(a)": "f calls several functions",
    }
    assert {source: faults(head + source) for source in planted} == {
        source: [fault] for source, fault in planted.items()
    }
    allowed = (
        "def f(a):\n    if a:\n        return run_search(a)\n    return run_search(0)",
        "def f(a):\n    if a:\n        b = run_search(a)\n    else:\n        b = run_search(0)\n    echo(b)\n    echo(b)",
        "def f(a):\n    from search.methods.registry import parse_methods\n    run_search(parse_methods(a))",
        "def f(a):\n    from harness.query.run import SearchRequest\n    run_search(SearchRequest(a=a))",
        "def f(a):\n    return ['--' + one for one in a]",
        "def f(a):\n    from harness.query.search import check_limits\n    check_limits(a)\n    run_search(a.query())",
        "def f(a):\n    from harness.output.gate import View\n    with View() as b:\n        run_search(b)\n        b.say()",
    )
    assert {source: faults(head + source) for source in allowed} == {source: [] for source in allowed}
