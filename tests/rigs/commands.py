"""Commands run in this process, as a test asks for them: `run(store, "search", ...)` gives status and outputs."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from harness.commands.app import main


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status and its two outputs."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The document on standard output."""
        return json.loads(self.stdout)


def run(store: Path | str, *arguments: str) -> Done:
    """Run `harness ARGUMENTS` in this process as the console's script does, $HARNESS_STORE being `store`."""
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["harness", *arguments]),
        patch.dict(os.environ, HARNESS_STORE=str(store), COLUMNS="100"),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            status = end.code or 0
    return Done(status, output.getvalue(), errors.getvalue())


def refused(done: Done, *parts: str) -> None:
    """Check that a command ended as bad input does: status 2, a message with these parts, nothing on standard output."""
    assert done.status == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
