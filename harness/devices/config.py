"""Devices that can be measured on: `devices.toml`, read and checked.

With no file at all the device `local` (this machine) exists. A table `[defaults]` gives keys to all devices that the file names.
The checks name file, line, key, value and remedy; lines are looked for only when there is one to name.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError

from harness.devices.destination import LOCAL, Destination, check_serial, parse_destination
from harness.devices.provider_options import (
    Value,
    check_delegate_options,
    check_provider_options,
    option_texts,
)
from space.errors import ConfigError, did_you_mean
from space.plugins import RUNTIMES as RUNTIME_PLUGINS
from space.plugins import TRANSPORTS, bad_plugin, load_plugin, plugin_source, plugins
from space.text import first_of
from space.text_files import read_text
from space.user_paths import expand_user

DEFAULT_FILE = "devices.toml"
FILE_VARIABLE = "HARNESS_DEVICES"
PACKED = "packed"  # the transport of a device that only packed jobs reach
ALL = "all"  # what `--device` calls every device, so no name of one
Format = Literal["onnx", "tflite"]
Precision = Literal["fp32", "fp16", "int8"]  # of a model's numbers
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DEFAULT_PRECISION: Precision = "fp32"
# The model format that each runtime runs. `runtime_format` knows those of other packages, too.
RUNTIMES: dict[str, Format] = {"onnxruntime": "onnx", "tflite": "tflite", "litert": "tflite"}
TERMUX_PORT = 8022  # of the sshd in Termux
SHOWN_NAMES = 20  # of a laboratory's devices, in an error
MAX_FILE_BYTES = 1 << 24  # 10,000 devices with every key are a third of it

_NAME = re.compile(r"[a-zA-Z0-9-]+")
_NAME_SCHEMA = {"type": "string", "pattern": f"^{_NAME.pattern}$", "not": {"const": ALL}}
_Groups = Annotated[
    tuple[str, ...], WithJsonSchema({"anyOf": [_NAME_SCHEMA, {"type": "array", "items": _NAME_SCHEMA}]})
]


def _serial(value: str) -> str:
    if value:
        check_serial(value)
    return value


_Serial = Annotated[str, AfterValidator(_serial)]
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


DELEGATE_NAME = r"^[a-z]+(-[a-z0-9]+)*$"
_TFLITE_PROVIDERS = ("xnnpack", "builtin", "edgetpu", "cpu")


class TfliteDelegate(BaseModel):
    """An external delegate of TFLite: the path of its library on the device, and the options that it takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    library: str = Field("", max_length=1000, validate_default=True, description="A path on the device.")
    options: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$")], str | int | float | bool],
        Field(max_length=64),
    ] = {}

    @field_validator("library")
    @classmethod
    def _check_library(cls, value: str) -> str:
        if not re.fullmatch("/[!-~]+", value):
            raise ValueError(f"library = {value!r}: the library's whole path on the device, without spaces")
        return value

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: dict[str, Value]) -> dict[str, Value]:
        check_delegate_options(value)
        return value

    @property
    def texts(self) -> dict[str, str]:
        """The path and the options as the agent takes them, by name."""
        return {"library": self.library} | option_texts("", {"": self.options})


