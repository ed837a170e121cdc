"""Stored configurations: how people name them, and which one is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.devices.config import LOCAL, parse_runtime, short_provider
from harness.records import Configuration
from harness.store import Store
from space.errors import ConfigError, did_you_mean

ID_CHARACTERS = 8
DEFAULT_SPACE = "blox"  # not named in descriptions and command lines
_ID = re.compile("[0-9a-f]{4,64}")


def configuration_id(configuration: Configuration) -> str:
    """Return the short name of a configuration: the first characters of its digest."""
    return configuration.digest[:ID_CHARACTERS]


def select_configurations(
    store: Store,
    *,
    devices: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    threads: int | None = None,
    identifier: str = "",
    option: str = "--configuration",
) -> list[Configuration]:
    """Return the stored configurations that fit; what is empty or None leaves the choice open.

    `option` is how the user gave the identifier.
    Raises: ConfigError for a device of which nothing is stored, a runtime that is none, an id that no configuration has.
    """
    wanted = [_parse_runtime(text) for text in runtimes]
    known = store.configurations()
    names = _devices(known)
    for name in devices:
        _check_device(name, names)
    found = [c for c in known if c.digest.startswith(identifier.lower())]
    if not found and identifier:
        ids = ", ".join(configuration_id(c) for c in known) or "nothing"
        raise ConfigError(
            f"{option} {identifier!r}: no configuration has this id (stored: {ids}); see 'harness results'"
        )
    return [
        c
        for c in found
        if (not devices or c.device in devices)
        and (not wanted or (c.runtime, "") in wanted or (c.runtime, short_provider(c.provider)) in wanted)
        and threads in (None, c.threads)
    ]


def fitting_configurations(
    store: Store, *, device: str, runtime: str, threads: int | None, identifier: str, space: str = ""
) -> list[Configuration]:
    """Return the configurations of one device that fit, at least one; without a device that of the id, else `local`.

    An empty name of a `space` leaves it open.

    Raises: ConfigError when none fits.
    """
    name = device or ("" if identifier else LOCAL)
    found = select_configurations(
        store,
        devices=[name] if name else [],
        runtimes=[runtime] if runtime else [],
        threads=threads,
        identifier=identifier,
    )
    found = [c for c in found if space in ("", c.space)]
    if not found:
        options = {
            "--device": name,
            "--runtime": runtime,
            "--threads": threads,
            "--configuration": identifier,
            "--space": space,
        }
        asked = " ".join(f"{option} {value}" for option, value in options.items() if value)
        raise ConfigError(f"nothing is stored that fits {asked}; see 'harness results'")
    return found


def one_configuration(
    store: Store, *, device: str, runtime: str, threads: int | None, identifier: str, space: str = ""
) -> Configuration:
    """Return the one configuration that fits.

    Raises: ConfigError when none does, or several: latencies of different configurations are never merged.
    """
    found = fitting_configurations(
        store, device=device, runtime=runtime, threads=threads, identifier=identifier, space=space
    )
    if len(found) > 1:
        names = ", ".join(repr(name) for name in dict.fromkeys(c.device for c in found))
        raise ConfigError(
            f"device {names} has measurements under {len(found)} configurations, which are never merged; name one "
            f"({_differences(found, 'or ')}an id):{_listed(store, found, '--configuration')}"
        )
    return found[0]


def find_configuration(
    store: Store, subject: str, *, runtime: str = "", threads: int | None = None, space: str = ""
) -> Configuration:
    """Return the one configuration that a subject of limits names: a device, `pixel` or `pixel:tflite`, or an id.

    `runtime` and `threads` narrow the choice of a device's; empty or None leaves it open, as does an empty name of a `space`.
    Raises: ConfigError when none fits, or several: latencies of different configurations are never merged.
    """
    device, _, own_runtime = subject.partition(":")
    names = _devices(store.configurations())
    if device not in names and not own_runtime and _ID.fullmatch(device):
        found = select_configurations(store, identifier=device, option="constraint on")
    else:
        _check_device(device, names, space)
        found = fitting_configurations(
            store, device=device, runtime=own_runtime or runtime, threads=threads, identifier=""
        )
    fitting = [c for c in found if space in ("", c.space)]
    if not fitting:
        spaces = ", ".join(sorted({repr(c.space) for c in found}))
        raise ConfigError(
            f"device {subject!r} has measurements of space {spaces}, not of {space!r}; measure networks of that: "
            f"harness measure --device {found[0].device} --space {space} --models design:1"
        )
    if len(fitting) > 1:
        raise ConfigError(
            f"device {subject!r} has measurements under {len(fitting)} configurations, which are never merged; name "
            f"{_differences(fitting, 'or ')}an id in place of the device "
            f"('{configuration_id(fitting[0])}'):{_listed(store, fitting)}"
        )
    return fitting[0]


def prior_configuration(store: Store, identifier: str, configuration: Configuration) -> Configuration | None:
    """Return the configuration that --prior names, None when it is empty.

    Raises: ConfigError when no or several configurations have this id, or it is the one to be predicted: its own networks
    would then judge what was fitted on them.
    """
    if not identifier:
        return None
    found = select_configurations(store, identifier=identifier, option="--prior")
    if len(found) > 1:
        raise ConfigError(
            f"--prior {identifier!r}: {len(found)} configurations begin so; write more of the id:"
            f"{_listed(store, found, '--prior')}"
        )
    if found[0] == configuration:
        raise ConfigError(
            f"--prior {identifier!r} is the configuration itself; name another, see 'harness results'"
        )
    return found[0]


def measure_command(configuration: Configuration) -> str:
    """Return the command line that measures more under a configuration, but for the models."""
    c = configuration
    provider = short_provider(c.provider)
    runtime = c.runtime if provider in ("cpu", "xnnpack") else f"{c.runtime}:{provider}"
    cores = f"--cores {','.join(map(str, c.cores))}" if c.cores else ""
    if c.threads != len(c.cores):
        cores = f"{cores} --threads {c.threads}".strip()
    space = "" if c.space == DEFAULT_SPACE else f" --space {c.space}"
    return f"harness measure --device {c.device} --runtime {runtime} {cores}{space}"


def describe(configuration: Configuration) -> str:
    """Return a configuration in one line."""
    c = configuration
    identifier = configuration_id(c)
    provider = "" if c.provider == "CPUExecutionProvider" else f" ({c.provider})"
    threads = "1 thread" if c.threads == 1 else f"{c.threads} threads"
    cores = f" on {_cores(c)}" if c.cores else ""
    runtime = f"{c.runtime} {c.runtime_version}{provider}"
    space = "" if c.space == DEFAULT_SPACE else f" space {c.space},"
    what = f"{c.hardware}, {runtime}, {c.precision}, {threads}{cores}, clock tier {c.clock_tier}"
    return f"{c.device}:{space} {what} [{identifier}]"


def short_description(configuration: Configuration) -> str:
    """Return what tells a device's configurations apart, in a few words."""
    c = configuration
    cores = ",".join(map(str, c.cores)) or "any"
    provider = short_provider(c.provider)
    space = "" if c.space == DEFAULT_SPACE else f"space {c.space}, "
    return (
        f"{space}{c.runtime} {c.runtime_version} ({provider}), {c.precision}, threads {c.threads}, cores {cores}, "
        f"clock tier {c.clock_tier}, {c.hardware}"
    )


