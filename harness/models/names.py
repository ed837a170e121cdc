"""From what people write, `all`, `sample:20@1`, an architecture, `segments`, to architectures and segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from operator import index as as_index
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar

from harness.models.file_names import find_files, is_one_file, split_names
from space import BLOX, Architecture, Space, SpaceConfig, find_space
from space.errors import ConfigError, shown
from space.hash_table import network_key
from space.registry import known_spaces
from space.segments import Segment, all_segments
from space.selection import select_models

Chosen = TypeVar("Chosen")
Network = str | SupportsIndex | Architecture  # as a caller from Python names one, or by a selection several

SEGMENTS = "segments"  # as a selection: stem, cells, reductions and head, each as a model of its own


def listed(models: Any, config: SpaceConfig | None = None) -> list[Any]:
    """Return the models that a caller from Python names, one or several, as a list: networks as texts, others as they are.

    Several may be a sequence, a set, a generator, a numpy array or a column of a DataFrame.
    Raises: ConfigError for an architecture of another space than `config`, in which its text would name another network.
    """
    several = as_list(models)
    for one in several:
        if hasattr(one, "graph_hash") and not isinstance(one, Architecture):
            raise ConfigError(
                f"models: a {type(one).__name__} names no network; give its text, as in row.architecture"
            )
        if config is not None and isinstance(one, Architecture) and one.config != config:
            raise ConfigError(
                f"network {one} is of space {one.config.name!r}, not {config.name!r}; name networks of one space, and that space"
            )
    return [str(one) if isinstance(one, Integral | Architecture) else one for one in several]


def listed_networks(models: Any, config: SpaceConfig | None = None) -> list[str]:
    """Return networks as `listed` does, by texts alone. Raises: ConfigError for what names none, such as a row or a module."""
    found = listed(models, config)
    for one in found:
        if not isinstance(one, str | Path):
            raise ConfigError(
                f"models: {shown(one)} names no network; give its text, as in row.architecture, its index, its hash or the "
                "architecture"
            )
    return [str(one) for one in found]


def as_list(models: Any) -> list[Any]:
    """Return one or several models as a list, as they are; what can be called, as torch modules can, is one."""
    for convert in ("tolist", "to_pylist"):  # of numpy and pandas, of Arrow
        if hasattr(models, convert):
            models = getattr(models, convert)()
    is_one = isinstance(models, str | bytes | Path | SpaceConfig) or callable(models)
    return list(models) if isinstance(models, Iterable) and not is_one else [models]


def some(name: str, given: Any) -> list[Any]:
    """Return the one or several values of an argument as a list, empty for None. Raises: ConfigError for an empty collection.

    A selection that came out empty is not taken for all there is.
    """
    found = [] if given is None else as_list(given)
    if not found and given is not None:
        raise ConfigError(f"{name} = []: name one or several, or leave it out")
    return found


def whole_number(name: str, value: Any, *, least: int | None = None) -> Any:
    """Return a whole number of any library as Python's own; None as it is. Raises: ConfigError, naming the argument."""
    try:
        number = value if value is None else as_index(value)
    except TypeError as error:
        raise ConfigError(f"{name} = {shown(value)}: give a whole number") from error
    if least is not None and number is not None and number < least:
        raise ConfigError(f"{name} = {number}: give {least} or more")
    return number


def space_meant(models: Sequence[object], space: str | Path | Space) -> Space:
    """Return the space that is named, else that of the architectures among some models, else Blox.

    Raises: ArchitectureError for a name of none.
    """
    if space == "":
        found = next((one.config for one in models if isinstance(one, Architecture)), BLOX)
        space = found if isinstance(found, Space) else found.name
    return find_space(space)


def in_spaces(
    choose: Callable[[SpaceConfig], Chosen], spaces: Sequence[SpaceConfig] = ()
) -> dict[str, Chosen]:
    """Return the chosen networks of each of `spaces`, by its name, by default of all known: a user names no store's space.

    A space in which the choice fails is left out.
    Raises: ConfigError, that of the first space, when it fails in every one.
    """
    chosen: dict[str, Chosen] = {}
    errors = []
    for config in spaces or known_spaces():
        try:
            chosen[config.name] = choose(config)
        except ConfigError as error:
            errors.append(error)
    if not chosen:
        raise errors[0]
    return chosen


def select_architecture(text: str, config: SpaceConfig = BLOX) -> Architecture:
    """Return the one architecture of a space that a text names. Raises: ConfigError when it names none, or several."""
    named = select_models(text, config)
    if len(named) != 1:
        raise ConfigError(f"{text!r} names {len(named)} networks; name one")
    return named[0]


def select_models_and_segments(
    selections: Sequence[str], config: SpaceConfig = BLOX
) -> list[Architecture | Segment]:
    """Return the models that the user named: architectures, and with the word `segments` the space's segments.

    Of equal networks, which differ only in where candidates without an effect stand, the first is taken.
    Raises: ConfigError.
    """
    words = [word.strip() for text in selections for word in text.split(",")]
    if SEGMENTS not in words:
        return list(_different(select_models(selections, config)))
    rest = [",".join(word for word in text.split(",") if word.strip() != SEGMENTS) for text in selections]
    rest = [text for text in rest if text]
    networks = _different(select_models(rest, config)) if rest else []
    return [*networks, *all_segments(config)]


def check_names(texts: Iterable[str], space: str = "") -> None:
    """Look up the networks, of a space or of any, and the single files that a person names.

    Commands do so first: what works on these takes a second to be imported. What can be read only once, or takes long, is left
    for later.
    Raises: ConfigError.
    """
    networks, files = split_names(text for text in texts if text != "all" and "file:" not in text)
    config = find_space(space) if space else None
    if networks and config is not None:
        select_models_and_segments(networks, config)
    elif networks:
        in_spaces(lambda config: select_models_and_segments(networks, config))
    find_files(filter(is_one_file, files))


def _different(networks: Sequence[Architecture]) -> Iterable[Architecture]:
    first: dict[int | bytes, Architecture] = {}
    for network in networks:
        first.setdefault(network_key(network.config, network.index), network)
    return first.values()
