"""How long two files are timed against each other: sessions are made up, the looks at them are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import dense, save
from factories.records import CAMPAIGN, CONFIGURATION, make_failure, make_session, make_slice

import harness
from harness.devices.names import select_devices
from harness.estimates.comparison import Comparison
from harness.estimates.exchanged import LOOKS
from harness.estimates.latency import LatencyTable
from harness.models.file_names import GivenInputs
from harness.models.files import FileModel, open_one
from harness.prediction.request import MeasureRequest
from harness.query import compare as comparing
from harness.query import compare_files as module
from harness.query.compare_files import Enough, compare_files, is_settled
from harness.records import FILE_SPACE, Configuration, SessionRecord
from harness.store import Store
from harness.store.latencies import latencies
from space.errors import ConfigError

NETWORK_ROLE = 0.985  # what a model seems to take in the network's role


@dataclass
class MadeUp:
    """A device on which `a` takes `ratio` times as long as `b`; it keeps how many sessions it was asked for."""

    a: FileModel
    b: FileModel
    ratio: float
    scatter: float = 0.01
    fails: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(2))
    asked: list[int] = field(default_factory=list)
    batches: set[tuple[int, ...]] = field(default_factory=set)

    def measure(self, request: MeasureRequest, store: Store, log: object) -> LatencyTable:
        """Store the sessions that are lacking, in both roles if they are to be exchanged."""
        assert request.sessions is not None
        self.asked.append(request.sessions)
        self.batches.add(request.batches)
        roles = [(self.a, self.b, self.ratio), (self.b, self.a, 1 / self.ratio)]
        rows, failures = [], []
        for model, other, ratio in roles if request.exchanged else roles[:1]:
            on = replace(CONFIGURATION, space=FILE_SPACE, reference=other.key)
            if model.name == self.fails:
                failures.append(replace(make_failure(configuration=on), graph_hash=model.key))
                continue
            stored = 0 if request.fresh else store.session_counts(on).get(model.key, 0)
            for _ in range(request.sessions - stored):
                store.add_session(self._session(model, ratio, on))
            rows += latencies(store, on, [model.key])
        return LatencyTable(rows=tuple(rows), failures=tuple(failures))

    def _session(self, model: FileModel, ratio: float, on: Configuration) -> SessionRecord:
        time_ns = round(1e6 * ratio * NETWORK_ROLE * np.exp(self.rng.normal(0, self.scatter)))
        slices = [make_slice([time_ns] * 4, [1_000_000] * 4, [])] * 7
        session = make_session(slices, configuration=on, **self.changes)
        return replace(session, architecture=model.name, graph_hash=model.key)


@dataclass
class Pair:
    """Two model files, the made-up device, and a store."""

    store: Store
    device: MadeUp

    def compare(self, *, enough: Enough = is_settled, **options: Any) -> Comparison:
        ((*_, found),), _ = compare_files(self.request(**options), self.store, enough=enough)
        return found

    def request(self, **options: Any) -> MeasureRequest:
        a, b = self.device.a.path, self.device.b.path
        asked = {"level": "screen"} | options
        return MeasureRequest(devices=select_devices(["local"]), models=(str(a),), reference=b, **asked)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    a, b = (open_one(str(save(dense(width=width), tmp_path / f"{width}.onnx"))) for width in (8, 9))
    device = MadeUp(a, b, ratio=1.05)
    monkeypatch.setattr(module, "measure_requested", device.measure)
    with harness.open_store(str(tmp_path / "store.sqlite")) as store:
        store.start_campaign(CAMPAIGN, "made-up", "2024-05-01", {})
        yield Pair(store, device)


def test_a_clear_difference_is_seen_at_the_first_look(pair: Pair) -> None:
    result = pair.compare()
    assert (result.verdict, pair.device.asked) == ("slower", [LOOKS["screen"][0]])
    assert result.ratio == pytest.approx(1.05, abs=0.02)
    assert pair.compare() == result, "what is stored counts"


def test_files_of_grade_d_are_ordered_only_by_more_than_they_may_be_wrong_by(pair: Pair) -> None:
    pair.device.changes = {"gate": {"closed": ["made-up heat"], "waited_s": 300.0}}
    result = pair.compare()
    assert result.verdict == "tie" and "grade D (hot)" in result.reason
    assert result.interval is not None and result.interval[0] > 1
    pair.device.ratio = 3.0
    assert pair.compare(fresh=True, sessions=60).verdict == "slower"


def test_files_that_take_the_same_time_are_looked_at_until_that_is_known_within_a_percent(pair: Pair) -> None:
    pair.device.ratio = 1.0
    result = pair.compare()
    assert result.verdict == "tie"
    assert result.interval is not None
    assert 0.99 < result.interval[0] < 1 < result.interval[1] < 1.01
    assert "within 1% of it" in result.reason
    assert pair.device.asked == list(LOOKS["screen"][: len(pair.device.asked)])
    assert len(pair.device.asked) > 1


def test_looks_end_with_the_levels_last_or_when_time_is_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.device.ratio, pair.device.scatter = 1.0, 0.1
    assert pair.compare().verdict == "tie"
    assert pair.device.asked == list(LOOKS["screen"])
    monkeypatch.setitem(module.LONGEST_S, "final", 0.0)
    pair.device.asked.clear()
    pair.compare(level="final", fresh=True)
    assert pair.device.asked == [LOOKS["final"][0]]


def test_a_number_of_sessions_is_one_look_at_so_many_in_each_role(pair: Pair) -> None:
    pair.device.ratio = 1.0
    pair.compare(sessions=2)
    assert pair.device.asked == [2]
    assert {one.reference for one in pair.store.configurations()} == {pair.device.a.key, pair.device.b.key}


def test_a_batch_is_asked_for_of_both(pair: Pair) -> None:
    pair.compare(batches=(4,))
    assert pair.device.batches == {(4,)}


def test_fresh_sessions_are_asked_for_look_by_look(pair: Pair) -> None:
    pair.compare()
    pair.device.ratio, pair.device.scatter = 1.05, 0.2
    pair.device.asked.clear()
    pair.compare(fresh=True)
    assert np.cumsum(pair.device.asked).tolist() == list(LOOKS["screen"][: len(pair.device.asked)])


def test_what_is_enough_is_the_callers_to_say(pair: Pair) -> None:
    pair.device.ratio = 1.0
    pair.compare(enough=lambda interval: interval is not None and interval[1] < 1.03)
    assert pair.device.asked == [LOOKS["screen"][0]]


def test_one_file_beside_itself_has_half_of_its_sessions_in_each_role(pair: Pair) -> None:
    pair.device.b = pair.device.a
    pair.device.ratio, pair.device.scatter = 1.0, 0.003
    result = pair.compare()
    assert pair.device.asked[0] == 2 * LOOKS["screen"][0]
    assert (result.verdict, result.ratio) == ("tie", pytest.approx(1, abs=0.005))


def test_a_second_file_that_never_ran_as_network_leaves_no_verdict(pair: Pair) -> None:
    pair.device.fails = pair.device.b.name
    files = (str(pair.device.a.path), str(pair.device.b.path))
    ((*_, result),), failures = compare_files(pair.request(), pair.store)
    assert (result.verdict, result.interval) == ("tie", None)
    assert [one.graph_hash for one in failures] == [pair.device.b.key]
    found = harness.compare(pair.store, *files)
    assert [text for each in found.not_measured.values() for text in each] == [
        f"{failures[0].architecture} ({failures[0].kind}: {failures[0].message})"
    ]
    pair.device.fails = pair.device.a.name
    with pytest.raises(ConfigError, match="killed by signal 9"):
        pair.compare()


@pytest.mark.parametrize(
    "asked",
    [
        {"shapes": {"x": [1, 8]}, "inputs": "values.npz", "expect": "right.npz", "signature": "serve"},
        {
            "inputs": GivenInputs(
                shapes={"x": (1, 8)}, values=Path("values.npz"), expect=Path("right.npz"), signature="serve"
            )
        },
    ],
)
def test_what_is_given_of_inputs_is_said_as_for_a_measurement(
    asked: dict[str, Any], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[MeasureRequest] = []
    monkeypatch.setattr(comparing, "compare_files", lambda request, *_: found.append(request) or ([], []))
    harness.compare(pair.store, Path("a.onnx"), "b.onnx", **asked)
    given = GivenInputs.of({"x": [1, 8]}, "values.npz", "right.npz", "serve")
    (request,) = found
    assert (request.models, request.reference, request.inputs) == (("a.onnx",), Path("b.onnx"), given)
