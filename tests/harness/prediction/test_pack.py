"""What a packed job may be asked for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.devices.config import Device
from harness.devices.names import parse_packed_device
from harness.measurement.packed import pack_campaign
from harness.measurement.plan import Options
from harness.models.exported import ExportedModels
from harness.prediction.pack import pack
from harness.store import Store
from space.errors import ConfigError


def test_a_device_has_its_keys_where_devices_toml_names_it_and_needs_no_place_there(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text('[devices.pi4]\ntransport = "ssh"\naddress = "pi"\nthreads = 4\n')
    assert parse_packed_device("pi4", path).threads == 4
    assert (parse_packed_device("pi5", path).name, parse_packed_device("pi5", path).threads) == ("pi5", 1)


@pytest.mark.parametrize("name", ["two words", "all", "../up", ""])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text("")
    with pytest.raises(ConfigError, match=r"--device .*the name"):
        parse_packed_device(name, tmp_path / "devices.toml")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"models": "net.onnx"}, r"net\.onnx: no such file"),
        ({"runtimes": ["tensorrt"]}, "tensorrt"),
        ({"precision": "fp8"}, "no precision 'fp8'"),
        ({"level": "slow"}, "no level 'slow'"),
        ({"models": "conv/nonsense"}, "nonsense"),
    ],
)
def test_what_no_job_can_be_asked_for_is_refused_and_nothing_is_written(
    asked: dict[str, object], message: str, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        pack("board", output=tmp_path / "job.zip", store=store, **({"models": "conv/conv/conv"} | asked))  # type: ignore[arg-type]
    assert not (tmp_path / "job.zip").exists()


def test_what_a_packed_job_does_not_measure_is_told(store: Store) -> None:
    device = Device(name="board", transport="packed")
    with pytest.raises(ConfigError, match="leave out --recalibrate, or measure over SSH"):
        pack_campaign(
            device, ExportedModels([], on_progress=lambda *_: None), Options(recalibrate=True), store,
            rng=random.Random(0), log=lambda text: None,
        )  # fmt: skip


def test_keys_of_devices_toml_that_a_job_does_not_carry_are_told(store: Store, tmp_path: Path) -> None:
    device = Device(name="board", transport="packed", litert_carry="~/litert")
    with pytest.raises(ConfigError, match="litert_carry, which a packed job does not carry"):
        pack(device, "conv/conv/conv", output=tmp_path / "job.zip", store=store)
    assert not (tmp_path / "job.zip").exists()


def test_a_place_that_cannot_be_written_is_noticed_before_anything_is_exported(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"job\.zip: cannot be written: Not a directory"):
        pack("board", "conv/conv/conv", output=tmp_path / "file/job.zip", store=store)
