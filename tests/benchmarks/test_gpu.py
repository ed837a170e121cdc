"""scripts/check-gpu: one check that fails, crashes or hangs ends no other. Checks of a stand-in; no test machine has a GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = """
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path


class NotThere(Exception):
    pass


@dataclass
class Found:
    figures: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    faults: list = field(default_factory=list)


def hangs(chosen):
    chosen.keep(Found(figures={"so far": 1}))
    child = subprocess.Popen(["sleep", "60"])
    Path("child").write_text(str(child.pid))
    time.sleep(60)


def lacks(chosen):
    raise NotThere("no such thing here")


def raises(chosen):
    raise ValueError("wrong")


CHECKS = {
    "good": (lambda chosen: Found(figures={"device": chosen.device}, lines=["fine"]), 30.0),
    "faulty": (lambda chosen: Found(faults=["a figure is wrong"]), 30.0),
    "raises": (raises, 30.0),
    "crashes": (lambda chosen: os._exit(3), 30.0),
    "hangs": (hangs, 3.0),
    "lacks": (lacks, 30.0),
    "last": (lambda chosen: Found(figures={"images": chosen.images}), 30.0),
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "benchmarks" / "gpu.py", tmp_path / "benchmarks" / "gpu.py")
    shutil.copy(ROOT / "scripts" / "check-gpu", tmp_path / "scripts" / "check-gpu")
    (tmp_path / "benchmarks" / "gpu_checks.py").write_text(CHECKS)

    def go(*arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        done = subprocess.run(
            [tmp_path / "scripts" / "check-gpu", "--output", "out.json", *arguments],
            env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done, json.loads((tmp_path / "out.json").read_text())["checks"]

    return go


def test_every_check_is_told_of_however_the_others_end(run: Any, tmp_path: Path) -> None:
    done, checks = run("--tiny")
    assert {name: outcome["status"] for name, outcome in checks.items()} == {
        "good": "ok",
        "faulty": "fault",
        "raises": "failed",
        "crashes": "failed",
        "hangs": "hung",
        "lacks": "not there",
        "last": "ok",
    }
    assert done.returncode == 1
    assert checks["good"]["figures"] == {"device": "cuda"} and checks["last"]["figures"] == {"images": 128}
    assert (
        "ValueError: wrong" in checks["raises"]["faults"][0]
        and "ended with 3" in checks["crashes"]["faults"][0]
    )
    assert checks["hangs"]["figures"] == {"so far": 1}, "what it had is kept"
    assert checks["lacks"]["lines"] == ["no such thing here"]
    assert sorted(path.name for path in tmp_path.glob("out.json*")) == ["out.json"]
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


def test_checks_that_find_nothing_wrong_or_nothing_there_end_well(run: Any) -> None:
    done, checks = run("--only", "good", "lacks", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert list(checks) == ["good", "lacks"] and checks["good"]["figures"] == {"device": "cpu"}
