"""The command line that typer makes of commands, with help pages that can be read in a terminal of any width."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import typer

from space.errors import ConfigError

# The error of a wrong command line. It has no public name; that of a bad value is a subclass.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_HELP_WIDTH = 80  # at most: longer lines are hard to read
_HYPHEN = "\N{NON-BREAKING HYPHEN}"  # in place of a plain one until lines are broken: names stay whole
_NARROW = 60  # has no room for two columns
_TIME = re.compile(r"[0-9]+(?:\.[0-9]+)?([a-z]{0,3})")
_TYPE = re.compile(r"<(?:list\[)?([^<>\]]+)\]?>")  # as typer writes that of an option's values
# Arguments in a usage line, as typer brackets them: one that is needed, and one whose name has brackets already.
_NEEDED = re.compile(r"\{(\w+)(?:\.\.\.)?\}")
_BRACKETED = re.compile(r"\[(\[\w+\]\.\.\.)\]\.\.\.")
_VALUES = {
    "str": "TEXT",
    "int": "N",
    "int range": "N",
    "float": "X",
    "float range": "X",
    "path": "PATH",
    "Path": "PATH",
}


class _Help(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    """Help whose texts are beside the options, and in a narrow terminal below them."""

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        rows = [(_TYPE.sub(_value, name), text.replace("-", _HYPHEN)) for name, text in rows]
        super().write_dl(rows, col_max if self.width >= _NARROW else col_spacing, col_spacing)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        args = _NEEDED.sub(lambda found: found[1].upper(), _BRACKETED.sub(r"\1", args))
        super().write_usage(prog, args, prefix)

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _HYPHEN))

    def getvalue(self) -> str:
        return str(super().getvalue()).replace(_HYPHEN, "-")


def _value(found: re.Match[str]) -> str:
    """Return the placeholder of an option's value in help: a word, or the choices."""
    return _VALUES.get(found[1], f"<{found[1]}>")


class _Context(typer.Context):
    formatter_class = _Help


@cache  # typer asks for every hint of every option
def command_line(app: typer.Typer) -> Any:
    """Return the command that typer makes of `app`, with its subcommands and our help."""
    root = typer.main.get_command(app)
    for _, command in commands(root):
        command.context_class = _Context
        command.make_parser = _checked(command.make_parser)
        command.short_help = (command.help or "").partition("\n")[0]  # whole in the list of commands
    return root


def _checked(make_parser: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the maker of a parser that refuses what click takes otherwise than it is meant."""

    def make(context: Any) -> Any:
        parser = make_parser(context)
        parse_args = parser.parse_args

        def parse(args: list[str]) -> Any:
            _check_flags(args, context.command)
            found = parse_args(args)
            _check_once(found[2])
            return found

        parser.parse_args = parse
        return parser

    return make


def _check_flags(args: list[str], command: Any) -> None:
    """Refuse a time behind `--wait`, where it would be a network: `--wait-limit` takes it. Raises: ConfigError."""
    names = {name for one in command.params for name in one.opts}
    for flag, value in (*pairwise(args), *(one.split("=", 1) for one in args if "=" in one)):
        if f"{flag}-limit" in names and (found := _TIME.fullmatch(value)):
            raise ConfigError(
                f"{flag} takes no value: write {flag}-limit {value}{'' if found[1] else 's'} to wait that long at most; a "
                f"network {value!r} goes before {flag}"
            )


def _check_once(options: list[Any]) -> None:
    """Refuse an option of one value given twice, of which click takes the last. Raises: ConfigError."""
    for option, count in Counter(options).items():
        if count > 1 and not option.multiple and (option.secondary_opts or not option.is_flag):
            name = "/".join([max(option.opts, key=len), *option.secondary_opts])
            raise ConfigError(f"{name} is given {count} times and takes one value; leave all but one out")


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a command and all below it, each with its words after `harness`."""
    yield name, command
    for word, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {word}".strip())


def show_help_alone(context: typer.Context) -> None:
    """Print the help of a command that has subcommands, where none of them is named, and exit with status 2."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def help_width() -> int:
    """Return the width of help pages in this terminal."""
    return min(shutil.get_terminal_size().columns, _HELP_WIDTH)
