"""A gate's findings as a table, JSON, or the JUnit XML that continuous integration shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from harness.output.layout import PrintedTable
from harness.output.tables import interval_text, ms_text, print_json, print_table, ratio_text
from harness.output.terminal import echo, plain
from harness.query.gate import FileCheck, GateReport, WrittenBaseline
from harness.query.gate_baseline import KeptLatency
from space.atomic_files import write_file
from space.text import counted

WAYS = {
    "same bytes": "same bytes",
    "size": "exact",
    "beside": "timed beside the baseline's file",
    "reference": "through the reference",
    "fresh workers": "fresh workers of both files",
    "then and now": "fresh workers, then and now",
    "": "",
}


def print_answer(
    found: GateReport | WrittenBaseline, *, junit: Path | None = None, json_output: bool
) -> None:
    """Print what a gate came to, its checks to `junit`, too; or the baseline that was written."""
    if isinstance(found, WrittenBaseline):
        print_written(found, json_output=json_output)
        return
    print_gate(found, json_output=json_output)
    if junit is not None:
        write_junit(found, junit)


def print_gate(report: GateReport, *, json_output: bool) -> None:
    """Print each check as a row, and on standard error how many failed or could not be judged."""
    if json_output:
        print_json(report.to_json())
    else:
        title, spare = f"against {report.baseline}", ("fails if",)
        table = PrintedTable.of(title, report.checks, _CELLS, right=(3, 4), folds=(5,), spare=spare)
        print_table(table)
    count = {name: sum(check.outcome == name for check in report.checks) for name in ("fail", "not judged")}
    echo(
        f"{counted(len(report.checks), 'check')}: {count['fail']} failed, {count['not judged']} could not be judged",
        err=True,
    )


def write_junit(report: GateReport, path: Path) -> None:
    """Write a report as JUnit XML: a test case for each check, `failure` where it failed, `error` where it was not judged.

    Raises: ConfigError when the file cannot be written.
    """
    suite = ElementTree.Element(
        "testsuite",
        name="harness gate",
        tests=str(len(report.checks)),
        failures=str(sum(check.outcome == "fail" for check in report.checks)),
        errors=str(sum(check.outcome == "not judged" for check in report.checks)),
    )
    for check in report.checks:
        where = f" [{check.runtime}]" if check.runtime else ""
        case = ElementTree.SubElement(
            suite, "testcase", classname=str(check.rule), name=plain(f"{check.file}{where}")
        )
        text = plain(" ".join(part for part in (_change(check), _interval(check), _note(check)) if part))
        kind = {"fail": "failure", "not judged": "error", "pass": "system-out"}[check.outcome]
        told = ElementTree.SubElement(case, kind)
        told.text = text
        if kind != "system-out":
            told.set("message", text)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    write_file(path, ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n")


def print_written(written: WrittenBaseline, *, json_output: bool) -> None:
    """Print what a baseline holds, and on standard error the files that have no latency in it."""
    if json_output:
        print_json(written.to_json())
    else:
        cells: Mapping[str, Callable[[tuple[str, KeptLatency]], str]] = {
            "file": lambda one: one[0],
            "device": lambda one: one[1].device,
            "runtime": lambda one: one[1].runtime,
            "latency ms": lambda one: ms_text(one[1].latency_ms),
            "ratio": lambda one: ratio_text(one[1].ratio),
            "95 % interval": lambda one: interval_text(one[1].low, one[1].high),
            "grade": lambda one: one[1].grade,
        }
        kept = [(file.name, one) for file in written.baseline.files for one in file.latencies]
        title = f"{written.path}: {counted(len(written.baseline.files), 'file')}; ratios to the reference"
        spare = ("95 % interval", "device", "ratio")
        print_table(PrintedTable.of(title, kept, cells, spare=spare, right=(3, 4, 5)))
    for name, why in written.not_measured.items():
        echo(f"{name}: no latency to compare with: {why}", err=True)


def _result(check: FileCheck) -> str:
    if check.outcome != "fail":
        return check.outcome
    return "slower" if check.rule.metric == "latency" else "larger"


def _change(check: FileCheck) -> str:
    return "" if check.change is None else f"{check.change:+.1%}"


def _interval(check: FileCheck) -> str:
    return "" if check.interval is None else f"{check.interval[0]:+.1%} .. {check.interval[1]:+.1%}"


def _note(check: FileCheck) -> str:
    """Return how the two were compared, in which runtime, and the note."""
    way = "" if check.note == "unchanged" else WAYS[check.way]
    place = ", ".join(part for part in (way, check.runtime) if part)
    return "; ".join(part for part in (place, check.note) if part)


_CELLS: Mapping[str, Callable[[FileCheck], str]] = {
    "file": lambda check: check.file,
    "fails if": lambda check: str(check.rule),
    "result": _result,
    "change": _change,
    "95 % interval": _interval,
    "note": _note,
}
