"""OpenSSH's settings of hosts, `~/.ssh/config`: matched by paramiko's reader, from lines that are made ready for it here.

paramiko matches hosts and lets the first value win. Done here is what it lacks or does otherwise than ssh: `Include`; comments
behind a value; criteria of `Match` that it does not know, which it would take as met; `Match exec` with a deadline; `ProxyJump`
and `ProxyCommand`, of which the first named wins; `~` and `%` within values, which it replaces anywhere.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
import socket
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko

from harness.devices.destination import parse_port
from space.errors import ConfigError
from space.user_paths import expand_user

SYSTEM_CONFIG = "/etc/ssh/ssh_config"
EXEC_TIMEOUT_S = 10.0
MAX_BYTES = 16 << 20  # of a file
MAX_INCLUDES = 16  # one in another, as OpenSSH's

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_VALUE_KEYS = (
    "hostname",
    "user",
    "port",
    "identityfile",
    "identitiesonly",
    "identityagent",
    "hostkeyalias",
    "canonicalizehostname",
    "canonicalizemaxdots",
    "canonicalizefallbacklocal",
    "addressfamily",
)
_LIST_KEYS = ("userknownhostsfile", "globalknownhostsfile", "canonicaldomains")
_PROXY_KEYS = ("proxyjump", "proxycommand")
_ALONE = ("all", "canonical", "final")  # criteria of Match without a value
_WITH_PATTERN = ("host", "originalhost", "user", "localuser")
_NEVER = "Host !*"
_MARK = "harnessmark"
_PROXY = "harnessproxy"  # one key for both, so that the first wins
_ARGUMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|(#.*)|([^\s"\']+)')
_HIDDEN = {"%": "\ue000", "~": "\ue001"}  # from paramiko, which would replace them anywhere in a value


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Settings of one host; empty and None where the files say nothing. Tokens and `~` are expanded, but in `proxy`.

    `proxy`: `("jump", "user@host:port,...")` or `("command", TEXT)` with its tokens, or `("none", "")`.
    """

    hostname: str
    user: str = ""
    port: int | None = None
    identity_files: tuple[Path, ...] | None = None
    identities_only: bool = False
    identity_agent: str = ""
    host_key_alias: str = ""
    user_known_hosts: tuple[Path, ...] | None = None
    global_known_hosts: tuple[Path, ...] | None = None
    proxy: tuple[str, str] = ("none", "")


def read_settings(name: str, config_file: str, *, user: str = "", port: int | None = None) -> HostSettings:
    """Return the settings of a host by the name that a person gave it.

    config_file: `~/.ssh/config`, with which the system's file is read as well, another file, or `none`. user, port: named
    elsewhere, so that they hold and count in `Match user` and in tokens.
    Raises: ConfigError naming the file and what is wrong.
    """
    reader = _Reader(name, user, port)
    if config_file != "none":
        try:
            path = expand_user(config_file)
        except ConfigError:  # an account without a home folder has no settings there
            path = Path(os.devnull)
        reader.read(path, 0)
        if config_file == "~/.ssh/config":
            reader.begin("Host *")
            reader.read(Path(SYSTEM_CONFIG), 0)
    return reader.settings(config_file)


