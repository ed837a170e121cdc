"""What the doctor says of a device's conditions: each remedy is one that this device can follow."""

from __future__ import annotations

from typing import Any

import pytest

from harness.devices import SshDevice
from harness.diagnosis import _conditions

HELLO: dict[str, Any] = {"cores": [0, 1], "clusters": [[0, 1]]}


@pytest.mark.parametrize(
    ("conditions", "says", "says_not"),
    [
        ({"governors": {"0": "ondemand", "1": "ondemand"}}, "sudo cpupower", "Android"),
        ({"governors": {"0": "walt", "1": "walt"}, "android": "14"}, "Android", "sudo"),
        ({}, "cannot be set here", "sudo"),
    ],
)
def test_the_remedy_for_free_clocks_is_one_that_the_device_can_follow(
    conditions: dict[str, Any], says: str, says_not: str
) -> None:
    checks = {check.name: check for check in _conditions(SshDevice(name="a", address="a"), HELLO, conditions)}
    assert checks["clocks"].status == "warn"
    assert says in checks["clocks"].remedy
    assert says_not not in checks["clocks"].remedy
