"""A Jetson's power mode and clocks, set for an agent and always put back; its programs are fakes with the real ones' texts."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from factories.jetson import FakeJetson, await_lock
from rigs.agent_client import Client

from device_agents.jetson import Jetson, Settings
from device_agents.refusal import Refusal

BEFORE = (0, 729600)
HELD = (2, 1728000)
FORKS = False
MAXIMUM = {"power_mode": "2", "clocks": True}
CONF = "# comment\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_1 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"


@pytest.fixture(autouse=True)
def free():
    """Leave no guard behind."""
    yield
    await_lock()


@pytest.fixture
def jetson(tmp_path, monkeypatch):
    """Return a Jetson whose programs stand first on the PATH."""
    board = FakeJetson(tmp_path / "jetson")
    monkeypatch.setenv("PATH", str(board.bin), prepend=":")
    return board


@pytest.fixture
def settings(tmp_path):
    """Return what stores and restores the board."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nvpmodel.conf").write_text(CONF)
    (tmp_path / "agent").mkdir()
    return Jetson(tmp_path / "agent", tmp_path)


def await_condition(holds) -> None:
    """Wait until a condition holds, for as long as a slow machine may take."""
    deadline_s = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.01)


def await_state(board: FakeJetson, state: tuple[int, int]) -> None:
    """Wait until the board is in a state."""
    await_condition(lambda: board.now == state)
    assert board.now == state, board.asked


@pytest.mark.parametrize("wanted", ["MAXN_SUPER", "2"])
def test_mode_and_clocks_are_set_and_put_back(jetson, settings, wanted):
    assert settings.apply(Settings(wanted, True)) == {
        "power_mode": "MAXN_SUPER",
        "before": "15W",
        "clocks": True,
    }
    assert jetson.now == HELD and settings.is_changed
    settings.restore()
    assert jetson.now == BEFORE and not settings.is_changed
    asked = len(jetson.asked)
    settings.restore()
    assert len(jetson.asked) == asked


def test_clocks_that_a_user_had_held_are_held_again_after_a_mode_set_its_own(tmp_path, settings, monkeypatch):
    board = FakeJetson(tmp_path / "jetson", lowest_khz=1510400)
    monkeypatch.setenv("PATH", str(board.bin), prepend=":")
    settings.apply(Settings("2", False))
    assert board.now == (2, 729600)
    settings.restore()
    assert board.now == (0, 1510400)


def test_a_mode_that_is_set_already_is_not_set_again(jetson, settings):
    settings.apply(Settings("15W", False))  # some boards ask for a reboot even then
    settings.restore()
    assert not [line for line in jetson.asked if "-m" in line] and jetson.now == BEFORE


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("MAXN", ["'MAXN'", "15W (0), MAXN_SUPER (2)"]),
        ("3", ["wants a reboot", "sudo nvpmodel -m 3"]),
        ("7", ["left power mode 15W", "request for bad power mode 7"]),
    ],
)
def test_a_mode_that_cannot_be_set_is_refused_and_nothing_changed(jetson, settings, wanted, words):
    with pytest.raises(Refusal) as refused:
        settings.apply(Settings(wanted, True))
    assert [word for word in words if word not in refused.value.message] == []
    assert jetson.now == BEFORE and not settings.is_changed


def test_clocks_that_stay_free_are_refused_and_the_mode_put_back(jetson, settings):
    text = (jetson.bin / "jetson_clocks").read_text()
    jetson.write("jetson_clocks", text.replace('"") echo 1728000 > "$S/min";;', '"") ;;'))
    with pytest.raises(Refusal, match=r"cpu0 \(729600 to 1728000\), cpu1"):
        settings.apply(Settings("2", True))
    assert jetson.now == BEFORE and not settings.is_changed


