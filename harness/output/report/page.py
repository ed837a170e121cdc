"""One self-contained HTML page of a report: program, styles, numbers and plotly.js inside, and nothing fetched when it opens.

The page's parts lie next to this file: page.html, page.css, and the program in the order of SCRIPTS. Text of devices and
files enters as JSON and leaves as text nodes, never as markup. A Content-Security-Policy forbids whatever is not in the
file, and any script but those whose digests it names; `unsafe-eval` is for plotly.js, which compiles its WebGL plots.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import numpy as np

from harness.estimates.sustained import Sustained
from harness.output.plots.front import front_picture
from harness.output.plots.pictures import write_picture
from harness.output.report.conditions import command_line, condition_lines
from harness.output.report.payload import Report, build_payload
from harness.output.terminal import echo
from harness.query.join import SearchTable
from harness.query.query import PageTable
from harness.version import __version__
from space import check_enumerable
from space.atomic_files import write_file
from space.errors import ConfigError

SCRIPTS = ("data.js", "choice.js", "text.js", "tables.js", "plots.js", "limits.js", "page.js")
_MARK = re.compile(r"\{\{(\w+)\}\}")
_POLICY = (
    "default-src 'none'; script-src {scripts} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; form-action 'none'; base-uri 'none'"
)
_MB = 1e6
NO_RUNS: Mapping[str, Sequence[Sustained]] = MappingProxyType({})


def write_report(
    output: Path, shown: PageTable, *, title: str, options: Mapping[str, object], figure: Path | None = None
) -> None:
    """Write the page of a search table, and say so on standard error; `options` are those of the search it was asked with.

    A `figure` for print of what the page opens with is written, too.

    Raises: ConfigError when the file cannot be written, as `build_page`, or for a figure of a space too large to list.
    """
    found, limits, confident = shown.found, shown.limits, shown.confident
    if figure is not None and found.table.indices is not None:
        check_enumerable(found.table.config, "--figure", "leave it out: the page draws those that are known")
    command = command_line(["harness", "search"], options)
    report = report_of(
        found, limits, confident=confident, title=title, command=command, under_load=shown.under_load
    )
    page = build_page(report).encode()
    write_file(output, page)
    networks = f"{len(found.table):,} networks"
    if found.table.indices is not None:
        networks = f"{len(found.table):,} known of {len(found.table.config):,} networks"
    echo(f"{output}: {networks}, {', '.join(found.table.costs)}, {len(page) / _MB:.1f} MB", err=True)
    if figure is not None:
        write_picture(figure, front_picture(found.table, limits, confident=confident, title=report.title))


def build_page(report: Report) -> str:
    """Return the page as HTML text, to be written as UTF-8.

    Raises:
        ConfigError: plotly, which brings plotly.js, is not installed.
    """
    library, version = _plotly()
    program = "\n".join(_part(name) for name in SCRIPTS)
    program = f'(() => {{\n"use strict";\n{program}\n}})();\n'
    payload = build_payload(report)
    payload["versions"] = [*report.versions, ("plotly.js", version)]
    data = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    # In a script element only `</script` and `<!--` have a meaning; in JSON a `<` can be written without one.
    data = data.replace("<", "\\u003c")
    parts = {
        "policy": _POLICY.format(scripts=f"{_digest(library)} {_digest(program)}"),
        "title": html.escape(report.title),
        "styles": _part("page.css"),
        "data": data,
        "plotly": library,
        "program": program,
    }
    template = _part("page.html")
    size = len(_fill(template, parts | {"size": "00.0 MB", "plotly_size": "0.0 MB"}).encode())
    return _fill(
        template, parts | {"size": _megabytes(size), "plotly_size": _megabytes(len(library.encode()))}
    )


def report_of(
    found: SearchTable,
    limits: Mapping[str, float],
    *,
    confident: bool,
    title: str,
    command: str,
    under_load: Mapping[str, Sequence[Sustained]] = NO_RUNS,
) -> Report:
    """Return the report on a search table, made now; without a `title` one that names space, accuracy and devices."""
    conditions = {
        name: condition_lines(provenance, under_load.get(name, ()))
        for name, provenance in found.provenance.items()
    }
    table = found.table
    place = f" on {', '.join(conditions)}" if conditions else ""
    what = "known networks" if np.isnan(table.accuracy.values).all() else table.accuracy.label
    return Report(
        table=table,
        title=title or f"{table.config.name}: {what}{place}",
        made_utc=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        conditions=conditions,
        notes=found.notes,
        versions=[("harness", __version__)],
        limits=limits,
        confident=confident,
        command=command,
    )


def _fill(template: str, parts: Mapping[str, str]) -> str:
    """Put the parts in place of their marks, in one pass: what looks like a mark within a part stays as it is."""
    return _MARK.sub(lambda match: parts[match[1]], template)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / _MB:.1f} MB"


def _part(name: str) -> str:
    return files("harness.output.report").joinpath(name).read_text("utf-8")


def _plotly() -> tuple[str, str]:
    """Return the text of plotly.js, safe within a script element, and its version."""
    try:
        from plotly.offline import get_plotlyjs, get_plotlyjs_version
    except ImportError as error:
        raise ConfigError(
            "the report's plots need plotly, which is not installed; install it: pip install 'harness[report]'"
        ) from error
    text = re.sub(r"</(?=script)", r"<\\/", get_plotlyjs(), flags=re.IGNORECASE)
    return text, get_plotlyjs_version()


def _digest(script: str) -> str:
    """Return a script's digest as a Content-Security-Policy names it."""
    # A browser reads every line end as \n before it takes the digest.
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
