"""Transports to devices: four verbs, one contract.

A transport is made without connecting; `connect` connects. Commands travel as argument vectors; only the transport
quotes. `run` executes a short command to its end, `start` a long one with its three streams, `close` ends everything.
"""

from __future__ import annotations

from harness.devices.config import Device, LocalDevice
from harness.devices.transports.contract import Transport
from harness.devices.transports.local import LocalTransport


def open_transport(device: Device) -> Transport:
    """Return the transport of a device, not yet connected."""
    if isinstance(device, LocalDevice):
        return LocalTransport()
    from harness.devices.transports.ssh import SshTransport  # paramiko is needed only here

    return SshTransport(device)
