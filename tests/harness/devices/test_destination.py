"""Where to log in, as people write it in devices.toml: understood, or refused with what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices.config import SshDevice, parse_devices
from harness.devices.destination import Destination, parse_destination
from space.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("pi4.lan", "", "pi4.lan", None),
        ("pi@pi4.lan", "pi", "pi4.lan", None),
        ("pi4.lan:2222", "", "pi4.lan", 2222),
        ("pi@10.0.0.4:2222", "pi", "10.0.0.4", 2222),
        ("ssh://pi@10.0.0.4:2222/", "pi", "10.0.0.4", 2222),
        ("::1", "", "::1", None),
        ("fe80::1%eth0", "", "fe80::1%eth0", None),
        ("[2001:db8::1]", "", "2001:db8::1", None),
        ("pi@[2001:db8::1]:8022", "pi", "2001:db8::1", 8022),
        ("pi@2001:db8::1", "pi", "2001:db8::1", None),
        ("name@lab.example@host", "name@lab.example", "host", None),
    ],
)
def test_what_people_write_is_understood(text: str, user: str, host: str, port: int | None) -> None:
    assert parse_destination(text) == Destination(user=user, host=host, port=port)


@pytest.mark.parametrize("text", ["pi4.lan", "pi@10.0.0.4:2222", "pi@[::1]:22", "[::1]"])
def test_a_destination_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_destination(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@host", ["USER@HOST"]),
        ("pi@", ["names no host"]),
        (":22", ["names no host"]),
        ("host:", ["port ''", "1 to 65535"]),
        ("host:ssh", ["port 'ssh'"]),
        ("host:0", ["port '0'"]),
        ("host:65536", ["port '65536'"]),
        ("a:b:c", ["[ADDRESS]:PORT"]),
        ("[::1", ["[ADDRESS]:PORT"]),
        ("[host]:22", ["'host' in brackets"]),
    ],
)
def test_what_cannot_be_meant_is_refused_by_line_key_and_value(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_devices(f'[devices.pi]\ntransport = "ssh"\naddress = "{text}"\n', "lab.toml")
    for word in [f"lab.toml:3: [devices.pi] address = {text!r}", *words]:
        assert word in str(caught.value)
    with pytest.raises(ConfigError, match=r"lab.toml:4: \[devices.pi\] jump = "):
        parse_devices(f'[devices.pi]\ntransport = "ssh"\naddress = "a"\njump = "b,{text}"\n', "lab.toml")


def test_login_and_port_are_named_once() -> None:
    table = '[devices.pi]\ntransport = "ssh"\naddress = "pi@host:2222"\n'
    device = parse_devices(table)["pi"]
    assert isinstance(device, SshDevice)
    assert (device.where, device.destination) == (
        "pi@host:2222",
        Destination(user="pi", host="host", port=2222),
    )
    for line, named in (('user = "root"', "'pi'"), ("port = 22", "2222")):
        with pytest.raises(ConfigError, match=f"lab.toml:4: .*differs from the address, which names {named}"):
            parse_devices(f"{table}{line}\n", "lab.toml")
    assert parse_devices(f'{table}user = "pi"\nport = 2222\n')["pi"].where == "pi@host:2222"


def test_a_device_says_the_way_to_it() -> None:
    device = SshDevice(name="pi", address="::1", user="pi", jump="lab@gate:2222, inner")
    assert device.where == "pi@[::1]:22 via lab@gate:2222, inner"
    assert [str(one) for one in device.jumps] == ["lab@gate:2222", "inner"]
    assert SshDevice(name="pi", address="a", jump="none").where == "a:22"


@pytest.mark.parametrize(
    ("key", "meant"),
    [("host", "address"), ("hostname", "address"), ("username", "user"), ("proxy_jump", "jump")],
)
def test_a_key_by_another_tools_name_is_led_to_ours(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"has no key '{key}'; did you mean '{meant}'?"):
        parse_devices(f'[devices.pi]\ntransport = "ssh"\n{key} = "pi@host:22"\n')


@given(st.text(alphabet="ab1:@[]/.%", max_size=12))
def test_every_text_is_read_or_refused_and_what_is_read_is_written_the_same(text: str) -> None:
    try:
        found = parse_destination(text)
    except ValueError:
        return
    assert parse_destination(str(found)) == found
