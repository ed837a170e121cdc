"""The door of the command `harness`, and `python -m harness`: first of all, whether its modules are those that were meant."""

from __future__ import annotations

import sys

from harness.shadowing import foreign_package, shadowing_file


def main() -> None:
    """Run the command line; exit with status 1 where a file of the user's own is in the place of a module that it needs."""
    if shadow := foreign_package():
        sys.exit(f"harness: {shadow}")
    try:
        from harness.commands.app import main as run

        run()
    except (
        ImportError,
        AttributeError,
        SyntaxError,
    ) as error:  # what a module in the place of another raises
        if "--debug" in sys.argv or not (shadow := shadowing_file(error)):
            raise
        sys.exit(f"harness: {shadow}")


if __name__ == "__main__":
    main()
