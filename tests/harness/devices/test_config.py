"""devices.toml: what is read, and for each kind of bad input a message with file, line, key, value and remedy."""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import exporters
from harness.devices.config import (
    PRECISIONS,
    AdbDevice,
    LocalDevice,
    SshDevice,
    devices_schema,
    load_devices,
    parse_devices,
    parse_runtime,
)
from harness.devices.provider_options import option_texts, options_line
from harness.devices.runtimes import choose_runtimes
from space.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000"


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_devices(text, "lab.toml")
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_every_key_is_read() -> None:
    devices = parse_devices(
        f"""
        [devices.pi4]
        transport = "ssh"
        address = "10.0.0.4"
        port = 2222
        user = "pi"
        key = "~/.ssh/lab"
        host_key = "{HOST_KEY}"
        known_hosts = "/etc/known"
        python = "python3.11"
        runtimes = ["onnxruntime:cpu", "tflite"]
        threads = 4
        cores = [2, 3]
        root = "/data/agent"
        description = "on the shelf"
        group = ["lab", "boards"]
        """
    )
    assert devices["pi4"] == SshDevice(
        name="pi4",
        address="10.0.0.4",
        port=2222,
        user="pi",
        key="~/.ssh/lab",
        host_key=HOST_KEY,
        known_hosts="/etc/known",
        python="python3.11",
        runtimes=("onnxruntime:cpu", "tflite"),
        threads=4,
        cores=(2, 3),
        root="/data/agent",
        description="on the shelf",
        group=("lab", "boards"),
    )


def test_local_is_always_there_and_may_be_described() -> None:
    assert parse_devices("") == {"local": LocalDevice(name="local")}
    assert parse_devices("[devices.local]\nthreads = 2\n")["local"] == LocalDevice(name="local", threads=2)
    assert list(parse_devices('[devices.pi]\ntransport="ssh"\naddress="a"\n')) == ["local", "pi"]


def test_with_no_file_there_is_the_device_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_devices(None) == {"local": LocalDevice(name="local")}
    (tmp_path / "devices.toml").write_text('[devices.b]\ntransport = "local"\n')
    assert list(load_devices(None)) == ["local", "b"]


# Keys of a device here, and of one behind an address, each with what is said of it behind the line and the table.
HERE, THERE = '[devices.a]\ntransport = "local"\n', '[devices.a]\ntransport = "ssh"\naddress = "a"\n'
BAD_KEYS: dict[tuple[str, str], list[str]] = {
    (HERE, "port = 22"): ["has no key 'port'", "given: 22"],
    (HERE, 'name = "b"'): ["has no key 'name'"],
    (HERE, 'precision = "int-8"'): ["precision = 'int-8'", "did you mean 'int8'?", "fp32, fp16, int8"],
    (HERE, 'threads = "two"'): ["threads = 'two'"],
    (HERE, "threads = 0"): ["threads = 0"],
    (HERE, 'runtimes = ["tflite", "onnxruntim"]'): [
        *("runtimes = ", "unknown runtime 'onnxruntim'", "did you mean 'onnxruntime'?", "known:")
    ],
    (HERE, 'runtimes = ["onnxruntime:cu da"]'): ["names provider 'cu da'", "onnxruntime:cuda"],
    (HERE, 'runtimes = "tflite"'): ["runtimes = 'tflite'"],
    (HERE, "cores = [1, 1]"): ["cores = [1, 1]", "names a core twice"],
    (HERE, "cores = [2, -1]"): ["cores[1] = -1"],
    (HERE, 'cores = ["0"]'): ["cores[0] = '0'"],
    (HERE, 'python = "a\\nb"'): ["python = 'a\\nb'", "plain path"],
    (HERE, 'group = ["lab", "all"]'): ["group = ", "'all' is taken"],
    (HERE, 'group = ""'): ["group", "'' may hold only letters, digits and '-'"],
    (HERE, 'group = "lab-*"'): ["'lab-*' may hold only letters"],
    (HERE, 'group = ["a", "a"]'): ["names a group twice"],
    (HERE, "group = 7"): ["group = 7"],
    (HERE, 'environment = { "A=B" = "c" }'): ["environment", "A=B"],
    (HERE, "environment = { A = 1 }"): ["environment[A] = 1"],
    (HERE, 'litert_library = "a\\u0000b"'): ["litert_library"],
    (HERE, 'litert_libary = "a"'): ["has no key 'litert_libary'; did you mean 'litert_library'?"],
    (THERE, "port = 65536"): ["port = 65536", "less than or equal to 65535"],
    (THERE, 'port = "22"'): ["port = '22'", "valid integer"],
    (THERE, "port = true"): ["port = True"],
    (THERE, "port = 99999999999999999999999"): ["port = 99999999999999999999999"],
    (THERE, 'host_key = "SHA256:abc"'): [
        "host_key = 'SHA256:abc'",
        "is no public key",
        "ssh-ed25519 AAAA...",
    ],
    (THERE, 'key = "a\\u0000b"'): ["key = 'a\\x00b'", "control character"],
    (THERE, 'known_hosts = "a\\u0000b"'): ["known_hosts = 'a\\x00b'", "control character"],
    (THERE, "fixed_performance = true"): ["fixed_performance = True", 'add adb = "..."'],
}


