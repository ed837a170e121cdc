"""`harness search --objective`: what the integer program finds is what a look at every network finds, and its limits are told."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.chains import additive_store, long_chain
from factories.own_spaces import own_space
from factories.stores import MANY, add_sessions, calibrate, new_store
from rigs.commands import refused, run

from harness.output.objective_text import print_objective
from harness.query import by_objective
from harness.query.accuracies import AccuracySource
from harness.query.by_objective import ObjectiveAnswer, search_by_objective
from harness.query.latencies import LatencySource
from harness.query.objective import load_objective
from harness.query.query import Query
from harness.query.run import ObjectiveResult
from harness.store import Store
from harness.store.configurations import ConfigurationChoice
from search.table import CostEstimate
from search.table.constraints import parse_constraint
from search.table.costs import meets
from space import BLOX, Space, find_space
from space.errors import ConfigError


def scores_file(folder: Path, space: Space, *, without: str = "") -> Path:
    """Write a score for each part that networks choose, and return the path."""
    lines, number = ["part,gain"], 0
    for place, site in enumerate(space.chain.sites):  # type: ignore[union-attr]
        for module in site.candidates if site.choice is not None else ():
            number += 1
            if f"site{place}:{module.name}" != without:
                lines.append(f"site{place}:{module.name},{number * 37 % 101 / 8}")
    path = folder / "scores.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def opened(folder: Path, selection: str, space: Space) -> Store:
    path = folder / "store.sqlite"
    path.write_bytes(additive_store(selection, space))
    return Store(str(path))


def query(space: Space, *limits: str, confident: bool = False, with_far: bool = False) -> Query:
    constraints = tuple(map(parse_constraint, limits))
    return Query(
        accuracies=AccuracySource(paths=()),
        latencies=LatencySource(choice=ConfigurationChoice(space=space.name)),
        costs=tuple(dict.fromkeys(one.subject for one in constraints)),
        constraints=constraints,
        confident=confident,
        with_far=with_far,
    )


LIMITS = [
    ("made-up<1.6ms",),
    ("made-up<=2.1ms", "params<=6k"),
    ("made-up>=1.4ms", "macs<200k", "memory<=30KB"),
    (),
]


@pytest.mark.parametrize("confident", [False, True])
@pytest.mark.parametrize("limits", LIMITS, ids=" ".join)
@pytest.mark.parametrize("objective", ["params", "macs", "scores"])
def test_the_program_finds_what_a_look_at_every_network_finds(
    tmp_path: Path, objective: str, limits: tuple[str, ...], confident: bool
) -> None:
    space = find_space(own_space())
    text = str(scores_file(tmp_path, space)) if objective == "scores" else objective
    with opened(tmp_path, "sample:20", space) as store:
        found = search_by_objective(
            store, query(space, *limits, confident=confident, with_far=True), text, len(space)
        )
    best = by_brute_force(found)
    assert best and (len(best) < len(space) or not limits), "the limits tell something"
    networks = {space[index].graph_hash: found.score(index) for index in reversed(best)}
    assert {space[index].graph_hash for index in found.within} == set(networks), "all within, and no others"
    assert len(found.within) == len(networks), "each once"
    scores = [found.score(index) for index in found.within]
    assert scores == sorted(networks.values(), reverse=True), "by the name of its largest sum"


def by_brute_force(found: ObjectiveAnswer) -> list[int]:
    """Return all networks within the limits by a look at each, best first."""
    within = [
        index
        for index in range(len(found.config))
        if all(
            meets(found.costs[one.subject].at(index), one, confident=found.confident)
            for one in found.constraints
        )
    ]
    return sorted(within, key=lambda index: -found.score(index))


def test_an_objective_is_each_networks_own_count_or_the_sum_of_its_scores(tmp_path: Path) -> None:
    space = find_space(own_space())
    with opened(tmp_path, "sample:20", space) as store:
        found = search_by_objective(store, query(space), "params", 4)
        assert [found.score(index) for index in found.within] == [space[i].params for i in found.within]
        assert found.score(found.within[0]) == max(network.params for network in space)
    goal = load_objective(str(scores_file(tmp_path, space)), space)
    assert goal.name == "gain"
    basic, depth = space.table.by_text["basic"], 3  # one choice at the sites 4 and 5: parts 9 and 11
    assert goal.sums.blocks[depth, basic] == (9 * 37 % 101 + 11 * 37 % 101) / 8


def test_what_no_measured_network_tells_of_is_left_out_and_named_unless_the_best_are_measured(
    tmp_path: Path,
) -> None:
    space = long_chain()
    names = [str(network) for network in space.sample(200, seed=1) if not str(network).startswith("k5")]
    with opened(tmp_path, ",".join(names[:36]), space) as store:
        found = search_by_objective(store, query(space, "made-up<5ms"), "params", 3)
        measuring = search_by_objective(store, query(space, "made-up<5ms", with_far=True), "params", 3)
    assert found.best.blocks[0].op1 == "k3" and not found.far
    assert any("site0:k5 is in no measured network" in note for note in found.notes)
    assert not any("passed over" in note for note in found.notes), "the program does not propose them"
    assert measuring.best.blocks[0].op1 == "k5" and measuring.within[0] in measuring.far
    assert not any("left out" in note for note in measuring.notes)


def test_a_candidate_that_was_never_measured_is_neither_free_nor_widens_every_interval(
    tmp_path: Path,
) -> None:
    space = long_chain()
    with opened(tmp_path, ",".join(without_k5(space)), space) as store:
        found = search_by_objective(store, query(space, "made-up<4ms"), "params", 3)
        measuring = search_by_objective(store, query(space, "made-up<4ms", with_far=True), "params", 3)
    near = found.costs["made-up"].at(found.within[0])
    assert near.high < 1.3 * near.value
    (sums,) = measuring.costs["made-up"].totals
    k5 = space.table.by_text["k5"]
    seen = np.delete(sums.blocks, k5, axis=1)
    assert (sums.blocks[:, k5] >= seen.max(axis=1)).all() and measuring.far == set(measuring.within)


def without_k5(space: Space) -> list[str]:
    return [name for name in map(str, space.sample(1000, seed=1)) if "k5" not in name][:30]


def test_devices_that_share_no_candidate_at_a_site_are_refused_with_the_site(tmp_path: Path) -> None:
    space = find_space(own_space())
    with new_store(tmp_path / "store.sqlite") as store:
        for device, kept in (("dev-a", "mb/"), ("dev-b", "ghost/")):
            configuration = replace(MANY, space=space.name, device=device)
            calibrate(store, configuration)
            networks = [network for network in space if str(network).startswith(kept)][:12]
            add_sessions(store, networks, configuration)
        message = "site0: .*on dev-a they have mb; on dev-b they have ghost; .*--models design:1"
        with pytest.raises(ConfigError, match=message):
            search_by_objective(store, query(space, "dev-a<2ms", "dev-b<2ms"), "params", 3)


def test_networks_far_from_all_measured_ones_are_passed_over_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = find_space(own_space())
    with opened(tmp_path, "sample:20", space) as store:
        asked = query(space, "made-up<2ms")
        every = search_by_objective(
            store, query(space, "made-up<2ms", with_far=True), "macs", len(space)
        ).within
        far = frozenset(every[:3])
        monkeypatch.setattr(by_objective, "_far", lambda indices, latencies: far.intersection(indices))
        found = search_by_objective(store, asked, "macs", 2)
        assert found.within == every[3:5] and not found.far
        wide = search_by_objective(store, query(space, "made-up<2ms", with_far=True), "macs", 5)
        assert wide.indices == every[:5]
        assert replace(wide, verified=frozenset()).indices == every[3:5], (
            "none that was measured is within the limit"
        )
        assert any(
            "3 better networks passed over, unlike any that was measured" in one for one in found.notes
        )
        monkeypatch.setattr(by_objective, "_far", lambda indices, latencies: frozenset(indices))
        with pytest.raises(
            ConfigError, match=r"best networks within the limits are unlike any measured one.*--verify"
        ):
            search_by_objective(store, asked, "macs", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("part;gain\n", "line 1: the columns are part;gain; write part,score"),
        ("part,gain\nsite0:mb,1,2\n", "line 2: 3 cells"),
        ("part,gain\nmb,1\n", "line 2: 'mb' names no part"),
        ("part,gain\nsite0:mb,high\n", "line 2: score 'high' is no finite number"),
        ("part,gain\nsite0:mb,1_0\n", "line 2: score '1_0' is no finite number"),
        ("part,gain\nsite0:mb,-1e308\n", "line 2: score '-1e308' is beyond 1e\\+12"),
        (f"part,gain\nsite0:mb,1\nsite0:{'x' * 200_000},1\n", "scores.csv, line 3: field larger than"),
        ("part,gain\nsite0:mb,1\nsegment:site0:mb,2\n", "line 3: part 'site0:mb' has a score in line 2"),
        ("part,gain\nsite0:mb9,1\n", "line 2: part 'site0:mb9' is none .* did you mean 'site0:mb'"),
        ("part,gain\nsite3:basic,1\n", "line 2: part 'site3:basic' is none"),
        ("part,gain\nsite0:mb,1\n", "11 of 12 parts of space .* have no score, such as site0:ghost, "),
    ],
)
def test_a_bad_file_of_scores_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_objective(str(path), own_space())


def test_names_of_no_sum_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'memory' is no sum of counts \(known: params, macs"):
        load_objective("memory", BLOX)
    with pytest.raises(ConfigError, match="'paramss' is unknown; did you mean 'params'"):
        load_objective("paramss", BLOX)


@pytest.mark.parametrize("objective", ["params", "scores"])
def test_each_network_of_a_front_is_of_the_largest_objective_at_its_cost(
    tmp_path: Path, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = find_space(own_space())
    text = str(scores_file(tmp_path, space)) if objective == "scores" else objective
    with opened(tmp_path, "sample:20", space) as store:
        found = search_by_objective(store, query(space, "made-up<2.1ms", with_far=True), text, 1)
        one_point = search_by_objective(store, query(space, "made-up<2.1ms"), text, 1)
    front = found.front("made-up").indices
    points = {i: (found.score(i), found.costs["made-up"].at(i).value) for i in by_brute_force(found)}
    exact = {
        i
        for i, (score, cost) in points.items()
        if not any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in points.values())
    }
    values = [points[index] for index in front]
    assert values == sorted(values, key=lambda one: one[1]) and values == sorted(values)
    assert {points[i] for i in front} <= {points[i] for i in exact} and 3 <= len(front) <= 20
    assert values[-1][0] == max(score for score, _ in points.values())
    assert values[0][1] == min(cost for _, cost in points.values())
    assert not one_point.front("made-up").far, "those unlike any measured one are left out"
    assert not found.front("made-up").passed_over
    monkeypatch.setattr(by_objective, "_far", lambda indices, latencies: frozenset(indices) - {front[-1]})
    ends = one_point.front("made-up")
    assert ends.indices == front[-1:] and ends.passed_over, "and that is told, where no others were found"


def test_a_front_has_no_network_unlike_any_measured_one_that_nobody_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = find_space(own_space())
    with opened(tmp_path, "sample:20", space) as store:
        found = search_by_objective(store, query(space, "made-up<2.1ms", with_far=True), "params", 1)
    far = frozenset(found.front("made-up").indices[:2])
    monkeypatch.setattr(by_objective, "_far", lambda indices, latencies: far.intersection(indices))
    front = replace(found, verified=frozenset(found.within)).front("made-up")
    assert front.indices and not far.intersection(front.indices)


@pytest.mark.parametrize("seed", range(3))
def test_a_front_reaches_the_cheapest_network_however_far_measured_ones_are_from_their_sums(
    tmp_path: Path, seed: int
) -> None:
    space = find_space(own_space())
    with opened(tmp_path, "sample:20", space) as store:
        found = search_by_objective(store, query(space, "made-up<9ms", with_far=True), "params", 1)
    cost, rng = found.costs["made-up"], np.random.default_rng(seed)
    known = {
        index: CostEstimate(value=ms, low=ms, high=ms, is_measured=True)
        for index in rng.choice(len(space), 20, replace=False).tolist()
        for ms in [cost.at(index).value * float(rng.uniform(0.5, 1.6))]
    }
    costs = {"made-up": replace(cost, known=known)}
    found = replace(found, costs=costs, program=replace(found.program, costs=costs))
    values = [found.costs["made-up"].at(index).value for index in found.front("made-up").indices]
    assert values[0] == min(found.costs["made-up"].at(index).value for index in by_brute_force(found))
    assert len(values) > 1 and values == sorted(values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "store.sqlite"
    path.write_bytes(additive_store("sample:60@1", long_chain()))
    return path


CHOSEN = ("--space", long_chain().name, "-d", "made-up")


def test_the_command_tells_the_same_in_text_json_and_csv(store: Path, tmp_path: Path) -> None:
    words = (
        "search",
        *CHOSEN,
        "--max-latency",
        "3ms",
        "--objective",
        "macs",
        "--show",
        "params",
        "--top",
        "3",
    )
    output = tmp_path / "best.csv"
    document = run(store, *words, "--json", "--output", str(output)).json
    rows = document["networks"]
    assert document["space"]["networks"] == 4**12 and document["objective"]["name"] == "macs"
    assert [row["objective"] for row in rows] == sorted((row["objective"] for row in rows), reverse=True)
    for row in rows:
        network = long_chain()[row["index"]]
        assert (str(network), network.macs, network.params) == (
            row["architecture"],
            row["objective"],
            row["params"],
        )
        assert row["made-up_low_ms"] < row["made-up_ms"] <= 3 < row["made-up_high_ms"]
        assert row["made-up_source"] == "predicted"
    assert len(output.read_text().splitlines()) == 4
    text = run(store, *words).stdout
    assert all(row["architecture"] in text for row in rows) and "--verify" in text


def test_the_command_shows_a_front_for_each_cost_and_says_that_programs_found_it(store: Path) -> None:
    words = ("search", *CHOSEN, "--max-latency", "3ms", "--objective", "macs", "--pareto", "made-up")
    fronts = run(store, *words, "--pareto", "params", "--json").json["fronts"]
    assert [one["cost"] for one in fronts] == ["made-up", "params"]
    for front in fronts:
        rows = front["networks"]
        assert 5 <= len(rows) <= front["most_points"]
        assert [row["objective"] for row in rows] == sorted({row["objective"] for row in rows})
        assert all(row["made-up_ms"] < 3 and row["made-up_source"] != "predicted, far" for row in rows)
    text = run(store, *words).stdout
    assert "Pareto front over macs and made-up" in text and "by integer programs" in text


def test_in_80_columns_it_is_told_which_networks_were_measured(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(str(store)) as opened_store:
        answer = search_by_objective(opened_store, query(long_chain(), "made-up<3ms"), "params", 3)
    shown = tuple(one.index for one in long_chain().sample(50, seed=2) if len(str(one)) == 39)[:3]
    answer = replace(answer, within=shown, far=frozenset(shown[1:2]))
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    print_objective(ObjectiveResult(answer=answer), top=3, json_output=False, output=None)
    lines = screen.getvalue().splitlines()
    assert max(len(line) for line in lines if not line.startswith("(harness ")) <= 80, "but commands to copy"
    table = lines[lines.index(next(line for line in lines if "largest first" in line)) :]
    assert [line.count("predicted") for line in table if "predicted" in line] == [1, 1, 1]
    assert sum("predicted, far" in line for line in table) == 1


class Terminal(io.StringIO):
    """Text that counts as a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-latency", "1us"), "no network is within made-up<=0.001ms; the nearest is skip/skip/"),
        (("-c", "made-up:energy<3mJ"), "by --objective, has no limits on energy"),
        (("-a", "synthetic"), "--accuracies means nothing to --objective"),
        (("--method", "random"), "--method means nothing to --objective"),
        (("--measured-only", "--max-latency", "3ms"), "--measured-only: of the 16,777,216 networks"),
    ],
)
def test_what_such_a_search_cannot_do_is_refused(store: Path, words: tuple[str, ...], message: str) -> None:
    refused(run(store, "search", *CHOSEN, *words, "--objective", "params"), message)


def test_a_table_of_such_a_space_is_refused_with_the_way_that_needs_none(store: Path) -> None:
    done = run(store, "search", *CHOSEN, "-a", "synthetic", "--max-latency", "3ms")
    refused(done, "16,777,216 networks", "too many to list", "harness search --objective")
    refused(
        run(store, "search", *CHOSEN, "--method", "blockwise", "--objective", "params"),
        "--objective means nothing to",
    )
