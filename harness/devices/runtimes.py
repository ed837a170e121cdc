"""Choice of runtimes and cores for a campaign: from the command line, then devices.toml, then all available."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from device_agents.choices import ON_REQUEST, fitting_cores, old_version, version_name, wanted_runtimes
from device_agents.names import short_provider
from harness.devices.config import (
    PACKED,
    RUNTIMES,
    Device,
    Format,
    default_python,
    known_runtimes,
    parse_runtime,
    runtime_format,
    runtime_modules,
)
from harness.devices.provider_options import KNOWN, RUNTIME, option_texts
from space.errors import ConfigError, did_you_mean

_INSTALL = {"onnxruntime": "onnxruntime", "tflite": "ai-edge-litert", "litert": "ai-edge-litert"}
_PROVIDER_REMEDIES = {
    (
        "tflite",
        "edgetpu",
    ): "; install Coral's library there (libedgetpu1-std), or name it with edgetpu_library in devices.toml",
    ("onnxruntime", "cuda"): "; in the Python that measures there: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    " (on a Jetson: docs/how-to/jetson.md)",
    ("onnxruntime", "openvino"): "; in the Python that measures there: pip install onnxruntime-openvino",
}
VENV = "harness-venv"  # in the home folder: systems such as Debian 12 let pip install nowhere else (PEP 668)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeUse:
    """A runtime chosen for a campaign; `options` are passed to the agent unchanged."""

    name: str
    version: str
    provider: str
    format: Format
    options: dict[str, Any] = field(default_factory=dict)

    def job(self, cores: Sequence[int], threads: int, silence_s: float) -> dict[str, Any]:
        """Return the fields that every job of a worker has. silence_s: for how long it may give no sign of life."""
        used = {"runtime": self.name, "options": self.options, "threads": threads}
        return used | {"cores": list(cores), "silence_s": silence_s}


def choose_runtimes(
    device: Device, hello: Mapping[str, Any], requested: Sequence[str], formats: Sequence[str]
) -> list[RuntimeUse]:
    """Return the runtimes to use, with versions and providers as the device has them.

    Raises: ConfigError for an unknown runtime or provider, one that the device lacks, or when none is left.
    """
    found = {str(r["name"]): r for r in hello.get("runtimes", [])}
    wanted = wanted_runtimes(requested or device.runtimes, found)
    try:
        parsed = [(text, *parse_runtime(text)) for text in wanted]
    except ValueError as error:
        raise ConfigError(f"--runtime {error}") from error
    parsed = [entry for entry in parsed if not formats or runtime_format(entry[1]) in formats]
    uses = [_use(device, found, hello, *entry) for entry in parsed]
    if not uses:
        fitting = [name for name in known_runtimes() if not formats or runtime_format(name) in formats]
        fitting = [name for name in fitting if name not in ON_REQUEST]
        reason = f"none runs {' or '.join(formats)} models" if formats else "none is installed"
        remedy = f"install one on the device: {_install_lines(device, hello, fitting)}"
        if requested or device.runtimes:
            reason += f" (asked for: {', '.join(wanted)})"
            remedy = f"name one that does: --runtime {' or '.join(fitting)}"
        raise ConfigError(device.who, f"no runtime to measure with, {reason}{_broken(hello)}; {remedy}")
    return uses


def likely_runtimes(device: Device, requested: Sequence[str], formats: Collection[str] = ()) -> list[str]:
    """Return the names of the runtimes that a device is asked about: those named, else the usual ones; only of `formats`, if any.

    `choose_runtimes` chooses among them, and among all where the device has none of these.
    """
    named = dict.fromkeys(text.partition(":")[0] for text in requested or device.runtimes)
    usual = (name for name in known_runtimes() if name not in ON_REQUEST)
    return [name for name in named or usual if not formats or RUNTIMES.get(name) in (None, *formats)]


def is_expected(device: Device, runtime: str) -> bool:
    """Return whether a runtime is to work on a device: one that is measured where it is asked for, only there."""
    named = (parse_runtime(text)[0] for text in device.runtimes)
    return runtime not in ON_REQUEST or runtime in named


def parse_cores(text: str) -> tuple[int, ...]:
    """Parse `4-7` or `0,2,4-5` into core ids. Raises: ConfigError."""
    cores: list[int] = []
    for piece in text.split(",") if text else ():
        first, dash, last = piece.strip().partition("-")
        if not re.fullmatch(r"[0-9]{1,4}(-[0-9]{1,4})?", piece.strip()):
            raise ConfigError(
                f"--cores {text!r}: {piece!r} is no core; write e.g. --cores 4-7 or --cores 0,2"
            )
        low, high = int(first), int(last) if dash else int(first)
        if high < low or high > 4095:
            raise ConfigError(f"--cores {text!r}: {piece!r} is no range of cores; write e.g. --cores 4-7")
        cores.extend(range(low, high + 1))
    if len(set(cores)) != len(cores):
        raise ConfigError(f"--cores {text!r}: names a core twice")
    return tuple(cores)


def allowed_cores(
    device: Device, hello: Mapping[str, Any], threads: int | None, cores: Sequence[int]
) -> tuple[tuple[int, ...], int]:
    """Return the cores that a session may take, those named or the fastest like ones, and the number of threads.

    Which of them it takes is decided before each worker, by how busy they are.
    Raises: ConfigError when the device has no such cores or too few of one kind.
    """
    named, count = asked_cores(device, threads, cores)
    try:
        return fitting_cores(hello, named, count), count
    except ValueError as error:
        raise ConfigError(device.who, str(error)) from error


def asked_cores(device: Device, threads: int | None, cores: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Return the cores that the command line or devices.toml names, empty for none, and the number of threads."""
    named = tuple(cores) or device.cores
    return named, threads or _threads_in_file(device, named, cores)


