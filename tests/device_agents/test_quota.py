"""Quotas on processor time: what the system's files say, and a real one."""

from __future__ import annotations

import os
import time

import pytest

from device_agents.control_groups import find_groups
from device_agents.forked_child import READY, Forked
from device_agents.quota import Quota, ThrottledTime, parse_throttled_us, read_quota

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
V1 = "32 31 0:29 {root} /sys/fs/cgroup/cpu\\\\040acct rw - cgroup cgroup rw,cpu,cpuacct\n".replace(
    "\\\\", "\\"
)


def system(folder, memberships, mounts, files=()):
    """Write a system's account of its control groups."""
    texts = {"proc/self/cgroup": memberships, "proc/self/mountinfo": mounts, **dict(files)}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_least_quota_of_the_own_group_and_its_ancestors_counts(tmp_path):
    files = {
        "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        "sys/fs/cgroup/a/b/c/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/a/other/cpu.max": "1000 100000\n",
    }
    folder = system(tmp_path, "0::/a/b/c\n", V2, files)
    assert read_quota(folder) == Quota(1.5, str(tmp_path / "sys/fs/cgroup/a"))


def test_version_1_is_found_by_its_mount_whatever_its_name_and_part_of_the_tree(tmp_path):
    files = {
        "sys/fs/cgroup/cpu acct/inner/cpu.cfs_quota_us": "30000\n",
        "sys/fs/cgroup/cpu acct/inner/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu acct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu acct/cpu.cfs_period_us": "100000\n",
    }
    memberships = "5:memory:/x\n3:cpu,cpuacct:/docker/abc/inner\n0::/elsewhere\n"
    folder = system(tmp_path, memberships, V2 + V1.format(root="/docker/abc"), files)
    assert read_quota(folder) == Quota(0.3, str(tmp_path / "sys/fs/cgroup/cpu acct/inner"))


@pytest.mark.parametrize(
    ("memberships", "mounts"),
    [("0::/\n", V2), ("0::/../outside\n", V2), ("garbled", V2), ("0::/a\n", "garbled\n"), ("", "")],
)
def test_where_no_quota_is_told_there_is_none(tmp_path, memberships, mounts):
    assert read_quota(system(tmp_path, memberships, mounts)) is None


def test_a_system_without_control_groups_has_no_quota_and_does_not_know_of_held_back_time(tmp_path):
    assert read_quota(tmp_path) is None
    assert ThrottledTime(tmp_path).read() is None


@pytest.mark.parametrize("text", ["", "what", "max", "1 2 3", "100000 0", "-1"])
def test_a_file_that_is_not_as_documented_is_no_quota(tmp_path, text):
    files = {"sys/fs/cgroup/a/cpu.max": text}
    assert read_quota(system(tmp_path, "0::/a\n", V2, files)) is None


def test_held_back_time_is_read_anew_of_each_group_with_a_quota(tmp_path):
    stat = "usage_usec 5\nnr_throttled 1\nthrottled_usec {}\n"
    files = {
        "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
        "sys/fs/cgroup/a/cpu.stat": stat.format(700),
        "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        "sys/fs/cgroup/a/b/cpu.stat": stat.format(9000),
    }
    folder = system(tmp_path, "0::/a/b\n", V2, files)
    throttled = ThrottledTime(folder)
    assert throttled.read() == 700
    (folder / "sys/fs/cgroup/a/cpu.stat").write_text(stat.format(1700))
    assert throttled.read() == 1700
    (folder / "sys/fs/cgroup/a/cpu.stat").write_text("what\n")
    assert throttled.read() is None


def test_without_a_quota_nothing_is_held_back(tmp_path):
    throttled = ThrottledTime(system(tmp_path, "0::/\n", V2))
    assert throttled.read() == 0


def test_either_versions_count_is_read_in_microseconds():
    assert parse_throttled_us("nr_throttled 3\nthrottled_usec 1234\n") == 1234
    assert parse_throttled_us("nr_throttled 3\nthrottled_time 1234567\n") == 1234
    with pytest.raises(ValueError, match="neither"):
        parse_throttled_us("usage_usec 5\n")


def test_a_real_quota_is_read_and_its_holding_back_counted():
    groups = find_groups()
    if os.geteuid() != 0 or groups is None or groups.version != 1:
        pytest.skip("needs root and version 1's cpu groups")
    group = groups.own[0] / f"quota-{os.getpid()}"
    group.mkdir()

    def enter():
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("5000")
        (group / "cgroup.procs").write_text(str(os.getpid()))

    def work():
        throttled = ThrottledTime()
        before_us = throttled.read()
        end_s = time.monotonic() + 15  # beside many programs 5 ms of the core are long in coming
        while time.monotonic() < end_s and throttled.read() - before_us <= 100000:
            pass
        return f"{read_quota().cores} {throttled.read() - before_us}"

    child = Forked(enter, work, 20)
    try:
        assert child.await_word() == READY
        child.go()
        cores, held_back_us = child.await_word().split()
    finally:
        child.end()
        group.rmdir()
    assert float(cores) == pytest.approx(0.05)
    assert int(held_back_us) > 100000
