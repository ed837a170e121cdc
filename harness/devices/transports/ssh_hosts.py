"""The way to a device: the hosts to log in to, from devices.toml over ~/.ssh/config."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.devices.config import SshDevice
from harness.devices.destination import Destination, parse_destination
from harness.devices.transports.ssh_config import (
    HostSettings,
    expand_home,
    expand_tokens,
    host_tokens,
    login_name,
    read_settings,
)
from space.errors import ConfigError

DEFAULT_PORT = 22
MAX_HOPS = 8
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
USUAL_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
# What OpenSSH refuses, too, in names that a ProxyCommand's shell is given.
_SHELL_CHARACTERS = re.compile(r"^-|[\s'`\"$\\;&<>|(){}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHost:
    """A host to log in to, all settled. `who` names it for people; `device` is the name in devices.toml.

    `keys`: private key files to offer, those that exist; `only_keys`: offer no other of the agent's. `pin`: the public host key
    of devices.toml, else `known_hosts` has it under `host_key_name`. `proxy_command`: a command whose streams are the
    connection. `is_jump`: on the way to the device.
    """

    who: str
    device: str
    hostname: str
    port: int
    user: str
    keys: tuple[Path, ...]
    only_keys: bool
    agent: str
    pin: str
    known_hosts: tuple[Path, ...] = field(repr=False)
    host_key_alias: str
    proxy_command: str
    copy_key: str
    is_jump: bool

    @property
    def plain_key_name(self) -> str:
        """The name that certificates have of this host."""
        return (self.host_key_alias or self.hostname).lower()

    @property
    def host_key_name(self) -> str:
        """The name that known_hosts has of this host."""
        is_plain = self.host_key_alias or self.port == DEFAULT_PORT
        return self.plain_key_name if is_plain else f"[{self.plain_key_name}]:{self.port}"


def find_way(device: SshDevice) -> tuple[SshHost, ...]:
    """Return the hosts to log in to, one through the other, the device last.

    Raises: ConfigError for what cannot be meant.
    """
    to = device.destination
    settings = read_settings(to.host, device.ssh_config, user=to.user, port=to.port)
    # The way is the cable; the key is known under the phone's name, whatever the port of today.
    if device.adb:
        settings = replace(settings, proxy=("none", ""), host_key_alias=settings.host_key_alias or to.host)
    kind, proxy = settings.proxy
    if device.jump:
        kind, proxy = ("jump", device.jump) if device.jumps else ("none", "")
    jumps = _parse_jumps(proxy, device) if kind == "jump" else ()
    host = _host(device, to, settings, proxy if kind == "command" else "", is_jump=False)
    return (*_hops(device, jumps, 0), host)


def _hops(device: SshDevice, jumps: tuple[Destination, ...], depth: int) -> tuple[SshHost, ...]:
    """Return the jump hosts; the first one's own settings may name hosts before it."""
    if depth + len(jumps) > MAX_HOPS:
        raise ConfigError(
            device.who,
            f"more than {MAX_HOPS} jump hosts on the way to it; does one lead back to itself?",
        )
    hosts: tuple[SshHost, ...] = ()
    for number, to in enumerate(jumps):
        settings = read_settings(to.host, device.ssh_config, user=to.user, port=to.port)
        kind, proxy = settings.proxy if number == 0 else ("none", "")
        if kind == "jump":
            hosts = _hops(device, _parse_jumps(proxy, device), depth + len(jumps))
        hosts += (_host(device, to, settings, proxy if kind == "command" else "", is_jump=True),)
    return hosts


def _host(
    device: SshDevice, to: Destination, settings: HostSettings, command: str, *, is_jump: bool
) -> SshHost:
    hostname = settings.hostname
    port = to.port or settings.port or DEFAULT_PORT
    user = to.user or settings.user or login_name()
    name = device.who
    who = (
        f"{f'jump host of {name}' if is_jump else name} ({Destination(user=user, host=hostname, port=port)})"
    )
    if command:
        for text in (to.host, hostname, user):
            if _SHELL_CHARACTERS.search(text):
                raise ConfigError(
                    who, f"{text!r} holds characters that a shell would act on; ssh refuses it, too"
                )
        command = expand_tokens(command, host_tokens(to.host, hostname, user, str(port)), "ProxyCommand")
    return SshHost(
        who=who,
        device=device.name,
        hostname=hostname,
        port=port,
        user=user,
        keys=_keys(device, settings, is_jump=is_jump),
        only_keys=(bool(device.key) and not is_jump) or settings.identities_only,
        agent=settings.identity_agent,
        pin="" if is_jump else device.host_key,
        known_hosts=_known_hosts(device, settings, is_jump=is_jump),
        host_key_alias=settings.host_key_alias,
        proxy_command=command,
        copy_key=_copy_key(device, to, settings, port, user, is_jump=is_jump),
        is_jump=is_jump,
    )


def _copy_key(
    device: SshDevice, to: Destination, settings: HostSettings, port: int, user: str, *, is_jump: bool
) -> str:
    """Return the command that makes the host take one's key: by its alias where ~/.ssh/config has one, or through a cable."""
    if device.adb:
        cable = shlex.join(["adb", "-s", device.adb, "forward", f"tcp:{port}", f"tcp:{port}"])
        return f"{cable} && {shlex.join(['ssh-copy-id', '-p', str(port), f'{user}@127.0.0.1'])}"
    words = ["ssh-copy-id"]
    if device.jumps and not is_jump:
        words += ["-o", f"ProxyJump={device.jump.replace(' ', '')}"]
    if to.port or not settings.port:
        words += ["-p", str(port)]
    is_alias = settings.hostname != to.host and not to.user
    return shlex.join([*words, to.host if is_alias else f"{user}@{to.host}"])


def _keys(device: SshDevice, settings: HostSettings, *, is_jump: bool) -> tuple[Path, ...]:
    """Return the key files to offer; a jump host that nobody named one for is offered the device's and the usual ones."""
    own = (expand_home(device.key, f"[devices.{device.name}] key"),) if device.key else ()
    if own and not is_jump:
        return own
    if settings.identity_files is not None:
        return settings.identity_files
    return (*own, *(expand_home(text, "key") for text in USUAL_KEYS))


def _known_hosts(device: SshDevice, settings: HostSettings, *, is_jump: bool) -> tuple[Path, ...]:
    """Return the files of known host keys; the one that devices.toml names is a device's only one."""
    own: tuple[Path, ...] = ()
    if device.host_key and not is_jump:
        return own
    if "known_hosts" in device.model_fields_set:
        own = (expand_home(device.known_hosts, f"[devices.{device.name}] known_hosts"),)
        if not is_jump:
            return own
    where = "known_hosts"
    user, everyone = settings.user_known_hosts, settings.global_known_hosts
    return (
        *own,
        *(tuple(expand_home(text, where) for text in USER_KNOWN_HOSTS) if user is None else user),
        *(tuple(map(Path, GLOBAL_KNOWN_HOSTS)) if everyone is None else everyone),
    )


def _parse_jumps(text: str, device: SshDevice) -> tuple[Destination, ...]:
    try:
        return tuple(parse_destination(one.strip()) for one in text.split(","))
    except ValueError as error:
        raise ConfigError(device.who, f"ProxyJump {text!r} {error}") from error
