"""Text on campaigns' outcomes."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.measurement.campaign import Outcome
from harness.output.campaigns import print_outcome


def test_what_was_measured_again_is_told_by_why(capsys: pytest.CaptureFixture[str]) -> None:
    use = cast(Any, SimpleNamespace())
    outcome = Outcome(device="pi4", measured=9, uses=[use], setbacks=Counter(contended=2))
    print_outcome(outcome)
    told = capsys.readouterr().err
    assert "2 measured again because another program disturbed them" in told and "throttled" not in told
    outcome.setbacks["throttled"] = 1
    print_outcome(outcome)
    assert "1 measured again because the device throttled" in capsys.readouterr().err