@pytest.mark.parametrize(("device", "line"), BAD_KEYS)
def test_a_bad_key_is_refused_with_file_line_value_and_remedy(device: str, line: str) -> None:
    message = refusal(device + line + "\n")
    assert message.startswith(f"lab.toml:{len(device.splitlines()) + 1}: [devices.a] ")
    assert [part for part in BAD_KEYS[device, line] if part not in message] == []


BAD = {
    "a mistyped key": (
        '[devices.pi4]\ntransport = "ssh"\nadress = "10.0.0.4"\n',
        [
            "lab.toml:3: [devices.pi4]",
            "has no key 'adress'",
            "did you mean 'address'?",
            "known: ",
            "'10.0.0.4'",
        ],
    ),
    "a key on a later device": (
        '[devices.a]\ntransport = "ssh"\naddress = "a"\nport = 22\n\n[devices.b]\ntransport = "ssh"\n'
        'address = "b"\nport = 0\n',
        ["lab.toml:9: [devices.b] port = 0", "greater than or equal to 1"],
    ),
    "an address that is no text": (
        '[devices.a]\ntransport = "ssh"\naddress = 10\n',
        ["lab.toml:3: [devices.a] address = 10", "valid string"],
    ),
    "an empty address": ('[devices.a]\ntransport = "ssh"\naddress = ""\n', ["lab.toml:3:", "address = ''"]),
    "an address with a line break": (
        '[devices.a]\ntransport = "ssh"\naddress = "a\\nb"\n',
        ["lab.toml:3:", "address = 'a\\nb'", "control character"],
    ),
    "no address": (
        '[devices.a]\ntransport = "ssh"\n',
        ["lab.toml:1: [devices.a] needs the key 'address'; add address ="],
    ),
    "no transport": (
        '[devices.local]\n\n[devices.a]\naddress = "a"\n',
        ["lab.toml:3: [devices.a]: key 'transport' is missing", 'transport = "ssh" or "local"'],
    ),
    "a transport under a mistyped key": (
        '[devices.a]\ntransprot = "ssh"\n',
        ["lab.toml:2: [devices.a] has no key 'transprot'; did you mean 'transport'?"],
    ),
    "an unknown transport": (
        '[devices.a]\ntransport = "shh"\n',
        [
            "lab.toml:2: [devices.a] transport = 'shh' is unknown",
            "did you mean 'ssh'?",
            "known: local, ssh",
        ],
    ),
    "a transport that is no text": (
        '[devices.a]\ntransport = ["ssh"]\n',
        ["lab.toml:2:", "transport = ['ssh']"],
    ),
    "a device twice": (
        '[devices.a]\ntransport = "local"\n\n[devices.b]\ntransport = "local"\n\n[ devices . "a" ]\n',
        ["lab.toml:7: device 'a' stands twice (first in line 1)", "rename or remove one"],
    ),
    "a key twice": (
        '[devices.a]\ntransport = "local"\ntransport = "ssh"\n',
        ["lab.toml: not valid TOML", "line 3"],
    ),
    "a name with a space": (
        '[devices.x]\ntransport = "local"\n[devices."my pi"]\ntransport = "local"\n',
        ["lab.toml:3:", "the name 'my pi' may hold only letters, digits and '-'"],
    ),
    "a name with a dot": (
        '[devices.x]\ntransport = "local"\n[devices."pi.lan"]\ntransport = "local"\n',
        ["lab.toml:3:", "the name 'pi.lan'"],
    ),
    "a table one level too deep": (
        '[devices.pi.lan]\ntransport = "local"\n',
        ["lab.toml:1: [devices.pi]"],
    ),
    "an empty name": ('[devices.""]\ntransport = "local"\n', ["lab.toml:1:", "the name ''"]),
    "a device that is a number": (
        "[devices]\na = 5\n",
        ["[devices.a]", "must be a table, not 5", "[devices.a]"],
    ),
    "a device that is a date": (
        "[devices]\na = 2024-05-01\n",
        ["[devices.a]", "must be a table", "2024", "[devices.a]"],
    ),
    "a device that is a list": ("[[devices.a]]\nb = 2024-05-01\n", ["[devices.a]", "must be a table"]),
    "devices as a list": ("[[devices]]\n", ["'devices' must be a table; write [devices.NAME]"]),
    "a mistyped top level": (
        '# lab\n[device.a]\ntransport = "local"\n',
        ["lab.toml:2: unknown top-level key 'device'", "did you mean 'devices'?"],
    ),
    "a stray top-level key": (
        'owner = "me"\n[devices.a]\ntransport = "local"\n',
        ["lab.toml:1: unknown top-level key 'owner'", "[devices.NAME]"],
    ),
    "a device named all": (
        '[devices.x]\ntransport = "local"\n[devices.all]\ntransport = "local"\n',
        ["lab.toml:3: [devices.all]: the name 'all' is taken", "--device all means every device"],
    ),
    "a group and a device of one name": (
        '[devices.lab]\ntransport = "local"\n\n[devices.x]\ntransport = "local"\ngroup = "lab"\n',
        ["lab.toml:6: [devices.x] group 'lab' is a device's name, too", "rename one"],
    ),
    "a group named local": (
        '[devices.x]\ntransport = "local"\ngroup = "local"\n',
        ["lab.toml:3:", "group 'local' is a device's name, too"],
    ),
    "a mistyped default": (
        '[defaults]\nthreads = 2\nadress = "a"\n[devices.x]\ntransport = "local"\n',
        ["lab.toml:3: [defaults] has no key 'adress'", "did you mean 'address'?", "given: 'a'"],
    ),
    "a default under another tool's name": (
        '[defaults]\nusername = "a"\n',
        ["lab.toml:2: [defaults] has no key 'username'", "did you mean 'user'?"],
    ),
    "a default that none may have": (
        '[devices.x]\ntransport = "local"\n\n[defaults]\nport = 0\n',
        ["lab.toml:5: [defaults] port = 0", "greater than or equal to 1"],
    ),
    "a default transport that none has": (
        '[defaults]\ntransport = "shh"\n',
        ["lab.toml:2: [defaults] transport = 'shh' is unknown", "did you mean 'ssh'?"],
    ),
    "a default group of a device's name": (
        '[defaults]\ngroup = "x"\n[devices.x]\ntransport = "local"\n',
        ["group 'x' is a device's name, too"],
    ),
    "a serial number that is an option": (
        '[devices.a]\ntransport = "ssh"\nadb = "-s"\n',
        ["lab.toml:3: [devices.a] adb = '-s'", "adb devices"],
    ),
    "neither an address nor a cable": (
        '[devices.a]\ntransport = "ssh"\nuser = "u"\n',
        ["lab.toml:1: [devices.a] needs the key 'address'"],
    ),
    "a jump host before a cable": (
        '[devices.a]\ntransport = "ssh"\nadb = "R5"\njump = "gate"\n',
        ["lab.toml:4: [devices.a] jump = 'gate'", "leave one of the two out"],
    ),
    "defaults as a list": ("[[defaults]]\n", ["'defaults' must be a table", "write [defaults]"]),
    "defaults that are a number": ("defaults = 3\n", ["'defaults' must be a table, not 3"]),
    "a mistyped table of defaults": (
        "[default]\nthreads = 2\n",
        ["lab.toml:1: unknown top-level key 'default'", "did you mean 'defaults'?"],
    ),
    "text that is no TOML": ("[devices.a\n", ["lab.toml: not valid TOML", "line 1"]),
    "nesting without end": ("a = " + "[" * 50_000, ["lab.toml: not valid TOML"]),
    "a number without end": ("a = " + "9" * 10_000, ["lab.toml: not valid TOML"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_file_line_key_value_and_remedy(name: str) -> None:
    text, parts = BAD[name]
    message = refusal(text)
    for part in parts:
        assert part in message


def test_a_key_in_quotes_and_behind_comments_has_its_line() -> None:
    text = '# port = 0\n[devices.a] # the first\ntransport = "ssh"\naddress = "a"  # port = 1\n"port" = -1 # no\n'
    assert refusal(text).startswith("lab.toml:5: [devices.a] port = -1")


def test_a_file_that_cannot_be_one_is_refused_by_name(tmp_path: Path) -> None:
    directory, absent, binary, huge = (tmp_path / name for name in ("folder", "absent", "binary", "huge"))
    directory.mkdir()
    binary.write_bytes(b"\xff\xfe\x00[devices")
    huge.write_bytes(b"#" * (17 << 20))
    for path, reason in {
        directory: "cannot be read",
        absent: "cannot be read",
        binary: "is not UTF-8 text",
        huge: "holds more than 16777216 bytes",
        Path("/dev/zero"): "holds more than 16777216 bytes",
    }.items():
        with pytest.raises(ConfigError, match=reason) as caught:
            load_devices(path)
        assert str(path) in str(caught.value)


def test_defaults_complete_each_device_that_the_file_names() -> None:
    devices = parse_devices(
        """
        [devices.pixel]
        address = "pixel.lan"
        port = 8022

        [devices.pi4]
        address = "pi4.lan"
        threads = 1
        precision = "fp16"
        group = []

        [devices.here]
        transport = "local"

        [defaults]
        transport = "ssh"
        user = "lab"
        port = 2222
        threads = 4
        precision = "int8"
        group = "shelf"
        """
    )
    shared: dict[str, Any] = {"user": "lab", "threads": 4, "precision": "int8", "group": ("shelf",)}
    assert devices["pixel"] == SshDevice(name="pixel", address="pixel.lan", port=8022, **shared)
    own = shared | {"threads": 1, "precision": "fp16", "group": ()}
    assert devices["pi4"] == SshDevice(name="pi4", address="pi4.lan", port=2222, **own)
    assert devices["here"] == LocalDevice(name="here", threads=4, precision="int8", group=("shelf",))
    assert devices["local"] == LocalDevice(name="local"), "the file does not name it"


def test_a_described_local_takes_the_defaults_and_is_still_this_machine() -> None:
    devices = parse_devices('[defaults]\ntransport = "ssh"\nthreads = 2\n[devices.local]\n')
    assert devices["local"] == LocalDevice(name="local", threads=2)


def test_precisions_are_those_that_models_are_exported_in_and_a_device_s_is_fp32_by_default() -> None:
    assert exporters.PRECISIONS == PRECISIONS
    assert load_devices()["local"].precision == "fp32"


def test_a_phone_needs_no_address_and_has_termuxs_port() -> None:
    text = '[defaults]\ntransport = "ssh"\nfixed_performance = true\n[devices.pixel]\nadb = "R5CT10ABCDE"\n'
    phone = parse_devices(text)["pixel"]
    assert isinstance(phone, SshDevice)
    assert str(phone.destination) == "pixel:8022"
    assert phone.where == "adb R5CT10ABCDE, port 8022"
    assert phone.machine == "adb R5CT10ABCDE", "two names of one phone are one machine"
    other = parse_devices(f'{text}port = 2222\nuser = "u0_a1"\n')["pixel"]
    assert isinstance(other, SshDevice)
    assert str(other.destination) == "u0_a1@pixel:2222"


def test_every_key_of_a_device_may_have_a_default() -> None:
    text = "[defaults]\n" + "".join(
        f"{key} = {json.dumps(value)}\n"
        for key, value in {
            "transport": "ssh", "address": "a", "port": 23, "user": "u", "key": "k", "host_key": HOST_KEY,
            "known_hosts": "h", "jump": "none", "adb": "R5CT10ABCDE",
            "ssh_config": "none", "python": "p", "runtimes": ["tflite"], "threads": 2,
            "precision": "int8", "cores": [1, 2], "root": "r", "description": "d", "group": ["g"],
            "litert_library": "l", "litert_carry": "c", "edgetpu_library": "e", "jetson_power_mode": "MAXN",
        }.items()
    )  # fmt: skip
    text += "fixed_performance = true\nlitert_any_version = true\njetson_clocks = true\n"
    text += 'environment = { LD_LIBRARY_PATH = "/vendor/lib64" }\n'
    text += "provider_options = { cuda = { use_tf32 = false } }\n"
    text += 'tflite_delegates = { npu = { library = "/l.so" } }\n'
    device = parse_devices(text + "[devices.x]\n")["x"]
    assert device.model_fields_set == set(SshDevice.model_fields)
    assert device.worker_environment == {
        "LD_LIBRARY_PATH": "/vendor/lib64",
        "HARNESS_LITERT_LIBRARY": "l",
        "HARNESS_LITERT_ANY_VERSION": "1",
        "HARNESS_EDGETPU_LIBRARY": "e",
    }
    assert device.board_settings == {"power_mode": "MAXN", "clocks": True}
    assert parse_devices("")["local"].board_settings is None


def test_options_of_providers_are_read_from_a_table_each() -> None:
    device = parse_devices(
        """
        [devices.jetson]
        transport = "local"
        [devices.jetson.provider_options.tensorrt]
        trt_fp16_enable = true
        trt_max_workspace_size = 1073741824
        [devices.jetson.provider_options.openvino]
        device_type = "GPU.0"
        enable_opencl_throttling = true
        """
    )["jetson"]
    told = option_texts("tensorrt+graph", device.provider_options)
    assert told == {"trt_fp16_enable": "1", "trt_max_workspace_size": "1073741824"}
    assert options_line(told) == "trt_fp16_enable=1 trt_max_workspace_size=1073741824"
    found = option_texts("openvino", device.provider_options)
    assert found == {"device_type": "GPU.0", "enable_opencl_throttling": "true"}
    assert option_texts("cuda", device.provider_options) == {}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("cuda = { use_tf23 = true }", "cuda has no option 'use_tf23'; did you mean 'use_tf32'?"),
        ("cuda = { enable_cuda_graph = true }", "is set by the runtime onnxruntime:cuda+graph"),
        ("tensorrt = { trt_engine_cache_path = '/x' }", "is set by the agent"),
        ("xnnpack = { intra_op_num_threads = 4 }", "is set by threads = N, or --threads"),
        ("openvino = { num_of_threads = 4 }", "is set by threads = N, or --threads"),
        ("openvino = { device_type = 'AUTO:GPU,CPU' }", "name one device: CPU, GPU, GPU.1 or NPU"),
        ("openvino = { device_type = 'HETERO:GPU,CPU' }", "would choose where a model computes"),
        ("cuda = { user_compute_stream = 1 }", "cuda has no option 'user_compute_stream'"),
        ("CUDA = { use_tf32 = true }", "'CUDA' is no provider; write its short name, such as 'cuda'"),
        ("cpu = { a = 1 }", "the CPU provider takes no options"),
        ("qnn = { backend_path = 'a b' }", "1 to 1000 characters of ASCII without spaces"),
        ("qnn = { vtcm_mb = nan }", "vtcm_mb = nan: a finite number"),
        ("qnn = { vtcm_mb = [1] }", "provider_options[qnn][vtcm_mb]"),
        ("cuda = 1", "provider_options[cuda] = 1"),
        ("migraphx = { " + ", ".join(f"o{n} = 1" for n in range(65)) + " }", "64 are the most"),
    ],
)
def test_an_option_that_a_provider_lacks_or_harness_sets_is_refused_with_its_line(
    written: str, said: str
) -> None:
    text = f'[devices.x]\ntransport = "local"\nprovider_options = {{ {written} }}\n'
    with pytest.raises(ConfigError) as caught:
        parse_devices(text, "lab.toml")
    assert str(caught.value).startswith("lab.toml:3: [devices.x] provider_options")
    assert said in str(caught.value)


def test_what_an_address_of_its_own_names_wins_over_the_defaults() -> None:
    text = '[defaults]\ntransport = "ssh"\nuser = "lab"\nport = 2222\n[devices.pi]\naddress = "root@pi:22"\n'
    assert str(getattr(parse_devices(text)["pi"], "destination")) == "root@pi:22"  # noqa: B009


def test_a_variable_names_the_file_where_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices.toml").write_text('[devices.a]\ntransport = "local"\n')
    Path("lab.toml").write_text('[devices.b]\ntransport = "local"\n')
    monkeypatch.setenv("HARNESS_DEVICES", "lab.toml")
    assert list(load_devices()) == ["local", "b"]
    assert list(load_devices("devices.toml")) == ["local", "a"]
    monkeypatch.setenv("HARNESS_DEVICES", "")
    assert list(load_devices()) == ["local", "a"]


def calls_of(read: Callable[[], object]) -> int:
    """Return the number of functions that are called, those written in C among them."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        read()
    finally:
        sys.setprofile(None)
    return count


def test_twice_the_devices_take_twice_the_work() -> None:
    def table(number: int) -> str:
        return f'[devices.board-{number}]\naddress = "10.0.{number}"\nuser = "pi"\ngroup = "shelf-{number % 50}"\n\n'

    def text(count: int) -> str:
        return '[defaults]\ntransport = "ssh"\n\n' + "".join(map(table, range(count)))

    few, many = text(500), text(1000)
    calls = calls_of(lambda: parse_devices(few))
    assert calls > 10_000
    assert calls_of(lambda: parse_devices(many)) < 2.05 * calls


def test_a_runtime_is_split_from_its_provider() -> None:
    assert parse_runtime("tflite") == ("tflite", "")
    assert parse_runtime("onnxruntime:CUDA") == ("onnxruntime", "CUDA")


@given(text=st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        assert "local" in parse_devices(text)
    except ConfigError as error:
        assert str(error).startswith("devices.toml")


VALUES = st.one_of(
    st.text(string.printable, max_size=5),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.lists(st.one_of(st.integers(), st.text(string.ascii_letters, max_size=3)), max_size=3),
)


@given(
    transport=st.sampled_from(["ssh", "local"]),
    key=st.sampled_from([*SshDevice.model_fields, "adress", ""]),
    value=VALUES,
)
def test_any_value_of_any_key_is_read_or_refused_in_its_line(transport: str, key: str, value: object) -> None:
    literal = json.dumps(value)
    literal = literal.replace("NaN", "nan").replace("Infinity", "inf")
    text = f'[devices.x]\ntransport = "{transport}"\n{json.dumps(key)} = {literal}\n'
    try:
        parse_devices(text)
    except ConfigError as error:
        assert "devices.toml" in str(error)
        if key != "transport":
            assert str(error).startswith(
                ("devices.toml:3:", "devices.toml:1: [devices.x] needs the key 'address'")
            )


def test_the_schema_file_is_the_schema_of_the_code() -> None:
    assert json.loads((ROOT / "devices.schema.json").read_text()) == devices_schema()


def test_the_schema_knows_the_keys_and_no_others() -> None:
    schema = devices_schema()
    keys = set()
    for name, model in {"LocalDevice": LocalDevice, "SshDevice": SshDevice, "AdbDevice": AdbDevice}.items():
        definition = schema["$defs"][name]
        assert set(definition["properties"]) == set(model.model_fields) - {"name"}
        assert definition["additionalProperties"] is False
        keys |= set(definition["properties"])
    assert set(schema["properties"]["defaults"]["properties"]) == keys


LOCAL_X, SSH_X = {"x": {"transport": "local"}}, {"x": {"transport": "ssh", "address": "a"}}
ADB_X = {"transport": "adb", "adb": "R5", "benchmark_model": "b"}
DOCUMENTS: dict[str, tuple[dict[str, Any], bool]] = {
    "this machine": ({"devices": LOCAL_X}, True),
    "another one": ({"devices": SSH_X}, True),
    "a phone by adb alone": ({"devices": {"x": ADB_X}}, True),
    "no serial number": ({"devices": {"x": ADB_X | {"adb": ""}}}, False),
    "no program": ({"devices": {"x": {"transport": "adb", "adb": "R5"}}}, False),
    "no address": ({"devices": {"x": {"transport": "ssh"}}}, False),
    "no transport": ({"devices": {"x": {"address": "a"}}}, False),
    "a mistyped key": ({"devices": {"x": {"transport": "ssh", "adress": "a"}}}, False),
    "no address, where there are defaults": ({"devices": {"x": {}}, "defaults": {"transport": "ssh"}}, True),
    "a mistyped default": ({"defaults": {"adress": "a"}}, False),
    "a default that none may have": ({"defaults": {"port": 0}}, False),
    "a group": ({"devices": {"x": {"transport": "local", "group": "lab"}}}, True),
    "groups": ({"devices": {"x": {"transport": "local", "group": ["lab", "shelf"]}}}, True),
    "a group that is a number": ({"devices": {"x": {"transport": "local", "group": 1}}}, False),
    "a group named all": ({"devices": {"x": {"transport": "local", "group": "all"}}}, False),
    "a device named all": ({"devices": {"all": {"transport": "local"}}}, False),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_editor_takes_what_harness_takes(name: str) -> None:
    document, is_right = DOCUMENTS[name]
    errors = list(jsonschema.Draft7Validator(devices_schema()).iter_errors(document))
    assert bool(errors) != is_right, errors


def test_the_example_file_loads_and_shows_a_phone_a_board_a_gpu_and_this_machine() -> None:
    devices = load_devices(ROOT / "devices.toml")
    assert "local" in devices
    assert sum(isinstance(device, SshDevice) for device in devices.values()) >= 3
    assert any("onnxruntime:cuda" in device.runtimes for device in devices.values())
    assert any(isinstance(device, SshDevice) and device.port == 8022 for device in devices.values())


def test_a_delegate_of_tflite_is_a_provider_with_its_library_and_options_in_the_configuration() -> None:
    text = """
        [devices.board]
        transport = "local"
        [devices.board.tflite_delegates.ethos-n]
        library = "/usr/lib/libethosn.so"
        options = { level = 3, fast = true }
    """
    device = parse_devices(text)["board"]
    hello = {"runtimes": [{"name": "tflite", "package": "p", "version": "1", "providers": ["XNNPACK"]}]}
    told = {"library": "/usr/lib/libethosn.so", "fast": "1", "level": "3"}
    for asked, provider in (("tflite:ethos-n", "ethos-n"), ("tflite:ethos-n+cpu", "ethos-n+CPU")):
        (use,) = choose_runtimes(device, hello, [asked], [])
        assert (use.provider, use.options) == (provider, {"provider": provider, "provider_options": told})
    (plain,) = choose_runtimes(device, hello, ["tflite"], [])
    assert (plain.provider, plain.options) == ("XNNPACK", {"provider": "XNNPACK"})
    with pytest.raises(ConfigError, match="no provider 'ethos'"):
        choose_runtimes(device, hello, ["tflite:ethos"], [])


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('xnnpack = { library = "/l.so" }', "is a provider that TFLite has"),
        ('npu = { library = "l.so" }', "library = 'l.so': the library's whole path"),
        ('npu = { library = "/l.so", options = { library = "/m.so" } }', "stands beside the options"),
        ('npu = { library = "/l.so", options = { a = "b c" } }', "without spaces"),
        ("npu = { options = {} }", "library = '': the library's whole path"),
        ('Npu = { library = "/l.so" }', "tflite_delegates"),
    ],
)
def test_a_delegate_that_cannot_be_is_refused(written: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_devices(f'[devices.x]\ntransport = "local"\ntflite_delegates = {{ {written} }}\n')


def test_a_device_that_the_file_lacks_is_an_error_that_names_those_it_has() -> None:
    devices = parse_devices("")
    with pytest.raises(ConfigError, match=r"unknown device 'locl'; did you mean 'local'\? \(known: local\)"):
        devices["locl"]
    assert devices.get("locl") is None and "locl" not in devices
