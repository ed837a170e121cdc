"""Stored configurations: how people name them, and which one is meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

from device_agents.names import short_provider
from harness.devices.config import (
    DEFAULT_PRECISION,
    PRECISIONS,
    Device,
    groups_of,
    load_devices,
    name_problem,
    named_runtime,
    parse_precision,
    shortened,
)
from harness.devices.destination import LOCAL
from harness.devices.names import expand_names
from harness.records import FILE_SPACE, Configuration
from harness.store import Store
from space.errors import ArchitectureError, ConfigError, did_you_mean
from space.text import counted

ID_CHARACTERS = 8
DEFAULT_SPACE = "blox"  # not named in descriptions and command lines
_ID = re.compile("[0-9a-f]{4,64}")
_BATCH_NAME = "batch"  # before the number, in subjects of limits
_BATCH = re.compile(f"{_BATCH_NAME}[1-9][0-9]{{0,5}}")


def configuration_id(configuration: Configuration) -> str:
    """Return the short name of a configuration: the first characters of its digest."""
    return configuration.digest[:ID_CHARACTERS]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChoice:
    """Choice among stored configurations; what is empty or None leaves it open.

    `device`: names, patterns or groups of `devices_file`, or `all`; `runtime`: with or without :PROVIDER; one or several of
    either. `configuration`: the beginning of an id; `space`: the name of a space, of a definition NAME@DIGEST or NAME alone.
    `batch`: images of a run; left open it is 1 where one table is wanted, unless an id names it.
    """

    device: str | Device | Sequence[str | Device] = ()
    runtime: str | Sequence[str] = ()
    threads: int | None = None
    precision: str = ""
    batch: int | None = None
    configuration: str = ""
    space: str = ""
    devices_file: str | Path | None = None

    def __post_init__(self) -> None:
        for name, value in (("threads", self.threads), ("batch", self.batch)):
            if value is not None and not isinstance(value, Integral):
                raise ConfigError(f"{name} = {value!r}: give a whole number")

    def fits(self, configuration: Configuration) -> bool:
        """Return whether a configuration fits, its device aside. Raises: ConfigError for a runtime that is none."""
        c = configuration
        return (
            self.fits_runtime(c.runtime, c.provider)
            and self.threads in (None, c.threads)
            and self.precision in ("", c.precision)
            and self.batch in (None, c.batch)
            and self.space in ("", c.space, c.space.partition("@")[0])
            and c.digest.startswith(self.configuration.lower())
        )

    def fits_runtime(self, runtime: str, provider: str) -> bool:
        """Return whether a runtime with its provider fits. Raises: ConfigError for one of the choice that is none."""
        meant = set(map(runtime_meant, several(self.runtime)))
        return not meant or bool(meant & {(runtime, ""), (runtime, short_provider(provider))})

    def __str__(self) -> str:
        options = {
            "--device": " ".join(several(self.device)),
            "--runtime": " ".join(several(self.runtime)),
            "--threads": self.threads,
            "--precision": self.precision,
            "--batch": "" if self.batch == 1 else self.batch,
            "--configuration": self.configuration,
            "--space": self.space,
        }
        return " ".join(f"{option} {value}" for option, value in options.items() if value)


ANY = ConfigurationChoice()


def several(given: str | Device | Iterable[str | Device]) -> list[str]:
    """Return a given value as a list: of nothing, one or several; of a device its name."""
    if isinstance(given, str | Device):
        given = [given] if given else []
    return [one.name if isinstance(one, Device) else one for one in given]


def select_configurations(
    store: Store, choice: ConfigurationChoice = ANY, *, option: str = "--configuration"
) -> list[Configuration]:
    """Return the stored configurations that fit; `option` is how the user gave the id.

    Raises: ConfigError for a device of which nothing is stored, a runtime or precision that is none, an id that no
    configuration has.
    """
    known, identifier = store.configurations(), choice.configuration
    if choice.precision not in ("", *(c.precision for c in known)):
        parse_precision(choice.precision)
    devices = several(choice.device)
    named = frozenset(stored_devices(_devices(known), devices, choice.devices_file))
    check_id(identifier, [c.digest for c in known], option)
    return [c for c in known if (not devices or c.device in named) and choice.fits(c)]


def runtime_meant(text: str) -> tuple[str, str]:
    """Return the runtime of a text, and the short name of its provider, empty where none is named. Raises: ConfigError."""
    name, provider = named_runtime(text)
    return name, short_provider(provider)


def check_id(identifier: str, digests: Sequence[str], option: str = "--configuration") -> None:
    """Raise ConfigError for an id, or the beginning of one, that none of the stored configurations has."""
    if identifier and not any(digest.startswith(identifier.lower()) for digest in digests):
        ids = ", ".join(digest[:ID_CHARACTERS] for digest in digests) or "nothing"
        raise ConfigError(
            f"{option} {identifier!r}: no configuration has this id (stored: {ids}); see 'harness results'"
        )


def stored_devices(
    known: Sequence[str], asked: Sequence[str], devices_file: str | Path | None = None
) -> list[str]:
    """Return the devices among `known`, the stored ones, that names, patterns, groups or `all` mean.

    Groups are those of devices.toml, which is read only for a name that is no stored device's; of a group, the stored devices
    count.
    Raises: ConfigError for a name that means no stored device, or as `load_devices`.
    """
    found: dict[str, None] = {}
    for text in asked:
        means = meant_devices(known, text, devices_file)
        stored = [name for name in means if name in known]
        if not stored:
            _check_device(text, known, group=[] if means == [text] else means)
        found |= dict.fromkeys(stored)
    return list(found)


def meant_devices(known: Sequence[str], text: str, devices_file: str | Path | None) -> list[str]:
    """Return the names that a name, pattern, group or `all` means, where `known` are stored; others are returned as they are.

    Raises: ConfigError for a pattern that fits none of them, or as `load_devices`.
    """
    return expand_names([text], known, lambda: groups_of(load_devices(devices_file)), "the store")


def fitting_configurations(store: Store, choice: ConfigurationChoice) -> list[Configuration]:
    """Return the configurations that fit, at least one; without a device that of the id, else `local`'s.

    Raises: ConfigError when none fits, with the precisions and batch sizes that do.
    """
    if not choice.configuration:
        choice = replace(choice, device=choice.device or LOCAL, batch=choice.batch or 1)
    found = _of_networks(select_configurations(store, choice), choice.configuration)
    if not found:
        raise ConfigError(f"nothing is stored that fits {choice}{_others(store, choice)}")
    return found


def one_configuration(store: Store, choice: ConfigurationChoice) -> Configuration:
    """Return the one configuration that fits; of several spaces one of Blox, where no space or id is named.

    Raises: ConfigError when none does, or several: latencies of different configurations are never merged.
    """
    found = fitting_configurations(store, choice)
    if not choice.configuration:
        found = _of_one_space(found, choice.space)
    if len(found) > 1:
        names = ", ".join(repr(name) for name in dict.fromkeys(c.device for c in found))
        raise ConfigError(
            f"device {names} has measurements under {len(found)} configurations, which are never merged; name one "
            f"({_differences(found, 'or ')}an id):{_listed(store, found, '--configuration')}"
        )
    return found[0]


def parse_subject(subject: str, choice: ConfigurationChoice = ANY) -> tuple[str, ConfigurationChoice]:
    """Return the device, or id, that a subject of limits names, and the choice with the parts behind it.

    DEVICE[:RUNTIME[:PROVIDER]][:PRECISION][:batchN]: no runtime or provider has such a name.
    """
    device, *behind = subject.split(":")
    named = _BATCH.fullmatch(behind[-1]) if behind else None
    batch = int(behind.pop().removeprefix(_BATCH_NAME)) if named else choice.batch
    precision = behind.pop() if behind and behind[-1] in PRECISIONS else choice.precision
    runtime = ":".join(behind) or choice.runtime
    return device, replace(choice, device=device, runtime=runtime, precision=precision, batch=batch)


def check_mistyped(store: Store, subject: str) -> None:
    """Raise ConfigError for a device of which nothing is stored, where the name of a stored one is like it."""
    device, names = parse_subject(subject)[0], _devices(store.configurations())
    if device not in names and not _ID.fullmatch(device) and (near := did_you_mean(device, names)):
        raise ConfigError(
            f"nothing is stored of device {device!r}{near} (stored: {shortened(names)}); if not, measure it first"
        )


def find_configuration(store: Store, subject: str, choice: ConfigurationChoice = ANY) -> Configuration:
    """Return the one configuration that a subject of limits names: `pixel`, `pixel:tflite:int8`, `pixel:batch8`, or an id.

    Runtime, threads, precision, batch and space of the choice narrow that of a device's; of several spaces Blox is meant.
    Raises: ConfigError when none fits, or several: latencies of different configurations are never merged.
    """
    space = choice.space
    device, narrowed = parse_subject(subject, replace(choice, space=""))
    names = _devices(store.configurations())
    if device not in names and device == subject and _ID.fullmatch(device):
        named = ConfigurationChoice(configuration=device)
        found = _of_networks(select_configurations(store, named, option="constraint on"), device)
    else:
        _check_device(device, names, space)
        found = fitting_configurations(store, narrowed)
    fitting = _of_one_space(found, space)
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


def _of_one_space(found: Sequence[Configuration], space: str) -> list[Configuration]:
    """Return the configurations of a space; where none is named those of Blox, as everywhere, and all if there are none."""
    named = space or DEFAULT_SPACE
    return [c for c in found if named in (c.space, c.space.partition("@")[0])] or ([] if space else [*found])


@contextmanager
def other_spaces_told(store: Store, taken: str, named: str) -> Iterator[None]:
    """Where a text names no network of the space that was `taken`, and none was `named`, tell the others that are stored."""
    try:
        yield
    except ConfigError as error:
        causes = [error, error.__cause__, error.__cause__ and error.__cause__.__cause__]
        others = sorted({c.space for c in store.configurations()} - {taken, FILE_SPACE})
        if named or not others or not any(isinstance(one, ArchitectureError) for one in causes):
            raise
        raise type(error)(f"{error}; networks of another space need --space {' or '.join(others)}") from error


def short_names(configurations: Sequence[Configuration], taken: Iterable[str] = ()) -> list[str]:
    """Return each configuration's shortest name for `find_configuration`, none of those `taken`; else its id."""
    named = [
        [
            name + ("" if c.batch == 1 else f":{_BATCH_NAME}{c.batch}")
            for name in [c.device, f"{c.device}:{c.runtime}"]
            + [f"{c.device}:{c.precision}", f"{c.device}:{c.runtime}:{c.precision}"]
            * (c.precision in PRECISIONS)
        ]
        for c in configurations
    ]
    counts = Counter([name for names in named for name in names] + list(dict.fromkeys(taken)))
    return [
        next((name for name in names if counts[name] == 1), configuration_id(c))
        for names, c in zip(named, configurations, strict=True)
    ]


