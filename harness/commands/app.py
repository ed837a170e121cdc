"""The command `harness`: its subcommands, options that all share, and the exit statuses.

Exit status 0: all done. 1: another error. 2: bad input (the command line, devices.toml, a file). 3: a device failed, or a
measurement did. 4: a model could not be made. 130: stopped by Ctrl-C. stdout is data, stderr is for people.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from harness.commands.audit import audit
from harness.commands.compare import compare
from harness.commands.dataset import dataset
from harness.commands.devices import devices
from harness.commands.distill import distill
from harness.commands.doctor import doctor
from harness.commands.export import export
from harness.commands.measure import measure
from harness.commands.predict import predict
from harness.commands.profile import profile
from harness.commands.report_page import report
from harness.commands.results import results
from harness.commands.search import search
from harness.commands.store import store
from harness.commands.study import study
from harness.commands.train import train
from harness.version import __version__
from space.errors import HarnessError

app = typer.Typer(
    name="harness",
    help="Measure how fast every network of a macro search space runs on your own devices.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    measure,
    results,
    compare,
    predict,
    audit,
    profile,
    report,
    devices,
    doctor,
    export,
    train,
    distill,
    study,
):
    app.command()(command)
app.add_typer(dataset)
app.add_typer(search)
app.add_typer(store)


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Measure how fast every network of a macro search space runs on your own devices."""
    if version:
        typer.echo(f"harness {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the command line and exit with the status that the error tree gives."""
    arguments = [
        argument for argument in sys.argv[1:] if argument != "--debug"
    ]  # accepted before and after the command
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(args=arguments)
    except HarnessError as error:
        _report(str(error), debug)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        _report("stopped", debug)
        sys.exit(130)


def _report(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"harness: {message}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
