"""What benchmark_model prints, as public reports have it; what contradicts itself, or is none of it, is refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.devices.adb.benchmark_model import PROVIDERS, NotAverages, arguments, parse_averages

ANSWERS = json.loads(Path(__file__).with_name("benchmark_model_answers.json").read_text())
PLAIN, GPU = ANSWERS[:2]
WHOLE = "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate."


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: one["source"][-30:])
def test_what_public_reports_show_is_read(answer: dict[str, Any]) -> None:
    assert asdict(parse_averages(answer["text"], answer["runs"])) == answer["averages"]
    assert parse_averages(answer["text"].replace("\n", "\r\n"), answer["runs"]).mean_ns > 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Inference timings in us", "Inference timings in ms", "told no averages"),
        ("count=50", "count=49", "ran the model 49 times where 50"),
        ("avg=33209.4", "avg=33209.5", "contradicts itself"),
        ("Warmup (avg): 34825.1", "Warmup (avg): 34825.2", "contradicts itself"),
        ("min=32641", "min=99999", "contradicts itself"),
        ("Inference (avg): 33209.4", "Inference (avg): nan", "told no averages"),
        ("avg=33209.4", "avg=-33209.4", "told no averages"),
        ("count=15 first", "count=15 erste", "1 summaries and 1 lines"),
        ("count=50", f"count={'9' * 5000}", "1 summaries and 1 lines"),
    ],
)
def test_what_is_unknown_or_contradicts_itself_is_refused(old: str, new: str, words: str) -> None:
    assert PLAIN["text"].count(old) == 1
    with pytest.raises(NotAverages, match=words):
        parse_averages(PLAIN["text"].replace(old, new), 50)


@pytest.mark.parametrize("us", ["1e999", "1e300", "0.0001"])
def test_a_time_that_no_run_takes_is_refused(us: str) -> None:
    text = PLAIN["text"].replace("33209.4", us).replace("min=32641", f"min={us}")
    with pytest.raises(NotAverages, match="contradicts itself"):
        parse_averages(text, 50)


def test_a_failure_is_told_in_the_programs_own_words_and_two_answers_are_none() -> None:
    with pytest.raises(NotAverages, match="Failed to load model"):
        parse_averages("STARTING!\nERROR: Failed to load model /data/local/tmp/x.tflite\n", 50)
    with pytest.raises(NotAverages, match="2 summaries"):
        parse_averages(PLAIN["text"] * 2, 50)


def test_a_delegate_that_runs_a_part_or_nothing_is_not_whole() -> None:
    for told in (
        "Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 3 delegate kernels.",
        "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
    ):
        text = GPU["text"].replace(WHOLE, told)
        assert told in text and not parse_averages(text, 50).is_whole


def test_each_provider_has_its_flags() -> None:
    assert arguments("./b", "m", "builtin", 2, 30)[1:4] == ["--graph=m", "--num_threads=2", "--num_runs=30"]
    assert "--min_secs=0" in arguments("b", "m", "XNNPACK", 1, 10), "else it runs more often than it is asked"
    assert len({tuple(arguments("b", "m", one, 1, 10)) for one in PROVIDERS}) == len(PROVIDERS)
