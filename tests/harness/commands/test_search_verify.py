"""`harness search --verify`: the finalists are measured under the search's configuration, and the answer corrected by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from factories.records import make_failure, make_fresh_run
from factories.stores import MANY, add_sessions, calibrate, networks, stored, true_ratio
from factories.stores import new_store as opened_new
from rigs.commands import Done, refused, run
from rigs.examples import run_example

import harness
from harness.devices.config import Device
from harness.errors import DeviceError
from harness.measurement import campaigns
from harness.measurement.campaign import Outcome
from harness.measurement.campaigns import turns
from harness.measurement.plan import Options
from harness.query import verify as verifying
from harness.query.join import SearchTable
from harness.query.verify import MAX_ROUNDS
from harness.records import Configuration
from harness.store import Store
from space import TINY, Architecture

IN_TINY = replace(MANY, space=TINY.name)
LIMIT_MS = 5
LIMITED = ("-c", f"made-up<{LIMIT_MS}ms", "-t", "2", "--space", TINY.name, "--top", "5", "--json")
SEARCH = ("search", "-a", "synthetic", *LIMITED)
DEVICES = '[devices.made-up]\ntransport = "local"\n'


class Bench:
    """Stands where campaigns run: stores made-up sessions that leave the rule by up to `twist`, and keeps what was asked."""

    def __init__(self, twist: float) -> None:
        self.twist = twist
        self.asked: list[list[Architecture]] = []
        self.options: list[Options] = []
        self.waits_s: list[float] = []
        self.error: DeviceError | None = None
        self.changes: dict[str, Any] = {}  # of the sessions
        self.crashes = False  # the first network of all
        self.configuration = IN_TINY

    def run_all(
        self,
        chosen: Sequence[tuple[Device, Options]],
        source: list[Architecture],
        store: Store,
        *rest: object,
        wait_s: float,
    ) -> list[Outcome]:
        ((device, options),) = chosen
        assert device.name == "made-up"
        self.asked.append(source)
        self.options.append(options)
        self.waits_s.append(wait_s)
        failures = []
        if self.crashes:
            self.crashes = False
            crashed, *source = source
            key = {"architecture": str(crashed), "graph_hash": crashed.graph_hash}
            failures = [make_failure(configuration=IN_TINY, **key)]
            store.add_failure(failures[0])
        if self.error is None:
            add_sessions(
                store,
                source,
                self.configuration,
                sessions=options.sessions_each,
                twist=self.twist,
                scatter=0.002,
                **self.changes,
            )
        uses = [SimpleNamespace(configuration=self.configuration)]
        return [Outcome(device="made-up", error=self.error, failures=failures, uses=uses)]  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return new_store(tmp_path)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return installed(monkeypatch)


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Done]]:
    """A search with three finalists, and what was asked of campaigns for it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = installed(monkeypatch)
        done = verify(new_store(tmp_path_factory.mktemp("verify")))
    assert done.status == 0, done.stderr
    yield bench, done


def new_store(folder: Path) -> Path:
    path = folder / "store.sqlite"
    path.write_bytes(stored(20, 0, segments=False, config=TINY))
    (folder / "devices.toml").write_text(DEVICES)
    return path


