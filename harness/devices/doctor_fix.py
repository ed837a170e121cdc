"""Checks of a device that installs what they miss: `harness doctor --fix`."""

from __future__ import annotations

from collections.abc import Callable

from harness.devices.config import Device
from harness.devices.doctor import Check, diagnose
from harness.devices.provision import provision_device
from harness.errors import DeviceError
from space.errors import ConfigError


def fix(device: Device, on_progress: Callable[[str], None] = lambda step: None) -> list[Check]:
    """Check a device, install what `harness provision` can, and check it again; what was done is the first check.

    on_progress: told what is done with the device now. A device without a fixable check is only checked; where nothing can be
    installed, the device is as it was, and a failed check says why.
    """
    checks = diagnose(device, on_progress)
    if not any(check.fixable for check in checks):
        return checks
    try:
        done = provision_device(device, on_progress=lambda name, step: on_progress(step))
    except (DeviceError, ConfigError) as error:
        return [
            *checks,
            Check(status="FAIL", name="fix", found=str(error).removeprefix(f"device {device.name!r}: ")),
        ]
    told = Check(status="ok", name="fix", found=done.sentence())
    return [told, *diagnose(device, on_progress)]
