"""One lock a machine: agents of other folders, other accounts, and out of sight of each other."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest
from rigs.agent_client import Client

from device_agents.locks import HELD, MachineLock, ask_holder, busy_machine
from device_agents.refusal import Refusal

NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"  # that another account, too, may run


@pytest.fixture
def name(request, monkeypatch):
    """Return a machine of the test's own, for agents that it starts."""
    text = f"{os.environ['HARNESS_LOCK_NAME']}-{request.node.name}"[:80]
    monkeypatch.setenv("HARNESS_LOCK_NAME", text)
    return text


def test_agents_of_two_folders_exclude_each_other_and_the_refusal_names_the_holder(agent, tmp_path, name):
    with Client(agent, tmp_path / "one") as first, Client(agent, tmp_path / "two") as second:
        assert first.ask("lock", owner="ada")["machine_lock"] == HELD
        assert first.ask("lock", owner="ada, again")["machine_lock"] == HELD
        answer = second.ask("lock", owner="grace")
        assert (answer["kind"], answer["pid"]) == ("busy", first.process.pid)
        for word in (str(first.process.pid), str(tmp_path / "one"), "HARNESS_LOCK_NAME", "wait for it"):
            assert word in answer["message"]
        first.process.kill()
        first.process.wait(10)
        assert second.ask("lock", owner="grace")["machine_lock"] == HELD


def test_an_agent_that_is_refused_the_machine_keeps_nobody_off_its_folder(agent, tmp_path, name, monkeypatch):
    with Client(agent, tmp_path / "one") as first, Client(agent, tmp_path / "two") as second:
        first.ask("lock", owner="ada")
        assert second.ask("lock", owner="grace")["kind"] == "busy"
        monkeypatch.setenv("HARNESS_LOCK_NAME", name + "-other")
        with Client(agent, tmp_path / "two") as third:
            assert third.ask("lock", owner="of another machine")["type"] == "result"


def test_the_folders_lock_comes_first_for_it_knows_the_owner(agent, tmp_path, name):
    with Client(agent, tmp_path / "root") as first, Client(agent, tmp_path / "root") as second:
        first.ask("lock", owner="ada")
        answer = second.ask("lock", owner="grace")
        assert (answer["owner"], answer["pid"]) == ("ada", first.process.pid)


def test_an_agent_of_another_account_is_kept_out_and_told_whose_machine_it_is(agent, tmp_path, name):
    if os.geteuid() != 0 or shutil.which("setpriv") is None or not os.access(SYSTEM_PYTHON, os.X_OK):
        pytest.skip("needs root, setpriv and a Python that any account may run")
    folder = tmp_path / "theirs"
    folder.mkdir()
    shared = folder / "agent.pyz"
    shutil.copy(agent, shared)
    for path in (folder, shared):
        os.chown(path, NOBODY, NOBODY)
    parents = [path for path in folder.parents if str(path).startswith("/tmp/")]
    for path in parents:  # pytest's folders are for their user alone
        path.chmod(path.stat().st_mode | 0o011)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", SYSTEM_PYTHON]
    starter = folder / "python"
    starter.write_text('#!/bin/sh\nexec {} "$@"\n'.format(" ".join(as_nobody)))
    starter.chmod(0o755)
    with (
        Client(agent, tmp_path / "ours") as ours,
        Client(shared, folder / "root", python=str(starter)) as theirs,
    ):
        ours.ask("lock", owner="ada")
        answer = theirs.ask("lock", owner="grace")
        assert (answer["kind"], answer["user"], answer["pid"]) == ("busy", "root", ours.process.pid)
        ours.process.kill()
        ours.process.wait(10)
        assert theirs.ask("lock", owner="grace")["machine_lock"] == HELD
        with Client(agent, tmp_path / "ours") as again:
            assert again.ask("lock", owner="ada")["user"] == "nobody"


def test_an_agent_in_a_network_of_its_own_is_not_refused_and_says_that_it_may_not_be_alone(
    agent, tmp_path, name
):
    unshare = ["unshare", "--net", "true"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(unshare, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to make a network namespace")
    starter = tmp_path / "python"
    starter.write_text(f'#!/bin/sh\nexec unshare --net {sys.executable} "$@"\n')
    starter.chmod(0o755)
    with (
        Client(agent, tmp_path / "ours") as ours,
        Client(agent, tmp_path / "hidden", python=str(starter)) as hidden,
    ):
        assert ours.ask("lock", owner="ada")["machine_lock"] == HELD
        answer = hidden.ask("lock", owner="grace")
        assert answer["type"] == "result"
        assert answer["machine_lock"].startswith("not available: ")


def test_the_machine_is_named_by_its_boot_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_LOCK_NAME")
    boot_id = tmp_path / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text(f"tests-{os.getpid()}-boot\n")
    lock = MachineLock(tmp_path)
    lock.take()
    assert lock.state == HELD
    assert ask_holder(f"\0harness-tests-{os.getpid()}-boot")["pid"] == os.getpid()
    with pytest.raises(Refusal, match="in use"):
        MachineLock(tmp_path).take()
    lock.release()
    assert lock.state == "not taken"
    lock.take()
    assert lock.state == HELD
    lock.release()


@pytest.mark.parametrize("fault", ["no boot's name", "a name too long", "no such sockets"])
def test_a_lock_that_cannot_be_had_refuses_nobody_and_says_why(tmp_path, monkeypatch, fault):
    if fault == "no boot's name":
        monkeypatch.delenv("HARNESS_LOCK_NAME")
    elif fault == "a name too long":
        monkeypatch.setenv("HARNESS_LOCK_NAME", "x" * 200)
    else:
        monkeypatch.delattr(socket, "AF_UNIX")
    lock = MachineLock(tmp_path)
    lock.take()
    assert re.match("not available: .+", lock.state)


def test_many_that_ask_at_once_are_all_refused(name):
    holder = MachineLock()
    holder.take()
    for _ in range(300):
        with pytest.raises(Refusal) as refused:
            MachineLock().take()
    assert refused.value.details["pid"] == os.getpid()
    holder.release()


def test_a_holder_that_cannot_be_named_is_still_one():
    assert "another agent, and" in busy_machine({})
    assert "'ada', process in another container" in busy_machine({"user": "ada"})


def test_trying_how_the_core_can_be_asked_for_leaves_a_campaign_in_peace(agent, tmp_path, name):
    with Client(agent, tmp_path / "one") as first, Client(agent, tmp_path / "two") as second:
        first.ask("lock", owner="ada")
        assert second.ask("permissions", owner="doctor", cores=None)["kind"] == "busy"
        answer = first.ask("permissions", owner="doctor", cores=None)
        assert [grant["method"] for grant in answer["grants"]] == ["realtime", "autogroup", "cgroup", "nice"]
        assert answer["machine_lock"] == HELD
        assert second.ask("lock", owner="grace")["kind"] == "busy", "the campaign's lock is not given away"


def test_permissions_are_told_and_the_machine_given_back(agent, tmp_path, name):
    cores = sorted(os.sched_getaffinity(0))
    with Client(agent, tmp_path / "one") as first, Client(agent, tmp_path / "two") as second:
        answer = first.ask("permissions", owner="doctor", cores=cores[:1])
        assert answer["cores"] == cores[:1]
        assert set(answer["waited"]) == set(answer["siblings"]) == set(map(str, cores))
        assert {"quota", "withheld", "user"} <= set(answer)
        assert second.ask("lock", owner="grace")["machine_lock"] == HELD
        assert first.ask("permissions", owner="doctor", cores=[4000])["kind"] == "bad-request"