def _of_networks(found: Sequence[Configuration], identifier: str) -> list[Configuration]:
    """Return the configurations of networks, without those of model files. Raises: ConfigError where an id names one of these."""
    networks = [c for c in found if c.space != FILE_SPACE]
    if identifier and found and not networks:
        raise ConfigError(
            f"configuration {identifier!r} measured model files, of which nothing can be predicted or searched; name one of "
            "networks, see 'harness results'"
        )
    return networks


def check_choice(store: Store, choice: ConfigurationChoice, prior: str = "") -> None:
    """Raise ConfigError where no configuration fits a choice, or several do, or where --prior names none for it."""
    prior_configuration(store, prior, one_configuration(store, choice))


def prior_configuration(store: Store, identifier: str, configuration: Configuration) -> Configuration | None:
    """Return the configuration that --prior names, None when it is empty.

    Raises: ConfigError when no or several configurations have this id, or it is the one to be predicted: its own networks would
    then judge a predictor that was fitted to them.
    """
    if not identifier:
        return None
    named = ConfigurationChoice(configuration=identifier)
    found = _of_networks(select_configurations(store, named, option="--prior"), identifier)
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
    is_plain = c.precision == DEFAULT_PRECISION or c.space == FILE_SPACE
    precision = "" if is_plain else f" --precision {c.precision}"
    batch = "" if c.batch == 1 else f" --batch {c.batch}"
    space = "" if c.space in (DEFAULT_SPACE, FILE_SPACE) else f" --space {c.space}"
    return f"harness measure --device {c.device} --runtime {runtime} {cores}{precision}{batch}{space}"


