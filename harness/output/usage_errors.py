"""Errors of usage and of the system in our words: the thing, the value and the remedy."""

from __future__ import annotations

import re
from typing import Any

from space.errors import ConfigError, did_you_mean, shown
from space.system_errors import remedy_for


def config_error(error: Any) -> ConfigError:
    """Return a usage error as a ConfigError that says what was typed, what is wrong with it, and where to look.

    Typer's words differ between its versions.
    """
    if error.ctx is None:
        return ConfigError(f"{_sentence(error.format_message())}; --help shows what it takes")
    path, shows = error.ctx.command_path, "options"
    command = path.partition(" ")[2]  # behind `harness`, with which each error begins
    if option := getattr(error, "option_name", "") if hasattr(error, "possibilities") else "":
        known = [name for one in error.ctx.command.params for name in one.opts if name.startswith("--")]
        inner = getattr(error.ctx.command, "commands", {}).values()
        if any(option in one.opts for each in inner for one in each.params):
            return ConfigError(f"{option} goes after the command: {path} COMMAND {option} ...")
        reason = f"{_has_no(command)} option {shown(option)}{did_you_mean(option, known)}"
    elif found := re.match(r"No such command '(.*?)'", error.message):
        reason = f"{_has_no(command)} command {shown(found[1])}{did_you_mean(found[1], error.ctx.command.commands)}"
        shows = "commands"
    elif extra := re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", error.message):
        reason = f"{command} takes no further argument: {extra[1]}"
    elif getattr(error, "param", None) is None or error.format_message().startswith("Missing "):
        reason = f"{command}: {_sentence(error.format_message())}"
    else:
        reason = f"{command}: {_bad_value(error)}"
    end = " " if reason.endswith("?") else "; "
    return ConfigError(f"{reason}{end}'{path} -h' shows its {shows}")


def words_of(said: object) -> str:
    """Return the message of an error: of usage, of a refusal by the system, else its own words."""
    if hasattr(said, "format_message"):
        return str(config_error(said))
    return reason_of(said) if isinstance(said, OSError | UnicodeError | MemoryError) else str(said)


def reason_of(error: OSError | UnicodeError | MemoryError) -> str:
    """Return the fault around the program, its place and its remedy, in one line."""
    if isinstance(error, UnicodeEncodeError):
        letters = ascii(error.object[error.start : error.end][:20])
        return f"{letters} cannot be written in {error.encoding}; set PYTHONIOENCODING=utf-8, or use a UTF-8 locale"
    if isinstance(error, UnicodeError):
        return f"a text cannot be read: {error}; save it in UTF-8"
    if isinstance(error, MemoryError):
        return f"out of memory{f' ({error})' if str(error) else ''}; free some, or ask for less at a time"
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        remedy = remedy_for(error, "check the path and its permissions")
        return f"{error.filename}: {reason}; {remedy} (--debug shows where)"
    return f"{reason}; {remedy_for(error, 'check what is read and written')} (--debug shows where)"


def _has_no(command: str) -> str:
    return f"{command} has no" if command else "there is no"


def _bad_value(error: Any) -> str:
    """Return a bad value's option or variable, the value, and what it should be."""
    parameter = error.param
    name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.name.upper()
    source = error.ctx.get_parameter_source(parameter.name)
    if source is not None and source.name == "ENVIRONMENT":
        name = f"${parameter.envvar}"
    # Newer versions of typer check with pydantic.
    problems: list[Any] = getattr(error.__cause__, "errors", list)()
    if not problems:
        return f"{name}: {_sentence(error.message)}"
    value, reason = problems[0]["input"], problems[0]["msg"]
    reason = reason.removeprefix("Value error, ").removeprefix("Input ")
    reason = _sentence(reason.partition(", unable")[0])
    if isinstance(value, str):
        reason += did_you_mean(value, re.findall("'([^']*)'", reason.partition(" not one of ")[2]))
    return f"{name} {reason}" if reason.startswith(shown(value)) else f"{name} {shown(value)} {reason}"


def _sentence(text: str) -> str:
    """Return a sentence in one line as part of another."""
    text = " ".join(text.split()).removesuffix(".").replace(". Choose", "; choose")
    return text[:1].lower() + text[1:]
