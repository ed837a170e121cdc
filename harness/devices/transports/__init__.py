"""Transports to devices: four verbs, one contract.

A transport is made without connecting; `connect` connects. Commands travel as argument vectors; only the transport
quotes. `run` executes a short command to its end, `start` a long one with its three streams, `close` ends everything.
Other packages add transports as entry points of the group `harness.transports`: see `TransportClass`.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from harness.devices.config import AdbDevice, Device, LocalDevice, SshDevice
from harness.devices.transports.contract import Transport
from harness.devices.transports.local import LocalTransport
from space.errors import ConfigError
from space.plugins import TRANSPORTS, load_plugin, plugins


class TransportClass(Protocol):
    """Protocol of an entry point of the group `harness.transports`: a class of transports, each made from its device.

    `device_class` is a subclass of `harness.devices.config.Device` with a field for each key of such a device in devices.toml.
    """

    device_class: type[Device]

    def __call__(self, device: Any, /) -> Transport:
        """Return the transport of a device of `device_class`, not yet connected."""


def open_transport(device: Device) -> Transport:
    """Return the transport of a device, not yet connected.

    Raises: ConfigError when no package adds it, or another package's cannot be loaded.
    """
    if isinstance(device, LocalDevice):
        return LocalTransport()
    if isinstance(device, SshDevice):
        from harness.devices.transports.ssh import SshTransport  # paramiko is needed only here

        return SshTransport(device)
    if isinstance(device, AdbDevice):
        raise ConfigError(
            device.who,
            "reached by adb alone, where no agent runs: 'harness measure' of TFLite models is all "
            'that it does; for the rest install Termux and sshd there (transport = "ssh" with adb)',
        )
    if device.transport not in plugins(TRANSPORTS):
        raise ConfigError(
            device.who,
            f"no installed package adds transport {device.transport!r}; install the one that does",
        )
    return cast(TransportClass, load_plugin(TRANSPORTS, device.transport))(device)
