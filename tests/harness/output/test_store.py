"""Tables of `harness store` on 80 columns: names and ids whole, no line beyond the width."""

from __future__ import annotations

import io

import pytest

from harness.output.store import print_check, print_sessions
from harness.store.maintenance import CheckReport, StoredSession, Trouble

NETWORK = "bconv-bconv+in+out/mbconv-mbconv+in+out/bconv-bconv+in"
ID = "0123456789abcdef"


class Terminal(io.StringIO):
    """Text that counts as a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [80, 100, 200])
def test_tables_of_sessions_and_troubles_fit_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_sessions(
        [
            StoredSession(
                id=ID,
                started_utc="2024-05-01T10:00:00.000+00:00",
                device="a-phone-in-the-lab",
                runtime="onnxruntime",
                network=NETWORK,
                purpose="network",
                quarantined=True,
                elapsed_s=12.34,
            )
        ]
    )
    trouble = Trouble(
        table="sessions", id=ID, device="a-phone-in-the-lab", network=NETWORK, problem="damaged " * 20
    )
    print_check(CheckReport(rows=1, quarantined=0, waiting=0, troubles=(trouble,)), "lab.sqlite")
    lines = screen.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert max(map(len, lines)) <= width
    assert any(NETWORK in line for line in lines)
    assert sum(line.startswith(ID[:8]) for line in lines) == 2
    assert "damaged" in screen.getvalue()
