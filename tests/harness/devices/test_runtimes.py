"""Which runtimes and cores are used, and the tier and name that the conditions give: every branch with its message."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.throttling import clock_tier
from harness.devices.conditions import environment_line, hardware_name
from harness.devices.config import PACKED, Device, LocalDevice, SshDevice
from harness.devices.runtimes import RuntimeUse, allowed_cores, choose_runtimes, likely_runtimes, parse_cores
from space.errors import ConfigError, did_you_mean

HELLO: dict[str, Any] = {
    "runtimes": [
        {
            "name": "onnxruntime",
            "package": "onnxruntime",
            "version": "1.20",
            "formats": ["onnx"],
            "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        },
        {
            "name": "tflite",
            "package": "ai_edge_litert",
            "version": "2.1",
            "formats": ["tflite"],
            "providers": [],
        },
    ],
    "broken": [],
    "cores": [0, 1, 2, 3, 4, 5],
    "clusters": [[4, 5], [0, 1, 2, 3]],
}
LOCAL = LocalDevice(name="local")
ORT = RuntimeUse(
    name="onnxruntime",
    version="1.20",
    provider="CPUExecutionProvider",
    format="onnx",
    options={"provider": "CPUExecutionProvider"},
)
TFLITE = RuntimeUse(name="tflite", version="ai_edge_litert 2.1", provider="cpu", format="tflite")


def only(*names: str, broken: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return HELLO | {
        "runtimes": [runtime for runtime in HELLO["runtimes"] if runtime["name"] in names],
        "broken": broken or [],
    }


@pytest.mark.parametrize(
    ("in_file", "requested", "formats", "likely"),
    [
        ([], [], [], ["onnxruntime", "tflite"]),
        ([], [], ["tflite"], ["tflite"]),
        ([], ["litert:gpu", "onnxruntime:cuda", "litert"], [], ["litert", "onnxruntime"]),
        (["litert", "onnxruntime"], [], ["tflite"], ["litert"]),
        (["onnxruntime"], ["tflite", "no-such"], ["onnx"], ["no-such"]),
    ],
)
def test_a_device_is_asked_about_the_runtimes_that_may_be_used(
    in_file: list[str], requested: list[str], formats: list[str], likely: list[str]
) -> None:
    assert likely_runtimes(LocalDevice(name="local", runtimes=in_file), requested, formats) == likely


def test_with_nothing_asked_for_every_runtime_found_is_used_on_the_cpu() -> None:
    assert choose_runtimes(LOCAL, HELLO, (), ()) == [ORT, TFLITE]


def test_litert_is_measured_where_it_is_asked_for_or_where_nothing_else_is() -> None:
    providers = ["CPU", "GPU", "GPU-fp32", "GPU+CPU", "GPU-fp32+CPU"]
    litert = {"name": "litert", "package": "ai_edge_litert", "version": "2.3.0", "formats": ["tflite"]}
    hello = HELLO | {"runtimes": [*HELLO["runtimes"], litert | {"providers": providers}]}
    assert choose_runtimes(LOCAL, hello, (), ()) == [ORT, TFLITE]
    named = [f"litert:{provider.lower()}" for provider in providers]
    uses = choose_runtimes(LOCAL, hello, ("litert", *named), ())
    assert [use.provider for use in uses] == ["CPU", *providers]
    assert uses[2].options == {"provider": "GPU"}
    alone = HELLO | {"runtimes": [hello["runtimes"][-1]]}
    assert [use.name for use in choose_runtimes(LOCAL, alone, (), ())] == ["litert"]
    with pytest.raises(ConfigError, match=r"no provider 'gpu-f32'; did you mean 'gpu-fp32'"):
        choose_runtimes(LOCAL, hello, ("litert:gpu-f32",), ())


def test_the_command_line_comes_before_devices_toml() -> None:
    device = LocalDevice(name="local", runtimes=("tflite",))
    assert choose_runtimes(device, HELLO, (), ()) == [TFLITE]
    assert choose_runtimes(device, HELLO, ("onnxruntime",), ()) == [ORT]
    assert choose_runtimes(device, HELLO, ("tflite", "onnxruntime", "tflite"), ()) == [TFLITE, ORT]


def test_formats_leave_only_the_runtimes_that_run_them() -> None:
    assert choose_runtimes(LOCAL, HELLO, (), ("tflite",)) == [TFLITE]
    assert choose_runtimes(LOCAL, HELLO, (), ("tflite", "onnx")) == [ORT, TFLITE]
    with pytest.raises(ConfigError, match="no runtime to measure with, none runs tflite models") as caught:
        choose_runtimes(LOCAL, HELLO, ("onnxruntime",), ("tflite",))
    assert "asked for: onnxruntime" in str(caught.value)
    assert str(caught.value).endswith("name one that does: --runtime tflite")
    with pytest.raises(ConfigError, match="none runs tflite models; install one on the device") as caught:
        choose_runtimes(LOCAL, only("onnxruntime"), (), ("tflite",))
    assert str(caught.value).endswith("-m pip install ai-edge-litert")


def test_a_device_that_only_packed_jobs_reach_is_not_sent_to_provision() -> None:
    board = Device(name="board", transport=PACKED)
    with pytest.raises(ConfigError, match=r"install one on the device: python3 -m venv ~/harness-venv"):
        choose_runtimes(board, only(), (), ())


def test_in_termux_the_line_to_install_onnxruntime_is_termuxs_own() -> None:
    phone = only() | {"platform": {"android": "14"}}
    with pytest.raises(
        ConfigError, match=r"harness provision --device pixel, or by hand: pkg install python-onnxruntime$"
    ):
        choose_runtimes(SshDevice(name="pixel", address="a"), phone, ("onnxruntime",), ())


def test_a_runtime_from_another_package_is_another_version() -> None:
    other = only() | {"runtimes": [HELLO["runtimes"][1] | {"package": "tensorflow"}]}
    (use,) = choose_runtimes(LOCAL, other, (), ())
    assert use.version == "tensorflow 2.1"


@pytest.mark.parametrize("provider", ["cuda", "CUDA", "CUDAExecutionProvider"])
def test_a_provider_is_named_short_or_in_full(provider: str) -> None:
    (use,) = choose_runtimes(LOCAL, HELLO, (f"onnxruntime:{provider}",), ())
    assert use.provider == "CUDAExecutionProvider"
    assert use.options == {"provider": "CUDAExecutionProvider"}


def test_a_provider_is_told_its_options_and_a_graph_and_help_of_the_cpu_are_named_behind_it() -> None:
    cuda = "CUDAExecutionProvider"
    providers = [cuda, "CPUExecutionProvider", f"{cuda}+graph", f"{cuda}+CPU"]
    hello = HELLO | {"runtimes": [HELLO["runtimes"][0] | {"providers": providers}]}
    device = LOCAL.model_copy(
        update={"provider_options": {"cuda": {"use_tf32": False}, "qnn": {"vtcm_mb": 8}}}
    )
    named = ("onnxruntime:cuda", "onnxruntime:cuda+graph", "onnxruntime:cuda+cpu", "onnxruntime:cpu")
    uses = choose_runtimes(device, hello, named, ())
    assert [use.provider for use in uses] == [cuda, f"{cuda}+graph", f"{cuda}+CPU", "CPUExecutionProvider"]
    assert [use.options.get("provider_options") for use in uses] == [{"use_tf32": "0"}] * 3 + [None]


def test_a_provider_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(
        ConfigError,
        match=r"'onnxruntime:cdua': no provider 'cdua'; did you mean 'cuda'\? \(there: cuda, cpu\)",
    ):
        choose_runtimes(LOCAL, HELLO, ("onnxruntime:cdua",), ())
    with pytest.raises(ConfigError, match=r"no provider 'gpu' \(there: none\)"):
        choose_runtimes(LOCAL, HELLO, ("tflite:gpu",), ())


def test_a_provider_that_is_spelled_well_and_absent_is_not_taken_for_a_typo() -> None:
    hello = HELLO | {"runtimes": [HELLO["runtimes"][0] | {"providers": ["CPUExecutionProvider"]}]}
    with pytest.raises(ConfigError) as refused:
        choose_runtimes(LOCAL, hello, ("onnxruntime:cuda",), ())
    assert "no provider 'cuda' (there: cpu); " in str(refused.value)
    assert str(refused.value).endswith(
        "pip install 'onnxruntime-gpu[cuda,cudnn]' (on a Jetson: docs/how-to/jetson.md)"
    )


def test_a_runtime_without_a_cpu_provider_takes_its_first() -> None:
    hello = HELLO | {"runtimes": [HELLO["runtimes"][0] | {"providers": ["QNNExecutionProvider"]}]}
    (use,) = choose_runtimes(LOCAL, hello, (), ())
    assert use.provider == "QNNExecutionProvider"


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"--runtime names unknown runtime 'tflit'; did you mean 'tflite'\?"
    ):
        choose_runtimes(LOCAL, HELLO, ("tflit",), ())


def test_a_runtime_that_the_device_lacks_is_refused_with_the_line_to_install_it() -> None:
    device = SshDevice(name="pi", address="a", python="~/venv/bin/python")
    broken = [{"name": "tflite", "message": "libc too old"}]
    with pytest.raises(ConfigError) as caught:
        choose_runtimes(device, only("onnxruntime", broken=broken), ("tflite",), ())
    for part in (
        "device 'pi': no runtime 'tflite' (found: onnxruntime)",
        "installed but broken: tflite: libc too old",
        "install it on the device: harness provision --device pi, or by hand: ",
        "~/venv/bin/python -m pip install ai-edge-litert",
    ):
        assert part in str(caught.value)


def test_a_runtime_on_request_is_named_to_be_provisioned() -> None:
    with pytest.raises(ConfigError, match="harness provision --device local --runtime litert, or by hand"):
        choose_runtimes(LOCAL, HELLO, ("litert",), ())


def test_a_device_without_a_runtime_is_refused_with_the_lines_to_install_one() -> None:
    device = SshDevice(name="pi", address="a")
    with pytest.raises(ConfigError) as caught:
        choose_runtimes(device, only(), (), ())
    for part in (
        "device 'pi': no runtime to measure with, none is installed",
        "python3 -m venv ~/harness-venv (Debian, Ubuntu: sudo apt install python3-venv first), then "
        "~/harness-venv/bin/pip install onnxruntime or ~/harness-venv/bin/pip install ai-edge-litert, "
        'then python = "~/harness-venv/bin/python" in [devices.pi]',
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("python", ["", "/usr/bin/python3", "/usr/bin/python3.11", "python3"])
def test_pip_is_not_sent_into_a_python_of_the_systems_own(python: str) -> None:
    """Debian 12, Ubuntu 24.04 and Raspberry Pi OS refuse it: PEP 668."""
    with pytest.raises(ConfigError) as caught:
        choose_runtimes(SshDevice(name="pi", address="a", python=python), only(), (), ())
    assert "-m pip" not in str(caught.value) and "-m venv" in str(caught.value)


@pytest.mark.parametrize("version", ["1.11.1", "1.9.0", "0.5"])
def test_a_runtime_too_old_for_the_models_is_refused_with_the_least_version(version: str) -> None:
    old = only() | {"runtimes": [HELLO["runtimes"][0] | {"version": version}]}
    with pytest.raises(ConfigError) as caught:
        choose_runtimes(SshDevice(name="pi", address="a"), old, (), ())
    words = (version, "of onnxruntime is too old", "1.12 is the first", "pip install --upgrade onnxruntime")
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("version", ["1.12.0", "1.30.0+cpu", "2.0", "unknown"])
def test_a_runtime_that_reads_the_models_or_does_not_tell_is_taken(version: str) -> None:
    found = only() | {"runtimes": [HELLO["runtimes"][0] | {"version": version}]}
    assert len(choose_runtimes(LOCAL, found, (), ())) == 1


def test_on_this_machine_the_line_to_install_names_the_python_that_is_used() -> None:
    with pytest.raises(ConfigError, match=f"{re.escape(sys.executable)} -m pip install onnxruntime or "):
        choose_runtimes(LOCAL, only(), (), ())
    with pytest.raises(ConfigError, match=f"{re.escape(sys.executable)} -m pip install ai-edge-litert$"):
        choose_runtimes(LOCAL, only("onnxruntime"), ("tflite",), ())


def test_without_named_cores_a_session_may_take_any_of_the_fastest_cluster() -> None:
    assert allowed_cores(LOCAL, HELLO, None, ()) == ((4, 5), 1)
    assert allowed_cores(LOCAL, HELLO, 2, ()) == ((4, 5), 2)
    assert allowed_cores(LocalDevice(name="local", threads=2), HELLO, None, ()) == ((4, 5), 2)
    assert allowed_cores(LOCAL, HELLO | {"clusters": []}, 3, ()) == ((0, 1, 2, 3, 4, 5), 3)


def test_named_cores_are_those_that_a_session_may_take_and_it_takes_one_a_thread() -> None:
    device = LocalDevice(name="local", cores=(2, 3), threads=2)
    assert allowed_cores(device, HELLO, None, ()) == ((2, 3), 2)
    assert allowed_cores(device, HELLO, 1, ()) == ((2, 3), 1)
    assert allowed_cores(device, HELLO, None, (0, 1)) == ((0, 1), 2)
    assert allowed_cores(LOCAL, HELLO, 3, (5, 0, 1)) == ((0, 1, 5), 3)
    assert allowed_cores(LocalDevice(name="local", cores=(2, 3)), HELLO, None, ()) == ((2, 3), 2)


def test_fewer_threads_than_named_cores_of_unlike_kinds_are_refused_for_each_session_might_take_others() -> (
    None
):
    with pytest.raises(ConfigError, match="cores 5 and 0,1 are unlike, and a session of 2 threads"):
        allowed_cores(LOCAL, HELLO, 2, (5, 0, 1))
    assert allowed_cores(LOCAL, HELLO | {"clusters": []}, 2, (5, 0, 1)) == ((0, 1, 5), 2)


def test_too_many_threads_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="'local': 3 threads, but its fastest cluster has 2 cores 4,5; use fewer"
    ):
        allowed_cores(LOCAL, HELLO, 3, ())
    with pytest.raises(
        ConfigError, match=r"3 threads on 2 named cores 0,1; .*name more cores or fewer threads"
    ):
        allowed_cores(LOCAL, HELLO, 3, (0, 1))


def test_a_core_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"core 9 is not usable \(usable: 0,1,2,3,4,5\); name others with --cores"
    ):
        allowed_cores(LOCAL, HELLO, None, (0, 9))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("", ()),
        ("3", (3,)),
        ("4-7", (4, 5, 6, 7)),
        ("0,2", (0, 2)),
        ("2,0", (2, 0)),
        ("0, 4-5", (0, 4, 5)),
        ("7-7", (7,)),
        ("4095", (4095,)),
    ],
)
def test_cores_are_parsed(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize(
    "text",
    ["x", "-1", "1-", "-", "3-1", "1,1", "1-3,2", "4096", "0-9999", "1.5", "1 2", " ", ",", "1,,2", "\u0661"],
)
def test_text_that_names_no_cores_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_cores(text)
    assert f"--cores {text!r}: " in str(caught.value)


@given(cores=st.lists(st.integers(0, 4095), unique=True, max_size=8).map(tuple))
def test_any_list_of_cores_parses_back(cores: tuple[int, ...]) -> None:
    assert parse_cores(",".join(map(str, cores))) == cores


@given(text=st.text("0123456789-, x", max_size=8))
def test_any_text_is_cores_or_refused(text: str) -> None:
    try:
        cores = parse_cores(text)
    except ConfigError:
        return
    assert len(set(cores)) == len(cores)
    assert all(0 <= core <= 4095 for core in cores)


LOCKED = {"min": 2_000_000, "max": 2_000_000, "current": 2_000_000}
FREE = {"min": 500_000, "max": 2_000_000}


@pytest.mark.parametrize(
    ("frequencies", "governors", "tier"),
    [
        ({"4": LOCKED, "5": LOCKED, "0": FREE}, {}, "A"),
        ({"4": LOCKED, "5": FREE}, {}, "C"),
        ({"4": LOCKED}, {}, "C"),
        ({"4": LOCKED, "5": {"current": 1}}, {}, "C"),
        ({"4": LOCKED, "5": FREE}, {"4": "performance", "5": "performance", "0": "powersave"}, "B"),
        ({}, {"4": "performance", "5": "schedutil"}, "C"),
        ({}, {"4": "performance"}, "C"),
        ({}, {}, "C"),
    ],
)
def test_the_clock_tier_is_that_of_the_measured_cores(
    frequencies: dict[str, Any], governors: dict[str, str], tier: str
) -> None:
    assert clock_tier({"freq_khz": frequencies, "governors": governors}, (4, 5)) == tier


def test_without_probes_or_cores_the_clocks_count_as_free() -> None:
    assert clock_tier({}, (0,)) == "C"
    assert clock_tier({"freq_khz": {"0": LOCKED}, "governors": {"0": "performance"}}, ()) == "C"


def test_hardware_is_named_by_machine_and_cpu_and_never_by_nothing() -> None:
    assert (
        hardware_name({"platform": {"machine": "aarch64"}}, {"cpu_model": "Cortex-A76"})
        == "aarch64 Cortex-A76"
    )
    assert hardware_name({}, {}) == "unknown machine unknown CPU"


def test_hardware_of_a_gpu_has_the_models_of_the_gpus() -> None:
    hello, cards = {"platform": {"machine": "x86_64"}}, [{"name": "T4"}, {"name": "A2"}, {"name": "T4"}]
    conditions = {"cpu_model": "Xeon", "gpus": cards}
    assert hardware_name(hello, conditions, uses_gpu=True) == "x86_64 Xeon, A2, T4"
    assert hardware_name(hello, conditions) == "x86_64 Xeon"


def test_which_gpus_are_visible_counts_where_they_are_unlike() -> None:
    hello = {"variables": {"CUDA_VISIBLE_DEVICES": "0a", "MALLOC_ARENA_MAX": "1b"}}
    alike, unlike = ({"gpus": [{"name": "T4"}, {"name": name}]} for name in ("T4", "A2"))
    assert environment_line(hello, unlike, uses_gpu=True) == "CUDA_VISIBLE_DEVICES#0a MALLOC_ARENA_MAX#1b"
    for conditions, uses_gpu in ((alike, True), (unlike, False)):
        assert environment_line(hello, conditions, uses_gpu) == "MALLOC_ARENA_MAX#1b"


def test_the_clock_that_cores_are_locked_to_belongs_to_a_configuration() -> None:
    def at(*khz: int) -> dict[str, Any]:
        return {"freq_khz": {str(core): {"min": one, "max": one} for core, one in enumerate(khz)}}

    slow, unlike = at(1_500_000, 1_500_000), at(1_500_000, 1_800_000)
    free = {"freq_khz": {"0": {"min": 600_000, "max": 1_500_000}}}
    assert environment_line({"variables": {"A": "0a"}}, slow, cores=(0, 1)) == "A#0a locked_khz#1500000"
    assert [environment_line({}, one, cores=(0, 1)) for one in (unlike, free, {})] == ["", "", ""]
    assert environment_line({}, slow) == ""


@pytest.mark.parametrize(
    ("most", "governor", "environment"),
    [
        ((1_200, 1_200), "performance", "max_khz#1200"),
        ((1_800, 1_800), "performance", ""),
        ((1_200, 1_500), "performance", ""),
        ((1_200, 1_200), "schedutil", ""),  # a phone's thermal engine sets such limits all the time
    ],
)
def test_a_limit_below_what_cores_can_belongs_to_a_configuration_of_the_performance_governor(
    most: tuple[int, int], governor: str, environment: str
) -> None:
    khz = {str(core): {"min": 600, "max": one, "hardware_max": 1_800} for core, one in enumerate(most)}
    conditions = {"freq_khz": khz, "governors": dict.fromkeys(khz, governor)}
    assert environment_line({}, conditions, cores=(0, 1)) == environment


def test_limits_of_the_used_gpu_and_clocks_without_boost_belong_to_a_configuration() -> None:
    other, used = (
        {"limits": {"power_w": 250.0}},
        {"used": True, "limits": {"power_w": 300.0, "clock_mhz": 1005.0}},
    )
    conditions = {"gpus": [other, used], "boost": False}
    assert environment_line({}, conditions, True) == "boost#off gpu_clock_mhz#1005 gpu_power_w#300"
    assert environment_line({}, conditions) == "boost#off"
    assert environment_line({}, {"gpus": [{"used": True}], "boost": True}, True) == ""


def test_only_a_near_name_is_suggested() -> None:
    assert did_you_mean("tflit", ["tflite", "onnxruntime"]) == "; did you mean 'tflite'?"
    assert did_you_mean("zzz", ["tflite"]) == ""
    assert did_you_mean("x", []) == ""


@pytest.mark.parametrize(
    ("platform", "kind"),
    [({"libc": "musl", "bits": "64"}, "musl"), ({"libc": "glibc", "bits": "32"}, "32-bit")],
)
def test_a_system_without_wheels_is_told_no_line_of_pip(platform: dict[str, str], kind: str) -> None:
    hello = {**HELLO, "runtimes": [], "platform": platform}
    with pytest.raises(ConfigError, match="harness provision --device local says what would do") as caught:
        choose_runtimes(LOCAL, hello, (), ())
    assert kind in str(caught.value)
    assert "pip install" not in str(caught.value)
    android = {**hello, "platform": {**platform, "libc": "bionic", "android": "15"}}
    with pytest.raises(ConfigError, match="pkg install"):
        choose_runtimes(LOCAL, android, (), ())
