"""Which of the stored configurations a command is about."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
import typer

from harness.devices import LOCAL, parse_runtime
from harness.records import Configuration
from harness.selection import short_provider
from harness.store import Store, default_url
from space.errors import ConfigError, did_you_mean

ID_CHARACTERS = 8
USUAL_SPACE = "blox"  # a command is about it where nothing else is said
STORE_VARIABLE = "HARNESS_STORE"


def open_store(url: str) -> Store:
    """Open a store to read what is there; unlike a campaign this makes no file.

    While the user's own store, or that of $HARNESS_STORE, is not there yet, an empty one in memory stands in for it.
    Raises: ConfigError when there is no file of the name that was typed; StoreError as `Store`.
    """
    path = _sqlite_file(url or default_url())
    if path is None or path.exists():
        return Store(url or default_url())
    if not url:
        return Store("sqlite://")
    base, mark, query = url.partition("?")
    shown = base + mark + re.sub(r"=[^&]*", "=***", query)  # a password may stand there
    if url != os.environ.get(STORE_VARIABLE):
        raise ConfigError(
            f"there is no such store ({shown}); measure first: harness measure --store FILE, or name another with --store"
        )
    typer.echo(f"${STORE_VARIABLE}: {shown} is not there yet", err=True)
    return Store("sqlite://")


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
    names = sorted({configuration.device for configuration in known})
    for name in devices:
        if name not in names:
            stored = f"stored: {', '.join(names)}" if names else "nothing is measured yet"
            raise ConfigError(
                f"nothing is stored of device {name!r}{did_you_mean(name, names)} ({stored}); "
                f"measure it: harness measure --device {name}"
            )
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
    store: Store, *, device: str, runtime: str, threads: int | None, identifier: str
) -> list[Configuration]:
    """Return the configurations of one device that fit, at least one; without a device that of the id, else `local`.

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
    if not found:
        options = {
            "--device": name,
            "--runtime": runtime,
            "--threads": threads,
            "--configuration": identifier,
        }
        asked = " ".join(f"{option} {value}" for option, value in options.items() if value)
        raise ConfigError(f"nothing is stored that fits {asked}; see 'harness results'")
    return found


def one_configuration(
    store: Store, *, device: str, runtime: str, threads: int | None, identifier: str
) -> Configuration:
    """Return the one configuration that fits.

    Raises: ConfigError when none does, or several: latencies of different configurations are never merged.
    """
    found = fitting_configurations(
        store, device=device, runtime=runtime, threads=threads, identifier=identifier
    )
    if len(found) > 1:
        names = ", ".join(repr(name) for name in dict.fromkeys(c.device for c in found))
        raise ConfigError(
            f"device {names} has measurements under {len(found)} configurations, which are never merged; name one "
            f"(--runtime or --threads will do where they differ):{_listed(store, found, '--configuration')}"
        )
    return found[0]


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
    space = "" if c.space == USUAL_SPACE else f" --space {c.space}"
    return f"harness measure --device {c.device} --runtime {runtime} {cores}{space}"


def short_description(configuration: Configuration) -> str:
    """Return what tells a device's configurations apart, in a few words."""
    c = configuration
    cores = ",".join(map(str, c.cores)) or "any"
    provider = short_provider(c.provider)
    space = "" if c.space == USUAL_SPACE else f"space {c.space}, "
    return (
        f"{space}{c.runtime} {c.runtime_version} ({provider}), {c.precision}, threads {c.threads}, cores {cores}, "
        f"clock tier {c.clock_tier}, {c.hardware}"
    )


def _listed(store: Store, configurations: Sequence[Configuration], option: str) -> str:
    return "".join(
        f"\n  {option} {configuration_id(c)}   {c.device}, {short_description(c)}: "
        f"networks measured: {len(store.session_counts(c))}"
        for c in configurations
    )


def _sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL; None where there is none, and for what `Store` will refuse."""
    if "://" not in url:
        return Path(url).expanduser()
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return None
    database = parsed.database or ""
    if parsed.get_backend_name() != "sqlite" or not database or database.startswith((":memory:", "file:")):
        return None
    return Path(database).expanduser()


def _parse_runtime(text: str) -> tuple[str, str]:
    try:
        name, provider = parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {text!r}: {error}") from error
    return name, short_provider(provider)
