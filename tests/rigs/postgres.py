"""A PostgreSQL server of a test's own, which can be stopped and started; one is shared by the tests of a process."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


class Postgres:
    """A server that listens on a socket in a folder of its own."""

    def __init__(self, folder: Path, programs: Path, account: dict[str, Any]) -> None:
        self.folder, self._programs, self._account = folder, programs, account
        self.url = f"postgresql+psycopg://lab@/postgres?host={folder}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self.run(
            "pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "-o", options, "start"
        )

    def stop(self) -> None:
        """Stop it as a crash does."""
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")

    def pids(self) -> list[int]:
        """Return the processes of the server, the first of which has started the others."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        found = [first]
        for task in Path(f"/proc/{first}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
        return found

    def kill(self) -> None:
        """Kill all of its processes, and wait until they are gone."""
        pids = self.pids()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline_s:
            time.sleep(0.01)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs as the server's account."""
        command = [self._programs / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._account)


@contextmanager
def start_postgres() -> Iterator[Postgres]:
    """Start an empty server until the block ends, or skip the test with the reason."""
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is absent: pip install 'psycopg[binary]'")
    initdb = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if initdb is None:
        pytest.skip("no PostgreSQL server here; install one (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))  # within pytest's folder no other account may read
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which PostgreSQL does not run
        shutil.chown(folder, "nobody")
        account = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
    server = Postgres(folder, Path(initdb).resolve().parent, account)
    try:
        server.run("initdb", "-D", folder / "data", "-U", "lab", "-A", "trust", "-N")
        server.start()
        try:
            yield server
        finally:
            with suppress(subprocess.CalledProcessError):  # a test left it stopped
                server.stop()
    finally:
        shutil.rmtree(folder)
