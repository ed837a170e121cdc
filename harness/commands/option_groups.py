"""Groups of options, each the fields of one dataclass, added to every command that takes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

import typer

from space.errors import ConfigError


def takes(group: type[Any], argument: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `group`, a dataclass, in the place of its one argument of that name, which takes them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    hints = get_type_hints(group, include_extras=True)
    shared = [
        inspect.Parameter(one.name, keyword, default=one.default, annotation=hints[one.name])
        for one in fields(group)
    ]

    def give(command: Callable[..., None]) -> Callable[..., None]:
        options = [
            option
            for one in inspect.signature(command, eval_str=True).parameters.values()
            for option in (shared if one.name == argument else [one.replace(kind=keyword)])
        ]

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            grouped = group(**{one.name: given.pop(one.name) for one in shared})
            command(**{argument: grouped}, **given)

        # Typer reads a command's options from these.
        with_options.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in options}
        return with_options

    return give


def typed_options(context: typer.Context) -> dict[str, str]:
    """Return the options that stand on the command line, by their parameters' names."""
    options = {str(one.name): max(one.opts, key=len) for one in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in options}
    return {
        name: options[name] for name, one in sources.items() if one is not None and one.name == "COMMANDLINE"
    }


def check_none_before(context: typer.Context) -> None:
    """Raise ConfigError when options come before a subcommand, which would not see them."""
    for option in typed_options(context).values():
        raise ConfigError(
            f"{option} comes before {context.invoked_subcommand!r}, which has options of its own; write it after"
        )