def _differences(found: Sequence[Configuration], end: str) -> str:
    """Return the options that tell configurations apart, `end` after them; nothing where none does."""
    options: dict[str, Sequence[str | int]] = {
        "--space": [c.space for c in found],
        "--runtime": [c.runtime for c in found],
        "--threads": [c.threads for c in found],
    }
    helping = [f"{option} {values[-1]}" for option, values in options.items() if len(set(values)) > 1]
    return f"{', '.join(helping)} {end}" if helping else ""


def _cores(c: Configuration) -> str:
    """Return the cores that sessions run on, or of which each takes the quietest."""
    names = f"core{'s' if len(c.cores) > 1 else ''} {','.join(map(str, c.cores))}"
    return names if len(c.cores) == c.threads else f"the quietest of {names}"


def _devices(configurations: Sequence[Configuration]) -> list[str]:
    return sorted({configuration.device for configuration in configurations})


def _check_device(name: str, known: Sequence[str], space: str = "") -> None:
    """Raise ConfigError when nothing is stored of a device, with the line that measures it, in a space if one is named."""
    if name not in known:
        stored = f"stored: {', '.join(known)}" if known else "nothing is measured yet"
        raise ConfigError(
            f"nothing is stored of device {name!r}{did_you_mean(name, known)} ({stored}); "
            f"measure it: harness measure --device {name}{f' --space {space}' if space else ''}"
        )


def _listed(store: Store, configurations: Sequence[Configuration], option: str = "") -> str:
    return "".join(
        f"\n  {f'{option} ' if option else ''}{configuration_id(c)}   {c.device}, {short_description(c)}: "
        f"networks measured: {len(store.session_counts(c))}"
        for c in configurations
    )


def _parse_runtime(text: str) -> tuple[str, str]:
    try:
        name, provider = parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {text!r}: {error}") from error
    return name, short_provider(provider)
