"""Devices by name, pattern, group and all, from devices.toml: which are meant, and what is said where none is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.devices.config import SHOWN_NAMES, LocalDevice
from harness.devices.destination import LOCAL
from harness.devices.names import select_devices, select_one
from space.errors import ConfigError

LAB = """
[defaults]
transport = "ssh"

[devices.pixel-6]
address = "a"
group = ["phones", "shelf"]

[devices.pi4]
address = "b"
group = "shelf"

[devices.pixel-8]
address = "c"
group = "phones"

[devices.tv]
address = "d"
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text(LAB)
    return path


def names(asked: Sequence[str], path: Path) -> list[str]:
    return [device.name for device in select_devices(asked, path)]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ([], ["local"]),
        (["tv", "pi4", "tv"], ["tv", "pi4"]),
        (["all"], ["pixel-6", "pi4", "pixel-8", "tv"]),
        (["*"], ["pixel-6", "pi4", "pixel-8", "tv"]),
        (["pixel*"], ["pixel-6", "pixel-8"]),
        (["pixel-[0-7]"], ["pixel-6"]),
        (["??4", "t?"], ["pi4", "tv"]),
        (["shelf"], ["pixel-6", "pi4"]),
        (["shelf", "phones", "pixel-8", "p*"], ["pixel-6", "pi4", "pixel-8"]),
        (["all", "local"], ["pixel-6", "pi4", "pixel-8", "tv", "local"]),
    ],
)
def test_each_device_that_is_meant_comes_once_in_the_order_asked_for(
    asked: list[str], meant: list[str], lab: Path
) -> None:
    assert names(asked, lab) == meant


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ("pixle*", ["no device in ", "lab.toml fits 'pixle*'", "known: pi4, pixel-6, pixel-8, tv", "groups: phones, shelf"]),
        ("lo*", ["fits 'lo*'"]),
        ("Pixel*", ["fits 'Pixel*'"]),
        ("shelv", ["unknown device 'shelv'", "did you mean 'shelf'?", "known: local, pi4, pixel-6", "groups: phones, shelf"]),
        ("pi5", ["unknown device 'pi5'", "did you mean 'pi4'?", "add [devices.pi5] to devices.toml"]),
        ("", ["unknown device ''", "a name may hold only letters, digits and '-'"]),
        ("my phone", ["unknown device 'my phone'", "a name may hold only letters, digits and '-'"]),
    ],
)  # fmt: skip
def test_what_means_no_device_is_refused_with_what_there_is(asked: str, parts: list[str], lab: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        select_devices(["tv", asked], lab)
    for part in parts:
        assert part in str(caught.value)


def test_without_another_device_all_is_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert select_devices(["all"]) == (LocalDevice(name=LOCAL),)
    Path("devices.toml").write_text("[devices.local]\nthreads = 2\n[devices.b]\ntransport = 'local'\n")
    assert names(["all"], Path("devices.toml")) == ["local", "b"], "the file names it"


def test_devices_and_names_may_be_mixed_from_python(lab: Path) -> None:
    own = LocalDevice(name="tv", threads=3)
    found = select_devices([own, "t*", "pi4"], lab)
    assert [device.name for device in found] == ["tv", "pi4"]
    assert found[0] is own
    assert select_devices([own], Path("no such file")) == (own,)


def test_what_takes_one_device_takes_a_pattern_of_one(lab: Path) -> None:
    assert select_one("t*", lab).name == "tv"
    with pytest.raises(ConfigError, match=r"'shelf' means 2 devices \(pixel-6, pi4\), and here it takes one"):
        select_one("shelf", lab)


def test_of_a_large_laboratory_an_error_names_the_first_few(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("".join(f"[devices.board-{number:04}]\ntransport = 'local'\n" for number in range(500)))
    with pytest.raises(ConfigError, match=f"and {501 - SHOWN_NAMES} more") as caught:
        select_devices(["x"], path)
    assert len(str(caught.value)) < 1000