class _Reader:
    """Lines of settings files for one host, as paramiko's reader takes them."""

    def __init__(self, name: str, user: str, port: int | None) -> None:
        self._name = name
        self._header = "Host *"
        self._user, self._port = user, port
        self._lines = [f"User {_hide(user)}"] * bool(user) + [f"Port {port}"] * bool(port)
        self._is_silent = True  # no file says anything

    def begin(self, header: str) -> None:
        """Begin a block."""
        self._header = header
        self._lines.append(header)

    def read(self, path: Path, depth: int) -> None:
        """Add a file's lines, and those of the files that it includes."""
        if depth > MAX_INCLUDES:
            raise ConfigError(f"{path}: included more than {MAX_INCLUDES} deep; does it include itself?")
        for number, line in enumerate(read_lines(path, "ssh_config", must_be_own=True), start=1):
            found = re.fullmatch(r"\s*(\w+)\s*(?:=\s*|\s)\s*(.*)", line)
            if found is None or line.lstrip().startswith("#"):
                continue
            key, value = found[1].lower(), found[2].strip()
            self._is_silent = False
            try:
                self._add(key, value, path, depth)
            except (ValueError, paramiko.SSHException) as error:
                raise ConfigError(f"{path}:{number}: {line.strip()!r}: {error}") from error

    def settings(self, source: str) -> HostSettings:
        """Return the settings of the host."""
        if self._is_silent:
            return HostSettings(hostname=self._name, user=self._user, port=self._port)
        values = self._lookup()
        tokens = self._tokens(values)

        def paths(key: str) -> tuple[Path, ...] | None:
            if key not in values:
                return None
            value = values[key]
            texts = shlex.split(value) if isinstance(value, str) else value
            where = f"{source}: {key}"
            return tuple(
                expand_home(expand_tokens(_environment(text, where), tokens, where), where)
                for text in texts
                if text.lower() != "none"
            )

        try:
            port = parse_port(str(values["port"])) if "port" in values else None
        except ValueError as error:
            raise ConfigError(f"{source}: Host {self._name}: {error}") from error
        kind, _, proxy = str(values.get(_PROXY, "none")).partition(" ")
        agent = _environment(str(values.get("identityagent", "")), source)
        return HostSettings(
            hostname=tokens["h"],
            user=str(values.get("user", "")),
            port=port,
            identity_files=paths("identityfile"),
            identities_only=str(values.get("identitiesonly", "no")).lower() in ("yes", "true"),
            identity_agent=expand_tokens(agent, tokens, source),
            host_key_alias=expand_tokens(str(values.get("hostkeyalias", "")), tokens, source),
            user_known_hosts=paths("userknownhostsfile"),
            global_known_hosts=paths("globalknownhostsfile"),
            proxy=(kind, proxy),
        )

    def _add(self, key: str, value: str, path: Path, depth: int) -> None:
        if key == "host":
            self.begin(" ".join(["Host", *(_quoted_pattern(one) for one in _arguments(value))]))
        elif key == "match":
            self.begin(self._match(_arguments(value)))
        elif key == "include":
            self._include(_arguments(value), path, depth)
        elif key in _PROXY_KEYS:
            kind = key.removeprefix("proxy")
            text = value if kind == "command" else ",".join(_arguments(value)[:1])
            self._lines.append(f"{_PROXY} {'none' if text.lower() == 'none' else f'{kind} {_hide(text)}'}")
        elif key in _LIST_KEYS:
            self._lines.append(f"{key} {_hide(shlex.join(_arguments(value)))}")
        elif key in _VALUE_KEYS and (arguments := _arguments(value)) and arguments[0]:
            text = arguments[0]
            if key == "hostname":
                text = expand_tokens(text, {"h": self._name}, str(path))
            self._lines.append(f"{key} {_hide(text)}")

    def _include(self, patterns: list[str], path: Path, depth: int) -> None:
        """Read the files of an `Include` where its block holds for the host; the block goes on behind it."""
        if not self._is_met():
            return
        header = self._header
        folder = path.parent if path.is_relative_to("/etc/ssh") else expand_home("~/.ssh", "Include")
        for pattern in patterns:
            whole = str(folder / expand_home(_environment(pattern, str(path)), "Include"))
            for found in sorted(glob.glob(whole)):  # noqa: PTH207 - a pattern may be absolute
                self.read(Path(found), depth + 1)
                self.begin(header)

    def _match(self, words: list[str]) -> str:
        """Return the header of a `Match` block: without commands, and one that never holds for what cannot be told here."""
        words, kept = list(words), list[str]()
        while words:
            word, equals, value = words.pop(0).partition("=")
            word = word.lower()
            name = word.removeprefix("!")
            if name in _ALONE:
                kept.append(word)
                continue
            if not equals and not words:
                raise ValueError(f"criterion {word!r} has no value")
            value = value if equals else words.pop(0)
            if name in _WITH_PATTERN:
                kept += [word, _quoted_pattern(value)]
            elif name != "exec" or not self._is_exec_met(kept, value, is_negated=word.startswith("!")):
                return _NEVER
        return " ".join(["Match", *kept]) if kept else "Host *"

    def _is_exec_met(self, before: list[str], command: str, *, is_negated: bool) -> bool:
        """Return whether a `Match exec` holds; its command is run only where the criteria before it hold."""
        if before and not self._is_met(" ".join(["Match", *before])):
            return False
        return self._succeeds(command) != is_negated

    def _is_met(self, *header: str) -> bool:
        """Return whether a block beginning here, or without a header the present one, holds for the host."""
        return _MARK in self._lookup(*header, f"{_MARK} yes")

    def _succeeds(self, command: str) -> bool:
        line = expand_tokens(command, self._tokens(self._lookup()), "Match exec")
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=EXEC_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"{line!r} did not end within {EXEC_TIMEOUT_S:g} s") from error
        return done.returncode == 0

    def _tokens(self, values: Mapping[str, str | list[str]]) -> dict[str, str]:
        user = str(values.get("user", "")) or login_name()
        return host_tokens(self._name, str(values["hostname"]), user, str(values.get("port", 22)))

    def _lookup(self, *more: str) -> Mapping[str, str | list[str]]:
        login_name()  # which paramiko asks for, too, without a word of what helps
        text = "\n".join([*self._lines, *more])
        try:
            found = paramiko.SSHConfig.from_text(text).lookup(self._name)
        except (
            paramiko.SSHException,
            KeyError,
            ValueError,
            OSError,
        ) as error:  # canonical names that cannot be found
            raise ConfigError(
                f"ssh_config: the settings of {self._name!r} cannot be read: {error!r}"
            ) from error
        return {
            key: [_shown(one) for one in value] if isinstance(value, list) else _shown(value)
            for key, value in found.items()
        }


