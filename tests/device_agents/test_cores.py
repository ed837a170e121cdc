"""Which cores are like, which are one, and which a session takes."""

from __future__ import annotations

import os

import pytest

from device_agents.cores import choose_cores, find_clusters, find_siblings, parse_core_list
from device_agents.quota import withheld_cores
from device_agents.refusal import Refusal

PHONE = [[6, 7], [4, 5], [0, 1, 2, 3]]
HYPERTHREADS = {core: (core % 4, core % 4 + 4) for core in range(8)}  # four physical cores, eight threads


def alone(clusters):
    return {core: (core,) for cluster in clusters for core in cluster}


def machine(folder, max_freqs_khz=(), siblings=(), files=()):
    """Write what a system says of its cores."""
    texts = dict(files)
    for core, khz in enumerate(max_freqs_khz):
        texts[f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq"] = f"{khz}\n"
    for core, text in enumerate(siblings):
        texts[f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"] = f"{text}\n"
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def cpuinfo(parts):
    return "\n\n".join(f"processor : {core}\nCPU part : {part}" for core, part in enumerate(parts))


def test_cores_whose_highest_frequencies_differ_by_a_few_percent_are_like(tmp_path):
    boosted = machine(tmp_path, (5500000, 5700000, 5700000, 5500000, 4300000, 4300000))
    assert find_clusters(list(range(6)), boosted) == [[0, 1, 2, 3], [4, 5]]


def test_a_cluster_reaches_a_tenth_below_its_fastest_core_and_no_further(tmp_path):
    # Each near the next, the last far from the first.
    steps = machine(tmp_path, (4000000, 3700000, 3500000, 3300000))
    assert find_clusters([0, 1, 2, 3], steps) == [[0, 1], [2, 3]]


def test_cores_of_unlike_models_are_never_one_cluster(tmp_path):
    files = {"proc/cpuinfo": cpuinfo(["0xd46", "0xd47", "0xd46", "0xd47"])}
    arm = machine(tmp_path, (2000000, 2050000, 2000000, 2050000), files=files)
    assert find_clusters([0, 1, 2, 3], arm) == [[1, 3], [0, 2]]


def test_intels_two_kinds_of_core_are_told_apart_where_no_frequency_is_told(tmp_path):
    kinds = {"sys/devices/cpu_core/cpus": "0-3\n", "sys/devices/cpu_atom/cpus": "4-5\n"}
    assert find_clusters(list(range(6)), machine(tmp_path, files=kinds)) == [[0, 1, 2, 3], [4, 5]]


def test_the_hardware_threads_of_a_physical_core_are_read_and_elsewhere_each_core_is_one(tmp_path):
    folder = machine(tmp_path, siblings=("0,2", "1", "0,2", "what"))
    assert find_siblings([0, 1, 2, 3, 4], folder) == {0: (0, 2), 1: (1,), 2: (0, 2), 3: (3,), 4: (4,)}


def test_lists_of_cores_are_read_as_the_kernel_writes_them():
    assert parse_core_list("0-2,5,8-9\n") == [0, 1, 2, 5, 8, 9]
    assert parse_core_list("\n") == []


def test_takes_the_fastest_cluster_from_its_high_end_when_all_are_as_quiet():
    assert choose_cores(None, 1, PHONE, alone(PHONE), {}) == [7]
    assert choose_cores(None, 2, PHONE, alone(PHONE), {core: 0.01 for core in range(8)}) == [6, 7]


def test_takes_one_cluster_that_is_large_enough_rather_than_unlike_cores():
    assert choose_cores(None, 3, PHONE, alone(PHONE), {}) == [1, 2, 3]


def test_takes_the_quietest_of_the_fastest_cluster_and_not_a_slower_one():
    waited = {6: 0.2, 7: 0.5, 5: 0.0, 4: 0.0}
    assert choose_cores(None, 1, PHONE, alone(PHONE), waited) == [6]


def test_what_every_free_core_waits_moves_no_session():
    assert choose_cores(None, 1, PHONE, alone(PHONE), {6: 0.0, 7: 0.015}) == [7]


def test_a_core_of_which_nothing_is_known_is_taken_last():
    assert choose_cores(None, 1, PHONE, alone(PHONE), {6: 0.6, 7: None}) == [6]


def test_takes_the_cores_that_are_named():
    assert choose_cores((0, 4), 2, PHONE, alone(PHONE), {0: 0.9}) == [0, 4]


def test_takes_the_quietest_of_more_named_cores_than_threads():
    assert choose_cores((0, 1, 4), 2, PHONE, alone(PHONE), {0: 0.0, 1: 0.5, 4: 0.0}) == [0, 4]


def test_threads_get_a_physical_core_each():
    assert choose_cores(None, 2, [list(range(8))], HYPERTHREADS, {}) == [6, 7]
    assert choose_cores(None, 4, [list(range(8))], HYPERTHREADS, {}) == [4, 5, 6, 7]
    assert choose_cores((0, 1, 4), 2, [list(range(8))], HYPERTHREADS, {1: 0.5, 0: 0.0, 4: 0.0}) == [1, 4]


def test_a_core_whose_other_hardware_thread_is_busy_counts_as_busy():
    waited = dict.fromkeys(range(8), 0.0) | {3: 0.5, 6: 0.5}
    assert choose_cores(None, 1, [list(range(8))], HYPERTHREADS, waited) == [5]
    outside = dict.fromkeys(range(4), 0.0) | {7: 0.5}  # a hardware thread that the agent may not use
    assert choose_cores(None, 1, [[0, 1, 2, 3]], HYPERTHREADS, outside) == [2]


def test_two_hardware_threads_of_one_core_are_refused_unless_they_are_named():
    with pytest.raises(Refusal, match=r"hardware threads of one core: 0\+4, 1\+5.*name the cores"):
        choose_cores(None, 5, [list(range(8))], HYPERTHREADS, {})
    assert choose_cores((0, 4), 2, [list(range(8))], HYPERTHREADS, {}) == [0, 4]


@pytest.mark.parametrize(
    ("wanted", "threads", "word"), [(None, 5, "5"), ((9,), 1, "9"), ((0,), 2, "threads")]
)
def test_refuses_what_cannot_be(wanted, threads, word):
    with pytest.raises(Refusal, match=word) as caught:
        choose_cores(wanted, threads, PHONE, alone(PHONE), {})
    assert caught.value.kind == "bad-request"


def test_cores_that_are_online_and_may_not_be_used_are_told(tmp_path):
    last = max(os.sched_getaffinity(0))
    folder = machine(tmp_path, files={"sys/devices/system/cpu/online": f"0-{last + 2}\n"})
    assert withheld_cores(folder)[-2:] == [last + 1, last + 2]
    assert not set(withheld_cores(folder)) & os.sched_getaffinity(0)
