"""Signs of throttling in made-up conditions, and the slices that they mark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories.records import CONDITIONS, CONFIGURATION, JSON_VALUES, make_session
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.throttling import PI_BITS, clock_tier, closed_gates, signs_between, throttle_signs
from harness.devices.conditions import (
    ANY_THROTTLING,
    REMEDIES,
    earlier_throttling,
    marked_slices,
    session_signs,
    stayed_as_set,
    throttle_remedy,
)
from harness.records import SessionRecord, Slice

SECOND_NS = 1_000_000_000
LOCKED = {"4": {"min": 1_800_000, "max": 1_800_000}, "5": {"min": 1_800_000, "max": 1_800_000}}
TIER_A = replace(CONFIGURATION, clock_tier="A")


def slice_at(at_s: float | None, duration_s: float = 0.06) -> Slice:
    """Return a slice that began then and took so long."""
    return Slice(
        reference_before_ns=(1,),
        after_switch_ns=1,
        network_ns=(round(duration_s * SECOND_NS) - 3,),
        reference_after_ns=(1,),
        at_ns=None if at_s is None else round(at_s * SECOND_NS),
    )


def session_with(
    times_s: list[float], samples: list[tuple[float, dict[str, Any]]], **changes: Any
) -> SessionRecord:
    """Return a session with slices and samples at these times."""
    made = tuple({"at_ns": round(at_s * SECOND_NS), **sample} for at_s, sample in samples)
    return make_session([slice_at(at_s) for at_s in times_s], samples=made, **changes)


@pytest.mark.parametrize(
    ("conditions", "signs"),
    [
        ({}, []),
        ({"thermal_status": 0, "throttled": 0, "gpus": [{"reasons": 0}]}, []),
        ({"thermal_status": 1}, ["Android thermal status 1 (light)"]),
        ({"thermal_status": 6}, ["Android thermal status 6 (shutdown)"]),
        ({"throttled": 0x5}, ["Raspberry Pi throttled: under-voltage, throttled"]),
        ({"throttled": 0xA}, ["Raspberry Pi throttled: frequency capped, soft temperature limit"]),
        ({"throttled": 0xF0000}, []),  # since boot, not now
        ({"undervoltage": 1}, ["Raspberry Pi's supply: under-voltage"]),
        ({"undervoltage": 1, "throttled": 0x1}, ["Raspberry Pi throttled: under-voltage"]),
        ({"undervoltage": 0}, []),
        ({"cooling": {"pwm-fan": 4, "thermal-cpufreq-0": 0, "Processor": 0, "TCC Offset": 3}}, []),
        ({"cooling": {"Processor": 3}}, ["clocks held down for heat: Processor"]),
        ({"cooling": {"intel_powerclamp": 20, "idle-cpu0": 5}}, ["clocks held down for heat: intel_powerclamp, idle-cpu0"]),
        ({"cooling": {"pwm-fan": 4, "thermal-cpufreq-0": 2}}, ["clocks held down for heat: thermal-cpufreq-0"]),
        ({"cooling": {"cpufreq-cpu4": 1, "devfreq-gpu": 3}}, ["clocks held down for heat: cpufreq-cpu4, devfreq-gpu"]),
        ({"gpus": [{"reasons": 0x1 | 0x2 | 0x10 | 0x100}]}, []),
        ({"gpus": [{"reasons": 0}, {"reasons": 0x44}]}, ["NVIDIA GPU 1 throttled: power cap, hardware thermal slowdown"]),
        ({"gpu_reasons": 0x8}, ["NVIDIA GPU 0 throttled: hardware slowdown"]),
    ],
)  # fmt: skip
def test_a_sign_of_throttling_says_what_holds_the_device_back(
    conditions: dict[str, Any], signs: list[str]
) -> None:
    assert throttle_signs(conditions) == signs


@pytest.mark.parametrize("bit", PI_BITS)
def test_each_bit_of_a_raspberry_pi_has_its_remedy_now_and_since_its_start(bit: int) -> None:
    assert throttle_remedy(throttle_signs({"throttled": bit})) == REMEDIES[PI_BITS[bit]]
    assert earlier_throttling({"throttled": bit << 16}) == PI_BITS[bit]
    assert earlier_throttling({"throttled": bit << 16 | bit}) == ""
    meanwhile = signs_between({"throttled": 0}, {"throttled": bit << 16})
    assert meanwhile == [f"Raspberry Pi throttled meanwhile: {PI_BITS[bit]}"]
    assert throttle_remedy(meanwhile) == REMEDIES[PI_BITS[bit]]
    assert signs_between({"throttled": bit << 16}, {"throttled": bit << 16}) == []
    assert signs_between({}, {"throttled": bit << 16}) == []  # since when is not known


def test_a_clock_that_is_held_down_for_heat_has_its_remedy() -> None:
    signs = throttle_signs({"cooling": {"cpufreq-cpu0": 1, "thermal-devfreq-0": 3}})
    assert throttle_remedy(signs) == REMEDIES["cpufreq-"] != ANY_THROTTLING


def test_a_jetson_that_was_held_back_for_its_supply_shows_by_its_counts() -> None:
    before, after = {"over_current": {"oc1": 4, "oc3": 15}}, {"over_current": {"oc1": 4, "oc2": 7, "oc3": 52}}
    signs = signs_between(before, after)
    assert signs == ["Jetson held back 37 times: over-current in moments"]
    assert throttle_remedy(signs) == REMEDIES["over-current"]
    assert signs_between(after, before) == signs_between({}, after) == []


def test_causes_without_a_remedy_of_their_own_have_the_usual_one() -> None:
    assert throttle_remedy(["Android thermal status 2 (moderate)"]) == ANY_THROTTLING


def test_every_bit_of_nvidias_mask_counts_and_no_other() -> None:
    counted = [bit for bit in range(16) if throttle_signs({"gpu_reasons": 1 << bit})]
    assert sum(1 << bit for bit in counted) == 0xEC


def test_a_locked_core_below_its_clock_is_a_sign_where_cores_are_named() -> None:
    slow = {
        "freq_khz": {"4": {**LOCKED["4"], "current": 1_200_000}, "5": {**LOCKED["5"], "current": 1_790_000}}
    }
    assert throttle_signs(slow) == []
    assert throttle_signs(slow, (4, 5)) == ["core 4 at 1200 MHz, locked at 1800 MHz"]
    free = {"freq_khz": {"4": {"min": 600_000, "max": 1_800_000, "current": 600_000}}}
    assert throttle_signs(free, (4,)) == []


def test_a_gate_closes_at_more_than_three_degrees_over_the_start_in_zones_that_both_know() -> None:
    start = {"temps_c": {"cpu": 40.0, "skin": 30.0}, "gpus": [{"temp_c": 50}]}
    assert closed_gates({"temps_c": {"cpu": 43.0, "new": 90.0}, "gpus": [{"temp_c": 53}]}, start) == {}
    assert closed_gates({"temps_c": {"cpu": 43.1}, "gpus": [{"temp_c": 54}]}, start) == {
        "cpu": "cpu at 43.1 C, 3.1 C over the campaign's start",
        "GPU 0": "GPU 0 at 54.0 C, 4.0 C over the campaign's start",
    }
    status = "Android thermal status 2 (moderate)"
    assert closed_gates({"thermal_status": 2, "temps_c": {"cpu": 20.0}}, start) == {status: status}
    assert closed_gates({"temps_c": {"cpu": 90.0}}, {}) == {}


def test_slices_near_a_throttled_sample_are_marked_and_others_are_not() -> None:
    samples = [(at_s, {"throttled": 4 if at_s == 5 else 0}) for at_s in range(10)]
    session = session_with([3.5, 3.9, 4.5, 5.0, 5.5, 6.1, 7.5], samples)
    assert marked_slices(session) == (False, False, True, True, True, False, False)


def test_a_sample_speaks_for_a_second_and_a_half() -> None:
    lone: list[tuple[float, dict[str, Any]]] = [(5.0, {"thermal_status": 1})]
    session = session_with([3.4, 3.45, 5.0, 6.5, 6.51], lone)
    assert marked_slices(session) == (False, True, True, True, False)


def test_samples_of_one_source_do_not_hide_what_another_tells() -> None:
    adb = {"source": "adb", "thermal_status": 2}
    samples: list[tuple[float, dict[str, Any]]] = [
        (3.0, adb),
        (3.9, {}),
        (4.6, {}),
        (5.0, adb | {"thermal_status": 0}),
    ]
    assert marked_slices(session_with([4.0, 4.7], samples)) == (True, False)


def test_a_sample_of_uncertain_time_counts_for_every_time_that_it_may_be_of() -> None:
    lone: list[tuple[float, dict[str, Any]]] = [(5.0, {"thermal_status": 1, "at_error_ns": SECOND_NS // 2})]
    session = session_with([2.9, 3.0, 5.0, 6.9, 7.01], lone)
    assert marked_slices(session) == (False, True, True, True, False)
    between: list[tuple[float, dict[str, Any]]] = [
        (5.0, {"thermal_status": 1, "at_error_ns": SECOND_NS // 2}),
        (5.2, {"at_error_ns": SECOND_NS // 2}),
    ]
    assert marked_slices(session_with([5.4], between)) == (True,), "either may have been the one before it"


def test_fixed_performance_that_was_asked_for_and_is_off_is_a_sign_and_a_tier_where_it_is_on() -> None:
    assert throttle_signs({"fixed_performance": False}) == ["Android's fixed-performance mode is off"]
    assert throttle_signs({"fixed_performance": True}) == throttle_signs({}) == []
    assert clock_tier({"fixed_performance": True}, (4,)) == "F"
    assert clock_tier({"fixed_performance": False}, (4,)) == clock_tier({}, (4,)) == "C"
    assert clock_tier({"fixed_performance": True, "freq_khz": LOCKED}, (4, 5)) == "A"


def test_a_slice_longer_than_a_second_is_judged_by_the_samples_within() -> None:
    samples: list[tuple[float, dict[str, Any]]] = [(1.0, {}), (3.0, {"throttled": 1}), (5.0, {}), (6.0, {})]
    made = tuple({"at_ns": round(at_s * SECOND_NS), **sample} for at_s, sample in samples)
    session = make_session([slice_at(0.9, 4.5), slice_at(5.5)], samples=made)
    assert marked_slices(session) == (True, False)


def test_a_clock_below_the_locked_one_marks_in_tier_a_alone() -> None:
    samples: list[tuple[float, dict[str, Any]]] = [
        (1.0, {"freq_khz": {"4": 1_800_000, "5": 1_720_000}}),
        (5.0, {"freq_khz": {"4": 1_800_000, "5": 1_700_000}}),
        (9.0, {"freq_khz": {"4": 1_800_000, "0": 300_000}}),
    ]
    session = session_with(
        [1.0, 5.0, 9.0], samples, configuration=TIER_A, conditions_before={"freq_khz": LOCKED}
    )
    assert marked_slices(session) == (False, True, False)
    free = {"freq_khz": {core: {"min": 300_000, "max": 1_800_000} for core in "45"}}
    assert marked_slices(replace(session, conditions_before=free)) == (False, False, False)
    assert marked_slices(replace(session, configuration=CONFIGURATION)) == (False, False, False)


LIMITS = {core: {"min": 300_000, "max": 1_800_000} for core in "045"}


def limited(khz: int, core: str = "4") -> dict[str, Any]:
    """Return a sample in which a core may run at this clock, the others as fast as ever."""
    return {
        "max_khz": {"0": 1_800_000, "4": 1_800_000, "5": 1_800_000, core: khz},
        "freq_khz": {"4": 600_000},
    }


@pytest.mark.parametrize("tier", ["C", "F"])
def test_a_clock_that_may_not_be_as_high_as_before_marks_where_it_is_free(tier: str) -> None:
    samples = [(1.0, limited(1_800_000)), (5.0, limited(1_200_000)), (9.0, limited(1_800_000))]
    free = {
        "configuration": replace(CONFIGURATION, clock_tier=tier),
        "conditions_before": {"freq_khz": LIMITS},
    }
    session = session_with([1.0, 5.0, 9.0], samples, **free)
    assert marked_slices(session) == (False, True, False)
    assert session_signs(session) == ["core 4 may run at 1200 MHz, at other times at 1800 MHz"]
    assert throttle_remedy(session_signs(session)) == ANY_THROTTLING
    another = session_with([5.0], [(5.0, limited(1_200_000, core="0"))], **free)
    assert marked_slices(another) == (False,), "of cores that are not measured nothing is said"
    low_at_first = [(1.0, limited(1_200_000)), (5.0, limited(1_800_000))]
    assert marked_slices(session_with([1.0, 5.0], low_at_first, **free)) == (True, False)


def test_a_gate_closes_where_a_core_may_run_slower_than_at_the_start() -> None:
    low = {"freq_khz": LIMITS | {"5": {"max": 900_000}}}
    assert closed_gates(low, {"freq_khz": LIMITS}) == {
        "clock limit": "core 5 may run at 900 MHz, at other times at 1800 MHz"
    }
    assert closed_gates({"freq_khz": LIMITS}, low) == closed_gates(low, {}) == closed_gates({}, low) == {}


def test_nothing_is_marked_without_samples_or_without_times() -> None:
    assert marked_slices(session_with([1.0, 2.0], [])) == (False, False)
    throttled = ({"at_ns": SECOND_NS, "thermal_status": 3},)
    assert marked_slices(make_session([slice_at(None)], samples=throttled)) == (False,)
    assert marked_slices(make_session([slice_at(1.0)], samples=throttled)) == (True,)


@settings(deadline=None, max_examples=60)
@given(
    conditions=CONDITIONS,
    key=st.sampled_from(["thermal_status", "throttled", "gpus", "gpu_reasons", "freq_khz", "temps_c"]),
    value=JSON_VALUES,
)
def test_odd_answers_of_a_device_are_no_sign_and_no_error(
    conditions: dict[str, Any], key: str, value: Any
) -> None:
    odd = conditions | {key: value}
    closed_gates(odd, conditions)
    closed_gates(conditions, odd)
    assert isinstance(throttle_signs(odd, (4, 5)), list)
    assert isinstance(closed_gates(odd, odd), dict)
    session = make_session(
        [slice_at(1.0)], samples=({"at_ns": SECOND_NS, **odd},), configuration=TIER_A, conditions_before=odd
    )
    assert len(marked_slices(session)) == 1


@pytest.mark.parametrize(
    ("then", "now", "sign"),
    [
        (
            {"governors": {"4": "schedutil"}},
            {"governors": {"4": "powersave"}},
            "core 4 has governor powersave, before schedutil",
        ),
        ({"boost": True}, {"boost": False}, "boosted clocks were switched off meanwhile"),
        ({"boost": False}, {"boost": True}, "boosted clocks were switched on meanwhile"),
        ({"governors": {"4": "schedutil"}}, {"governors": {"5": "powersave"}}, ""),
        ({"governors": {"4": "schedutil"}, "boost": True}, {}, ""),
        ({}, {"governors": {"4": "powersave"}, "boost": False}, ""),
    ],
)
def test_a_setting_that_is_changed_for_a_part_of_a_session_marks_its_slices(
    then: dict[str, Any], now: dict[str, Any], sign: str
) -> None:
    samples = [(1.0, then), (6.0, now), (12.0, then)]
    session = session_with([1.0, 6.0, 12.0], samples, conditions_before=then, scheduling={"cores": [4]})
    assert marked_slices(session) == (False, bool(sign), False)
    assert session_signs(session) == [sign] * bool(sign)


SET = {"governors": {"4": "schedutil"}, "freq_khz": {"4": {"min": 300, "max": 900}}, "boost": True}
AS_SET = {"governors": {"4": "schedutil"}, "min_khz": {"4": 300}, "max_khz": {"4": 900}, "boost": True}


@pytest.mark.parametrize(
    ("before", "samples", "stayed"),
    [
        ({}, [], True),
        (SET, [AS_SET], True),
        (SET, [AS_SET, {"source": "adb", "thermal_status": 0}], True),
        (SET, [], False),
        (SET, [AS_SET, AS_SET | {"max_khz": {"4": 600}}], False),
        (SET, [AS_SET | {"governors": {}}], False),
        (SET, [AS_SET | {"boost": False}], False),
        (SET | {"power_mode": "MAXN"}, [AS_SET], False),
    ],
)
def test_a_session_tells_by_its_last_sample_whether_its_device_stayed_as_it_was_set(
    before: dict[str, Any], samples: list[dict[str, Any]], stayed: bool
) -> None:
    made = list(enumerate(samples, 1))
    session = session_with([1.0], made, conditions_before=before, scheduling={"cores": [4]})
    assert stayed_as_set(session) is stayed
    on_gpu = replace(CONFIGURATION, provider="CUDAExecutionProvider")
    assert not stayed_as_set(replace(session, configuration=on_gpu))