def read_lines(path: Path, what: str, *, must_be_own: bool = False) -> list[str]:
    """Return a file's lines; none of a file that does not exist and of /dev/null, which people name to have none.

    what: where the path was named, for messages. must_be_own: refuse a file that others may change, as ssh does with what
    holds commands. Raises: ConfigError for a device, a FIFO, a folder, a file of more than 16 MiB or one that cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what}: {path} cannot be read: {error}") from error
    try:
        status = os.fstat(fd)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3):
            return []
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{what}: {path} is no plain file; name a file of text")
        if must_be_own and (status.st_uid not in (0, os.getuid()) or status.st_mode & _OTHERS_MAY_WRITE):
            raise ConfigError(
                f"{what}: {path} may be changed by others, so ssh refuses it, too; run: chmod go-w '{path}' (as its owner)"
            )
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{what}: {path} holds more than {MAX_BYTES >> 20} MiB; name a file of text")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise ConfigError(f"{what}: {path} cannot be read: {error}") from error
    finally:
        os.close(fd)


def expand_home(text: str, what: str) -> Path:
    """Return a path with `~` and `~user` at its beginning expanded. Raises: ConfigError."""
    try:
        return expand_user(text)
    except ConfigError as error:
        raise ConfigError(f"{what} = {text!r}: {error}") from error


def host_tokens(name: str, hostname: str, user: str, port: str) -> dict[str, str]:
    """Return the values of the tokens that ssh_config(5) has for a host."""
    short = socket.gethostname()
    return {
        "h": hostname,
        "n": name,
        "p": port,
        "r": user,
        "u": login_name(),
        "d": os.path.expanduser("~"),  # noqa: PTH111 - an account without a home folder keeps the text
        "L": short.split(".")[0],
        "l": short,
        "i": str(os.getuid()),
        "k": hostname,
    }


def expand_tokens(text: str, tokens: Mapping[str, str], where: str) -> str:
    """Return a text with `%%` and the tokens replaced. Raises: ConfigError for a token that has no value here."""

    def value(found: re.Match[str]) -> str:
        if found[1] != "%" and found[1] not in tokens:
            raise ConfigError(f"{where}: {text!r} has the token %{found[1]}, which is not known here")
        return tokens.get(found[1], "%")

    return re.sub(r"%(.|$)", value, text)


def login_name() -> str:
    """Return the name of the account that this runs in. Raises: ConfigError where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ConfigError(f"this account has no name ({error}); give it one: export LOGNAME=NAME") from error


def _environment(text: str, where: str) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ConfigError(f"{where}: {text!r} names ${{{found[1]}}}, which is not set")
        return os.environ[found[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)


def _arguments(text: str) -> list[str]:
    """Split a value as ssh does: words, quoted ones whole, up to a comment."""
    found = []
    for match in _ARGUMENT.finditer(text):
        if match[3] is not None:
            break
        found.append(next(group for group in (match[1], match[2], match[4]) if group is not None))
    return found


def _quoted_pattern(pattern: str) -> str:
    return shlex.quote(pattern.replace("[", "[[]"))  # in ssh's patterns a bracket is only itself


def _hide(text: str) -> str:
    return "".join(_HIDDEN.get(character, character) for character in text)


def _shown(text: str | None) -> str:
    return "".join({hidden: real for real, hidden in _HIDDEN.items()}.get(one, one) for one in text or "")
