"""The options of commands that choose among stored configurations."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.option_groups import takes
from harness.commands.options import (
    ConfigurationId,
    DevicesFile,
    RuntimeName,
    StoredBatch,
    StoredPrecision,
    StoredSpace,
    ThreadCount,
    make_store,
    named_devices,
    open_store,
)

if TYPE_CHECKING:
    from harness.store import Store
    from harness.store.configurations import ConfigurationChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceOptions:
    """Options that choose a stored configuration, as given on the command line."""

    device: Annotated[
        str,
        typer.Option(
            "--device",
            "-d",
            help="Device whose measurements to use; a pattern or a group, too. [default: local, or the configuration's]",
        ),
    ] = ""
    runtime: RuntimeName = ""
    threads: ThreadCount = None
    precision: StoredPrecision = ""
    batch: StoredBatch = None
    configuration: ConfigurationId = ""
    space: StoredSpace = ""
    devices_file: DevicesFile = None

    def keywords(self) -> dict[str, Any]:
        """Return the options by the keywords of the Python functions that take them."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def choice(self) -> ConfigurationChoice:
        """Return the choice."""
        from harness.store.configurations import ConfigurationChoice
        from space.registry import space_name

        return ConfigurationChoice(**self.keywords() | {"space": space_name(self.space)})

    def check(self, store: Store, prior: str = "") -> None:
        """Raise ConfigError where no configuration fits, or several do, or `prior` is none, before what computes is loaded."""
        from harness.store.configurations import check_choice

        check_choice(store, self.choice(), prior)

    def compared_store(self, url: str, *, of_files: bool) -> Store:
        """Open the store to compare what it holds, or to measure files into. Raises: ConfigError, where a device is none."""
        if not of_files:
            return open_store(url)
        named_devices([self.device] if self.device else None, self.devices_file)
        return make_store(url)


takes_choice = takes(ChoiceOptions, "options")  # gives a command these options
