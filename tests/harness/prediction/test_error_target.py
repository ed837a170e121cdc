"""`harness measure --until`: networks are measured until the error is shown, or it is said why it cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories.chains import DEFINITION as CHAIN
from factories.chains import additive_ratio, long_chain
from factories.own_spaces import own_space
from factories.spaces import TWO_OPS, make_known
from factories.stores import MANY, add_sessions, calibrate, new_store
from rigs.commands import refused, run

from harness.devices.runtimes import RuntimeUse
from harness.errors import DeviceError
from harness.measurement.campaign import Outcome
from harness.measurement.plan import QUICK, Options
from harness.measurement.workload import Model, RuntimePlan
from harness.prediction import error_target
from harness.prediction.error_target import DESIGN, ROUND, Unreachable, measure_until
from harness.prediction.request import parse_target
from harness.prediction.space_prediction import MeasuredNetworks, measured_networks
from harness.records import Configuration
from harness.store import Store
from space import Architecture, Space, find_space
from space.errors import ConfigError

OPTIONS = Options(level=QUICK)
# Of which predictors are fitted in a third of the time that Blox takes.
SMALL = replace(MANY, space=TWO_OPS.name)


@pytest.fixture(autouse=True)
def space_known(monkeypatch: pytest.MonkeyPatch) -> None:
    make_known(monkeypatch, TWO_OPS)


def use(configuration: Configuration) -> RuntimePlan:
    def assemble() -> object:
        raise AssertionError("no model is made here")

    model = Model(
        architecture="reference",
        graph_hash="f" * 32,
        format="onnx",
        precision="fp32",
        space="blox",
        weights="seeded 0",
        assemble=assemble,  # type: ignore[arg-type]
    )
    runtime = RuntimeUse(
        name=configuration.runtime, version="1.0", provider="CPUExecutionProvider", format="onnx"
    )
    return RuntimePlan(configuration=configuration, runtime=runtime, models=(), reference=model)


class Script:
    """Campaigns that store made-up sessions: how many networks each was asked for, and what each said."""

    def __init__(self, store: Store, *, scatter: float = 0.004, twist: float = 0.0, last: int = 99) -> None:
        self.store, self.scatter, self.twist, self.last = store, scatter, twist, last
        self.asked: list[list[Architecture]] = []
        self.options: list[Options] = []
        self.said: list[str] = []
        self.error: DeviceError | None = None
        calibrate(store, SMALL)

    @property
    def judges(self) -> list[Architecture]:
        return self.asked[1]

    @property
    def design(self) -> set[Architecture]:
        return set(self.asked[0])

    @property
    def counts(self) -> list[int]:
        return [len(networks) for networks in self.asked]

    def __call__(self, networks: Sequence[Architecture], options: Options) -> Outcome:
        self.asked.append(list(networks))
        self.options.append(options)
        if networks and len(self.asked) <= self.last:
            stored = self.store.session_counts(SMALL)
            for have in range(options.sessions_each):  # as a campaign does: what the store lacks
                lacking = [each for each in networks if stored.get(each.graph_hash, 0) == have]
                more = options.sessions_each - have
                add_sessions(
                    self.store,
                    lacking,
                    SMALL,
                    sessions=more,
                    scatter=self.scatter,
                    twist=self.twist,
                    seed=len(self.asked),
                )
            for extra in range(2):  # as a campaign does, too: some networks in each of three workers
                add_sessions(
                    self.store, networks[:4], SMALL, scatter=self.scatter, twist=self.twist, seed=100 + extra
                )
        outcome = Outcome(device="made-up", uses=[use(SMALL)])
        if self.error is not None and len(self.asked) == self.last:
            outcome.error = self.error
        return outcome

    def until(self, target: str, options: Options = OPTIONS) -> Outcome:
        return measure_until(parse_target(target), options, self.store, self, self.said.append, space=TWO_OPS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "store.sqlite")
    yield store
    store.close()


def test_it_stops_when_the_error_is_shown_and_says_what_it_did(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[set[int]] = []
    fit = error_target.fit

    def watched(measured: MeasuredNetworks, places: Any = None, **known: Any) -> Any:
        fitted.append(set(measured.indices[places].tolist()))
        return fit(measured, places, **known)

    monkeypatch.setattr(error_target, "fit", watched)
    script = Script(store)
    outcome = script.until("mape=2%")
    assert outcome.error is None
    assert fitted == [{network.index for network in script.design}] * 2, "never on networks that judge it"
    assert script.counts == [len(script.design), 24], "the design first, and judges in processes of their own"
    assert len(script.design) in range(DESIGN - 3, DESIGN + 1)
    assert not script.design & set(script.judges)
    counts = store.session_counts(SMALL)
    assert {counts[network.graph_hash] for network in (*script.judges[4:], *script.asked[0][4:])} == {1}
    assert all(each.one_runtime for each in script.options)
    assert "24 random ones to judge it by" in script.said[0]
    assert (
        f"first table of all {len(TWO_OPS)} networks, from {len(script.design)}: error 0." in script.said[1]
    )
    assert script.said[-1].endswith("wanted 2.00%: reached")
    assert f"{len(script.design)} networks: held-out error 0." in script.said[-1]


def test_a_target_that_a_later_look_shows_is_told_as_such(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, looks = error_target._judge, list[int]()

    def too_high_at_first(*asked: Any) -> Any:
        held_out, fitted, picked = judge(*asked)
        looks.append(fitted)
        return (held_out if looks[1:] else replace(held_out, mape_interval=(0.01, 0.03))), fitted, picked

    monkeypatch.setattr(error_target, "_judge", too_high_at_first)
    script = Script(store)
    script.until("mape=2%")
    assert len(looks) == 2 and "wanted 2.00%: reached at look 2 at the same judges" in script.said[-1]


def test_a_target_below_the_devices_own_scatter_is_refused_after_the_judges(store: Store) -> None:
    script = Script(store, scatter=0.04)
    with pytest.raises(Unreachable, match=r"an error of 1\.00% cannot be shown: a measurement") as caught:
        script.until("mape=1%")
    assert script.counts == [len(script.design), 24]
    assert "quiet the device" in str(caught.value)
    assert caught.value.exit_status == 3


@pytest.mark.long
@pytest.mark.slow
def test_rounds_measure_what_is_known_least_until_there_are_most(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_target, "MOST_NETWORKS", 60)
    script = Script(store, twist=0.06)
    with pytest.raises(Unreachable, match=r"not reached with [67][0-9] networks") as caught:
        script.until("mape=1%", replace(OPTIONS, recalibrate=True))
    assert "harness audit" in str(caught.value)
    design = len(script.design)
    rounds = script.counts[2:]
    assert set(rounds) == {ROUND}
    assert design + sum(rounds) - ROUND < 60 <= design + sum(rounds)
    everything = [network for networks in (script.asked[0], *script.asked[2:]) for network in networks]
    assert len(set(everything)) == len(everything), "no network is asked for twice"
    assert "measuring the 15 networks known least" in script.said[2]
    assert [each.recalibrate for each in script.options] == [True] + [False] * (len(rounds) + 1)


@pytest.mark.slow
def test_a_round_in_which_nothing_was_measured_ends_it(store: Store) -> None:
    script = Script(store, twist=0.06, last=2)
    with pytest.raises(Unreachable, match="nothing more was measured") as caught:
        script.until("mape=1%")
    assert len(script.counts) == 3
    assert "run the same command again" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("campaign", [1, 3])
def test_a_campaign_that_was_stopped_stops_all(store: Store, campaign: int) -> None:
    script = Script(store, twist=0.06, last=campaign)
    script.error = DeviceError("the link broke")
    assert script.until("mape=1%").error is script.error
    assert len(script.counts) == campaign


def test_judges_that_cannot_be_measured_are_reported(store: Store) -> None:
    script = Script(store, last=1)
    with pytest.raises(Unreachable, match="0 of 24 networks to judge by were measured well enough"):
        script.until("mape=2%")


def test_too_few_judges_show_no_error_however_small_theirs_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = error_target.measured_networks
    script = Script(store)

    def few(*where: Any, **how: Any) -> MeasuredNetworks:
        found = measured(*where, **how)
        if len(script.asked) < 2:
            return found
        lost = {network.index for network in script.judges[3:]}
        kept = [place for place, index in enumerate(found.indices.tolist()) if index not in lost]
        columns = {name: getattr(found, name)[kept] for name in ("indices", "ratios", "sds")}
        return replace(found, **columns, rows=tuple(found.rows[place] for place in kept))

    monkeypatch.setattr(error_target, "measured_networks", few)
    with pytest.raises(Unreachable, match="3 of 24 networks to judge by were measured well enough"):
        script.until("mape=90%")


def test_a_space_too_large_to_list_is_measured_until_random_networks_of_it_show_the_error(
    store: Store,
) -> None:
    space = long_chain()
    configuration = replace(MANY, space=space.name)
    calibrate(store, configuration)
    asked: list[list[Architecture]] = []
    said: list[str] = []

    def measure(networks: Sequence[Architecture], options: Options) -> Outcome:
        asked.append(list(networks))
        add_sessions(store, networks, configuration, scatter=0.004, seed=len(asked), rule=additive_ratio)
        add_sessions(store, networks[:4], configuration, scatter=0.004, seed=99, rule=additive_ratio)
        return Outcome(device="made-up", uses=[use(configuration)])

    measure_until(parse_target("mape=5%"), OPTIONS, store, measure, said.append, space=space)
    judges = [network.graph_hash for network in space.sample(24, seed=20)]
    assert [network.graph_hash for network in asked[1]] == judges
    assert not set(judges) & {network.graph_hash for network in asked[0]}
    assert "16,777,216 networks" in said[1] and said[-1].endswith("wanted 5.00%: reached")


def test_a_judge_that_was_measured_by_another_name_is_one_all_the_same(store: Store) -> None:
    space = find_space(own_space())
    configuration = replace(MANY, space=space.name)
    calibrate(store, configuration)
    add_sessions(store, [Architecture.parse("mb/skip/mb/basic", space)], configuration)
    measured = measured_networks(store, configuration, space)
    judges = [Architecture.parse("mb/mb/skip/basic", space)]
    assert error_target._among(space, measured.indices, judges).tolist() == [True]


BAD = {
    "no percent": (["mape=2"], "mape=2%"),
    "no number": (["2%"], "mape=2%"),
    "another measure": (["rmse=2%"], "mape=2%"),
    "nothing wanted": (["mape=0%"], "mape=2%"),
    "all": (["mape=100%"], "mape=2%"),
    "networks named": (["mape=2%", "-m", "sample:5"], "leave out --models"),
    "two devices": (["mape=2%", "-d", "local", "-d", "other", "--devices", "lab.toml"], "name one --device"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_anything_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arguments, remedy = BAD[name]
    (tmp_path / "lab.toml").write_text('[devices.other]\ntransport = "local"\n')
    monkeypatch.chdir(tmp_path)
    refused(run(tmp_path / "store.sqlite", "measure", "--until", *arguments), "--until", remedy)
    assert not (tmp_path / "store.sqlite").exists()


def chain_of(folder: Path, sites: int, candidates: Sequence[str]) -> Space:
    """Return a space of so many sites with the same candidates each."""
    path = folder / "small.toml"
    text = CHAIN.replace('name = "long"', 'name = "small"').replace("repeat = 12", f"repeat = {sites}")
    path.write_text(text.replace('["k1", "k3", "k5", "skip"]', str(list(candidates))))
    return find_space(path)


def test_a_space_that_is_whole_to_begin_with_has_nothing_to_choose(store: Store, tmp_path: Path) -> None:
    space = chain_of(tmp_path, 3, ["k1", "k3", "k5", "skip"])
    script = Script(store)
    with pytest.raises(ConfigError, match=r"69 networks to begin with, and space .* has 64: .*--models all"):
        measure_until(parse_target("mape=2%"), OPTIONS, store, script, script.said.append, space=space)
    assert not script.asked


@pytest.mark.slow
def test_a_small_space_is_measured_to_its_last_network_and_no_further(store: Store, tmp_path: Path) -> None:
    space = chain_of(tmp_path, 4, ["k1", "k3", "k5"])
    assert DESIGN + 24 < len(space) == 81 < DESIGN + 24 + ROUND
    configuration = replace(MANY, space=space.name)
    calibrate(store, configuration)
    asked: list[list[Architecture]] = []

    def measure(networks: Sequence[Architecture], options: Options) -> Outcome:
        asked.append(list(networks))
        made = {"scatter": 0.004, "twist": 0.1, "rule": additive_ratio}
        add_sessions(store, networks, configuration, seed=len(asked), **made)
        add_sessions(store, networks[:4], configuration, seed=99, **made)
        return Outcome(device="made-up", uses=[use(configuration)])

    with pytest.raises(Unreachable, match="not reached with all networks of the space measured"):
        measure_until(parse_target("mape=1%"), OPTIONS, store, measure, [].append, space=space)
    assert sorted(network.index for networks in asked for network in networks) == list(range(81))
