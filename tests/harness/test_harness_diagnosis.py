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


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ({"throttled": 0x1}, "Raspberry Pi throttled: under-voltage"),
        ({"thermal_status": 3}, "Android thermal status 3 (severe)"),
        ({"gpus": [{"index": 0, "reasons": 0x40}]}, "NVIDIA GPU 0 throttled: hardware thermal slowdown"),
        ({"throttled": 0x50000, "thermal_status": 0, "gpus": [{"reasons": 0x1}]}, ""),
    ],
)
def test_a_device_that_holds_itself_back_now_is_warned_of(conditions: dict[str, Any], says: str) -> None:
    checks = _conditions(SshDevice(name="a", address="a"), HELLO, conditions)
    found = [check for check in checks if check.name == "throttled"]
    assert [check.found for check in found] == ([says] if says else [])
    assert all(check.status == "warn" and check.remedy for check in found)
