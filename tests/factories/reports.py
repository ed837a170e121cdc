"""Made-up tables to report on, every accuracy and latency synthetic, and what a page holds of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from harness.output.report.payload import Report
from search.table import Cost, NetworkTable
from search.table.synthetic import synthetic_accuracies
from space import SpaceConfig
from space.costs import all_macs, all_params

DTYPES = {"codes8": "<u1", "codes16": "<u2", "float64": "<f8", "float32": "<f4"}
HOSTILE = "</script><script>window.smuggled = 1</script><img src=x onerror='window.smuggled = 2'><b>bold</b>{{size}} & \"quote\""


def made_table(
    config: SpaceConfig, devices: Sequence[str] = ("synthetic-phone", "synthetic-board")
) -> NetworkTable:
    """Return a made-up table: latencies near the MACs, some measured, some unknown; accuracies with ties and gaps."""
    rng = np.random.default_rng(5)
    count = len(config)
    macs = all_macs(config).astype(float)
    costs: dict[str, Cost] = {}
    for number, name in enumerate(devices):
        values = (number + 1) * (1 + macs / macs.mean()) * rng.normal(1, 0.1, count)
        measured = rng.random(count) < 0.05
        half = np.where(measured, 0.01, 0.05) * values
        high = values + half
        high[rng.random(count) < 0.02] = np.inf
        unknown = rng.random(count) < 0.01
        bare = measured & (rng.random(count) < 0.1)  # too few slices for an interval
        low = np.where(unknown | bare, np.nan, values - half)
        costs[name] = Cost(
            name=name,
            unit="ms",
            title=f"synthetic latency {number}",
            values=np.where(unknown, np.nan, values),
            low=low,
            high=np.where(unknown | bare, np.nan, high),
            coverage=0.95,
            measured=measured & ~unknown,
            grades=np.where(measured & ~unknown, rng.choice(list("ABCD"), count), ""),
            synthetic=True,
        )
    costs["params"] = Cost(
        name="params", unit="", title="parameters", values=all_params(config).astype(float)
    )
    costs["macs"] = Cost(name="macs", unit="", title="multiply-accumulates", values=macs)
    accuracy = synthetic_accuracies(config, trainings=3, missing=0.02)
    return NetworkTable(
        config=config, accuracy=replace(accuracy, values=np.round(accuracy.values, 2)), costs=costs
    )


def made_report(table: NetworkTable, **changes: Any) -> Report:
    """Return a report on a table; `changes` replace fields."""
    return Report(
        **{"table": table, "title": "A synthetic table", "made_utc": "2026-01-01 00:00 UTC"} | changes  # type: ignore[arg-type]
    )


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self._open = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag in ("script", "style", "title")
        if self._open:
            self.texts.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self._open:
            tag, attributes, text = self.texts[-1]
            self.texts[-1] = (tag, attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self._open = False


def payload_of(page: str) -> Any:
    """Return the JSON document that a page carries."""
    (text,) = [
        text for tag, attributes, text in Elements(page).texts if attributes.get("id") == "report-data"
    ]
    return json.loads(text)


def decode(column: dict[str, str]) -> Any:
    """Return a column of the payload as floats."""
    data = np.frombuffer(base64.b64decode(column["data"]), dtype=DTYPES[column["kind"]])
    if "table" not in column:
        return data.astype(float)
    return np.frombuffer(base64.b64decode(column["table"]), dtype="<f8")[data]
