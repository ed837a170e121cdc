"""Reports of a gate as JUnit XML, and the command's options that contradict each other."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from factories.baselines import write_kept
from factories.model_files import dense, save
from rigs.commands import refused, run

from harness.output.gate import write_junit
from harness.query.gate import FileCheck, GateReport, Rule

RULE = Rule.parse("latency > +3%")
ODD = 'a\x00\x1b[31m\ud800\ufffe<&>".onnx'


def test_a_report_is_junit_xml_with_a_case_for_each_check(tmp_path: Path) -> None:
    checks = (
        FileCheck(
            file="good.onnx", rule=RULE, outcome="pass", change=0.0, way="same bytes", note="unchanged"
        ),
        FileCheck(
            file=ODD,
            rule=RULE,
            outcome="fail",
            change=0.06,
            interval=(0.05, 0.07),
            way="beside",
            runtime="tflite",
        ),
        FileCheck(file="new.onnx", rule=RULE, outcome="not judged", note=f"not in {ODD}"),
    )
    write_junit(GateReport(baseline="base.json", checks=checks), tmp_path / "gate.xml")
    (suite,) = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    assert [[one.tag for one in case] for case in suite] == [["system-out"], ["failure"], ["error"]]
    assert {case.get("classname") for case in suite} == {"latency > +3%"}
    assert suite[1].get("name") == 'a\\x00\\x1b[31m\\ud800\\ufffe<&>".onnx [tflite]'
    assert suite[1][0].get("message") == "+6.0% +5.0% .. +7.0% timed beside the baseline's file, tflite"
    assert "not in a\\x00" in (suite[2][0].text or "")


def test_the_exit_status_and_both_documents_of_the_command_agree(tmp_path: Path) -> None:
    model, base, junit = save(dense(), tmp_path / "m.onnx"), tmp_path / "base.json", tmp_path / "gate.xml"
    write_kept(base, model)
    store = tmp_path / "store.sqlite"
    for files, status in (([model], 0), ([model, save(dense(), tmp_path / "new.onnx")], 2)):
        done = run(store, "gate", "--baseline", str(base), *map(str, files), "--json", "--junit", str(junit))
        assert (done.status, done.json["status"]) == (status, status), done
        assert len(ElementTree.parse(junit).findall(".//testcase")) == len(files)
        assert f"{status // 2} could not be judged" in done.stderr
    save(dense(width=9), model)
    rule = ("--fail-if", "size > 0%")
    done = run(store, "gate", "--baseline", str(base), str(model), *rule)
    assert done.status == 1
    assert "larger" in done.stdout


@pytest.mark.parametrize("options", [(), ("--baseline", __file__, "--write", "b.json")])
def test_a_gate_judges_or_writes(tmp_path: Path, options: tuple[str, ...]) -> None:
    refused(
        run(tmp_path / "store.sqlite", "gate", "a.onnx", *options), "--baseline", "--write", "one of them"
    )


@pytest.mark.parametrize("option", ["--fail-if", "--junit"])
def test_what_belongs_to_judging_is_refused_where_a_baseline_is_written(tmp_path: Path, option: str) -> None:
    done = run(tmp_path / "store.sqlite", "gate", "a.onnx", "--write", "b.json", option, "latency > 3%")
    refused(done, option, "leave it out")
