"""What can go wrong, and the exit status that says so.

```
HarnessError          exit 1    caught by the command line, which catches nothing broader
  ConfigError         exit 2    devices.toml, the command line, a bad file
    StoreError        exit 2    the store cannot be opened or was written by a newer version
  DeviceError         exit 3    unreachable, host key, timeout, agent, runtime missing
    LinkError         exit 3    the connection broke; a campaign reconnects before it gives up
    AgentError        exit 3    the agent answered with an error (`kind` is the protocol's word for it)
    BadResult         exit 3    the agent answered with times that cannot be
  ExportError         exit 4    a model could not be made
```

A message names the thing, the value and the remedy. Foreign errors are translated where they enter.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class HarnessError(Exception):
    """Report a failure that the user can act on."""

    exit_status = 1


class ConfigError(HarnessError):
    """Refuse bad input: devices.toml, the command line or a file."""

    exit_status = 2


class StoreError(ConfigError):
    """Refuse a store that cannot be opened, read or migrated."""


class DeviceError(HarnessError):
    """Report a device that cannot be reached or cannot do what was asked."""

    exit_status = 3


class LinkError(DeviceError):
    """Report a broken or silent connection to an agent."""


class AgentError(DeviceError):
    """Carry an error that the agent answered with; `kind` is one of the words in docs/interfaces.md.

    `details` is the agent's whole answer, foreign and unchecked.
    """

    def __init__(self, kind: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details or {}


class BadResult(DeviceError):
    """Report times that a device cannot have measured; the network they are of fails, and nothing of them is stored."""


class ExportError(HarnessError):
    """Report a model that could not be made."""

    exit_status = 4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
