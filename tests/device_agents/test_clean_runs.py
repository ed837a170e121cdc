"""Which runs count on the device: disturbed ones, those after them, cold ones, and long ones that are corrected."""

from __future__ import annotations

from device_agents.clean_runs import CleanRuns, baseline_ns, warm_places

MS = 1000000
# Places of a slice's runs: two of the reference, two cold ones of the network, three warm ones, two cold ones of the reference.
SWITCH, COLD, NETWORK, AFTER, RUNS = 2, 3, 4, 7, 9


def a_slice(
    delays_ns=None, gaps_ns=None, network_ns=(3 * MS, 3 * MS, 3 * MS), reference_ns=2 * MS, cold_ns=MS
):
    """Return a slice of nine runs; delays and gaps by place, the others 0. Cold runs are short, so that none counts unseen."""
    times = {
        "reference_before_ns": [reference_ns] * 2,
        "after_switch_ns": cold_ns,
        "network_ns": [cold_ns, *network_ns],
        "reference_after_ns": [cold_ns] * 2,
    }
    for name, told in (("delays_ns", delays_ns), ("gaps_ns", gaps_ns)):
        if told is not None:
            times[name] = [told.get(place, 0) for place in range(RUNS)]
    return times


DISTURBED_BEGINNING = {0: MS, 1: MS}


def ratio(*args, clean=None, **kwargs):
    """Return the ratio of a slice after which no run of the reference is clean."""
    clean = clean or CleanRuns(1, 1, 0, 0)
    clean.add(a_slice(*args, **kwargs))
    return clean.add(a_slice(DISTURBED_BEGINNING, {}))


def short_slice(before, network, after):
    """Return a slice of these runs, in which the first after the switch is the shortest."""
    times = {"reference_before_ns": before, "network_ns": network, "reference_after_ns": after}
    return {**times, "after_switch_ns": 1}


def test_the_ratio_of_a_slice_is_of_the_fastest_in_each_half_and_on_each_side_per_loop():
    clean = CleanRuns(network_loops=2, reference_loops=5, network_baseline_ns=0, reference_baseline_ns=0)
    assert clean.add(short_slice([2000, 1500], [7000, 9000, 8500, 8000], [1000, 1600])) is None, (
        "not known yet"
    )
    assert clean.add(short_slice([1600, 1700], [9000, 7000, 6000, 6100], [1000])) == (8500 / 2) / (1550 / 5)
    assert clean.add(short_slice([1400, 1300], [9000, 9000, 9000], [1000])) == (6500 / 2) / (1450 / 5)


def test_reference_runs_of_the_next_slice_count_only_where_those_after_the_network_are_cold():
    clean = CleanRuns(1, 1, 0, 0)
    long = [60 * MS, 62 * MS]
    clean.add(short_slice(long, [90 * MS] * 3, [58 * MS, 64 * MS]))
    assert clean.add(short_slice([MS, MS], [90 * MS] * 3, [MS, MS])) == 90 / 59


def places(times):
    """Return the places of warm runs, of the network in two halves and of the reference on each side."""
    before_ns, network_ns, after_ns = (
        times[f"{name}_ns"] for name in ("reference_before", "network", "reference_after")
    )
    return [[list(group) for group in groups] for groups in warm_places(before_ns, network_ns, after_ns)]


def test_runs_count_from_the_third_after_a_switch_on():
    assert places(short_slice([2, 2], [3] * 5, [2, 2])) == [[[4, 5], [6, 7]], [[0, 1], []]]
    assert places(short_slice([2, 2], [3, 3], [2, 2])) == [[[], [4]], [[0, 1], []]]
    assert ratio({0: MS}, {}) is None, (
        "of the reference, the runs before the switch follow those after the last one"
    )


def test_where_a_slice_has_no_third_run_after_a_switch_all_count_but_that_of_the_switch():
    assert places(short_slice([2], [3, 3, 3], [2])) == [[[3], [4]], [[0], [5]]]
    assert places(short_slice([2, 2], [3], [2, 2])) == [[[], [3]], [[0, 1], []]]


def test_runs_so_long_that_they_begin_cold_anyway_count_from_the_second_after_the_switch_on():
    long = [50 * MS] * 2
    assert places(short_slice(long, [3, 3, 3], long)) == [[[4], [5]], [[0, 1], [6, 7]]]
    assert places(short_slice([2, 2], [50 * MS] * 3, [2, 2])) == [[[3], [4, 5]], [[0, 1], []]]


