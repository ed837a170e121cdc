"""Packages for a device's runtimes, installed into the agent's own folder there: `harness provision`.

The device's own pip installs them from its index. Where it has none, or none that gets anywhere, this machine's pip downloads
wheels for the device, which travel as parts of models do and are unpacked there. `device_agents.environment` does the device's
part: what is installed counts once it is whole, is used by the Python that it was installed for, and goes with --remove.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.devices.answers import BadAnswer, Installed, InstallNote, Survey, check_installed, check_survey
from harness.devices.assembly import Assembly
from harness.devices.config import Device, parse_runtime
from harness.devices.connection import Connection, new_owner
from harness.devices.doctor import Check, diagnose, exit_status, try_runtimes
from harness.devices.runtime_packages import PackageRow, find_row, machine_of
from harness.devices.runtimes import choose_runtimes, old_version
from harness.devices.transports import open_transport
from harness.devices.transports.contract import Transport
from harness.devices.wheels import download_wheels
from harness.errors import DeviceError
from space.errors import ConfigError
from space.system_errors import remedy_for
from space.text import printable

USUAL = ("onnxruntime", "tflite")
LEAST_BYTES = 300 << 20  # of the usual packages, unpacked, and room
SURVEY_S = 180.0
INSTALL_S = 1800.0  # on a small board with a slow card
_LINE = "HARNESS-ENVIRONMENT "
_WAYS = {
    "pip": "by the device's pip",
    "carried": "with wheels that this machine's pip downloads and sends",
    "pkg": "by Termux's pkg",
}

State = Literal["installed", "unchanged", "planned", "removed", "would-remove"]
OnProgress = Callable[[str], None]
_Ask = Callable[[dict[str, Any], float], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """Steps of `harness provision` on a device, taken or planned.

    `packages` are versions by name; of a plan, the requirements, whose versions are not known yet. `left_out` has the runtimes
    that nothing fits, each with the reason and what would do. `notes` tell of ways that were tried in vain.
    """

    device: str
    state: State
    how: str = ""
    runtimes: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def exit_status(self) -> int:
        """3 where a runtime failed its trial, else 0."""
        return exit_status(self.checks)

    def sentence(self) -> str:
        """Return a sentence on the steps taken or planned, with names and versions of packages."""
        packages = ", ".join(f"{name} {version}".strip() for name, version in self.packages.items())
        runtimes = ", ".join(self.runtimes)
        if self.state in ("installed", "planned"):
            done = "would install" if self.state == "planned" else "installed"
            return f"{done} for {runtimes} {_WAYS[self.how]}: {packages}"
        if self.state == "unchanged" and runtimes:
            return f"nothing to do for {runtimes}" + (f" (installed here: {packages})" if packages else "")
        if self.state == "unchanged":
            return "nothing to remove, harness provision has installed nothing there"
        return f"{'would remove' if self.state == 'would-remove' else 'removed'} {packages}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Runtimes to install, with the rows that hold them; `present` are those that work already."""

    rows: Mapping[str, PackageRow]
    present: tuple[str, ...]
    left_out: Mapping[str, str]

    @property
    def requirements(self) -> list[str]:
        return list(dict.fromkeys(one for row in self.rows.values() for one in row.requirements))

    @property
    def no_deps(self) -> bool:
        return any(row.needs_numpy for row in self.rows.values())

    @property
    def installers(self) -> set[str]:
        return {row.installer for row in self.rows.values()}


