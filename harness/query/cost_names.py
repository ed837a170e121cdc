"""Names of costs and limits, and their meaning in a store: looked up quickly, for nothing is imported here that predicts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path

from harness.devices.config import parse_runtime, shortened
from harness.devices.destination import LOCAL
from harness.records import FILE_SPACE, Configuration
from harness.store import Store
from harness.store.configurations import (
    ConfigurationChoice,
    check_mistyped,
    meant_devices,
    parse_subject,
    select_configurations,
    short_names,
    stored_devices,
)
from search.table.constraints import (
    FRESH,
    LATENCY_UNIT,
    PROPERTIES,
    Constraint,
    check_contradictions,
    parse_amount,
    parse_constraint,
    split_subject,
    unit_of,
)
from space import find_space
from space.errors import ConfigError, did_you_mean
from space.user_paths import check_is_there

COUNTED = ("params", "macs")  # the properties that are one sum of whole numbers


def parse_limits(
    constraints: Sequence[str], devices: Sequence[str] = (), max_latency: str = ""
) -> tuple[list[str], tuple[Constraint, ...]]:
    """Return the devices' names and the limits as constraints, `max_latency` on each device, or without one on `local`.

    Raises: ConfigError for a limit that cannot be read, or limits that contradict each other.
    """
    limits = [parse_constraint(text) for text in constraints]
    named = list(devices)
    if max_latency:
        try:
            limit = parse_amount(max_latency, LATENCY_UNIT)
        except ConfigError as error:
            raise ConfigError(f"--max-latency: {error}") from error
        named = named or [LOCAL]
        for name in named:
            if unit_of(name) != LATENCY_UNIT:
                raise ConfigError(
                    f"--max-latency is a time, and {name!r} is none: limit it by --constraint, e.g. '{name}<LIMIT'"
                )
        limits = [
            Constraint(subject=d, relation="<=", limit=limit, unit=LATENCY_UNIT) for d in named
        ] + limits
    check_contradictions(limits)
    return named, tuple(dict.fromkeys(limits))


def check_objective(text: str) -> None:
    """Raise ConfigError for a text of --objective that is neither one of `COUNTED` nor a file that is there."""
    if text in COUNTED:
        return
    if "." not in text and "/" not in text:
        why = "is no sum of counts" if text in PROPERTIES else "is unknown"
        raise ConfigError(
            f"--objective {text!r} {why}{did_you_mean(text, COUNTED)} (known: {', '.join(COUNTED)}, and CSV files "
            "with the columns part,score)"
        )
    check_is_there(Path(text))


def check_confidence(coverage: float) -> None:
    """Raise ConfigError for a coverage of --confidence that is no share."""
    if not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise ConfigError(f"--confidence {coverage!r}: give a share between 0 and 1, e.g. 0.95")


def meant_costs(
    store: Store,
    name: str,
    choice: ConfigurationChoice,
    files: Collection[str] = (),
) -> list[str]:
    """Return the names of the columns that a cost means: its own, or one for each device of a pattern, a group, or `all`.

    With `:RUNTIME` or `:PRECISION` behind it, only of that; `:memory` and the like stay behind each name. A device with
    several configurations has several columns, of runs of one image unless the choice names a batch. `files`: the devices of
    files of latencies.
    Raises: ConfigError where nothing is stored of any such device.
    """
    if name in PROPERTIES:
        return [name]
    device, fresh = split_subject(name)
    if fresh:
        return [f"{one}:{fresh}" for one in meant_costs(store, device, choice, files)]
    text, narrowed = parse_subject(name, choice)
    if name != text and isinstance(narrowed.runtime, str) and narrowed.runtime:
        try:
            parse_runtime(narrowed.runtime)
        except ValueError as error:
            is_near = did_you_mean(name.removeprefix(f"{text}:"), FRESH)
            near = is_near and did_you_mean(name, [f"{text}:{one}" for one in FRESH])
            raise ConfigError(f"{name!r} {error}{near}") from error
    known = list(dict.fromkeys([*files, *(c.device for c in store.configurations())]))
    if meant_devices(known, text, choice.devices_file) == [text]:
        if text not in known and (near := did_you_mean(name, PROPERTIES)) and not did_you_mean(name, known):
            raise ConfigError(
                f"{name!r} is no cost{near} (known: {', '.join(PROPERTIES)}, and devices that were measured)"
            )
        return [name]
    devices = stored_devices(known, [text], choice.devices_file)
    found = [one for one in files if one in devices and text == name]
    narrowed = replace(narrowed, batch=narrowed.batch or 1)
    for one, c in stored_names(store, choice).items():
        if c.device in devices and c.device not in files and narrowed.fits(c):
            found.append(one)
    if not found:
        raise ConfigError(
            f"{name!r} means {shortened(devices)}: nothing that fits is stored of them; see 'harness results'"
        )
    return found


def check_columns(names: Collection[str]) -> None:
    """Raise ConfigError where the column of one cost has the name of an end of another's interval."""
    for name in names:
        other, _, end = name.rpartition("_")
        if end in ("low", "high") and other in names:
            raise ConfigError(
                f"{name!r} and {other!r}: '{name}_ms' would be the latency of one and an end of the other's interval; name one "
                "by the id of its configuration, see 'harness results' (in Python: latencies={'NAME': table, ...})"
            )


def check_query(
    store: Store,
    names: Iterable[str],
    constraints: Iterable[Constraint],
    choice: ConfigurationChoice,
    *,
    confidence: float | None,
    latencies: Sequence[Path],
) -> None:
    """Raise ConfigError for what a query names and is not there, before what joins costs is loaded.

    Of devices that files of latencies may hold, only their own reader knows. One of a name like no stored device's may have to
    be measured in a space that only the accuracies tell.
    """
    if confidence is not None:
        check_confidence(confidence)
    if choice.space:
        find_space(choice.space)
    for name in () if latencies else (*names, *(one.subject for one in constraints)):
        for one in meant_costs(store, name, choice):
            if one not in PROPERTIES:
                check_mistyped(store, split_subject(one)[0])


def stored_names(store: Store, choice: ConfigurationChoice) -> dict[str, Configuration]:
    """Return the stored configurations of networks that fit and have measurements, each by its shortest name."""
    every = [c for c in select_configurations(store, choice) if c.space != FILE_SPACE]
    found = [c for c in every if store.session_counts(c)]
    return dict(zip(short_names(found), found, strict=True))