def installed(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(twist=0.3)
    monkeypatch.setattr(verifying, "ExportedModels", lambda networks, on_progress, config: list(networks))
    monkeypatch.setattr(campaigns, "run_all", bench.run_all)
    return bench


def verify(store: Path, *more: str) -> Done:
    file = str(store.parent / "devices.toml")
    return run(store, *SEARCH, "--verify", "3", "--devices", file, "--wait-limit", "2m", *more)


def test_finalists_are_measured_until_the_best_ones_all_are(verified: tuple[Bench, Done]) -> None:
    bench, done = verified
    assert len(bench.asked[0]) == 3
    assert all(len(networks) <= 3 for networks in bench.asked)
    asked = [network.index for networks in bench.asked for network in networks]
    assert len(set(asked)) == len(asked), "no network is measured twice"
    assert set(done.json["verified"]) == set(asked)
    best = done.json["networks"][:3]
    assert len(best) == 3 and len(asked) > 3, "another one was measured for the one that was dropped"
    assert {row["made-up_source"] for row in best} == {"measured"}
    assert {row["index"] for row in best} <= set(asked)
    assert all(row["made-up_ms"] < LIMIT_MS for row in best)


def test_they_are_measured_under_the_configuration_that_was_searched_at_level_final(
    verified: tuple[Bench, Done],
) -> None:
    options = verified[0].options[0]
    assert options.level.name == "final"
    assert options.sessions_each == 5
    assert set(verified[0].waits_s) == {120.0}, "a device in use is waited for"
    assert (options.runtimes, options.threads, options.cores) == (
        ("onnxruntime:cpu",),
        MANY.threads,
        MANY.cores,
    )


def test_of_a_method_only_what_it_evaluated_is_measured_and_only_what_is_too_slow_is_dropped(
    store: Path, bench: Bench
) -> None:
    words = ("--method", "random", "--budget", "60")
    done = verify(store, *words)
    assert done.status == 0, done.stderr
    told = [line.split(": ") for line in done.stderr.splitlines() if "the limits" in line and "ms, " in line]
    assert len(told) > 3 and {line[-1] for line in told} == {
        "within the limits",
        "beyond the limits, dropped",
    }
    for _, amount, verdict in told:
        measured_ms = float(amount.removeprefix("made-up ").split(" ms")[0])
        assert (verdict == "within the limits") == (measured_ms < LIMIT_MS), (amount, verdict)
    assert len({network.index for networks in bench.asked for network in networks}) <= 60
    assert {row["index"] for row in done.json["networks"]} <= set(done.json["verified"])


def test_networks_of_the_same_accuracy_are_not_called_more_accurate(store: Path, bench: Bench) -> None:
    table, file = store.parent / "same.csv", str(store.parent / "devices.toml")
    rows = [f"{network.graph_hash},90" for network in networks(200, TINY)]
    table.write_text("\n".join(["graph_hash,accuracy", *rows]))
    bench.twist, bench.changes = 0.0, {"factor": 1.8}  # each is slower than what is predicted of the next
    words = (word for word in LIMITED if word != "--json")
    done = run(store, "search", "-a", str(table), *words, "--verify", "1", "--devices", file, "--doubtful")
    assert done.status == 0 and f"of {MAX_ROUNDS} networks measured now" in done.stdout, done.stdout
    assert "more accurate one" not in done.stdout, done.stdout


def test_python_verifies_as_the_command_does(store: Path, bench: Bench, verified: tuple[Bench, Done]) -> None:
    file, lines = store.parent / "devices.toml", list[str]()
    asked: dict[str, Any] = {
        "threads": 2,
        "space": TINY,
        "devices_file": file,
        "verify": 3,
        "log": lines.append,
    }
    with harness.open_store(store) as opened:
        answer = harness.search_store(opened, "synthetic", f"made-up<{LIMIT_MS}ms", wait_s=120.0, **asked)
        assert bench.asked == verified[0].asked and set(bench.waits_s) == {120.0}
        told = verified[1].json
        assert sorted(answer.verified or ()) == told["verified"]
        assert [row["index"] for row in answer[:5]] == [row["index"] for row in told["networks"]]
        assert any(line.endswith("beyond the limits, dropped") for line in lines)
        largest = harness.maximize(opened, "params", f"made-up<{LIMIT_MS}ms", **asked)
        assert largest.verified and {row["made-up_source"] for row in largest} == {"measured"}
        bench.error = DeviceError("made-up: no route to host")
        with pytest.raises(harness.DeviceError, match="no route to host"):
            harness.search_store(opened, "synthetic:1", f"made-up<{LIMIT_MS}ms", **asked)


@pytest.mark.long
def test_a_search_by_an_objective_measures_its_best_networks_and_answers_with_those_within(
    store: Path, bench: Bench
) -> None:
    words = ("search", "--objective", "params", *LIMITED, "--verify", "3")
    done = run(store, *words, "--devices", str(store.parent / "devices.toml"))
    assert done.status == 0, done.stderr
    asked = [network.index for networks in bench.asked for network in networks]
    assert len(bench.asked[0]) == 3 and len(set(asked)) == len(asked), "no network is measured twice"
    assert set(done.json["verified"]) == set(asked)
    rows = done.json["networks"]
    assert rows and {row["index"] for row in rows} <= set(asked)
    assert all(row["made-up_source"] == "measured" and row["made-up_ms"] < LIMIT_MS for row in rows)
    assert [row["objective"] for row in rows] == sorted((row["objective"] for row in rows), reverse=True)
    assert "ms, predicted " in done.stderr and "within the limits" in done.stderr


def test_limits_on_what_fresh_processes_take_have_finalists_weighed_too(
    store: Path, bench: Bench, verified: tuple[Bench, Done]
) -> None:
    with Store(str(store)) as opened:
        for number, item in enumerate(networks(12, TINY)):
            changes = {
                "architecture": str(item),
                "graph_hash": item.graph_hash,
                "model_digest": 2 * item.graph_hash,
            }
            opened.add_fresh_run(make_fresh_run(20_000_000 + number, configuration=IN_TINY, **changes))
    verify(store, "-c", "made-up:memory<1GB")
    assert {options.memory for options in bench.options} == {True}
    assert not any(options.memory for options in verified[0].options)


def test_a_finalist_that_turns_out_too_slow_is_dropped_and_told(verified: tuple[Bench, Done]) -> None:
    bench, done = verified
    slow = [line for line in done.stderr.splitlines() if "beyond the limits, dropped" in line]
    assert slow, "with latencies off by up to 30 % some finalist near the limit is beyond it"
    dropped = {line.split(":")[0] for line in slow}
    assert dropped <= {str(network) for networks in bench.asked for network in networks}
    assert not dropped & {row["architecture"] for row in done.json["networks"]}


def test_a_device_that_fails_leaves_the_unverified_answer_and_its_exit_status(
    store: Path, bench: Bench
) -> None:
    bench.error = DeviceError("made-up: no route to host")
    done = verify(store)
    assert done.status == 3
    assert "no route to host" in done.stderr
    assert done.json["verified"] == []
    assert len(bench.asked) == 1, "it is not tried again and again"


def test_a_finalist_that_crashes_is_no_answer_and_another_is_measured_for_it(
    store: Path, bench: Bench
) -> None:
    bench.crashes = True
    done = verify(store)
    crashed = str(bench.asked[0][0])
    assert (done.status, len(bench.asked) > 1) == (3, True)
    assert f"{crashed}: not measured well enough: failed, and is left out" in done.stderr
    assert crashed not in {row["architecture"] for row in done.json["networks"]}
    assert done.json["doubtful"]["made-up"]["failed"] == {crashed: "worker-killed"}
    assert {row["made-up_source"] for row in done.json["networks"][:3]} == {"measured"}


def test_finalists_measured_with_grade_d_are_not_verified_and_not_measured_for_ever(
    store: Path, bench: Bench
) -> None:
    bench.changes = {"gate": {"closed": ["made-up heat"], "waited_s": 300.0}}
    done = verify(store)
    assert (done.status, done.json["verified"]) == (0, [])
    # Their sessions tell of the reference, too, which may bring up another finalist; but none is measured again.
    asked = [network.index for networks in bench.asked for network in networks]
    assert 3 <= len(asked) == len(set(asked)) < 3 * MAX_ROUNDS
    assert done.stderr.count("not measured well enough") == len(asked)
    assert done.json["doubtful"]["made-up"]["networks"] == len(asked)
    assert {row["made-up_source"] for row in done.json["networks"][:3]} == {"predicted"}


@pytest.mark.parametrize("goal", [("-a", "synthetic"), ("--objective", "params")])
def test_where_all_have_grade_d_none_is_said_to_be_beyond_the_limits(
    store: Path, bench: Bench, goal: tuple[str, str]
) -> None:
    bench.changes = {"gate": {"closed": ["made-up heat"], "waited_s": 300.0}}
    words = [word for word in LIMITED if word != "--json"]
    file = str(store.parent / "devices.toml")
    done = run(store, "search", *goal, *words, "--verify", "1", "--devices", file)
    assert done.status == 0, done.stderr
    assert "no finalist was measured well enough: run the same command again" in done.stdout
    assert "of 0 networks" not in done.stdout


def test_they_are_verified_where_grade_d_is_taken_in(store: Path, bench: Bench) -> None:
    bench.changes = {"gate": {"closed": ["made-up heat"], "waited_s": 300.0}}
    done = verify(store, "--doubtful")
    assert done.status == 0, done.stderr
    assert {network.index for network in bench.asked[0]} <= set(done.json["verified"])


def test_devices_take_their_turns_at_once_and_one_device_after_itself() -> None:
    pi4, tflite = replace(MANY, device="pi4"), replace(MANY, runtime="tflite")
    assert turns([MANY, pi4, tflite, MANY]) == [[MANY, pi4], [tflite]]


def test_a_device_that_devices_toml_lacks_is_refused_before_anything_is_measured(
    store: Path, bench: Bench
) -> None:
    (store.parent / "devices.toml").write_text("")
    refused(verify(store), "made-up")
    assert bench.asked == []


def test_what_was_not_known_of_a_finalist_is_told_without_a_change(
    store: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weigh(opened: Store, items: Sequence[Architecture]) -> None:
        for item in items:
            changes = {
                "architecture": str(item),
                "graph_hash": item.graph_hash,
                "model_digest": 2 * item.graph_hash,
            }
            opened.add_fresh_run(make_fresh_run(configuration=IN_TINY, **changes))

    def run_all(*asked: Any, **more: Any) -> list[Outcome]:
        weigh(asked[2], asked[1])
        return bench.run_all(*asked, **more)

    monkeypatch.setattr(campaigns, "run_all", run_all)
    with Store(str(store)) as opened:
        weigh(opened, networks(2, TINY))
    done = verify(store, "--pareto", "made-up:load")
    told = [line for line in done.stderr.splitlines() if "made-up:load 20.000 ms" in line]
    assert told and all("made-up:load 20.000 ms, not known before" in line for line in told), done.stderr
    assert "nan" not in done.stderr


def test_from_python_an_answer_in_a_joined_table_is_verified_as_one_of_the_store_is(
    store: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, file = f"made-up<{LIMIT_MS}ms", store.parent / "devices.toml"
    with harness.open_store(store) as opened:
        latency = harness.predict(opened, device="made-up", runtime="onnxruntime", threads=2)
        before = harness.search(harness.join("synthetic", latency), limit)
        answer = harness.verify(before, opened, devices_file=file)
        asked = {network.index for networks in bench.asked for network in networks}
        assert len(asked) > 3 and answer.verified == asked, "another was measured for one that was dropped"
        assert len(answer) >= 3 and {row["made-up_source"] for row in answer} == {"measured"}
        assert all(row["made-up_ms"] < LIMIT_MS for row in answer) and set(answer.table.table.costs) == {
            *before.table.table.costs
        }
        seen = harness.search(before.table, limit, method="random", budget=9)
        evaluated = set(seen.trace.indices.tolist())
        again = harness.verify(seen, opened, 2, devices_file=file)
        assert {row["index"] for row in again} <= evaluated
        with pytest.raises(harness.ConfigError, match="no device of the store is searched"):
            harness.verify(harness.search(harness.join("synthetic")), opened)
        with pytest.raises(harness.ConfigError, match="no answer of harness"):
            harness.verify(before.table, opened)
        campaigns_before = len(bench.asked)
        with opened_new(store.parent / "other.sqlite") as other:
            calibrate(other, IN_TINY)
            add_sessions(other, networks(14, TINY), IN_TINY)
            with pytest.raises(harness.ConfigError, match="does not hold the measurement of 2024-05-02T"):
                harness.verify(before, other, devices_file=file)
        assert len(bench.asked) == campaigns_before, "nothing is measured for it"
        monkeypatch.chdir(store.parent)
        run_example("verify", store=opened, answer=before)


def test_a_verified_answer_is_predicted_anew_with_its_prior(tmp_path: Path, bench: Bench) -> None:
    def fused(network: Architecture, configuration: Configuration) -> float:
        return true_ratio(network) * (1.5 if network.blocks[0].op1 == network.blocks[1].ops[0] else 1.0)

    bench.changes = {"rule": fused}
    prior = replace(IN_TINY, threads=4, cores=(0, 1, 2, 3))
    (tmp_path / "devices.toml").write_text(DEVICES)
    with opened_new(tmp_path / "store.sqlite") as store:
        for configuration, count in ((IN_TINY, 12), (prior, 100)):
            calibrate(store, configuration)
            add_sessions(store, networks(count, TINY), configuration, rule=fused)

        def predicted(**more: str) -> SearchTable:
            table = harness.predict(store, device="made-up", threads=2, **more)
            return harness.join("synthetic", table, costs=[])

        before = harness.search(predicted(prior=prior.digest), f"made-up<{LIMIT_MS}ms")
        answer = harness.verify(before, store, 1, devices_file=tmp_path / "devices.toml")
        with_prior, without = (
            one.table.costs["made-up"].values for one in (predicted(prior=prior.digest), predicted())
        )
    assert (with_prior != without).mean() > 0.5, "the prior tells something"
    np.testing.assert_array_equal(answer.costs["made-up"].values, with_prior)


def test_a_verified_answer_takes_grade_d_in_where_its_predictions_were_to(store: Path, bench: Bench) -> None:
    bench.twist = 0.0
    bench.changes = {
        "gate": {"closed": ["made-up heat"], "waited_s": 300.0}
    }  # of grade D, and nothing was before
    for doubtful in (True, False):
        with harness.open_store(store) as opened:
            latency = harness.predict(opened, device="made-up", threads=2, doubtful=doubtful)
            before = harness.search(harness.join("synthetic", latency), f"made-up<{LIMIT_MS}ms")
            answer = harness.verify(before, opened, 1, devices_file=store.parent / "devices.toml")
        assert answer.provenance["made-up"].grades["D"] == int(doubtful)


def test_an_answer_of_a_method_of_which_nothing_is_within_the_limits_any_more_is_refused(
    store: Path, bench: Bench
) -> None:
    bench.twist, bench.changes = 0.0, {"factor": 3.0}
    file = store.parent / "devices.toml"
    with harness.open_store(store) as opened:
        latency = harness.predict(opened, device="made-up", runtime="onnxruntime", threads=2)
        one = harness.search(
            harness.join("synthetic", latency), f"made-up<{LIMIT_MS}ms", method="random", budget=1
        )
        with pytest.raises(harness.ConfigError, match="none of the networks that the method evaluated"):
            harness.verify(one, opened, 1, devices_file=file)


def test_a_device_that_measures_under_another_configuration_by_now_verifies_nothing(
    store: Path, bench: Bench
) -> None:
    bench.configuration = replace(IN_TINY, runtime_version="1.1")
    refused(verify(store), "device 'made-up' measures under another configuration now", "onnxruntime 1.1")
    assert len(bench.asked) == 1, "not five times in vain"


def test_an_answer_of_measured_networks_alone_stays_one_when_it_is_verified(
    store: Path, bench: Bench
) -> None:
    bench.twist = 0.0  # measured again, they take as long as before
    with harness.open_store(store) as opened:
        before = harness.search_store(
            *(opened, "synthetic", "made-up<9ms"),
            runtime="onnxruntime",
            threads=2,
            space=TINY,
            measured_only=True,
        )
        answer = harness.verify(before, opened, devices_file=store.parent / "devices.toml")
    asked = {network.index for each in bench.asked for network in each}
    assert asked and asked <= set(before.within)
    assert {answer.row(index)["made-up_source"] for index in answer.within} == {"measured"}