class Device(BaseModel):
    """A table of devices.toml: the keys that devices of every transport have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(exclude=True, default="")
    transport: str
    python: str = Field("", description="Python on the device; default: python3 (local: the harness's own).")
    runtimes: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Runtimes to use, e.g. 'onnxruntime', 'onnxruntime:cuda', 'tflite', 'litert:gpu'; default: all but litert.",
    )
    threads: int = Field(1, ge=1, le=256, description="Threads of one inference; default: 1.")
    precision: Precision = Field(
        DEFAULT_PRECISION,
        description="Precision of the models to measure: fp32, fp16 or int8; default: fp32.",
    )
    cores: tuple[Annotated[int, Field(ge=0, le=4095)], ...] = Field(
        (),
        strict=False,
        description="Core ids to run on, all of one cluster; default: the fastest cluster's.",
    )
    litert_library: str = Field(
        "",
        description="Path of LiteRT's libLiteRt.so on the device; default: that of the package ai-edge-litert there.",
    )
    litert_carry: str = Field(
        "",
        description="Folder on this machine with LiteRT's libraries for the device (*.so), which are sent to it.",
    )
    litert_any_version: bool = Field(
        False, description="Use a LiteRT of another version than harness was tried with."
    )
    edgetpu_library: str = Field(
        "", description="Path of Coral's libedgetpu.so.1 on the device; default: where its system finds it."
    )
    tflite_delegates: dict[Annotated[str, Field(pattern=DELEGATE_NAME)], TfliteDelegate] = Field(
        {},
        description="External delegates of TFLite by the names that they have as providers: "
        "tflite_delegates.ethosn = { library = '/usr/lib/libethosn.so' } is tflite:ethosn.",
    )
    jetson_power_mode: str = Field(
        "",
        max_length=100,
        pattern=r"^[A-Za-z0-9_.+-]*$",
        description="Power mode of a Jetson while it is measured, nvpmodel's name or number; put back after. Default: as it is.",
    )
    jetson_clocks: bool = Field(
        False,
        description="Hold a Jetson's clocks at their highest while it is measured (jetson_clocks); put back after.",
    )
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(
        {},
        description="Environment variables of the processes that run models, e.g. { LD_LIBRARY_PATH = '/vendor/lib64' }.",
    )
    provider_options: dict[str, dict[str, str | int | float | bool]] = Field(
        {},
        description="Options of ONNX Runtime's providers, by provider: provider_options.tensorrt = { trt_fp16_enable = true }.",
    )
    root: str = Field(
        "", description="Folder on the device for the agent and its cache; default: ~/.cache/harness-agent."
    )
    description: str = Field("", description="For people: what this device is.")
    group: _Groups = Field(
        (),
        strict=False,
        description="A group that it is in, or a list of them: --device GROUP means all devices of it.",
    )

    @property
    def who(self) -> str:
        """The device in errors."""
        return f"device {self.name!r}"

    @property
    def machine(self) -> str:
        """Key shared by devices that are known to be one machine; another's transport says no more than the name."""
        return f"{self.transport} {self.name}"

    @property
    def where(self) -> str:
        """Where the device is, for people; a transport's own class says more."""
        return f"by {self.transport}"

    def __hash__(self) -> int:
        """Return a hash of the name: equal devices have equal names; pydantic's own has no room for a dictionary."""
        return hash(self.name)

    @property
    def worker_environment(self) -> dict[str, str]:
        """Variables of the processes that run models, those that tell of LiteRT's library among them."""
        told = {"HARNESS_LITERT_LIBRARY": self.litert_library} if self.litert_library else {}
        if self.litert_any_version:
            told["HARNESS_LITERT_ANY_VERSION"] = "1"
        if self.edgetpu_library:
            told["HARNESS_EDGETPU_LIBRARY"] = self.edgetpu_library
        return {**self.environment, **told}

    @property
    def board_settings(self) -> dict[str, Any] | None:
        """Settings of a Jetson while it is measured; None where devices.toml asks for nothing."""
        if not self.jetson_power_mode and not self.jetson_clocks:
            return None
        return {"power_mode": self.jetson_power_mode, "clocks": self.jetson_clocks}

    @field_validator("runtimes")
    @classmethod
    def _known_runtimes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_runtime(text)
        return value

    @field_validator("tflite_delegates")
    @classmethod
    def _check_delegates(cls, value: dict[str, TfliteDelegate]) -> dict[str, TfliteDelegate]:
        if taken := set(value) & set(_TFLITE_PROVIDERS):
            raise ValueError(f"{min(taken)!r} is a provider that TFLite has; give the delegate another name")
        return value

    @field_validator("provider_options")
    @classmethod
    def _known_options(cls, value: dict[str, dict[str, Value]]) -> dict[str, dict[str, Value]]:
        check_provider_options(value)
        return value

    @field_validator("precision", mode="before")
    @classmethod
    def _known_precision(cls, value: Any) -> Any:
        try:
            return parse_precision(value) if isinstance(value, str) else value
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @field_validator("group", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("group")
    @classmethod
    def _group_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if problem := name_problem(name):
                raise ValueError(f"{name!r} {problem}")
        if len(set(value)) != len(value):
            raise ValueError("names a group twice")
        return value

    @field_validator("cores")
    @classmethod
    def _distinct_cores(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a core twice")
        return value

    @field_validator("python", "root", "litert_library", "litert_carry", "edgetpu_library")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\0" in value or "\n" in value:
            raise ValueError("holds a line break or NUL; give a plain path")
        return value


class LocalDevice(Device):
    """This machine, measured through a subprocess."""

    transport: Literal["local"] = "local"

    @property
    def machine(self) -> str:
        """This machine, whatever the device's name."""
        return LOCAL

    @property
    def where(self) -> str:
        """That it is here."""
        return "this machine"


class SshDevice(Device):
    """A machine reached over SSH; a phone also through its cable, by adb."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["address"]}, {"required": ["adb"]}]})

    transport: Literal["ssh"] = "ssh"
    adb: _Serial = Field(
        "",
        description="A phone's serial number as 'adb devices' lists it: SSH goes through its cable, adb tells what SSH cannot.",
    )
    address: str = Field(
        "",
        min_length=1,
        max_length=600,
        description="Host name, IP address or alias of ~/.ssh/config; also user@host:port. With adb optional, and only a name.",
    )
    port: int = Field(
        22,
        ge=1,
        le=65535,
        description="Port of sshd; Termux listens on 8022. Default: ~/.ssh/config's, else 22; with adb 8022.",
    )
    fixed_performance: bool = Field(
        False,
        description="With adb: measure in Android's fixed-performance mode (Android 11 on), switched off again whatever happens.",
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
        "~/.ssh/known_hosts",
        description="File of known host keys, used without host_key; default: ~/.ssh/config's, else ~/.ssh/known_hosts.",
    )
    jump: str = Field(
        "",
        max_length=2000,
        description="Host to go through, 'user@host:port'; several with commas; 'none': not even ~/.ssh/config's.",
    )
    ssh_config: str = Field(
        "~/.ssh/config",
        description="OpenSSH's settings of hosts, read as ssh reads them, or 'none'; default: ~/.ssh/config.",
    )

    @property
    def machine(self) -> str:
        """Host and port, as they are written: boards behind forwarded ports share a host. A phone's cable is its own."""
        if self.adb:
            return f"adb {self.adb}"
        to = self.destination
        return f"ssh {to.host.lower()} {to.port or self.port}"

    @property
    def destination(self) -> Destination:
        """Login, host and port as far as devices.toml names them; ~/.ssh/config may name what is open."""
        written = parse_destination(self.address or self.name)
        port = self.port if "port" in self.model_fields_set else written.port
        if self.adb:
            port = port or TERMUX_PORT
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
        if self.adb:
            return f"adb {self.adb}, port {to.port}"
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
        if info.data.get("address"):
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

    @model_validator(mode="after")
    def _fits_together(self) -> SshDevice:
        """Refuse keys that do not go with each other; the errors name the key, which pydantic cannot."""
        if not self.address and not self.adb:
            raise PydanticCustomError("missing", "no address", {"key": "address"})
        if self.jumps and self.adb:
            raise PydanticCustomError(
                "jump_with_adb",
                "leads through a host, and adb through a cable; leave one of the two out",
                {"key": "jump"},
            )
        if self.fixed_performance and not self.adb:
            raise PydanticCustomError(
                "not_without_adb",
                "is set through adb; add adb = \"...\" with the serial number that 'adb devices' lists",
                {"key": "fixed_performance"},
            )
        return self


class AdbDevice(Device):
    """A phone by its cable alone: no SSH and no Python there; LiteRT's benchmark_model tells averages."""

    transport: Literal["adb"] = "adb"
    adb: _Serial = Field(min_length=1, description="The phone's serial number as 'adb devices' lists it.")
    benchmark_model: str = Field(
        min_length=1,
        max_length=4096,
        description="LiteRT's program benchmark_model for the phone's processor, a file on this machine.",
    )

    @property
    def machine(self) -> str:
        """The phone: two names of one serial number are one machine."""
        return f"adb {self.adb}"

    @property
    def where(self) -> str:
        """The phone's serial number."""
        return f"adb {self.adb} alone"

    @property
    def program(self) -> Path:
        """The file of `benchmark_model` on this machine."""
        return expand_user(self.benchmark_model)


_CLASSES: dict[str, type[Device]] = {"local": LocalDevice, "ssh": SshDevice, "adb": AdbDevice}


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
    if provider and not re.fullmatch(r"[A-Za-z]+([-+][A-Za-z0-9]+)*", provider):
        raise ValueError(f"names provider {provider!r}; expected letters, e.g. 'onnxruntime:cuda'")
    return runtime, provider


def named_runtime(text: str) -> tuple[str, str]:
    """Return the runtime and the provider of --runtime, as `parse_runtime`. Raises: ConfigError."""
    try:
        return parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {error}") from error


def parse_precision(text: str) -> Precision:
    """Return the precision of this name. Raises: ConfigError."""
    for known in PRECISIONS:
        if text == known:
            return known
    raise ConfigError(
        f"no precision {text!r}{did_you_mean(text, PRECISIONS)} (known: {', '.join(PRECISIONS)})"
    )


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


class Devices(dict[str, Device]):
    """Devices by name, in the order of their file; a name that is not there is a ConfigError."""

    def __missing__(self, name: object) -> NoReturn:
        groups = groups_of(self)
        problem = name_problem(str(name))
        remedy = f"a name {problem}" if problem else f"add [devices.{name}] to {DEFAULT_FILE}"
        raise ConfigError(
            f"unknown device {name!r}{did_you_mean(str(name), [*self, *groups])} ({known_text(self, groups)}); {remedy}"
        )


def groups_of(devices: Mapping[str, Device]) -> dict[str, list[str]]:
    """Return the names of the devices in each group of devices.toml."""
    groups: dict[str, list[str]] = {}
    for device in devices.values():
        for group in device.group:
            groups.setdefault(group, []).append(device.name)
    return groups


def known_text(names: Iterable[str], groups: Iterable[str]) -> str:
    """Return which names and groups there are, for an error."""
    known, some = shortened(sorted(names)), shortened(sorted(groups))
    return f"known: {known or 'none'}" + (f"; groups: {some}" if some else "")


def shortened(names: Sequence[str]) -> str:
    """Return names in a list, the first twenty of many."""
    return first_of(names, SHOWN_NAMES)


def load_devices(path: str | Path | None = None) -> Devices:
    """Read devices.toml into devices by name; `local` is always there.

    With `path` None it is the file that HARNESS_DEVICES names, else `devices.toml` of the working folder if that exists.
    Raises: ConfigError naming file, line, key, value and remedy.

    >>> load_devices()["local"].name
    'local'
    """
    path = path or os.environ.get(FILE_VARIABLE) or None
    if path is None and not Path(DEFAULT_FILE).exists():
        return Devices({LOCAL: LocalDevice(name=LOCAL)})
    path = Path(path or DEFAULT_FILE)
    return parse_devices(read_text(path, most=MAX_FILE_BYTES), str(path))


def parse_devices(text: str, source: str = DEFAULT_FILE) -> Devices:
    """Read the text of a devices file; see `load_devices`."""
    document = _parse_toml(text, source)
    tables, defaults = document.get("devices", {}), document.get("defaults", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{source}: 'devices' must be a table; write [devices.NAME]")
    _check_defaults(defaults, text, source)
    devices = Devices({LOCAL: LocalDevice(name=LOCAL)})
    for name, table in tables.items():
        devices[name] = _parse_device(name, table, defaults, text, source)
    for name, device in devices.items():
        for group in device.group:
            if group in devices:
                line = _line_of(text, f"devices.{name}", "group")
                raise ConfigError(
                    f"{source}:{line}: [devices.{name}] group {group!r} is a device's name, too; rename one of the two"
                )
    return devices


def is_named(device: Device) -> bool:
    """Return whether devices.toml names the device: `local` is there without being named, too."""
    return device.name != LOCAL or "transport" in device.model_fields_set


def devices_schema() -> dict[str, Any]:
    """Return the JSON schema of devices.toml, for editors (Even Better TOML, taplo); with the transports of other packages.

    Raises: ConfigError when another package's transport cannot be used.
    """
    classes = _CLASSES | {name: _plugin_class(name) for name in plugins(TRANSPORTS) if name not in _CLASSES}
    found, document = models_json_schema(
        [(kind, "validation") for kind in classes.values()], ref_template="#/$defs/{model}"
    )
    whole, completed = [], []  # a device by itself, and one that [defaults] may complete
    defaults: dict[str, Any] = {}
    for name, kind in classes.items():
        reference = found[kind, "validation"]
        definition = document["$defs"][reference["$ref"].rpartition("/")[2]]
        definition["properties"].pop("name", None)
        defaults |= definition["properties"]
        required = sorted({*definition.pop("required", ()), *(() if kind is LocalDevice else ("transport",))})
        either = [{"anyOf": definition.pop("anyOf")}] if "anyOf" in definition else []
        own = [] if name in _CLASSES else [{"properties": {"transport": {"const": name}}}]
        completed.append({"allOf": [reference, *own]} if own else reference)
        whole.append(
            {"allOf": [reference, *own, *either, {"required": required}]} if required else completed[-1]
        )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "devices.toml of harness",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "devices": {
                "type": "object",
                "propertyNames": {"pattern": f"^{_NAME.pattern}$", "not": {"const": ALL}},
                "additionalProperties": {"anyOf": completed},
            },
            "defaults": {
                "type": "object",
                "description": "Keys of all devices that the file names and that do not have them themselves.",
                "additionalProperties": False,
                "properties": defaults | {"transport": {"enum": list(classes)}},
            },
        },
        "if": {"required": ["defaults"]},
        "else": {"properties": {"devices": {"additionalProperties": {"oneOf": whole}}}},
        "$defs": document["$defs"],
    }


def _parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return the document, in which nothing but devices and defaults stands. Raises: ConfigError."""
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
        if key not in ("devices", "defaults"):
            remedy = (
                did_you_mean(key, ["devices", "defaults"])
                or "; devices are tables [devices.NAME], what they share is [defaults]"
            )
            raise ConfigError(f"{source}:{_line_of(text, None, key)}: unknown top-level key {key!r}{remedy}")
    return document


def _check_defaults(defaults: Any, text: str, source: str) -> None:
    """Refuse a table [defaults] with a key that no device has, or a value that none may have. Raises: ConfigError."""
    if not isinstance(defaults, dict):
        raise ConfigError(f"{source}: 'defaults' must be a table, not {defaults!r}; write [defaults]")
    if not defaults:
        return
    kinds = list(_CLASSES.values())
    if not defaults.keys() <= set().union(*map(_keys_of, kinds)):
        kinds += [_plugin_class(name) for name in plugins(TRANSPORTS) if name not in _CLASSES]
    _check_keys(defaults, set().union(*map(_keys_of, kinds)), "defaults", text, source)
    if "transport" in defaults:
        _class_of(defaults["transport"], "defaults", text, source)
    for kind in kinds:
        values = {key: value for key, value in defaults.items() if key in _keys_of(kind) - {"transport"}}
        try:
            kind.model_validate(values)
        except ValidationError as error:
            # What is missing, or does not go together, may be otherwise in a device's own table.
            problems = [one for one in error.errors() if one["type"] != "missing" and one["loc"]]
            if problems:
                raise ConfigError(_describe(problems[0], "defaults", text, source)) from error


def _parse_device(name: str, table: Any, defaults: Mapping[str, Any], text: str, source: str) -> Device:
    place = f"devices.{name}"

    def refusal(problem: str) -> ConfigError:
        return ConfigError(f"{source}:{_line_of(text, place, None)}: [{place}]{problem}")

    if problem := name_problem(name):
        raise refusal(f": the name {name!r} {problem}")
    if not isinstance(table, dict):
        raise refusal(f": must be a table, not {table!r}; write [{place}]")
    transport = table.get("transport", LOCAL if name == LOCAL else defaults.get("transport"))
    if transport is None:
        _check_keys(table, set().union(*map(_keys_of, _CLASSES.values())), place, text, source)
        raise refusal(': key \'transport\' is missing; write transport = "ssh" or "local"')
    kind = _class_of(transport, place, text, source)
    _check_keys(table, _keys_of(kind), place, text, source)
    try:
        return kind.model_validate(
            {**_with_defaults(table, defaults, _keys_of(kind)), "transport": transport, "name": name}
        )
    except ValidationError as error:
        raise ConfigError(_describe(error.errors()[0], place, text, source)) from error


def _with_defaults(table: Mapping[str, Any], defaults: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    """Return a device's table with the defaults of its keys; a login or port that its own address names wins over them."""
    completed = {key: value for key, value in defaults.items() if key in keys} | dict(table)
    with suppress(ValueError):  # an address that is none is refused with all other values
        written = parse_destination(str(table.get("address", "")))
        for key, value in (("user", written.user), ("port", written.port)):
            if value and key not in table:
                completed.pop(key, None)
    return completed


def _keys_of(kind: type[Device]) -> set[str]:
    return set(kind.model_fields) - {"name"}


def _check_keys(table: Mapping[str, Any], keys: set[str], place: str, text: str, source: str) -> None:
    """Raise ConfigError for a key that is none of these, with the one that is meant."""
    for key, value in table.items():
        if key in keys:
            continue
        meant = _OTHER_NAMES.get(key.lower().replace("-", "_"))
        hint = f"; did you mean {meant!r}?" if meant in keys else did_you_mean(key, keys)
        raise ConfigError(
            f"{source}:{_line_of(text, place, key)}: [{place}] has no key {key!r}{hint} "
            f"(known: {', '.join(sorted(keys))}; given: {value!r})"
        )


def _class_of(transport: Any, place: str, text: str, source: str) -> type[Device]:
    """Return the class of a transport's devices. Raises: ConfigError where no one knows the transport."""
    known, is_text = [*_CLASSES, *plugins(TRANSPORTS)], isinstance(transport, str)
    if is_text and transport in known:
        return _CLASSES.get(transport) or _plugin_class(transport)
    hint = did_you_mean(transport, known) if is_text else ""
    line = _line_of(text, place, "transport")
    raise ConfigError(
        f"{source}:{line}: [{place}] transport = {transport!r} is unknown{hint} (known: {', '.join(known)})"
    )


def name_problem(name: str) -> str:
    """Return the fault of a device's or a group's name, empty where there is none."""
    if not _NAME.fullmatch(name):
        return "may hold only letters, digits and '-'"
    return f"is taken: --device {ALL} means every device; choose another" if name == ALL else ""


def _plugin_class(transport: str) -> type[Device]:
    """Return the class of the devices of another package's transport. Raises: ConfigError when it has none."""
    found = getattr(load_plugin(TRANSPORTS, transport), "device_class", None)
    if not (isinstance(found, type) and issubclass(found, Device)):
        raise bad_plugin(TRANSPORTS, transport, "has no device_class that is a harness.devices.config.Device")
    return found


def _describe(problem: Mapping[str, Any], table: str, text: str, source: str) -> str:
    """Return a validation's finding, with the line of the key in its table, such as `devices.pi4`."""
    path = problem["loc"] or (problem["ctx"]["key"],)
    key = str(path[0])
    line = _line_of(text, table, key)
    if problem["type"] == "missing":
        return f'{source}:{line}: [{table}] needs the key {key!r}; add {key} = "..."'
    message = problem["msg"].removeprefix("Value error, ")
    place = key + "".join(f"[{part}]" for part in path[1:])
    value = problem["input"] if problem["loc"] else problem["input"][key]
    return f"{source}:{line}: [{table}] {place} = {value!r}: {message}"


def _line_of(text: str, table: str | None, key: str | None) -> int:
    """Find the 1-based line of a table's header or of a key below it; the header's line where the key has none.

    Without a table it is the line of a top-level key, or of the first table below it.
    """
    header, inside = 1, table is None
    wanted = None if table is None else table.replace(" ", "")
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.split("#", 1)[0].strip()
        if bare.startswith("["):
            named = bare.strip("[]").replace(" ", "").replace('"', "").replace("'", "")
            inside = named == wanted if wanted is not None else named.split(".")[0] == key
            if inside:
                header = number
                if key is None or wanted is None:
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
