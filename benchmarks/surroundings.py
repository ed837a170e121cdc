"""What else goes on beside a campaign on this machine: other programs, CPU quotas, accounts without rights.

All is started for a while and ended with it; the programs end by themselves, too, when the benchmark is killed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from device_agents.control_groups import find_groups

NOBODY, ANOTHER = 65534, 65533  # accounts without any right
STREAMED_BYTES = 64 << 20
STARTING_S = 1.0  # until a program computes
PERIOD_US = 100_000  # the kernel's own
GROUP_END_S = 10.0

_SPIN = "for _ in range(1_000_000): pass"
_STREAM = "np.copyto(there, here)"
_PROGRAM = """
import os, sys
os.sched_setaffinity(0, {{int(sys.argv[1])}})
parent = int(sys.argv[2])
{setup}
while os.getppid() == parent:
    {step}
"""
SPIN = _PROGRAM.format(setup="", step=_SPIN)
STREAM = _PROGRAM.format(
    setup=f"import numpy as np\nhere = np.ones({STREAMED_BYTES // 8})\nthere = np.empty_like(here)",
    step=_STREAM,
)


@contextmanager
def programs(cores: Sequence[int], code: str) -> Iterator[None]:
    """Run a program (`SPIN`, `STREAM`) on each core for a while, each in a session of its own, of the ordinary class."""
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1")
    running: list[subprocess.Popen[bytes]] = []
    try:
        for core in cores:
            command = [sys.executable, "-c", code, str(core), str(os.getpid())]
            running.append(subprocess.Popen(command, start_new_session=True, env=environment))
        time.sleep(STARTING_S)
        if any(program.poll() is not None for program in running):
            raise RuntimeError("a program that was to compete ended at once")
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


@contextmanager
def quota(cores: float) -> Iterator[list[str]]:
    """Make a control group that gets so many cores' time; yield the shell line that enters it. Raises: OSError."""
    groups = find_groups()
    if groups is None:
        raise FileNotFoundError("no control groups with the cpu controller")
    group = groups.mount / f"contention-{os.getpid()}"
    group.mkdir()
    try:
        limit = str(int(cores * PERIOD_US))
        if groups.version == 1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(limit)
        else:
            (group / "cpu.max").write_text(f"{limit} {PERIOD_US}")
        yield [f"echo $$ > {group}/cgroup.procs"]
    finally:
        _remove(group)


def quota_refusal() -> str:
    """Return why no quota can be set here, or nothing."""
    try:
        with quota(1.0):
            return ""
    except OSError as error:
        return f"no control group can be made: {error}"


def account_refusal() -> str:
    """Return why no agent can be started under an account without rights, or nothing."""
    if os.getuid() != 0:
        return "only root can start an agent under another account"
    if shutil.which("setpriv") is None:
        return "no setpriv (util-linux)"
    return "" if _python_of(NOBODY) else "an account without rights can run no Python with numpy here"


def agent_python(folder: Path, name: str, account: int | None, lines: Sequence[str] = ()) -> tuple[str, str]:
    """Write the script that stands for the device's Python; return its path and the agent's folder.

    `account`: None for one's own, else one without any right. `lines` of shell are run before, with one's own rights.
    """
    root = folder / f"root-{name}"
    root.mkdir(exist_ok=True)
    root.chmod(0o700)
    python = [sys.executable]
    if account is not None:
        os.chown(root, account, account)
        found = _python_of(account)
        assert found is not None
        python = found
    script = folder / f"python-{name}"
    script.write_text(
        "\n".join(["#!/bin/sh", f"cd {shlex.quote(str(root))}", *lines, f'exec {shlex.join(python)} "$@"\n'])
    )
    script.chmod(0o755)
    return str(script), str(root)


def _python_of(account: int) -> list[str] | None:
    """Return the command that runs a Python with this one's packages under an account, None where it may run none."""
    drop = [
        "setpriv",
        f"--reuid={account}",
        f"--regid={account}",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]
    usual = "/usr/bin/python{}.{}".format(*sys.version_info)
    for python in (sys.executable, usual):
        packages = f"PYTHONPATH={sysconfig.get_paths()['purelib']}"
        # env stands between: setpriv itself still has root's rights when it starts a program
        command = [*drop, "env", packages, python]
        trial = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import numpy'], check=True)"
        if subprocess.run([*command, "-c", trial], capture_output=True, cwd="/").returncode == 0:
            return command
    return None


def _remove(group: Path) -> None:
    """Remove a control group as soon as its processes have ended."""
    deadline = time.monotonic() + GROUP_END_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)
    group.rmdir()
