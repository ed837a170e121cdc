"""Which of the stored configurations a command is about."""

from __future__ import annotations

from collections.abc import Sequence

from harness.devices import parse_runtime
from harness.errors import ConfigError, did_you_mean
from harness.records import Configuration
from harness.selection import short_provider
from harness.store import Store

ID_CHARACTERS = 8


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
) -> list[Configuration]:
    """Return the stored configurations that fit; what is empty or None leaves the choice open.

    Raises: ConfigError for a device of which nothing is stored, a runtime that is none, an id that no configuration has.
    """
    wanted = [_parse_runtime(text) for text in runtimes]
    known = store.configurations()
    names = sorted({configuration.device for configuration in known})
    for name in devices:
        if name not in names:
            raise ConfigError(
                f"nothing is stored of device {name!r}{did_you_mean(name, names)} (stored: {', '.join(names) or 'nothing'}); "
                f"measure it: harness measure --device {name}"
            )
    found = [c for c in known if c.digest.startswith(identifier.lower())]
    if not found and identifier:
        ids = ", ".join(configuration_id(c) for c in known)
        raise ConfigError(f"--configuration {identifier!r}: none has this id (stored: {ids or 'nothing'})")
    return [
        c
        for c in found
        if (not devices or c.device in devices)
        and (not wanted or (c.runtime, "") in wanted or (c.runtime, short_provider(c.provider)) in wanted)
        and threads in (None, c.threads)
    ]


def one_configuration(
    store: Store, *, device: str, runtime: str, threads: int | None, identifier: str
) -> Configuration:
    """Return the one configuration that fits.

    Raises: ConfigError when none does, or several: latencies of different configurations are never merged.
    """
    found = select_configurations(
        store,
        devices=[device],
        runtimes=[runtime] if runtime else [],
        threads=threads,
        identifier=identifier,
    )
    if not found:
        asked = [f"--runtime {runtime}"] * bool(runtime) + [f"--threads {threads}"] * (threads is not None)
        raise ConfigError(
            f"device {device!r}: nothing is stored that fits {' '.join(asked)}; see 'harness results --device {device}'"
        )
    if len(found) > 1:
        lines = "".join(
            f"\n  --configuration {configuration_id(c)}   {short_description(c)}: "
            f"{len(store.session_counts(c))} networks"
            for c in found
        )
        raise ConfigError(
            f"device {device!r} has measurements under {len(found)} configurations, which are never merged; name one "
            f"(--runtime or --threads will do where they differ):{lines}"
        )
    return found[0]


def short_description(configuration: Configuration) -> str:
    """Return what tells a device's configurations apart, in a few words."""
    c = configuration
    cores = ",".join(map(str, c.cores)) or "any"
    provider = short_provider(c.provider)
    return (
        f"{c.runtime} {c.runtime_version} ({provider}), {c.precision}, threads {c.threads}, cores {cores}, "
        f"clock tier {c.clock_tier}, {c.hardware}"
    )


def _parse_runtime(text: str) -> tuple[str, str]:
    try:
        name, provider = parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {text!r}: {error}") from error
    return name, short_provider(provider)
