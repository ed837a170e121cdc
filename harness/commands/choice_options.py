"""The options of commands that choose among stored configurations."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from harness.commands.option_groups import takes
from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    DevicesFile,
    RuntimeName,
    StoredBatch,
    StoredPrecision,
    StoredSpace,
    ThreadCount,
)

if TYPE_CHECKING:
    from harness.store.configurations import ConfigurationChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceOptions:
    """Options that choose a stored configuration, as given on the command line."""

    device: DeviceName = ""
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

        return ConfigurationChoice(**self.keywords())


takes_choice = takes(ChoiceOptions, "options")  # gives a command these options