def provision_device(
    device: Device,
    *,
    runtimes: Sequence[str] = (),
    carry: bool = False,
    remove: bool = False,
    dry_run: bool = False,
    on_progress: Callable[[str, str], None] = lambda name, step: None,
) -> Provisioned:
    """Install what a device lacks to run the runtimes: those named, else devices.toml's, else ONNX Runtime and TFLite.

    carry: do not ask the device's pip. remove: remove what was installed instead. dry_run: change nothing. on_progress: told the
    device's name and what is done with it now, an empty text at the end.
    Raises: ConfigError for an unknown runtime; DeviceError where nothing fits the device or it cannot be installed, with what
    would do; the device is then as it was.
    """
    names = _runtime_names(runtimes or device.runtimes) or USUAL

    def tell(step: str) -> None:
        on_progress(device.name, step)

    try:
        with _connected(device, lock=not dry_run, on_progress=tell) as (connection, ask):
            if remove:
                return _remove(device, ask, dry_run=dry_run)
            survey = _survey(device, ask)
            plan = _plan(device, names, connection.hello, survey, is_asked=bool(runtimes))
            if not plan.rows:
                return _unchanged(device, connection, plan, survey, dry_run=dry_run, on_progress=tell)
            ways = _ways(device, plan, survey, carry)
            if dry_run:
                return Provisioned(
                    device=device.name, state="planned", how=ways[0], runtimes=tuple(plan.rows),
                    packages=dict.fromkeys(plan.requirements, ""), left_out=plan.left_out,
                )  # fmt: skip
            return _install(device, connection, ask, plan, survey, ways, tell)
    finally:
        tell("")


def fix(device: Device, on_progress: Callable[[str], None] = lambda step: None) -> list[Check]:
    """Check a device, install what `harness provision` can, and check it again; what was done is the first check.

    on_progress: told what is done with the device now. A device without a fixable check is only checked; where nothing can be
    installed, the device is as it was, and a failed check says why.
    """
    checks = diagnose(device, on_progress)
    if not any(check.fixable for check in checks):
        return checks
    try:
        done = provision_device(device, on_progress=lambda name, step: on_progress(step))
    except (DeviceError, ConfigError) as error:
        return [
            *checks,
            Check(status="FAIL", name="fix", found=error.reason),
        ]
    told = Check(status="ok", name="fix", found=done.sentence())
    return [told, *diagnose(device, on_progress)]


def _remove(device: Device, ask: _Ask, *, dry_run: bool) -> Provisioned:
    note = _survey(device, ask).note if dry_run else _installed(device, ask({"do": "remove"}, INSTALL_S)).note
    state: State = "unchanged" if note is None else "would-remove" if dry_run else "removed"
    packages = dict(note.packages) if note else {}
    return Provisioned(device=device.name, state=state, packages=packages)


def _unchanged(
    device: Device,
    connection: Connection,
    plan: _Plan,
    survey: Survey,
    *,
    dry_run: bool,
    on_progress: OnProgress,
) -> Provisioned:
    """Return that nothing was to be done, proven by trials."""
    return Provisioned(
        device=device.name, state="unchanged", runtimes=plan.present, left_out=plan.left_out,
        packages=dict(survey.note.packages) if survey.note else {},
        checks=() if dry_run else _try(device, connection, plan.present, on_progress),
    )  # fmt: skip


@contextmanager
def _connected(device: Device, *, lock: bool, on_progress: OnProgress) -> Iterator[tuple[Connection, _Ask]]:
    """Connect to a device and yield the connection, and a function that asks the agent's file about packages."""
    transport = open_transport(device)
    connection = Connection(device, transport, owner=new_owner("harness provision"))
    try:
        on_progress("connecting")
        connection.open(lock=lock)
        deployment = connection.deployment
        assert deployment is not None
        command = [deployment.python, "-I", deployment.path, "environment", "--root", deployment.root]
        on_progress("looking at what is there")
        yield connection, lambda request, limit_s: _ask(device, transport, command, request, limit_s)
    finally:
        connection.close()


