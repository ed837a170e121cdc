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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np

from harness.devices.config import Device
from harness.output.plots.front import front_picture
from harness.output.plots.pictures import check_pictures, write_picture
from harness.output.report.conditions import command_line, condition_lines, query_options
from harness.output.report.payload import Report, build_payload, each_once
from harness.query.from_store import Limits, query_of
from harness.query.join import GivenAccuracies
from harness.query.query import Query, newest_runs
from harness.store import Store
from harness.store.opening import check_store
from harness.version import __version__
from space import Space, check_enumerable
from space.atomic_files import check_output_file, write_file
from space.errors import ConfigError

SCRIPTS = ("data.js", "choice.js", "text.js", "tables.js", "plots.js", "limits.js", "page.js")
_MARK = re.compile(r"\{\{(\w+)\}\}")
_POLICY = (
    "default-src 'none'; script-src {scripts} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; form-action 'none'; base-uri 'none'"
)
_MB = 1e6


def report(
    store: Store,
    accuracies: GivenAccuracies,
    output: str | Path = "report.html",
    limits: Limits = (),
    *,
    device: str | Device | Sequence[str | Device] = (),
    costs: str | Iterable[str] = (),
    title: str = "",
    figure: str | Path | None = None,
    confidence: float | None = None,
    metric: str = "",
    epoch: str = "best",
    runtime: str = "",
    threads: int | None = None,
    precision: str = "",
    batch: int | None = None,
    space: str | Path | Space = "",
    latencies: str | Path | Sequence[str | Path] = (),
    measured_only: bool = False,
    doubtful: bool = False,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write a page `output` to choose a network on, as `harness report` does, and return its path; a file there is replaced.

    It opens with the limits, upper ones, and shows the devices and costs that are named, else all that is stored. `title`: of the
    page. `figure`: also a picture for print, .pdf, .svg or .png. Other arguments are as for `search_store`.
    Raises: ConfigError as `search_store`, or where a file cannot be written.

    >>> page = report(store, "synthetic", "page.html", "made-up<5ms", runtime="onnxruntime", threads=2)
    >>> page.read_text()[:15]
    '<!DOCTYPE html>'
    """
    check_store(store)
    query = query_of(
        limits, accuracies=accuracies, device=device, costs=costs, confidence=confidence, metric=metric, epoch=epoch,
        runtime=runtime, threads=threads, precision=precision, batch=batch, space=space, latencies=latencies,
        measured_only=measured_only, doubtful=doubtful, devices_file=devices_file,
    )  # fmt: skip
    page = Path(output)
    write_report(
        page,
        store,
        query,
        title=title,
        store_url="" if "***" in store.name else store.name,
        figure=None if figure is None else Path(figure),
        log=log,
    )
    return page


def write_report(
    output: Path,
    store: Store,
    query: Query,
    *,
    title: str,
    store_url: str,
    figure: Path | None,
    log: Callable[[str], None],
) -> None:
    """Write the page of a query on what a store holds; `store_url`: the store in the page's command, empty for the usual one.

    A `figure` for print of what the page opens with is written, too.

    Raises: ConfigError when a file cannot be written, as `build_page`, or for a figure of a space too large to list.
    """
    check_output_file(output, ".html", inputs=query.inputs)
    check_pictures(figure)
    found, limits = query.build_page_table(store, log)
    table, under_load = found.table, newest_runs(store, found.provenance)
    if figure is not None and table.indices is not None:
        check_enumerable(table.config, "--figure", "leave it out: the page draws those that are known")
    conditions = {
        name: condition_lines(provenance, under_load.get(name, ()))
        for name, provenance in found.provenance.items()
    }
    place = f" on {', '.join(conditions)}" if conditions else ""
    what = "known networks" if np.isnan(table.accuracy.values).all() else table.accuracy.label
    made = Report(
        table=table,
        title=title or f"{table.config.name}: {what}{place}",
        made_utc=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        conditions=conditions,
        notes=found.notes,
        versions=[("harness", __version__)],
        limits=limits,
        confident=query.confident,
        command=command_line(["harness", "search"], query_options(query, store_url)),
    )
    page = build_page(made).encode()
    write_file(output, page)
    known = "" if table.indices is None else f" known of {len(table.config):,}"
    log(
        f"{output}: {len(each_once(table)):,}{known} networks, {', '.join(table.costs)}, {len(page) / _MB:.1f} MB"
    )
    if figure is not None:
        write_picture(figure, front_picture(table, limits, confident=query.confident, title=made.title))


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