def test_a_run_that_waited_more_than_a_hundredth_of_its_time_is_no_sample_and_neither_is_the_next():
    networks = (2 * MS, 3 * MS, 4 * MS)
    share = 2 * MS // 100
    assert ratio({NETWORK: share}, {}, networks) == 1.25
    assert ratio({NETWORK: share + 1}, {}, networks) == 2.0, "the second of the network is cold"
    assert ratio({NETWORK: MS, NETWORK + 1: MS}, {}, networks) is None
    assert ratio({COLD: MS}, {}, networks) == 1.5, "the first warm one follows a disturbed run"
    assert ratio({SWITCH: MS}, {}, networks) == 1.25


def test_what_was_waited_between_two_runs_makes_the_later_one_cold():
    networks = (2 * MS, 3 * MS, 4 * MS)
    assert ratio({}, {NETWORK: 20000}, networks) == 1.25
    assert ratio({}, {NETWORK: 20001}, networks) == 1.5
    assert ratio({}, dict.fromkeys(range(NETWORK, AFTER), 10**6), networks) is None


def test_a_slice_without_a_clean_run_of_the_reference_is_none():
    assert ratio({0: MS, 1: MS}, {}) is None
    assert ratio({0: MS}, {}) is None, "the second one follows a disturbed one"
    assert ratio({1: MS}, {}) == 1.5
    assert ratio(dict.fromkeys(range(AFTER, RUNS), MS), {}) == 1.5


def test_a_disturbed_run_at_the_end_of_a_slice_makes_the_next_slice_begin_cold():
    clean = CleanRuns(1, 1, 0, 0)
    disturbed_but_the_first = dict.fromkeys((1, *range(AFTER, RUNS)), MS)
    assert clean.add(a_slice(disturbed_but_the_first, {})) is None
    assert clean.add(a_slice(disturbed_but_the_first, {})) == 1.5
    assert clean.add(a_slice(DISTURBED_BEGINNING, {})) is None


def test_a_slice_whose_own_reference_runs_are_lost_has_those_that_begin_the_next_one():
    clean = CleanRuns(1, 1, 0, 0)
    clean.add(a_slice(DISTURBED_BEGINNING, {}))
    assert clean.add(a_slice({}, {}, reference_ns=4 * MS)) == 0.75


def test_what_pool_threads_wait_among_themselves_is_no_disturbance():
    waits = dict.fromkeys(range(RUNS), 100000)
    assert ratio(waits, {}) is None
    assert ratio(waits, {}, clean=CleanRuns(1, 1, 100000, 100000)) == 1.5
    assert ratio(waits, {}, clean=CleanRuns(1, 1, 100000, 0)) is None


def test_runs_of_which_hardly_one_stays_clean_are_corrected_for_what_they_waited():
    long = {"network_ns": (90 * MS, 80 * MS, 85 * MS), "reference_ns": 60 * MS, "cold_ns": 95 * MS}
    waits = dict.fromkeys(range(COLD, AFTER), 20 * MS)
    assert ratio(waits, {}, **long) == 65 / 77.5, "long runs of the reference count after the network, too"
    short = {"network_ns": (69 * MS, 69 * MS, 69 * MS), "reference_ns": 60 * MS, "cold_ns": 69 * MS}
    assert ratio(waits, {}, **short) is None, "49 ms of its own"
    assert ratio({NETWORK: 20 * MS}, {}, **long) == 90 / 77.5, "a clean run comes first, however long"
    clean_one = dict.fromkeys((COLD, NETWORK, NETWORK + 1), 20 * MS)
    assert ratio(clean_one, {}, **long) == 65 / 77.5


def test_where_nothing_is_told_every_run_counts():
    assert ratio() == 1.5
    assert ratio({NETWORK: MS}) == 1.5, "gaps are not told: the last two of the network count"


def test_the_baseline_is_the_least_that_threads_wait_and_a_small_part_of_a_run():
    assert baseline_ns([], 3 * MS) == 0
    assert baseline_ns([7000] * 9 + [900000], 3 * MS) == 7000
    assert baseline_ns([900000] * 30 + [7000] * 4, 3 * MS) == 7000, "a tenth of the runs was undisturbed"
    assert baseline_ns([900000] * 10, 3 * MS) == 60000, "2 % at most: the machine is not free"
