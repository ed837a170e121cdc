"""Which packages fit a device; where none do, why, and what would."""

from __future__ import annotations

from typing import Any

import pytest

from device_agents.environment import REQUIREMENT
from harness.devices.answers import Survey
from harness.devices.config import RUNTIMES
from harness.devices.runtime_packages import PackageRow, find_row, package_rows, platform_tags


def survey(**changes: Any) -> Survey:
    usual = {
        "executable": "/usr/bin/python3", "implementation": "CPython", "version": [3, 11, 2], "free_threaded": False,
        "machine": "aarch64", "bits": 64, "libc": "glibc", "libc_version": "2.36", "pip": "", "pkg": False,
        "free_bytes": 1 << 30, "note": None,
    }  # fmt: skip
    return Survey(**{**usual, **changes})


def requirements(runtime: str, **changes: Any) -> tuple[str, ...]:
    row = find_row(runtime, survey(**changes))
    assert isinstance(row, PackageRow), row
    return row.requirements


def reason(runtime: str, **changes: Any) -> str:
    row = find_row(runtime, survey(**changes))
    assert isinstance(row, str), row
    return row


def test_the_table_names_runtimes_and_what_pip_can_be_asked_for() -> None:
    for row in package_rows():
        assert row.runtime in RUNTIMES and row.requirements
        assert all(REQUIREMENT.fullmatch(one) for one in row.requirements)
        assert row.python[0] <= row.python[1] and len(row.python[0]) == len(row.python[1]) == 2
        assert row.libc in ("glibc", "bionic") and row.installer in ("wheel", "pip", "pkg")


@pytest.mark.parametrize(
    ("runtime", "changes", "begins"),
    [
        ("onnxruntime", {}, "onnxruntime"),
        ("tflite", {}, "ai-edge-litert"),
        ("litert", {}, "ai-edge-litert"),
        ("tflite", {"version": [3, 8, 10]}, "tflite-runtime"),
        ("tflite", {"libc_version": "2.26"}, "tflite-runtime"),
        ("onnxruntime", {"libc_version": "2.26"}, "onnxruntime==1.16.3"),
        ("onnxruntime", {"machine": "arm64"}, "onnxruntime"),
        ("tflite", {"machine": "aarch64", "bits": 32}, "tflite-runtime"),
        ("onnxruntime", {"libc": "bionic", "libc_version": "", "pkg": True}, "python-onnxruntime"),
        ("tflite", {"libc": "bionic", "libc_version": "", "pkg": True}, "python-tflite-runtime"),
    ],
)
def test_a_row_fits(runtime: str, changes: dict[str, Any], begins: str) -> None:
    assert requirements(runtime, **changes)[0].startswith(begins)


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"libc": "musl", "libc_version": ""}, ("musl", "Debian", "apk search")),
        ({"libc": "", "libc_version": ""}, ("neither glibc nor musl",)),
        ({"libc": "bionic", "libc_version": ""}, ("not of Termux", "measure from Termux")),
        ({"machine": "x86_64", "bits": 32}, ("i686", "32 bits", "64-bit system")),
        ({"machine": "riscv64"}, ("riscv64", "aarch64", "x86_64")),
        ({"version": [3, 7, 16]}, ("Python 3.", "this is 3.7.16", 'python = "..."')),
        ({"version": [3, 15, 0]}, ("this is 3.15.0", 'python = "..."')),
        ({"libc_version": "2.12"}, ("need glibc 2.", "this is 2.12", "newer system")),
        ({"implementation": "PyPy"}, ("for CPython", "PyPy")),
        ({"version": [3, 13, 0], "free_threaded": True}, ("a free-threaded CPython",)),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(
    runtime: str, changes: dict[str, Any], parts: tuple[str, ...]
) -> None:
    told = reason(runtime, **changes)
    assert all(part in told for part in parts), told


def test_a_runtime_of_another_package_is_told_apart() -> None:
    assert "another package" in reason("made-up")


def test_packages_built_for_numpy_1_are_asked_for_with_it() -> None:
    for row in package_rows():
        is_old = row.requirements[0].startswith(("tflite-runtime", "onnxruntime==1.1"))
        assert ("numpy<2" in row.requirements or row.needs_numpy) == is_old, row


def test_32_bit_arm_takes_the_devices_own_numpy_1_where_there_is_one() -> None:
    arm = {"machine": "armv7l", "bits": 32}
    for numpy in ("", "2.2.4", "of unknown version"):
        assert requirements("tflite", **arm, numpy=numpy) == ("tflite-runtime>=2.13", "numpy<2")
    assert requirements("tflite", **arm, numpy="1.24.2") == ("tflite-runtime>=2.13",)


def test_wheels_are_looked_for_by_all_tags_that_the_device_runs() -> None:
    tags = platform_tags(survey(libc_version="2.28"))
    assert tags[0] == "manylinux_2_28_aarch64" and tags[-1] == "linux_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(tags)
    assert not any("2_29" in tag or "2_16" in tag for tag in tags)
    assert len(platform_tags(survey(libc_version="2.100000"))) < 200, "whatever a device says of itself"
    old = platform_tags(survey(machine="x86_64", libc_version="2.17"))
    assert {"manylinux_2_5_x86_64", "manylinux1_x86_64", "manylinux2010_x86_64"} <= set(old)
