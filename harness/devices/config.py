"""Devices that can be measured on: `devices.toml`, read and checked.

With no file at all the device `local` (this machine) exists. The checks name file, line, key, value and remedy.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import models_json_schema

from harness.devices.destination import Destination, parse_destination
from space.errors import ConfigError, did_you_mean
from space.plugins import RUNTIMES as RUNTIME_PLUGINS
from space.plugins import TRANSPORTS, bad_plugin, load_plugin, plugin_source, plugins
from space.text_files import read_text

DEFAULT_FILE = "devices.toml"
LOCAL = "local"
Format = Literal["onnx", "tflite"]
# The model format that each runtime runs. `runtime_format` knows those of other packages, too.
RUNTIMES: dict[str, Format] = {"onnxruntime": "onnx", "tflite": "tflite"}
MAX_FILE_BYTES = 1 << 20

_NAME = re.compile(r"[a-zA-Z0-9-]+")
# What other tools call a key of ours, by the name that people try.
_OTHER_NAMES = {
    "host": "address",
    "hostname": "address",
    "ip": "address",
    "username": "user",
    "login": "user",
    "identity_file": "key",
    "proxy_jump": "jump",
    "jump_host": "jump",
}
_HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)


class Device(BaseModel):
    """A table of devices.toml: the keys that devices of every transport have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(exclude=True, default="")
    transport: str
    python: str = Field("", description="Python on the device; default: python3 (local: the harness's own).")
    runtimes: tuple[str, ...] = Field(
        (),
        description="Runtimes to use, e.g. 'onnxruntime', 'onnxruntime:cuda', 'tflite'; default: all found.",
    )
    threads: int = Field(1, ge=1, le=256, description="Threads of one inference.")
    cores: tuple[Annotated[int, Field(ge=0, le=4095)], ...] = Field(
        (), description="Core ids to run on, all of one cluster; default: the fastest cluster's."
    )
    root: str = Field("", description="Folder on the device for the agent and its cache of model parts.")
    description: str = Field("", description="For people: what this device is.")

    @property
    def where(self) -> str:
        """Where the device is, for people; a transport's own class says more."""
        return f"by {self.transport}"

    @field_validator("runtimes", "cores", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("runtimes")
    @classmethod
    def _known_runtimes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_runtime(text)
        return value

    @field_validator("cores")
    @classmethod
    def _distinct_cores(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a core twice")
        return value

    @field_validator("python", "root")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\0" in value or "\n" in value:
            raise ValueError("holds a line break or NUL; give a plain path")
        return value


class LocalDevice(Device):
    """This machine, measured through a subprocess."""

    transport: Literal["local"] = "local"

    @property
    def where(self) -> str:
        """That it is here."""
        return "this machine"


class SshDevice(Device):
    """A machine reached over SSH."""

    transport: Literal["ssh"] = "ssh"
    address: str = Field(
        min_length=1,
        max_length=600,
        description="Host name, IP address or alias of ~/.ssh/config; also user@host:port.",
    )
    port: int = Field(
        22,
        ge=1,
        le=65535,
        description="Port of sshd; Termux listens on 8022. Default: ~/.ssh/config's, else 22.",
    )
    user: str = Field(
        "", max_length=256, description="Login name; default: ~/.ssh/config's, else yours on this machine."
    )
    key: str = Field(
        "",
        description="Private key file, the only key that is offered; default: ~/.ssh/config's, the SSH agent, ~/.ssh/id_*.",
    )
    host_key: str = Field(
        "", description="The device's public host key, 'ssh-ed25519 AAAA...'; default: ~/.ssh/known_hosts."
    )
    known_hosts: str = Field(
        "~/.ssh/known_hosts", description="File of known host keys, used without host_key."
    )
    jump: str = Field(
        "",
        max_length=2000,
        description="Host to go through, 'user@host:port'; several with commas; 'none': not even ~/.ssh/config's.",
    )
    ssh_config: str = Field(
        "~/.ssh/config", description="OpenSSH's settings of hosts, read as ssh reads them; 'none': none."
    )

    @property
    def destination(self) -> Destination:
        """Login, host and port as far as devices.toml names them; ~/.ssh/config may name what is open."""
        written = parse_destination(self.address)
        port = self.port if "port" in self.model_fields_set else written.port
        return Destination(user=self.user or written.user, host=written.host, port=port)

    @property
    def jumps(self) -> tuple[Destination, ...]:
        """Hosts to go through by devices.toml, in order; empty for `none`, too."""
        if self.jump in ("", "none"):
            return ()
        return tuple(parse_destination(one.strip()) for one in self.jump.split(","))

    @property
    def where(self) -> str:
        """Login, host and port."""
        to = self.destination
        via = f" via {self.jump}" if self.jumps else ""
        return str(Destination(user=to.user, host=to.host, port=to.port or self.port)) + via

    @field_validator("address", "user", "key", "known_hosts", "jump", "ssh_config")
    @classmethod
    def _no_control(cls, value: str) -> str:
        if any(ord(character) < 32 for character in value):
            raise ValueError("holds a control character")
        return value

    @field_validator("address")
    @classmethod
    def _is_destination(cls, value: str) -> str:
        parse_destination(value)
        return value

    @field_validator("jump")
    @classmethod
    def _are_destinations(cls, value: str) -> str:
        for one in value.split(",") if value not in ("", "none") else ():
            parse_destination(one.strip())
        return value

    @field_validator("port", "user")
    @classmethod
    def _named_once(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a login or a port that the address names, too, and otherwise."""
        if "address" in info.data:
            written = getattr(parse_destination(info.data["address"]), str(info.field_name))
            if value and written and value != written:
                raise ValueError(
                    f"differs from the address, which names {written!r}; leave one of the two out"
                )
        return value

    @field_validator("host_key")
    @classmethod
    def _is_public_key(cls, value: str) -> str:
        if value and (len(value.split()) < 2 or value.split()[0] not in _HOST_KEY_TYPES):
            raise ValueError(
                f"is no public key; expected e.g. 'ssh-ed25519 AAAA...' ({', '.join(_HOST_KEY_TYPES)})"
            )
        return value


_CLASSES: dict[str, type[Device]] = {"local": LocalDevice, "ssh": SshDevice}


def default_python(device: Device) -> str:
    """Return the device's Python: the one in devices.toml, else this one (local) or python3."""
    return device.python or (sys.executable if isinstance(device, LocalDevice) else "python3")


def parse_runtime(text: str) -> tuple[str, str]:
    """Split `'runtime'` or `'runtime:provider'` into both, the provider empty for the runtime's default.

    Raises: ValueError for a runtime that no agent knows.
    """
    runtime, _, provider = text.partition(":")
    if runtime not in RUNTIMES and runtime not in plugins(RUNTIME_PLUGINS):
        known = known_runtimes()
        raise ValueError(
            f"names unknown runtime {runtime!r}{did_you_mean(runtime, known)} (known: {', '.join(known)})"
        )
    if provider and not re.fullmatch(r"[A-Za-z]+", provider):
        raise ValueError(f"names provider {provider!r}; expected letters, e.g. 'onnxruntime:cuda'")
    return runtime, provider


def known_runtimes() -> list[str]:
    """Return the names of all runtimes: those of harness, then those that other packages add."""
    return list(dict.fromkeys([*RUNTIMES, *plugins(RUNTIME_PLUGINS)]))


def runtime_format(runtime: str) -> Format:
    """Return the model format that a known runtime runs. Raises: ConfigError when another package's runtime cannot be used."""
    if runtime in RUNTIMES:
        return RUNTIMES[runtime]
    module = load_plugin(RUNTIME_PLUGINS, runtime)
    formats = [known for known in get_args(Format) if known in getattr(module, "FORMATS", ())]
    if getattr(module, "NAME", "") != runtime or not formats:
        raise bad_plugin(
            RUNTIME_PLUGINS, runtime, f"is no runtime of NAME {runtime!r} and FORMATS of {get_args(Format)}"
        )
    return cast(Format, formats[0])


def runtime_modules(runtime: str) -> tuple[str, ...]:
    """Return the names of modules, any of which another package's runtime needs. Raises: ConfigError when it cannot be used."""
    return tuple(map(str, getattr(load_plugin(RUNTIME_PLUGINS, runtime), "PACKAGES", ())))


def runtime_sources() -> dict[str, bytes]:
    """Return the module of each runtime that other packages add, by name: they travel to the device in the agent's archive.

    Raises: ConfigError when one has no source file, or a name that could not be asked for.
    """
    for name in plugins(RUNTIME_PLUGINS):
        if not _NAME.fullmatch(name):
            raise bad_plugin(
                RUNTIME_PLUGINS, name, "has a name with other characters than letters, digits and '-'"
            )
    return {name: plugin_source(RUNTIME_PLUGINS, name) for name in plugins(RUNTIME_PLUGINS)}


def short_provider(provider: str) -> str:
    """Return a provider's short name: `cuda` for `CUDAExecutionProvider`."""
    return provider.lower().removesuffix("executionprovider")


def load_devices(path: str | Path | None = None) -> dict[str, Device]:
    """Read devices.toml into devices by name; `local` is always there.

    With `path` None, `devices.toml` of the working folder is read if it exists.
    Raises: ConfigError naming file, line, key, value and remedy.

    >>> load_devices()["local"].name
    'local'
    """
    if path is None and not Path(DEFAULT_FILE).exists():
        return {LOCAL: LocalDevice(name=LOCAL)}
    path = Path(path or DEFAULT_FILE)
    return parse_devices(read_text(path, most=MAX_FILE_BYTES), str(path))


def parse_devices(text: str, source: str = DEFAULT_FILE) -> dict[str, Device]:
    """Read the text of a devices file; see `load_devices`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers and nesting without end
        duplicate = _duplicate_device(text)
        if duplicate is not None:
            name, first, second = duplicate
            raise ConfigError(
                f"{source}:{second}: device {name!r} stands twice (first in line {first}); rename or remove one"
            ) from error
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    for key in document:
        if key != "devices":
            remedy = did_you_mean(key, ["devices"]) or "; devices are tables [devices.NAME]"
            raise ConfigError(f"{source}:{_line_of(text, None, key)}: unknown top-level key {key!r}{remedy}")
    tables = document.get("devices", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{source}: 'devices' must be a table; write [devices.NAME]")
    devices: dict[str, Device] = {LOCAL: LocalDevice(name=LOCAL)}
    for name, table in tables.items():
        devices[name] = _parse_device(name, table, text, source)
    return devices


def select_device(devices: dict[str, Device], name: str) -> Device:
    """Return the device of that name.

    Raises: ConfigError that lists the known names.
    """
    if name not in devices:
        raise ConfigError(
            f"unknown device {name!r}{did_you_mean(name, devices)} (known: {', '.join(sorted(devices))}); "
            f"add [devices.{name}] to {DEFAULT_FILE}"
        )
    return devices[name]


def select_devices(names: Sequence[str], path: str | Path | None = None) -> tuple[Device, ...]:
    """Return the devices of a file by these names, each once; without a name the device `local`. Raises: as `select_device`."""
    known = load_devices(path)
    return tuple(select_device(known, name) for name in dict.fromkeys(names or [LOCAL]))


def devices_schema() -> dict[str, Any]:
    """Return the JSON schema of devices.toml, for editors (Even Better TOML, taplo); with the transports of other packages.

    Raises: ConfigError when another package's transport cannot be used.
    """
    classes = _CLASSES | {name: _plugin_class(name) for name in plugins(TRANSPORTS) if name not in _CLASSES}
    found, document = models_json_schema(
        [(kind, "validation") for kind in classes.values()], ref_template="#/$defs/{model}"
    )
    devices = []
    for name, kind in classes.items():
        reference = found[kind, "validation"]
        definition = document["$defs"][reference["$ref"].rpartition("/")[2]]
        definition["properties"].pop("name", None)
        if kind is not LocalDevice:
            definition["required"] = sorted({*definition.get("required", ()), "transport"})
        own = {"properties": {"transport": {"const": name}}}
        devices.append(reference if name in _CLASSES else {"allOf": [reference, own]})
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "devices.toml of harness",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "devices": {
                "type": "object",
                "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
                "additionalProperties": {"oneOf": devices},
            }
        },
        "$defs": document["$defs"],
    }


def _parse_device(name: str, table: Any, text: str, source: str) -> Device:
    where = f"{source}:{_line_of(text, name, None)}: [devices.{name}]"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: the name {name!r} may hold only letters, digits and '-'")
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: must be a table, not {table!r}; write [devices.{name}]")
    transport = table.get("transport", "local" if name == LOCAL else None)
    if transport is None:
        raise ConfigError(f'{where}: key \'transport\' is missing; write transport = "ssh" or "local"')
    kind = _device_class(transport) if isinstance(transport, str) else None
    if kind is None:
        known = [*_CLASSES, *plugins(TRANSPORTS)]
        hint = did_you_mean(transport, known) if isinstance(transport, str) else ""
        line = _line_of(text, name, "transport")
        raise ConfigError(
            f"{source}:{line}: [devices.{name}] transport = {transport!r} is unknown{hint} (known: {', '.join(known)})"
        )
    fields = {key for key in kind.model_fields if key != "name"}
    for key, value in table.items():
        if key not in fields:
            line = _line_of(text, name, key)
            meant = _OTHER_NAMES.get(key.lower().replace("-", "_"))
            hint = f"; did you mean {meant!r}?" if meant in fields else did_you_mean(key, fields)
            raise ConfigError(
                f"{source}:{line}: [devices.{name}] has no key {key!r}{hint} "
                f"(known: {', '.join(sorted(fields))}; given: {value!r})"
            )
    try:
        return kind.model_validate({**table, "transport": transport, "name": name})
    except ValidationError as error:
        raise ConfigError(_describe(error, name, text, source)) from error


def _device_class(transport: str) -> type[Device] | None:
    """Return the class of a transport's devices, which another package may add; None where no one knows the transport."""
    if transport in _CLASSES or transport not in plugins(TRANSPORTS):
        return _CLASSES.get(transport)
    return _plugin_class(transport)


def _plugin_class(transport: str) -> type[Device]:
    """Return the class of the devices of another package's transport. Raises: ConfigError when it has none."""
    found = getattr(load_plugin(TRANSPORTS, transport), "device_class", None)
    if not (isinstance(found, type) and issubclass(found, Device)):
        raise bad_plugin(TRANSPORTS, transport, "has no device_class that is a harness.devices.config.Device")
    return found


def _describe(error: ValidationError, name: str, text: str, source: str) -> str:
    problem = error.errors()[0]
    path = problem["loc"]
    key = str(path[0]) if path else ""
    line = _line_of(text, name, key)
    if problem["type"] == "missing":
        return f'{source}:{line}: [devices.{name}] needs the key {key!r}; add {key} = "..."'
    message = problem["msg"].removeprefix("Value error, ")
    place = key + "".join(f"[{part}]" for part in path[1:])
    return f"{source}:{line}: [devices.{name}] {place} = {problem['input']!r}: {message}"


def _line_of(text: str, device: str | None, key: str | None) -> int:
    """Find the 1-based line of a device's header or of a key below it; the header's line where the key has none."""
    header, inside = 1, device is None
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.split("#", 1)[0].strip()
        if bare.startswith("["):
            table = bare.strip("[]").replace(" ", "").replace('"', "").replace("'", "")
            wanted = f"devices.{device}".replace(" ", "")
            inside = table == wanted if device is not None else table.split(".")[0] == key
            if inside:
                header = number
                if key is None or device is None:
                    return number
        elif inside and key is not None and re.match(rf"""["']?{re.escape(key)}["']?\s*=""", bare):
            return number
    return header


def _duplicate_device(text: str) -> tuple[str, int, int] | None:
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = re.match(r"""\s*\[\s*devices\s*\.\s*["']?([^"'\]\s]+)["']?\s*\]""", line)
        if match:
            if match[1] in seen:
                return match[1], seen[match[1]], number
            seen[match[1]] = number
    return None