def _ask(
    device: Device, transport: Transport, command: Sequence[str], request: Mapping[str, Any], limit_s: float
) -> dict[str, Any]:
    """Return the device's answer to a request about packages. Raises: DeviceError."""
    done = transport.run(
        command, stdin=json.dumps({**request, "limit_s": limit_s}).encode(), timeout_s=limit_s + SURVEY_S
    )
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(_LINE):
            try:
                answer = json.loads(line.removeprefix(_LINE))
            except (ValueError, RecursionError):
                break
            return answer if isinstance(answer, dict) else {}
    said = printable(done.stderr or done.stdout[-200:].decode("utf-8", "replace"))
    raise DeviceError(f"device {device.name!r}", f"no answer about packages, status {done.status}: {said}")


def _survey(device: Device, ask: _Ask) -> Survey:
    answer = ask({"do": "survey"}, SURVEY_S)
    if "refused" in answer:
        _installed(device, answer)
    try:
        return check_survey(answer)
    except BadAnswer as error:
        raise DeviceError(f"device {device.name!r}", str(error)) from error


def _installed(device: Device, answer: Mapping[str, Any]) -> Installed:
    """Return the installed packages. Raises: DeviceError with why there are none, and the remedy."""
    try:
        installed = check_installed(answer)
    except BadAnswer as error:
        raise DeviceError(f"device {device.name!r}", str(error)) from error
    if installed.refused:
        helps = remedy_for(installed.refused)
        raise DeviceError(
            f"device {device.name!r}",
            installed.refused + (f"; on the device: {helps}; {_other_folder(device)}" if helps else ""),
        )
    return installed


def _runtime_names(texts: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(parse_runtime(text)[0] for text in texts))
    except ValueError as error:
        raise ConfigError(f"--runtime {error}") from error


def _plan(
    device: Device, names: Sequence[str], hello: Mapping[str, Any], survey: Survey, *, is_asked: bool
) -> _Plan:
    """Find the packages of those runtimes that are not there. Raises: DeviceError where nothing fits."""
    working = [str(one["name"]) for one in hello["runtimes"] if not old_version(one)]
    present = tuple(name for name in names if name in working)
    kept = [name for name in _kept(survey) if name not in names]
    found = {name: find_row(name, survey) for name in names if name not in working}
    rows = {name: row for name, row in found.items() if isinstance(row, PackageRow)}
    left_out = {name: row for name, row in found.items() if isinstance(row, str)}
    if left_out and (is_asked or not (rows or present)):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DeviceError(f"device {device.name!r}", f"nothing fits it: {reasons}")
    if rows:  # the new folder takes the place of the one that holds these
        again = {
            name: find_row(name, survey)
            for name in (*kept, *(one for one in _kept(survey) if one in present))
        }
        rows |= {name: row for name, row in again.items() if isinstance(row, PackageRow)}
    return _Plan(rows=rows, present=tuple(name for name in present if name not in rows), left_out=left_out)


def _kept(survey: Survey) -> list[str]:
    """Return the runtimes whose packages are installed for this Python."""
    note = survey.note
    is_same = note and note.executable == survey.executable and note.version[:2] == survey.version[:2]
    return list(note.runtimes) if note and is_same else []


def _ways(device: Device, plan: _Plan, survey: Survey, carry: bool) -> list[str]:
    """Return the ways to install, the first to be tried first. Raises: DeviceError where there is none."""
    if "pkg" in plan.installers:
        return ["pkg"]
    by_pip = ["pip"] if survey.pip and not carry else []
    if "pip" not in plan.installers:
        return [*by_pip, "carried"]
    if not by_pip:
        raise DeviceError(
            f"device {device.name!r}: {', '.join(plan.requirements)} come by the device's own pip alone, since PyPI lacks some "
            f"of their wheels for {machine_of(survey)}"
            + (
                "; leave out --carry"
                if carry
                else "; install numpy there (Debian, Raspberry Pi OS: sudo apt install python3-numpy), or pip"
            )
        )
    return by_pip