def describe(configuration: Configuration) -> str:
    """Return a configuration in one line."""
    c = configuration
    identifier = configuration_id(c)
    provider = "" if c.provider == "CPUExecutionProvider" else f" ({c.provider})"
    threads = counted(c.threads, "thread")
    cores = f" on {_cores(c)}" if c.cores else ""
    runtime = f"{c.runtime} {c.runtime_version}{provider}"
    what = f"{c.hardware}, {runtime}, {c.precision}, {threads}{cores}, clock tier {c.clock_tier}"
    return f"{c.device}: {_space(c)}{what}{_later(c)} [{identifier}]"


def title_of(configuration: Configuration) -> str:
    """Return a device with its runtime, and with precision and batch where they are not the usual ones, for titles."""
    c = configuration
    told = [c.runtime, *([c.precision] * (c.precision != DEFAULT_PRECISION))]
    return f"{c.device} ({', '.join([*told, *([f'batch {c.batch}'] * (c.batch > 1))])})"


def short_description(configuration: Configuration) -> str:
    """Return a short description that tells a device's configurations apart."""
    c = configuration
    cores = ",".join(map(str, c.cores)) or "any"
    provider = short_provider(c.provider)
    return (
        f"{_space(c)}{c.runtime} {c.runtime_version} ({provider}), {c.precision}, threads {c.threads}, cores {cores}, "
        f"clock tier {c.clock_tier}{_later(c)}, {c.hardware}"
    )


