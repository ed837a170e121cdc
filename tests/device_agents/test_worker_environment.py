"""Variables that change how fast models run: by name, never with their values."""

from __future__ import annotations

import hashlib

from device_agents.worker_environment import told_variables


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:8]


def test_all_that_is_given_counts_and_of_the_inherited_what_runtimes_heed() -> None:
    inherited = {
        "HOME": "/root",
        "LANG": "C",
        "CUDA_LAUNCH_BLOCKING": "1",
        "MALLOC_ARENA_MAX": "1",
        "ORT_TENSORRT_FP16_ENABLE": "1",
    }
    told = told_variables({"TOKEN": "secret", "MALLOC_ARENA_MAX": "2"}, inherited)
    assert told == {
        "CUDA_LAUNCH_BLOCKING": digest("1"),
        "MALLOC_ARENA_MAX": digest("2"),
        "ORT_TENSORRT_FP16_ENABLE": digest("1"),
        "TOKEN": digest("secret"),
    }
    assert "secret" not in str(told)


def test_what_the_harness_tells_its_agent_does_not_count() -> None:
    assert told_variables({"HARNESS_LITERT_LIBRARY": "/a.so"}, {"HARNESS_LIBRARIES": "/b"}) == {}


def test_a_value_of_any_bytes_has_a_digest() -> None:
    assert told_variables({}, {"LD_PRELOAD": "\udcff.so"}) != told_variables({}, {"LD_PRELOAD": "x.so"})
