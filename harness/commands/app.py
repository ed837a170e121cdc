"""The command `harness`: its subcommands, options that all share, and the exit statuses.

Exit status 0: all done. 1: another error. 2: bad input (the command line, devices.toml, a file). 3: a device failed, or a
measurement did. 4: a model could not be made. 130: stopped, by Ctrl-C or SIGTERM. stdout is data, stderr is for people.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
import typer.core

from harness.commands.audit import audit
from harness.commands.compare import compare
from harness.commands.dataset import dataset
from harness.commands.devices import devices
from harness.commands.distill import distill
from harness.commands.doctor import doctor
from harness.commands.export import export
from harness.commands.gate import gate
from harness.commands.help_pages import UsageError, command_line, help_width, show_help_alone
from harness.commands.import_ import import_results
from harness.commands.measure import measure
from harness.commands.pack import pack
from harness.commands.predict import predict
from harness.commands.profile import profile
from harness.commands.provision import provision
from harness.commands.report_page import report
from harness.commands.results import results
from harness.commands.search import search
from harness.commands.store import store
from harness.commands.study import study
from harness.commands.train import train
from harness.errors import Stopped
from harness.output.usage_errors import words_of
from harness.version import __version__
from space.errors import ConfigError, HarnessError
from space.user_paths import with_home

_LONGEST_MESSAGE = 4000  # characters
_SHARED = ("--debug", "-q", "--quiet", "--wide")  # accepted before and after the command
# In the order of their list: what is measured, predicted and searched first, then devices, then models and stored data.
_COMMANDS: dict[str, Callable[..., Any] | typer.Typer] = {
    "measure": measure,
    "results": results,
    "compare": compare,
    "gate": gate,
    "predict": predict,
    "search": search,
    "report": report,
    "audit": audit,
    "profile": profile,
    "devices": devices,
    "doctor": doctor,
    "provision": provision,
    "pack": pack,
    "import": import_results,
    "export": export,
    "train": train,
    "distill": distill,
    "study": study,
    "dataset": dataset,
    "store": store,
}


@contextmanager
def _stoppable() -> Iterator[None]:
    """Raise `Stopped` for Ctrl-C; typer would end silently."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped from error


class _Commands(typer.core.TyperGroup):
    """The commands in the order of `_COMMANDS`, where typer would list those that have subcommands last; each can be stopped."""

    def list_commands(self, context: Any) -> list[str]:
        return sorted(super().list_commands(context), key=list(_COMMANDS).index)

    def make_context(self, *given: Any, **named: Any) -> Any:
        with _stoppable():
            return super().make_context(*given, **named)

    def invoke(self, context: Any) -> Any:
        with _stoppable():
            return super().invoke(context)


app = typer.Typer(
    name="harness",
    cls=_Commands,
    help="Measure how fast every network of a macro search space runs on your own devices.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for name, command in _COMMANDS.items():
    if isinstance(command, typer.Typer):
        app.add_typer(command)
    else:
        app.command(name)(command)
for group in (app, dataset, search, store):
    for one in (*group.registered_commands, group.registered_callback):
        if one is not None and one.callback is not None:
            one.callback = with_home(one.callback)


@app.callback()
def options(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress; also after the command.")
    ] = False,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide", help="Show every column of tables, however wide the terminal; also after the command."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also after the command.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Measure how fast every network of a macro search space runs on your own devices."""
    if version:
        typer.echo(f"harness {__version__}")
        raise typer.Exit
    show_help_alone(context)


def main() -> None:
    """Run the command line and exit with the status that the error tree gives."""
    given = sys.argv[1:]
    debug = "--debug" in given
    status = _run(given, debug)
    sys.exit(status if _flushed(debug) else status or 1)


def _values(arguments: list[str], option: str) -> Iterator[str]:
    """Yield the values of an option, the last one first."""
    for argument, behind in zip(arguments[::-1], ["", *arguments[::-1]], strict=False):
        if argument.startswith(f"{option}="):
            yield argument.removeprefix(f"{option}=")
        elif argument == option:
            yield behind


def _run(given: list[str], debug: bool) -> int:
    """Return the exit status; an error that no subcommand handles, such as a full disk, is one line and 1."""
    try:
        return _run_command(given)
    except UsageError as error:
        return _report(error, debug, ConfigError.exit_status)
    except HarnessError as error:
        return _report(error, debug, error.exit_status)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _report(str(error) or Stopped(), debug, Stopped.exit_status)
    except BrokenPipeError:
        _close_output()  # its reader has gone, as `head` does
        return 1
    except (OSError, UnicodeError, MemoryError) as error:
        if isinstance(error, OSError) and not _flushed(debug):
            return 1  # it was standard output that failed
        return _report(error, debug, 1)


def _run_command(given: list[str]) -> int:
    from harness.output.heartbeat import heartbeat
    from harness.output.terminal import console

    # A program that reads JSON needs no progress where standard error is no terminal.
    is_read = "--json" in given and not sys.stderr.isatty()
    console.is_quiet = is_read or "-q" in given or "--quiet" in given
    console.is_wide = "--wide" in given
    console.store = next(_values(given, "--store"), "")
    run = command_line(app)
    with heartbeat():
        return run(_unshared(given), "harness", standalone_mode=False, terminal_width=help_width()) or 0


def _unshared(given: list[str]) -> list[str]:
    return [argument for argument in given if argument not in _SHARED]


def _flushed(debug: bool) -> bool:
    """Flush standard output; report once where that fails: Python would at its exit, with a traceback."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _close_output()
        return False
    except OSError as error:
        _report(f"standard output: {error.strerror or error}; free room there, or print elsewhere", debug, 1)
        _close_output()
        return False
    return True


def _close_output() -> None:
    """Let nothing be written to standard output any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _report(said: object, debug: bool, status: int) -> int:
    if debug:
        traceback.print_exc()
    from harness.output.terminal import echo

    echo(f"harness: {_shortened(words_of(said))}", err=True)
    return status


def _shortened(message: str) -> str:
    """Return a message without its middle where it quotes what is too long to be read: the thing and the remedy stay."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]} ... {message[-half:]}"


if __name__ == "__main__":
    main()
