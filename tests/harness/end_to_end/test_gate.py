"""`harness gate` from a baseline to exit statuses, by the real agent on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from factories.model_files import custom_op, dense, save
from rigs import forked_agents
from rigs.commands import Done, run
from rigs.short_campaigns import permissions_once

from device_agents import core_gate
from harness.devices.client import AgentClient
from harness.devices.transports import local
from harness.measurement.plan import LEVELS

pytestmark = [pytest.mark.device, pytest.mark.converter, pytest.mark.long]

ROWS = 4096


class Gate:
    """A baseline of one model in a folder, and candidates of its name in another."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = folder / "kept" / "m.onnx", folder / "built" / "m.onnx"
        self.base, self.junit, self.store = (
            folder / "kept" / "base.json",
            folder / "gate.xml",
            folder / "s.sqlite",
        )
        for path in (self.old, self.new):
            path.parent.mkdir()
        save(dense((1, ROWS, 8), width=64), self.old)

    def run(self, *options: str) -> Done:
        return run(
            self.store, "gate", *options, "--runtime", "onnxruntime", "--level", "quick", "--sessions", "2"
        )

    def build(self, model: Any, version: str = "") -> None:
        """Write the candidate; `version` changes its bytes alone."""
        model.doc_string = version
        save(model, self.new)

    def judge(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Judge the candidate; return the exit status and its check, which both documents agree on."""
        limit = ("--fail-if", "latency > +60%")
        done = self.run(
            "--baseline",
            str(self.base),
            str(self.new),
            *limit,
            "--json",
            "--junit",
            str(self.junit),
            *options,
        )
        (check,) = done.json["checks"]
        (case,) = ElementTree.parse(self.junit).findall(".//testcase")
        kinds = {"pass": "system-out", "fail": "failure", "not judged": "error"}
        assert [one.tag for one in case] == [kinds[check["outcome"]]], done
        assert done.json["status"] == done.status
        return done.status, check


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(core_gate, "FREE_SHARE", 1.0)
    monkeypatch.setattr(AgentClient, "permissions", permissions_once)
    monkeypatch.setattr(local, "subprocess", forked_agents.with_popen(forked_agents.ForkedThere))
    quick = LEVELS["quick"]  # ratios of 1 and 4 are told apart by far wider intervals
    monkeypatch.setitem(LEVELS, "quick", replace(quick, plan=replace(quick.plan, half_width=0.1)))
    return Gate(tmp_path)


def test_a_gate_passes_the_same_model_fails_a_slower_one_and_says_why_it_cannot_judge(gate: Gate) -> None:
    gate.run("--write", str(gate.base), str(gate.old))
    (kept,) = json.loads(gate.base.read_text())["files"][0]["latencies"]

    gate.build(dense((1, ROWS, 8), width=64), "the same, exported again")
    status, same = gate.judge()
    assert (status, same["outcome"], same["way"]) == (0, "pass", "beside"), same

    gate.build(dense((1, 4 * ROWS, 8), width=64))
    status, slower = gate.judge()
    assert (status, slower["outcome"], slower["way"]) == (1, "fail", "beside"), slower
    assert slower["low"] > 0.6

    gate.build(custom_op())
    status, broken = gate.judge()
    assert (status, broken["outcome"], broken["change"]) == (2, "not judged", None)
    assert "harness loads no custom operators" in broken["note"]

    # Without the baseline's file, even a file that would have a longer reference is timed beside the baseline's.
    gate.old.unlink()
    gate.build(dense((1, 4 * ROWS, 8), width=64))
    status, slower = gate.judge()
    assert (status, slower["outcome"], slower["way"]) == (1, "fail", "reference"), (slower, kept)