def _threads_in_file(device: Device, named: Sequence[int], cores_of_command_line: Sequence[int]) -> int:
    """Return devices.toml's threads; cores named without threads mean one thread a core."""
    if named and (cores_of_command_line or "threads" not in device.model_fields_set):
        return len(named)
    return device.threads


def _use(
    device: Device, found: Mapping[str, Any], hello: Mapping[str, Any], text: str, name: str, provider: str
) -> RuntimeUse:
    if name not in found:
        raise ConfigError(
            device.who,
            f"no runtime {name!r} (found: {', '.join(found) or 'none'}){_broken(hello)}; install it "
            f"on the device: {_install_lines(device, hello, [name])}",
        )
    runtime = found[name]
    if too_old := old_version(runtime):
        raise ConfigError(device.who, f"{too_old}; {_install_lines(device, hello, [name], '--upgrade ')}")
    providers = {short_provider(str(p)): str(p) for p in runtime.get("providers", [])}
    key = short_provider(provider)
    main = key.partition("+")[0]
    delegate = device.tflite_delegates.get(main) if name == "tflite" else None
    if delegate is not None:
        providers |= {main: main, f"{main}+cpu": f"{main}+CPU"}
    if provider and key not in providers:
        # Spelled well, and absent.
        is_another = name == RUNTIME and main in KNOWN and main not in providers
        near = "" if is_another else did_you_mean(key, providers)
        raise ConfigError(
            device.who,
            f"runtime {text!r}: no provider {provider!r}{near} "
            f"(there: {', '.join(providers) or 'none'}){_PROVIDER_REMEDIES.get((name, key), '')}",
        )
    full = providers.get(key or "cpu", next(iter(providers.values()), "cpu"))
    options: dict[str, Any] = {"provider": full} if providers else {}
    told = option_texts(short_provider(full), device.provider_options) if name == RUNTIME else {}
    if delegate is not None:
        told = delegate.texts
    if told:
        options["provider_options"] = told
    return RuntimeUse(
        name=name, version=version_name(runtime), provider=full, format=runtime_format(name), options=options
    )


def _broken(hello: Mapping[str, Any]) -> str:
    broken = [f"{b['name']}: {b['message']}" for b in hello.get("broken", [])]
    return f"; installed but broken: {'; '.join(broken)}" if broken else ""


def _install_lines(device: Device, hello: Mapping[str, Any], names: Iterable[str], upgrade: str = "") -> str:
    """Return the commands that install runtimes on the device: harness's own, then those to type there."""
    names = list(names)
    if (foreign := _without_wheels(hello)) and set(names) <= set(_INSTALL):
        if device.transport == PACKED:
            return f"PyPI has no wheels for {foreign}: docs/how-to/provision.md says what would do"
        return (
            f"harness provision --device {device.name} says what would do: PyPI has no wheels for {foreign}"
        )
    python, before, after = default_python(device), "", ""
    pip = f"{python} -m pip install {upgrade}"
    is_android = "android" in hello.get("platform", {})
    if not is_android and re.fullmatch(r"(/usr/(local/)?bin/)?python3?([.][0-9]+)?", python):
        before = f"{python} -m venv ~/{VENV} (Debian, Ubuntu: sudo apt install python3-venv first), then "
        pip = f"~/{VENV}/bin/pip install {upgrade}"
        after = f', then python = "~/{VENV}/bin/python" in [devices.{device.name}]'
    lines = {
        name: f"{pip}{_INSTALL[name]}"
        if name in _INSTALL
        else f"for {name} the package that has the module {' or '.join(runtime_modules(name))}"
        for name in names
    }
    if "onnxruntime" in lines and is_android:
        lines["onnxruntime"] = "pkg install python-onnxruntime"  # PyPI has no wheel for Termux
    by_hand = before + " or ".join(lines.values()) + after
    if device.transport == PACKED or not set(names) <= set(_INSTALL):
        return by_hand
    asked = "".join(f" --runtime {name}" for name in names if name in ON_REQUEST)
    return f"harness provision --device {device.name}{asked}, or by hand: {by_hand}"


def _without_wheels(hello: Mapping[str, Any]) -> str:
    """Return the kind of system for which pip finds no runtime, empty for another."""
    platform = hello.get("platform", {})
    if platform.get("libc") == "musl":
        return "musl, this system's C library"
    return "a 32-bit Python" if platform.get("bits") == "32" and "android" not in platform else ""
