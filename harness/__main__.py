"""The door of the command `harness`, and `python -m harness`: first of all, whether its modules are those that were meant."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from types import FrameType

from harness.shadowing import foreign_package, shadowing_file


def main() -> None:
    """Run the command line; exit with status 1 where a file of the user's own is in the place of a module that it needs."""
    open_standard_streams()
    warn_no_more()
    stop_by_signals()
    if shadow := foreign_package():
        sys.exit(f"harness: {shadow}")
    try:
        from harness.commands.app import main as run

        run()
    except KeyboardInterrupt:  # while it was imported
        sys.stderr.write("harness: stopped\n")
        sys.exit(130)
    except (ImportError, AttributeError, SyntaxError) as error:  # of a module in the place of another
        if "--debug" in sys.argv or not (shadow := shadowing_file(error)):
            raise
        sys.exit(f"harness: {shadow}")


def open_standard_streams() -> None:
    """Let a stream that is closed (`>&-`) lead nowhere: else a file that is opened gets its number, and what is printed to it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(nowhere, mode, closefd=False))


def stop_by_signals() -> None:
    """Let `kill`, the end of a batch queue's time and of a terminal stop a command as Ctrl-C does: nothing is left half done.

    What was told to be ignored, as by `nohup`, stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def warn_no_more() -> None:
    """Let no warning be an error, here and in processes started from here, whatever the user made of warnings.

    Libraries warn of themselves when they are imported; that is for their developers, and no fault of what is asked.
    """
    warnings.filters[:] = [one for one in warnings.filters if one[0] != "error"]  # type: ignore[index]
    warnings.simplefilter("ignore", append=True)
    sys.warnoptions.clear()
    os.environ.pop("PYTHONWARNINGS", None)


if __name__ == "__main__":
    main()
