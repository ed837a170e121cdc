"""Groups of options, and the requests that they make."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from harness.blockwise.request import BlockwiseRequest
from harness.commands.blockwise_options import BlockwiseOptions
from harness.commands.dataset import FileFormat
from harness.commands.measure_options import MeasureOptions
from harness.commands.option_groups import takes
from harness.commands.options import MeasureLevel, ModelFormat
from harness.commands.profile import By
from harness.commands.query_options import QueryOptions
from harness.commands.search_compare import compare
from harness.commands.search_options import SearchOptions
from harness.commands.store import ExportFormat
from harness.devices.config import Device, Format
from harness.measurement.plan import LEVELS
from harness.models.profile import GROUPINGS
from harness.output import store as stored
from harness.prediction.request import BenchRequest, MeasureRequest
from harness.query.latencies import LatencySource
from harness.query.run import ObjectiveRequest, SearchRequest
from search.methods.registry import DEFAULT_METHODS
from space.errors import ConfigError

QUERY = QueryOptions(accuracies=["synthetic"]).query()
DEVICE = Device(name="board", transport="packed")


def test_a_group_of_options_stands_where_the_command_takes_it() -> None:
    found: list[Any] = []

    def command(first: str, asked: SearchOptions, *, last: bool = False) -> None:
        found.append((first, asked.top, last))

    given = takes(SearchOptions, "asked")(command)
    names = list(given.__signature__.parameters)  # type: ignore[attr-defined]
    assert (names[0], names[-1]) == ("first", "last")
    assert names[1:-1] == [one.name for one in fields(SearchOptions)]
    own = {one.name: one.default for one in fields(SearchOptions)}
    given(first="a", last=True, **own | {"top": 3})
    assert found == [("a", 3, True)]


def test_options_that_are_left_out_make_the_requests_that_python_makes_of_nothing() -> None:
    asked, library = SearchOptions(), Path("library")
    assert asked.store_request(QUERY) == SearchRequest(query=QUERY)
    assert SearchOptions(objective="macs").objective_request(QUERY) == ObjectiveRequest(
        query=QUERY, objective="macs"
    )
    assert BlockwiseOptions(library=library).request(query=QUERY) == BlockwiseRequest(
        query=QUERY, library=library
    )
    assert MeasureOptions().request([DEVICE], ["conv/conv/conv"], None) == MeasureRequest(
        devices=(DEVICE,), models=("conv/conv/conv",)
    )


def test_what_is_typed_is_in_the_request(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    blockwise = BlockwiseOptions(
        library=Path("library"), fit="fine-tuned", accelerator="cuda", seeds=2, finalists=7
    )
    asked = SearchOptions(seed=3, pareto=["params"], wait_limit="90s").blockwise_request(QUERY, blockwise)
    assert (asked.fit, asked.device, asked.seeds, asked.finalists) == ("fine-tuned", "cuda", 2, 7)
    assert (asked.seed, asked.pareto, asked.wait_s) == (3, ("params",), 90.0)
    measured = MeasureOptions(shape=["x=1,8"], batch="1,8", cores="2-3", sustained="30m", precision=["int8"])
    request = measured.request([DEVICE], [str(tmp_path / "a.onnx"), "conv/conv/conv"], None, wait_s=1.0)
    assert (request.inputs.shapes, request.batches, request.cores) == ({"x": (1, 8)}, (1, 8), (2, 3))
    assert (request.sustained_s, request.precisions, request.wait_s) == (1800.0, ("int8",), 1.0)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 95.0, float("nan")])
def test_a_coverage_that_is_no_share_is_refused_from_python_too(coverage: float) -> None:
    with pytest.raises(ConfigError, match="give a share between 0 and 1"):
        LatencySource(coverage=coverage)


@pytest.mark.parametrize(
    ("offered", "known"),
    [
        (MeasureLevel, LEVELS),
        (ModelFormat, get_args(Format)),
        (FileFormat, BenchRequest(folder=Path()).formats),
        (ExportFormat, stored.FORMATS),
        (By, GROUPINGS),
    ],
)
def test_an_option_offers_the_words_that_the_room_below_knows(offered: Any, known: Any) -> None:
    assert tuple(offered) == tuple(known)


def test_the_help_of_a_comparison_names_the_methods_that_it_compares_by_default() -> None:
    option = get_args(compare.__annotations__["methods"])[1]
    assert option.help.endswith(f"[default: {','.join(DEFAULT_METHODS)}]")
