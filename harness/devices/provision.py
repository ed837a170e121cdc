"""Packages for a device's runtimes, installed into the agent's own folder there: `harness provision`.

The device's own pip installs them from its index. Where it has none, or none that gets anywhere, this machine's pip downloads
wheels for the device, which travel as parts of models do and are unpacked there. `device_agents.environment` does the device's
part: what is installed counts once it is whole, is used by the Python that it was installed for, and goes with --remove.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from device_agents.choices import old_version
from harness.devices.answers import BadAnswer, Installed, InstallNote, Survey, check_installed, check_survey
from harness.devices.config import Device, parse_runtime
from harness.devices.connection import Connection, new_owner
from harness.devices.doctor import Check, diagnose, exit_status, try_runtimes
from harness.devices.runtime_packages import PackageRow, download_wheels, find_row, machine_of
from harness.devices.runtimes import choose_runtimes
from harness.devices.transports import open_transport
from harness.devices.transports.contract import Transport
from harness.errors import DeviceError
from space.assembly import Assembly
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
    tell = partial(on_progress, device.name)
    try:
        transport = open_transport(device)
        owner = new_owner("harness provision")
        with closing(Connection(device, transport, owner=owner, runtimes=names, or_all=False)) as connection:
            work = _Work(device=device, connection=connection, transport=transport, tell=tell)
            tell("connecting")
            connection.open(lock=not dry_run)
            tell("looking at what is there")
            if remove:
                return _remove(device, work.ask, dry_run=dry_run)
            survey = _survey(device, work.ask)
            plan = _plan(device, names, connection.hello, survey, is_asked=bool(runtimes))
            if not plan.rows:
                return Provisioned(
                    device=device.name, state="unchanged", runtimes=plan.present, left_out=plan.left_out,
                    packages=dict(survey.note.packages) if survey.note else {},
                    checks=() if dry_run else work.trials(plan.present),
                )  # fmt: skip
            ways = _ways(device, plan, survey, carry)
            if dry_run:
                return Provisioned(
                    device=device.name, state="planned", how=ways[0], runtimes=tuple(plan.rows),
                    packages=dict.fromkeys(plan.requirements, ""), left_out=plan.left_out,
                )  # fmt: skip
            return work.install(plan, survey, ways)
    finally:
        tell("")


def fix(device: Device, on_progress: OnProgress = lambda step: None) -> list[Check]:
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
        return [*checks, Check(status="FAIL", name="fix", found=error.reason)]
    return [Check(status="ok", name="fix", found=done.sentence()), *diagnose(device, on_progress)]


def _remove(device: Device, ask: _Ask, *, dry_run: bool) -> Provisioned:
    note = _survey(device, ask).note if dry_run else _installed(device, ask({"do": "remove"}, INSTALL_S)).note
    state: State = "unchanged" if note is None else "would-remove" if dry_run else "removed"
    return Provisioned(device=device.name, state=state, packages=dict(note.packages) if note else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A connected device whose packages are changed; `tell` is told what is done with it now."""

    device: Device
    connection: Connection
    transport: Transport
    tell: OnProgress

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Return the answer of the agent's file to a request about packages. Raises: DeviceError."""
        deployment = self.connection.deployment
        assert deployment is not None
        done = self.transport.run(
            [deployment.python, "-I", deployment.path, "environment", "--root", deployment.root],
            stdin=json.dumps({**request, "limit_s": limit_s}).encode(),
            timeout_s=limit_s + SURVEY_S,
        )
        for line in done.text.splitlines():
            if line.startswith(_LINE):
                try:
                    answer = json.loads(line.removeprefix(_LINE))
                except (ValueError, RecursionError):
                    break
                return answer if isinstance(answer, dict) else {}
        said = printable(done.stderr or done.text[-200:])
        raise DeviceError(self.device.who, f"no answer about packages, status {done.status}: {said}")

    def install(self, plan: _Plan, survey: Survey, ways: Sequence[str]) -> Provisioned:
        """Install by the first way that works, then try the runtimes. Raises: DeviceError when none does."""
        device = self.device
        if survey.free_bytes < LEAST_BYTES:
            raise DeviceError(
                device.who,
                f"{survey.free_bytes >> 20} MiB are free in the agent's folder, and packages take up to "
                f"{LEAST_BYTES >> 20}; free some, or {_other_folder(device)}",
            )
        if survey.noexec and ways != ["pkg"]:
            raise DeviceError(
                device.who,
                "the file system of the agent's folder is mounted noexec, so no library of a runtime can be "
                f"loaded from there; {_other_folder(device)}",
            )
        notes = [] if survey.pip or ways == ["pkg"] else [f"{survey.executable} has no pip"]
        for way in ways:
            try:
                note = self._installed_by(way, plan, survey)
                break
            except DeviceError as error:
                notes.append(error.reason)
        else:
            raise DeviceError(device.who, f"{'; then '.join(dict.fromkeys(notes))}; nothing was changed")
        self.connection.close()
        self.tell("connecting again")
        self.connection.runtimes = (*plan.rows, *plan.present)
        self.connection.open()
        return Provisioned(
            device=device.name, state="installed", how=note.how, runtimes=tuple(plan.rows), packages=dict(note.packages),
            left_out=plan.left_out, notes=tuple(notes), checks=self.trials(self.connection.runtimes),
        )  # fmt: skip

    def _installed_by(self, way: str, plan: _Plan, survey: Survey) -> InstallNote:
        """Return the device's note on what was installed. Raises: DeviceError."""
        request: dict[str, Any] = {"runtimes": list(plan.rows)}
        if way == "carried":
            request |= {"do": "wheels", "wheels": self._send_wheels(plan, survey)}
            self.tell("unpacking")
        else:
            request |= {"do": way, "requirements": plan.requirements, "no_deps": plan.no_deps}
            self.tell(f"installing by its {way}")
        note = _installed(self.device, self.ask(request, INSTALL_S)).note
        if note is None:
            raise DeviceError(self.device.who, "its answer on packages names none")
        return note

    def _send_wheels(self, plan: _Plan, survey: Survey) -> dict[str, str]:
        """Send wheels to a device; return their digests by name. Raises: DeviceError."""
        with tempfile.TemporaryDirectory(prefix="harness-wheels-") as folder:
            self.tell("downloading wheels for it here")
            wheels = {
                path.name: Assembly.of_bytes(path.read_bytes())
                for path in download_wheels(survey, plan.requirements, Path(folder), no_deps=plan.no_deps)
            }
            self.connection.client.send_models(
                list(wheels.values()),
                lambda done, total: self.tell(f"sending {done / 1e6:.1f} of {total / 1e6:.1f} MB"),
            )
        return {name: wheel.digest for name, wheel in wheels.items()}

    def trials(self, runtimes: Sequence[str]) -> tuple[Check, ...]:
        """Run a small model in each runtime; one that is not found is a failed check, too."""
        self.tell("running a small model in each runtime")
        device, connection = self.device, self.connection
        back = f"harness provision --device {device.name} --remove takes away what was installed; then install it by hand"
        checks: list[Check] = []
        for runtime in runtimes:
            try:
                uses = choose_runtimes(device, connection.hello, [runtime], ())
                checks += try_runtimes(device, connection, uses, connection.hello)
            except ConfigError as error:
                checks.append(Check(status="FAIL", name="trial", found=str(error)))
        return tuple(replace(check, remedy=back) if check.status == "FAIL" else check for check in checks)


def _survey(device: Device, ask: _Ask) -> Survey:
    answer = ask({"do": "survey"}, SURVEY_S)
    if "refused" in answer:
        _installed(device, answer)
    try:
        return check_survey(answer)
    except BadAnswer as error:
        raise DeviceError(device.who, str(error)) from error


def _installed(device: Device, answer: Mapping[str, Any]) -> Installed:
    """Return the installed packages. Raises: DeviceError with why there are none, and the remedy."""
    try:
        installed = check_installed(answer)
    except BadAnswer as error:
        raise DeviceError(device.who, str(error)) from error
    if installed.refused:
        helps = remedy_for(installed.refused)
        raise DeviceError(
            device.who,
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
        raise DeviceError(device.who, f"nothing fits it: {reasons}")
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


def _other_folder(device: Device) -> str:
    return f'name another folder with root = "..." in [devices.{device.name}]'
