"""Processes that answer requests: kept for the next one where they can go on, ended elsewhere, and their deaths told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporters import processes
from exporters.processes import AnsweringProcess, ProcessEnded, give_back, kept_processes, take

ECHO = """
import os, sys
from exporters.processes import serve

def answers(request):
    for text in request["texts"]:
        if text == "die":
            sys.exit("no more memory")
        print(f"noise of {text}", flush=True)
        yield {"text": text, "pid": os.getpid(), "folder": os.getcwd()}

sys.exit(serve(answers))
"""


@pytest.fixture(autouse=True)
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that answers each text by itself and its process; what other tests have had kept is left out."""
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(processes, "_keepers", 0)
    monkeypatch.setattr(processes, "_waiting", {})
    yield
    assert processes._waiting == {}, "none is kept beyond its scope"


def said(process: AnsweringProcess, *texts: str) -> list[str]:
    return [answer["text"] for answer in process.ask({"texts": texts})]


def pid_of(process: AnsweringProcess) -> int:
    return int(next(iter(list(process.ask({"texts": ["who"]}))))["pid"])


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_kept_process_answers_the_next_request_until_it_is_kept_no_longer() -> None:
    with kept_processes():
        first = take("echo")
        pid = pid_of(first)
        give_back(first)
        with kept_processes():
            again = take("echo")
            other = take("echo")
            assert pid_of(again) == pid != pid_of(other), "one that is taken is nobody else's"
            give_back(again)
            give_back(other)
        assert is_running(pid), "the outer scope lasts"
    assert not is_running(pid)


def test_where_none_is_kept_each_ends_with_its_user() -> None:
    process = take("echo")
    assert said(process, "a", "b") == ["a", "b"] and said(process) == []
    pid = pid_of(process)
    give_back(process)
    assert not is_running(pid)


def test_a_site_that_prints_when_python_starts_does_not_get_between_the_answers(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('Welcome to this Python', flush=True)\n")
    process = take("echo")
    assert said(process, "a") == ["a"]
    process.end()


def test_one_that_died_while_it_waited_is_replaced_without_a_word() -> None:
    with kept_processes():
        process = take("echo")
        pid = pid_of(process)
        give_back(process)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        successor = take("echo")
        assert said(successor, "still here") == ["still here"]
        give_back(successor)


def test_one_whose_answers_nobody_waited_for_is_not_kept() -> None:
    with kept_processes():
        process = take("echo")
        answers = process.ask({"texts": ["a", "b"]})
        pid = next(answers)["pid"]
        give_back(process)
        assert not is_running(pid)
        successor = take("echo")
        assert pid_of(successor) != pid
        give_back(successor)


def test_another_python_path_is_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_processes():
        process = take("echo")
        pid = pid_of(process)
        give_back(process)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{tmp_path / 'elsewhere'}")
        other = take("echo")
        assert pid_of(other) != pid
        give_back(other)


def test_a_kept_process_works_in_the_folder_of_whoever_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    found = []
    with kept_processes():
        for folder in (tmp_path, tmp_path / "elsewhere", tmp_path):
            monkeypatch.chdir(folder)
            monkeypatch.setenv("PYTHONPATH", os.path.relpath(tmp_path))
            process = take("echo")
            (answer,) = process.ask({"texts": ["where"]})
            found.append((answer["pid"], Path(answer["folder"])))
            give_back(process)
    pid = found[0][0]
    assert found == [(pid, tmp_path), (pid, tmp_path / "elsewhere"), (pid, tmp_path)]


def test_a_death_tells_its_status_and_the_last_words_of_this_request_alone() -> None:
    with kept_processes():
        process = take("echo")
        assert len(said(process, "a" * 100, "b")) == 2
        with pytest.raises(ProcessEnded) as ended:
            said(process, "c", "die")
        assert (ended.value.status, ended.value.said) == (1, ["noise of c", "no more memory"])
        give_back(process)


def test_a_death_at_the_start_is_told_however_late_the_process_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho out of memory >&2\nexit 9\n")
    dying.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(dying))
    process = take("echo")
    while process.waits():
        pass
    with pytest.raises(ProcessEnded) as ended:
        said(process, "a")
    assert (ended.value.status, ended.value.said) == (9, ["out of memory"])
    process.end()
