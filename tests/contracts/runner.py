"""What every runner of units promises, as tests: a subclass hands over a runner by its fixture `runner`.

All that runs, runs once in one go, as a cluster takes seconds to begin; the tests look at what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from search.training.history import EpochDone
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.work.events import Event, UnitAgain, UnitDone, UnitFailed, UnitProgress, UnitStarted
from search.work.kinds import Message
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.trainings import training_unit
from search.work.unit import Unit
from search.work.unit_runs import Runner, run_units
from space import TINY, Architecture
from space.errors import ConfigError, HarnessError

NUMBERS = torch.tensor([0.5, -2.0], dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Hold a run of units by name: those that end well, one that raises, one killed once and one always."""

    results: ResultStore
    units: dict[str, Unit]
    calls: dict[str, Path]
    events: list[Event] = field(default_factory=list)
    error: HarnessError

    def content(self, name: str) -> dict[str, Any]:
        digest = self.results.result_of(self.units[name])
        assert digest is not None
        return self.results.get(digest)

    def count(self, name: str) -> int:
        return len(self.calls[name].read_text().splitlines())


def tiny_training(place: int = 1000, epochs: int = 2) -> Unit:
    """Return the unit of a training of a second or two, on 80 synthetic images."""
    task = load_task("synthetic:0:8/4/4", TINY)
    return training_unit(Architecture.from_index(place, TINY), task, Recipe(epochs=epochs, batch=20))


class WorkContract:
    """The tests; `runner`, with one retry, is the subclass's to define, in the scope of the class."""

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> Runner:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def ran(cls, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Ran:
        folder = tmp_path_factory.mktemp("work")
        results = ResultStore(folder=folder / "results")
        calls = {name: folder / name for name in ("two", "once", "always")}
        given = {"numbers": results.add({"numbers": NUMBERS}, "work result")}

        def unit(function: str, name: str, **config: Any) -> Unit:
            return Unit(
                kind=f"factories.work:{function}", config={"calls": str(calls[name]), **config}, inputs=given
            )

        units = {
            "two": unit("add", "two", number=2),
            "always": unit("killed", "always", times=9),
            "dry": Unit(kind="factories.work:fail", config={}),
            "once": unit("killed", "once", times=1),
            "training": tiny_training(),
        }
        events: list[Event] = []
        with pytest.raises(HarnessError) as caught:
            run_units(units.values(), results, runner, events.append)
        return Ran(results=results, units=units, calls=calls, events=events, error=caught.value)

    def test_units_give_what_their_functions_give(self, ran: Ran) -> None:
        assert ran.content("two")["numbers"].equal(NUMBERS + 2)
        assert ran.count("two") == 1

    @pytest.mark.training
    def test_a_training_gives_the_bits_that_it_gives_in_this_process(self, ran: Ran, tmp_path: Path) -> None:
        here = ResultStore(folder=tmp_path)
        unit = tiny_training()
        there, expected = ran.content("training"), here.get(run_units([unit], here, LocalPool())[unit.key])
        assert there["weights"].keys() == expected["weights"].keys()
        assert all(there["weights"][name].equal(tensor) for name, tensor in expected["weights"].items())
        assert [epoch["val"] for epoch in there["history"]] == [epoch["val"] for epoch in expected["history"]]
        assert there["environment"] == expected["environment"]  # the threads, too

    def test_a_unit_that_raises_names_itself_and_the_others_finish(self, ran: Ran) -> None:
        assert "2 of 5 units failed, the rest is done and kept" in str(ran.error)
        assert f"{ran.units['dry']}: ValueError: the well is dry" in str(ran.error)
        assert not isinstance(ran.error, ConfigError)
        assert ran.results.result_of(ran.units["dry"]) is None
        assert "in fail" in "".join(ran.error.__notes__)  # where it was raised

    def test_a_unit_whose_process_is_killed_is_tried_again(self, ran: Ran) -> None:
        assert ran.count("once") == 2
        assert ran.content("once")["numbers"].equal(torch.tensor([7.0]))
        again = [event for event in ran.events if isinstance(event, UnitAgain)]
        assert {event.unit for event in again} == {ran.units["once"], ran.units["always"]}
        assert all("process" in event.reason for event in again)

    def test_a_unit_whose_process_is_always_killed_is_given_up_with_a_remedy(self, ran: Ran) -> None:
        assert ran.count("always") == 2  # one retry
        assert any(
            str(ran.units["always"]) in line and "memory" in line and "smaller batch" in line
            for line in str(ran.error).splitlines()
        )
        assert ran.results.result_of(ran.units["always"]) is None

    def test_progress_comes_as_events_of_the_units_in_their_order(self, ran: Ran) -> None:
        unit = ran.units["training"]
        started, one, two, done = [event for event in ran.events if getattr(event, "unit", None) == unit]
        assert isinstance(started, UnitStarted) and isinstance(done, UnitDone)
        for number, event in enumerate((one, two), start=1):
            assert isinstance(event, UnitProgress) and isinstance(event.step, EpochDone)
            assert (event.step.number, event.step.epochs, event.step.share) == (number, 2, number / 2)
            assert event.step.val is not None and event.step.val.images == 40
        said = [
            event.step
            for event in ran.events
            if isinstance(event, UnitProgress) and event.unit == ran.units["two"]
        ]
        assert said == [Message(text="adding 2")]

    def test_each_unit_that_ends_is_counted_or_its_failure_told(self, ran: Ran) -> None:
        done = [event for event in ran.events if isinstance(event, UnitDone)]
        assert [(event.done, event.units) for event in done] == [(1, 5), (2, 5), (3, 5)]
        assert {event.unit for event in done} == {ran.units[name] for name in ("two", "once", "training")}
        failed = [event for event in ran.events if isinstance(event, UnitFailed)]
        assert {event.unit for event in failed} == {ran.units["dry"], ran.units["always"]}

    def test_what_is_done_is_not_run_again(self, ran: Ran, runner: Runner) -> None:
        done = [ran.units[name] for name in ("once", "two")]
        again = run_units(done, ran.results, runner)
        assert again == {unit.key: ran.results.result_of(unit) for unit in done}
        assert (ran.count("two"), ran.count("once")) == (1, 2)

    def test_an_input_that_was_never_kept_is_refused_before_anything_is_run(
        self, ran: Ran, runner: Runner
    ) -> None:
        unit = Unit(kind="factories.work:fail", config={}, inputs={"numbers": "0" * 64})
        with pytest.raises(
            ConfigError, match=r"factories.work:fail .*: input 'numbers' .*0{64}.* is not there"
        ):
            run_units([ran.units["dry"], unit], ran.results, runner)

    def test_no_unit_leaves_a_scratch_folder_once_its_result_is_kept(self, ran: Ran) -> None:
        left = {path.name for path in (ran.results.folder / "scratch").glob("*")}
        assert left <= {ran.units["dry"].key, ran.units["always"].key}
