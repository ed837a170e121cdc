"""Units of the study: those that are stored are found again, and every kind has its function."""

from __future__ import annotations

from typing import Any

import pytest
from factories.block_libraries import APART, BLOCKS, made_library

from search.distillation.block_library import stage_content
from search.distillation.block_scores import score_blocks
from search.distillation.signatures import Signatures
from search.study.units import sign, study_kind
from search.training.epochs import judge
from search.training.tasks import load_task
from search.training.trained_files import trained_content
from search.work.kinds import Context, load_function
from search.work.unit import Unit
from space import TINY, Architecture
from space.networks import build_network

BASE = {"space": "tiny", "task": "synthetic:0:200/50/200"}
TEACHER = {"teacher": "1" * 64}
LIBRARY = {**TEACHER, "stage0": "2" * 64, "stage1": "3" * 64}
DISTIL = {"epochs": 2, "batch": 64, "learning_rate": 0.01, "loss": "nsr", "seed": 3}
# As of the first release that kept studies: with another key, a study of an hour and a half is computed again.
STORED: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "distil": ({**BASE, "stage": 1, "recipe": DISTIL}, TEACHER, "1ba7a8d6f7f6185f"),
    "sign": ({**BASE, "indices": [3, 5]}, LIBRARY, "d685c03fae596a54"),
    "assemble": ({**BASE, "indices": [3, 5]}, LIBRARY, "544984522db0a43b"),
    "fine_tune": (
        {
            **BASE,
            "architecture": "conv/conv",
            "recipe": {"epochs": 2},
            "guide": {"weight": 0.5, "temperature": 4.0},
        },
        {**TEACHER, "start": "4" * 64},
        "222e9490dfa87a28",
    ),
    "supernet": ({**BASE, "stage": 1, "recipe": {"epochs": 2}}, TEACHER, "51c057d08cac4d59"),
    "plain_search": (
        {"space": "tiny", "method": "linear", "budget": 40, "seed": 1, "random_first": 20},
        {"truth": "1" * 64},
        "75cbcc447d2f0330",
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_a_stored_unit_has_the_key_that_it_was_stored_under(name: str) -> None:
    config, inputs, key = STORED[name]
    unit = Unit(kind=study_kind(name), config=config, inputs=inputs)
    assert unit.kind == f"search.study.works:{name}"
    assert unit.key.startswith(key)
    assert Unit(**unit.to_plain()) == unit


@pytest.mark.parametrize("name", [*STORED, "proxy", "plain_predict", "signed_predict"])
def test_every_kind_has_a_function(name: str) -> None:
    assert callable(load_function(study_kind(name)))


def test_a_library_is_profiled_and_its_networks_are_re_scored_by_images_of_their_own() -> None:
    library, task = made_library(APART), load_task(APART, TINY)
    stages = {f"stage{place}": stage_content(library.stage(place)) for place in range(TINY.stages)}
    network = Architecture(blocks=(BLOCKS[0], BLOCKS[1]), config=TINY)
    content = sign(
        {"space": "tiny", "task": APART, "indices": [network.index]},
        {"teacher": trained_content(library.teacher), **stages},
        Context(scratch=None, device="cpu", threads=1, on_progress=lambda step: None),
    )
    built = build_network(network)
    built.load_state_dict(library.assemble(network))
    assert content["loss"] == [pytest.approx(judge(built, task.rescore, task).loss)]
    assert content["loss"] != [pytest.approx(judge(built, task.val, task).loss)]
    assert Signatures.from_json(content["signatures"]).digest == score_blocks(library, task).digest