@pytest.mark.parametrize(
    ("tool", "text", "words"),
    [
        ("nvpmodel", "echo 'NV Power Mode: 15W'", "no number of a power mode"),
        ("nvpmodel", "echo 'unknown'; echo 0", "names no power mode"),
        ("jetson_clocks", "echo 'Error: Run this script(/usr/bin/jetson_clocks) as a root user'; exit 1", "as a root user"),
        ("jetson_clocks", "exit 0", "wrote nothing; nothing was changed"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_known_changes_nothing(jetson, settings, tool, text, words):
    jetson.write(tool, f"#!/bin/sh\n{text}\n")
    with pytest.raises(Refusal, match=words.replace("(", r"\(")):
        settings.apply(Settings("2", True))
    assert jetson.now == BEFORE and not settings.is_changed


def test_a_disk_without_room_for_what_was_found_is_told_and_nothing_changed(jetson, settings, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refusal, match=r"the board's settings: .*No space left"):
        settings.apply(Settings("2", True))
    assert jetson.now == BEFORE and not settings.is_changed


def test_a_machine_without_the_programs_says_what_asked_for_them(tmp_path, settings, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="no nvpmodel and no jetson_clocks here; take jetson_power_mode"):
        settings.apply(Settings("2", True))


def test_without_root_sudo_is_asked_for_no_password_and_its_refusal_names_the_line_to_permit_it(
    jetson, settings, monkeypatch
):
    jetson.write("sudo", '#!/bin/sh\necho "sudo: a password is required" >&2\nexit 1\n')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        Refusal, match=r"NOPASSWD: .*nvpmodel, .*jetson_clocks' \| sudo tee /etc/sudoers.d/harness"
    ):
        settings.apply(Settings("2", True))
    jetson.write("sudo", '#!/bin/sh\n[ "$1 $2" = "-k -n" ] || exit 9\nshift 2\nexec "$@"\n')
    settings.apply(Settings("2", True))
    assert jetson.now == HELD
    settings.restore()
    assert jetson.now == BEFORE


def test_after_a_loss_of_power_the_mode_is_put_back_and_clocks_of_another_boot_are_left(
    jetson, settings, tmp_path
):
    settings.apply(Settings("2", True))
    note = tmp_path / "agent/board.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "boot": "another"}))
    Jetson(tmp_path / "agent", tmp_path).restore()
    assert jetson.now[0] == 0 and not [line for line in jetson.asked if "--restore" in line]


def test_a_board_that_cannot_be_put_back_says_so_and_how_and_can_be_tried_again(jetson, settings):
    settings.apply(Settings("2", True))
    text = (jetson.bin / "nvpmodel").read_text()
    jetson.write("nvpmodel", "#!/bin/sh\nexit 1\n")
    with pytest.raises(
        Refusal, match=r"its power mode was 15W: .*sudo nvpmodel -m 0\) and remove .*board.json"
    ):
        settings.restore()
    jetson.write("nvpmodel", text)
    settings.restore()
    assert jetson.now == BEFORE


def test_an_agent_holds_the_board_as_asked_until_it_ends(agent, tmp_path, jetson):
    with Client(agent, tmp_path / "root") as client:
        answer = client.ask("lock", owner="ada", board=MAXIMUM)
        assert answer["board"] == {"power_mode": "MAXN_SUPER", "before": "15W", "clocks": True}
        assert (
            answer["cores"] == sorted(os.sched_getaffinity(0)) and answer["clusters"] and answer["siblings"]
        )
        assert jetson.now == HELD
        assert client.ask("lock", owner="ada", board=MAXIMUM)["board"] == answer["board"]
        assert client.ask("lock", owner="ada")["machine_lock"] == "held" and jetson.now == HELD
        less = client.ask("lock", owner="ada", board={"power_mode": "1", "clocks": False})["board"]
        assert (less["power_mode"], less["before"], jetson.now[0]) == ("7W", "15W", 1)
        assert len([line for line in jetson.asked if "--store" in line]) == 2
    await_state(jetson, BEFORE)


def test_an_agent_that_cannot_set_the_board_says_why_and_lives_on(agent, tmp_path, jetson):
    with Client(agent, tmp_path / "root") as client:
        answer = client.ask("lock", owner="ada", board={"power_mode": "3", "clocks": True})
        assert (answer["kind"], "wants a reboot" in answer["message"]) == ("board", True)
        answer = client.ask("lock", owner="ada", board={"power_mode": 3, "clocks": True})
        assert (answer["kind"], "lock: board" in answer["message"]) == ("bad-request", True)
        assert client.ask("lock", owner="ada")["machine_lock"] == "held"


def test_the_next_agent_waits_until_the_board_is_as_it_was(agent, tmp_path, monkeypatch):
    board = FakeJetson(tmp_path / "jetson", slow="sleep 0.5; ")
    monkeypatch.setenv("PATH", str(board.bin), prepend=":")
    with Client(agent, tmp_path / "root") as first, Client(agent, tmp_path / "root") as second:
        first.ask("lock", owner="ada", board=MAXIMUM)
        first.process.kill()
        first.process.wait(10)
        waits = 0
        while second.ask("lock", owner="grace").get("kind") == "busy":
            waits += 1
            time.sleep(0.02)
        assert waits and board.now == BEFORE
        # By the guard, and by it alone.
        assert len([line for line in board.asked if "--restore" in line]) == 2


def test_what_a_killed_guard_left_is_put_back_by_the_next_agent(agent, tmp_path, jetson):
    with Client(agent, tmp_path / "root") as client:
        client.ask("lock", owner="ada", board=MAXIMUM)
        os.kill(guard_of(client), signal.SIGKILL)
        client.process.kill()
        client.process.wait(10)
        assert jetson.now == HELD
    with Client(agent, tmp_path / "root") as client:
        assert client.ask("lock", owner="grace")["type"] == "result"
        assert jetson.now == BEFORE


def test_a_killed_agent_leaves_the_board_as_it_was_whenever_that_was(agent, tmp_path, monkeypatch):
    """HARNESS_KILLS=100 tries as often (with --timeout 0), and -s shows how many kills came while the board was changed."""
    chance, kills = random.Random(15), int(os.environ.get("HARNESS_KILLS", "4"))
    board = FakeJetson(tmp_path / "jetson", slow="sleep 0.02; ")
    monkeypatch.setenv("PATH", str(board.bin), prepend=":")
    with Client(agent, tmp_path / "whole") as client:
        client.ask("lock", owner="ada", board=MAXIMUM)
        commands = len(board.asked)
    await_lock()
    changed = 0
    for turn in range(kills):
        root, asked = tmp_path / f"root{turn}", len(board.asked)
        with Client(agent, root) as client:
            client.send("lock", owner="ada", board=MAXIMUM)
            moment = asked + (turn + 1) * commands // kills
            await_condition(lambda moment=moment: len(board.asked) >= moment)
            time.sleep(chance.uniform(0, 0.05))
            changed += board.now != BEFORE
            client.process.send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)))
            client.process.wait(10)
        await_lock()  # it is free only once the guard, if there is one, has done its work
        assert board.now == BEFORE and not (root / "board.json").exists(), (turn, board.asked)
    sys.stdout.write(f"{kills} kills, {changed} of them while the board was changed\n")
    assert changed


def guard_of(client: Client) -> int:
    """Return the process of an agent's guard."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except (OSError, IndexError):
                continue
            if parent == str(client.process.pid) and b"guard" in command:
                return int(folder.name)
    raise AssertionError("no guard")