def _space(c: Configuration) -> str:
    """Return the space before a comma, or that models are files; empty of the default space."""
    kinds = {DEFAULT_SPACE: "", FILE_SPACE: "model files, "}
    return kinds.get(c.space, f"space {c.space}, ")


def _later(c: Configuration) -> str:
    """Return a batch of several images, the provider's options and the environment, each after a comma; usually empty."""
    batch = "" if c.batch == 1 else f"batch {c.batch}"
    return "".join(f", {text}" for text in (batch, c.provider_options, c.environment) if text)


def _differences(found: Sequence[Configuration], end: str) -> str:
    """Return the options that tell configurations apart with all their values, followed by `end`; empty where none does."""
    helping = [
        f"--{name} {' or '.join(values)}"
        for name in ("space", "runtime", "threads", "precision", "batch")
        if len(values := dict.fromkeys(str(getattr(c, name)) for c in found)) > 1
    ]
    return f"{', '.join(helping)}, {end}" if helping else ""


def _others(store: Store, choice: ConfigurationChoice) -> str:
    """Return the precisions or batch sizes that are stored instead of those chosen, if any, and what to do."""
    wanted: tuple[tuple[str, str | int | None, ConfigurationChoice], ...] = (
        ("precision", choice.precision, replace(choice, precision="")),
        ("batch", choice.batch, replace(choice, batch=None)),
    )
    for field, value, wider in wanted:
        networks = [c for c in select_configurations(store, wider) if c.space != FILE_SPACE]
        if value and networks:
            have = " and ".join(map(str, sorted({getattr(c, field) for c in networks})))
            line = measure_command(replace(networks[0], **{field: value}))  # type: ignore[arg-type]
            kind = "batch " if field == "batch" else ""
            return f", but of {kind}{have}; name that, or measure it: {line} --models design:1"
    return "; see 'harness results'"


def _cores(c: Configuration) -> str:
    """Return the cores that sessions run on, or from which each takes the quietest."""
    names = f"core{'s' if len(c.cores) > 1 else ''} {','.join(map(str, c.cores))}"
    return names if len(c.cores) == c.threads else f"the quietest of {names}"


def _devices(configurations: Sequence[Configuration]) -> list[str]:
    return sorted({configuration.device for configuration in configurations})


def _check_device(name: str, known: Sequence[str], space: str = "", group: Sequence[str] = ()) -> None:
    """Raise ConfigError when nothing is stored of a device, with the command that measures it, in a space if one is named.

    `group`: the devices of a group of that name.
    """
    if name not in known:
        stored = f"stored: {shortened(known)}" if known else "nothing is measured yet"
        what = f"group {name!r}, {shortened(group)}" if group else f"device {name!r}"
        problem = "" if group else name_problem(name)
        remedy = f"measure it: harness measure --device {name}{f' --space {space}' if space else ''}"
        raise ConfigError(
            f"nothing is stored of {what}{'' if group else did_you_mean(name, known)} ({stored}); "
            f"{f'a name {problem}' if problem else remedy}"
        )


def _listed(store: Store, configurations: Sequence[Configuration], option: str = "") -> str:
    return "".join(
        f"\n  {f'{option} ' if option else ''}{configuration_id(c)}   {c.device}, {short_description(c)}: "
        f"networks measured: {len(store.session_counts(c))}"
        for c in configurations
    )
