"""Errors of devices and of the store; `space.errors` has those that all packages share, and draws the whole tree.

```
ConfigError             exit 2
  StoreError            exit 2    the store cannot be opened or was written by a newer version
    Unstorable          exit 2    a session that could not be read back is refused at the door
HarnessError            exit 1
  DeviceError           exit 3    unreachable, host key, timeout, agent, runtime missing
    LinkError           exit 3    the connection broke; a campaign reconnects before it gives up
    AgentError          exit 3    the agent answered with an error (`kind` is the protocol's word for it)
    BadResult           exit 3    the agent answered with times that cannot be
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from space.errors import ConfigError, HarnessError


class StoreError(ConfigError):
    """A store that cannot be opened, read or migrated.

    >>> StoreError("store lab.sqlite", "cannot be opened").exit_status
    2
    """


class Unstorable(StoreError):
    """A session that could not be read back from a store, such as one that is too large; it is not stored."""


class DeviceError(HarnessError):
    """A device that cannot be reached or cannot do what was asked.

    >>> DeviceError("device 'pi4'", "no route to host").exit_status
    3
    """

    exit_status = 3


class LinkError(DeviceError):
    """A broken or silent connection to an agent."""


class AgentError(DeviceError):
    """An error that the agent answered with; `kind` is one of the words in docs/protocol.md.

    `details` is the agent's whole answer, foreign and unchecked.
    """

    def __init__(
        self, kind: str, message: str, details: Mapping[str, Any] | None = None, *, thing: str = ""
    ) -> None:
        super().__init__(*filter(None, [thing]), message)
        self.kind = kind
        self.details = details or {}


class BadResult(DeviceError):
    """Times that a device cannot have measured; the network they are of fails, and nothing of them is stored."""


class Stopped(HarnessError):
    """Report that the user stopped a command by Ctrl-C."""

    exit_status = 130

    def __init__(self) -> None:
        super().__init__("stopped")


class Cancelled(HarnessError):
    """Report that the user stopped the campaign; what was measured is stored."""

    exit_status = 130

    def __init__(self, next_step: str = "the same command goes on from here") -> None:
        super().__init__(f"stopped by the user; what was measured is stored, {next_step}")
