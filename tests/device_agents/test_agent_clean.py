"""Which runs count on the device: disturbed ones, those after them, cold ones, and long ones that are corrected."""

from __future__ import annotations

from device_agents.clean import CleanRuns, baseline_ns

MS = 1000000
# Places of a slice's runs: two of the reference, the first after the switch, five of the network, two of the reference.
SWITCH, NETWORK, AFTER, ALL = 2, 3, 8, 10
RISING_NS = (
    MS,
    2 * MS,
    3 * MS,
    4 * MS,
    5 * MS,
)  # the first is the second after the switch, and counts for nothing


def a_slice(delays_ns=None, gaps_ns=None, network_ns=(3 * MS,) * 5, reference_ns=2 * MS, after_ns=None):
    """Return a slice of ten runs; delays and gaps by place, the others 0."""
    times = {
        "reference_before_ns": [reference_ns] * 2,
        "after_switch_ns": 9 * MS,
        "network_ns": list(network_ns),
        "reference_after_ns": [after_ns or reference_ns] * 2,
    }
    for name, told in (("delays_ns", delays_ns), ("gaps_ns", gaps_ns)):
        if told is not None:
            times[name] = [told.get(place, 0) for place in range(ALL)]
    return times


def ratio(*args, **kwargs):
    return CleanRuns(1, 1, 0, 0).ratio(a_slice(*args, **kwargs))


def test_the_ratio_of_a_slice_is_of_the_shortest_runs_per_loop_from_the_third_after_a_switch_on():
    times = {
        "reference_before_ns": [2000, 1500],
        "after_switch_ns": 1,
        "network_ns": [2, 9000, 8000],
        "reference_after_ns": [3, 4],
    }
    clean = CleanRuns(network_loops=2, reference_loops=5, network_baseline_ns=0, reference_baseline_ns=0)
    assert clean.ratio(times) == (8000 / 2) / (1500 / 5)


def test_of_slices_too_short_for_that_all_runs_count_but_the_first_after_the_switch():
    times = {
        "reference_before_ns": [2000],
        "after_switch_ns": 1,
        "network_ns": [9000],
        "reference_after_ns": [1500],
    }
    assert CleanRuns(1, 1, 0, 0).ratio(times) == 9000 / 1500


def test_a_run_that_waited_more_than_a_hundredth_of_its_time_is_no_sample_and_neither_is_the_next():
    share = 2 * MS // 100
    assert ratio({NETWORK + 1: share}, {}, RISING_NS) == 1.0
    assert ratio({NETWORK + 1: share + 1}, {}, RISING_NS) == 2.0, "the run after it is cold"
    assert ratio({NETWORK: MS}, {}, RISING_NS) == 1.5, "one that counts for nothing disturbs all the same"
    assert ratio({NETWORK + 1: MS, NETWORK + 3: MS}, {}, RISING_NS) is None


def test_what_was_waited_between_two_runs_makes_the_later_one_cold():
    assert ratio({}, {NETWORK + 1: 20000}, RISING_NS) == 1.0
    assert ratio({}, {NETWORK + 1: 20001}, RISING_NS) == 1.5
    assert ratio({}, dict.fromkeys(range(NETWORK, AFTER), 10**6), RISING_NS) is None


def test_a_slice_without_a_clean_run_of_the_reference_is_none():
    assert ratio(dict.fromkeys((0, 1), MS), {}) is None
    assert ratio({0: MS}, {}) is None, "the second follows a disturbed one"
    assert ratio({1: MS}, {}) == 1.5


def test_a_disturbed_run_at_the_end_of_a_slice_makes_the_next_slice_begin_cold():
    clean = CleanRuns(1, 1, 0, 0)
    disturbed = {1: MS, ALL - 1: MS}
    assert clean.ratio(a_slice(disturbed, {})) == 1.5
    assert clean.ratio(a_slice(disturbed, {})) is None


def test_what_pool_threads_wait_among_themselves_is_no_disturbance():
    waits = dict.fromkeys(range(ALL), 100000)
    assert ratio(waits, {}) is None
    assert CleanRuns(1, 1, 100000, 100000).ratio(a_slice(waits, {})) == 1.5
    assert CleanRuns(1, 1, 100000, 0).ratio(a_slice(waits, {})) is None


def test_runs_of_which_hardly_one_stays_clean_are_corrected_for_what_they_waited():
    long = {"network_ns": [99 * MS, 90 * MS, 80 * MS, 85 * MS, 88 * MS], "reference_ns": 60 * MS}
    waits = dict.fromkeys(range(NETWORK, AFTER), 20 * MS)
    assert ratio(waits, {}, **long) == (80 - 20) / 60
    short = {"network_ns": [69 * MS] * 5, "reference_ns": 60 * MS}
    assert ratio(waits, {}, **short) is None, "49 ms of its own"
    assert ratio({NETWORK + 1: 20 * MS}, {}, **long) == 85 / 60, "a clean run comes first, however long"
    assert ratio({NETWORK + 1: 20 * MS, NETWORK + 3: 20 * MS}, {}, **long) == (85 - 20) / 60


def test_where_nothing_is_told_every_run_counts():
    assert ratio() == 1.5
    assert ratio({NETWORK + 1: MS}) == 1.5, "gaps are not told: the last two of the network count"


def test_the_baseline_is_the_least_that_threads_wait_and_a_small_part_of_a_run():
    assert baseline_ns([], 3 * MS) == 0
    assert baseline_ns([7000] * 9 + [900000], 3 * MS) == 7000
    assert baseline_ns([900000] * 30 + [7000] * 4, 3 * MS) == 7000, "a tenth of the runs was undisturbed"
    assert baseline_ns([900000] * 10, 3 * MS) == 60000, "2 % at most: the machine is not free"
