"""Methods of the study: what cannot be fitted is left out, and said to be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from factories.signatures import made_signatures

from search.study.candidates import Candidates, add_tuned
from search.study.settings import StudySettings
from search.study.truth import GroundTruth
from search.work.flops import Spent
from space import MINI


def ground_truth() -> GroundTruth:
    val = np.linspace(50.0, 60.0, 30)
    return GroundTruth(
        config=MINI,
        indices=np.arange(0, 1500, 50),
        val=val,
        tests=val[None],
        seconds=np.ones(30),
        dataset="synthetic",
        epochs=1,
        seed=0,
        origin="a test",
        digest="0" * 64,
    )


@pytest.mark.parametrize(("count", "is_fitted"), [(3, False), (4, True)])
def test_donna_as_published_is_left_out_where_too_few_networks_are_fine_tuned(
    count: int, is_fitted: bool
) -> None:
    truth, found = ground_truth(), Candidates()
    context: Any = SimpleNamespace(truth=truth, settings=StudySettings(space="mini"), images=100)
    library: Any = SimpleNamespace(signatures=made_signatures(), spent=Spent())
    tuned = [
        SimpleNamespace(
            index=int(truth.indices[place]),
            spent=Spent(networks=1),
            trained=SimpleNamespace(best=SimpleNamespace(val=SimpleNamespace(top1=50.0 + place))),
        )
        for place in range(count)
    ]
    add_tuned(context, library, cast("Any", tuned), found)
    assert set(found.methods) == {"donna-tuned", "donna-published"} - (
        set() if is_fitted else {"donna-published"}
    )
    assert (f"DONNA as published, {count} fine-tuned" in found.predictions) == is_fitted
    assert (f"DONNA as published, {count} fine-tuned" in found.blockwise) == is_fitted
    if is_fitted:
        assert found.left_out == []
    else:
        (told,) = found.left_out
        assert "donna-published is left out" in told
        assert "space 'mini' it is fitted to 4 fine-tuned networks or more, and there are 3" in told
