"""Drivers of phones' GPUs on made-up trees: which row fits, in which order folders stand, who is given them, and who is not."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from rigs.agent_client import Client
from rigs.agent_jobs import send_job
from rigs.compiled_agent import build_compiled

from device_agents.worker_environment import find_driver
from harness.devices.runtime_packages import vendor_libraries

TERMUX = "data/data/com.termux/files/usr"
DRIVEN = b"""
import os
import tomllib
from device_agents.runtimes.loaded import OUTPUT_VALUES, Loaded

NAME, FORMATS, PACKAGES = "driven", ("onnx",), ("json",)
OPTIONS = {"provider": str}
TOLD = ("LD_LIBRARY_PATH", "MARK")


def find():
    import json

    return NAME, "1.0", json


def providers():
    return ["CPU", "GPU", "GPU-fp32", "NPU"]


def load(model, threads, options):
    told = " ".join(name + "=" + os.environ[name] for name in TOLD if name in os.environ)
    runtime = {"name": NAME, "package": NAME, "version": told or "none", "provider": options.get("provider", "CPU")}
    return Loaded(lambda: None, lambda: [1.0] * OUTPUT_VALUES, runtime)
"""


def tree(root: Path, *files: str) -> list[dict[str, Any]]:
    """Make files below a folder; return the table's rows with their paths below it."""
    for name in (*files, f"{TERMUX}/lib/libpython.so"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    below = lambda path: path.replace("/vendor/", f"{root}/vendor/")  # noqa: E731
    return [
        {**row, "shows": [*map(below, row["shows"])], "paths": [*map(below, row["paths"])]}
        for row in vendor_libraries()
    ]


@pytest.fixture(autouse=True)
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have Termux's variable name its folder in the tree."""
    monkeypatch.setenv("PREFIX", str(tmp_path / TERMUX))
    return tmp_path / TERMUX


@pytest.mark.parametrize(
    ("files", "vendor", "folders"),
    [
        (["vendor/lib64/libOpenCL.so", "vendor/lib64/libOpenCL_adreno.so"], "Adreno", ["vendor/lib64"]),
        (["vendor/lib64/libOpenCL.so"], "another", ["vendor/lib64"]),
        (
            ["vendor/lib64/egl/libGLES_mali.so", "vendor/lib64/libOpenCL.so"],
            "Mali",
            ["vendor/lib64", "vendor/lib64/egl"],
        ),
        (
            [
                "vendor/lib64/egl/mt6895/libGLES_mali.so",
                "vendor/lib64/mt6895/libged.so",
                "vendor/lib64/mt6789/libged.so",
            ],
            "Mali",
            ["vendor/lib64", "vendor/lib64/mt6895", "vendor/lib64/egl/mt6895"],
        ),
        (["vendor/lib64/egl/mt6789/libGLES_mali.so"], "Mali", ["vendor/lib64", "vendor/lib64/egl/mt6789"]),
        (["vendor/lib64/libPVROCL.so", "vendor/lib64/libOpenCL.so"], "PowerVR", ["vendor/lib64"]),
    ],
)
def test_each_vendors_folders_are_found_with_its_own_first_and_termuxs_last(
    tmp_path: Path, files: list[str], vendor: str, folders: list[str]
) -> None:
    driver = find_driver(tree(tmp_path, *files), {})
    assert driver["vendor"] == vendor
    assert driver["shown_by"] in [str(tmp_path / name) for name in files]
    paths = [str(tmp_path / name) for name in (*folders, f"{TERMUX}/lib")]
    assert driver["variables"] == {"LD_LIBRARY_PATH": os.pathsep.join(paths)}


def test_a_device_without_such_a_driver_is_given_nothing(tmp_path: Path) -> None:
    assert find_driver(tree(tmp_path, "vendor/lib64/libGLESv2.so", "vendor/lib/libOpenCL.so"), {}) == {}
    assert find_driver([], {}) == {}


def test_a_phone_with_folders_of_two_chips_is_led_to_none(tmp_path: Path) -> None:
    rows = tree(tmp_path, *(f"vendor/lib64/egl/{chip}/libGLES_mali.so" for chip in ("mt6895", "mt6789")))
    driver = find_driver(rows, {})
    assert driver["trouble"] == "it has folders of 2 chips: mt6789, mt6895" and "variables" not in driver


def test_what_the_user_named_wins(tmp_path: Path) -> None:
    rows = tree(tmp_path, "vendor/lib64/libOpenCL.so")
    assert find_driver(rows, {"LD_LIBRARY_PATH": "/mine"})["trouble"] == "environment names LD_LIBRARY_PATH"
    assert "variables" in find_driver(rows, {"MARK": "1"})


def test_each_row_of_the_table_has_what_shows_it_where_to_look_and_a_source() -> None:
    table = files("harness.devices").joinpath("vendor_libraries.toml").read_text("utf-8")
    for row in tomllib.loads(table)["row"]:
        assert row.keys() == {"vendor", "shows", "paths", "source"}
        assert row["source"].startswith("https://")
        assert row["paths"][0] == "/vendor/{lib}", "the vendor's folder must be first"
        assert row["shows"] and all(path.startswith("/vendor/{lib}/") for path in row["shows"])
    assert all("source" not in row for row in vendor_libraries())


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Return a client of an agent whose runtime tells the environment of its worker."""
    data, digest = build_compiled({"driven": DRIVEN})
    path = tmp_path / f"{digest}.pyz"
    path.write_bytes(data)
    with Client(path, tmp_path / "root") as running:
        yield running


def greet(client: Client, rows: Any, **fields: Any) -> dict[str, Any]:
    told = {"protocol": 3, "harness": "x", "runtimes": ["driven"]}
    return client.ask("hello", **told, vendor_libraries=rows, **fields)


def worker(client: Client, provider: str) -> str:
    """Return what a worker on this provider has of the variables."""
    job = send_job(client, {"driven": ([b"a model"], [b"another"])}, "driven", options={"provider": provider})
    (network,) = job.pop("networks")
    for key in ("reference", "plan"):
        del job[key]
    client.send("memory", job={**job, "network": network})
    _, answer = client.finish()
    return str(answer["runtime"]["version"])


@pytest.mark.device
def test_workers_on_the_gpu_alone_are_led_to_the_driver(client: Client, tmp_path: Path, prefix: Path) -> None:
    rows = tree(tmp_path, "vendor/lib64/libOpenCL.so", "vendor/lib64/libOpenCL_adreno.so")
    hello = greet(client, rows, environment={"MARK": "1"})
    led = f"LD_LIBRARY_PATH={tmp_path}/vendor/lib64:{prefix}/lib"
    assert hello["driver"]["variables"] == {"LD_LIBRARY_PATH": led.partition("=")[2]}
    assert worker(client, "GPU-fp32") == f"{led} MARK=1"
    assert worker(client, "CPU") == "MARK=1", (
        "what lies beside a driver must not come before its own libraries"
    )
    greet(client, rows, environment={"LD_LIBRARY_PATH": "/mine"})
    assert worker(client, "NPU") == "LD_LIBRARY_PATH=/mine"
    assert greet(client, None)["driver"] == {}
    assert worker(client, "GPU") == "none"


@pytest.mark.device
@pytest.mark.parametrize(
    "rows",
    [
        "Mali",
        [1],
        [{"vendor": "Mali", "shows": ["/a"]}],
        [{"vendor": "Mali", "shows": ["../a"], "paths": ["/b"]}],
        [{"vendor": "Mali", "shows": ["/a"], "paths": [1]}],
        [{"vendor": "Mali", "shows": "/a", "paths": ["/b"]}],
        [{"vendor": "Mali", "shows": ["/a"], "paths": ["/b"]}] * 65,
    ],
)
def test_a_table_that_is_none_is_refused(client: Client, rows: Any) -> None:
    answer = greet(client, rows)
    assert answer["kind"] == "bad-request" and "vendor_libraries" in answer["message"]


@pytest.mark.device
def test_the_conditions_of_a_run_on_the_gpu_tell_of_the_driver_and_those_of_others_do_not(
    client: Client, tmp_path: Path
) -> None:
    rows = tree(tmp_path, "vendor/lib64/libOpenCL.so")
    driver = greet(client, rows)["driver"]
    for provider, expected in (("GPU", driver), ("CPU", None)):
        job = send_job(client, {"driven": ([b"a"], [b"b"])}, "driven", options={"provider": provider})
        client.send("run", job=job)
        _, answer = client.finish()
        for name in ("conditions_before", "conditions_after"):
            assert answer[name].get("driver") == expected