def _install(
    device: Device,
    connection: Connection,
    ask: _Ask,
    plan: _Plan,
    survey: Survey,
    ways: Sequence[str],
    on_progress: OnProgress,
) -> Provisioned:
    """Install by the first way that works, then try the runtimes. Raises: DeviceError when none does."""
    if survey.free_bytes < LEAST_BYTES:
        raise DeviceError(
            f"device {device.name!r}",
            f"{survey.free_bytes >> 20} MiB are free in the agent's folder, and packages take up to "
            f"{LEAST_BYTES >> 20}; free some, or {_other_folder(device)}",
        )
    if survey.noexec and ways != ["pkg"]:
        raise DeviceError(
            f"device {device.name!r}",
            "the file system of the agent's folder is mounted noexec, so no library of a runtime can be "
            f"loaded from there; {_other_folder(device)}",
        )
    notes = [] if survey.pip or ways == ["pkg"] else [f"{survey.executable} has no pip"]
    for way in ways:
        try:
            note = _installed_by(way, device, connection, ask, plan, survey, on_progress)
            break
        except DeviceError as error:
            notes.append(error.reason)
    else:
        raise DeviceError(
            f"device {device.name!r}", f"{'; then '.join(dict.fromkeys(notes))}; nothing was changed"
        )
    connection.close()
    on_progress("connecting again")
    connection.open()
    return Provisioned(
        device=device.name, state="installed", how=note.how, runtimes=tuple(plan.rows), packages=dict(note.packages),
        left_out=plan.left_out, notes=tuple(notes),
        checks=_try(device, connection, (*plan.rows, *plan.present), on_progress),
    )  # fmt: skip


def _installed_by(
    way: str,
    device: Device,
    connection: Connection,
    ask: _Ask,
    plan: _Plan,
    survey: Survey,
    on_progress: OnProgress,
) -> InstallNote:
    """Return the device's note on what was installed. Raises: DeviceError."""
    request: dict[str, Any] = {"runtimes": list(plan.rows)}
    if way == "carried":
        request |= {"do": "wheels", "wheels": _send_wheels(connection, plan, survey, on_progress)}
        on_progress("unpacking")
    else:
        request |= {"do": way, "requirements": plan.requirements, "no_deps": plan.no_deps}
        on_progress(f"installing by its {way}")
    note = _installed(device, ask(request, INSTALL_S)).note
    if note is None:
        raise DeviceError(f"device {device.name!r}", "its answer on packages names none")
    return note


def _send_wheels(
    connection: Connection, plan: _Plan, survey: Survey, on_progress: OnProgress
) -> dict[str, str]:
    """Send wheels to a device; return their digests by name. Raises: DeviceError."""
    with tempfile.TemporaryDirectory(prefix="harness-wheels-") as folder:
        on_progress("downloading wheels for it here")
        wheels = {
            path.name: Assembly.of_bytes(path.read_bytes())
            for path in download_wheels(survey, plan.requirements, Path(folder), no_deps=plan.no_deps)
        }
        connection.client.send_models(
            list(wheels.values()),
            lambda done, total: on_progress(f"sending {done / 1e6:.1f} of {total / 1e6:.1f} MB"),
        )
    return {name: wheel.digest for name, wheel in wheels.items()}


def _other_folder(device: Device) -> str:
    return f'name another folder with root = "..." in [devices.{device.name}]'


def _try(
    device: Device, connection: Connection, runtimes: Sequence[str], on_progress: OnProgress
) -> tuple[Check, ...]:
    """Run a small model in each runtime; one that is not found is a failed check, too."""
    on_progress("running a small model in each runtime")
    back = f"harness provision --device {device.name} --remove takes away what was installed; then install it by hand"
    checks: list[Check] = []
    for runtime in runtimes:
        try:
            uses = choose_runtimes(device, connection.hello, [runtime], ())
            checks += try_runtimes(device, connection, uses, connection.hello)
        except ConfigError as error:
            checks.append(Check(status="FAIL", name="trial", found=str(error)))
    return tuple(replace(check, remedy=back) if check.status == "FAIL" else check for check in checks)
