"""The control groups (cgroups) that govern how much processor time and memory this process gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ControlGroups:
    """A hierarchy of control groups with a controller, cpu or memory.

    version: 1 or 2; mount: the folder where the hierarchy's root, or what is shown of it, lies; own: the folder of
    this process's group and those of its ancestors, up to `mount`.
    """

    version: int
    mount: Path
    own: tuple[Path, ...]

    def weighing(self) -> Path | None:
        """Return the innermost group whose weight this process's time is a share of; None: none but the root's.

        Where it is none, the autogroup of the process's session stands in its place.
        """
        if self.version == 1:
            return self.own[0] if len(self.own) > 1 else None
        # version 2's true root has no cpu.weight, nor has a group for which the controller is not turned on
        return next((group for group in self.own if (group / "cpu.weight").exists()), None)


def find_groups(filesystem: Path = Path("/"), controller: str = "cpu") -> ControlGroups | None:
    """Return the hierarchy that governs processor time, or memory, None where there is none or none is shown.

    By /proc/self/cgroup and /proc/self/mountinfo, see cgroups(7) and proc_pid_mountinfo(5).
    """
    try:
        memberships = (filesystem / "proc/self/cgroup").read_text(errors="replace")
        mounts = (filesystem / "proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return None
    paths = parse_memberships(memberships)
    for version, key in ((1, controller), (2, "")):
        if key not in paths:
            continue
        found = find_mount(mounts, version, controller)
        if found is not None:
            shown_root, mount_point = found
            mount = filesystem / mount_point.lstrip("/")
            return ControlGroups(version, mount, own_groups(mount, shown_root, paths[key]))
    return None


def parse_memberships(text: str) -> dict[str, str]:
    """Return {controller: path} from /proc/self/cgroup; version 2's hierarchy has the controller ''."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split(":", 2)
        if len(words) == 3:
            for controller in words[1].split(","):
                paths[controller] = words[2]
    return paths


def find_mount(mountinfo: str, version: int, controller: str = "cpu") -> tuple[str, str] | None:
    """Return (which of the hierarchy's groups is shown, where) of a controller's hierarchy."""
    for line in mountinfo.splitlines():
        front, dash, back = line.partition(" - ")
        place, kind = front.split(" "), back.split(" ")
        if not dash or len(place) < 5 or len(kind) < 3:
            continue
        has_it = version == 1 and kind[0] == "cgroup" and controller in kind[2].split(",")
        if has_it or (version == 2 and kind[0] == "cgroup2"):
            return unescape(place[3]), unescape(place[4])
    return None


def own_groups(mount: Path, shown_root: str, path: str) -> tuple[Path, ...]:
    """Return the folders of a group and its ancestors, innermost first; only `mount` where the path lies outside."""
    shown = [name for name in shown_root.split("/") if name]
    names = [name for name in path.split("/") if name]
    inner = names[len(shown) :] if names[: len(shown)] == shown and ".." not in names else []
    return tuple(mount.joinpath(*inner[:depth]) for depth in range(len(inner), -1, -1))


def unescape(text: str) -> str:
    """Return a path of mountinfo with its octal escapes, as of a space, resolved."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
