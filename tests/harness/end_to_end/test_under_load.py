"""A model file under load on this machine, by the real agent: shown, kept, drawn, and kept as far as it came after Ctrl-C."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories.model_files import dense, save
from rigs.commands import Done, refused, run
from rigs.short_campaigns import any_core

from harness.measurement.events import Event, Measuring
from harness.output.progress import ProgressView

pytestmark = pytest.mark.device


@pytest.fixture(autouse=True)
def cores_count_as_free() -> Iterator[None]:
    with any_core():
        yield


def measured(tmp_path: Path, seconds: str, *options: str) -> Done:
    file = save(dense(width=64), tmp_path / "small.onnx")
    return run(tmp_path / "store.sqlite", "measure", str(file), "--sustained", seconds, *options)


def test_a_file_is_kept_busy_shown_drawn_and_stored(tmp_path: Path) -> None:
    done = measured(tmp_path, "3s", "--json", "--plot", str(tmp_path / "warm.png"))
    assert done.status == 0, done.stderr
    (document,) = done.json
    assert (document["architecture"], document["ended"]) == ("small.onnx", "complete")
    assert len(document["minutes"]) == 6 and document["seconds"] >= 3
    assert all(one["runs"] > 0 for one in document["minutes"])
    assert (tmp_path / "warm.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "warm.data.csv").read_text().count("\n") == 7
    stored = run(tmp_path / "store.sqlite", "results", "--sustained", "--json")
    assert stored.json == [document]
    assert run(tmp_path / "store.sqlite", "results", "--json").json == [], "never merged with sessions"
    table = run(tmp_path / "store.sqlite", "results", "--sustained").stdout
    assert "small.onnx" in table and "0:03" in table


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    plain, stopped = ProgressView.event, threading.Event()

    def shown(view: ProgressView, device: str, event: Event) -> None:
        plain(view, device, event)
        if (
            isinstance(event, Measuring)
            and event.progress.startswith("1 of 10 blocks")
            and not stopped.is_set()
        ):
            stopped.set()
            _thread.interrupt_main()

    monkeypatch.setattr(ProgressView, "event", shown)
    monkeypatch.setattr("device_agents.block_plans.MINUTE_S", 1.0)
    try:
        done = measured(tmp_path, "10s")
    finally:
        signal.signal(signal.SIGINT, former)
    assert done.status == 130, done.stderr
    assert (
        "ended early: stopped by the user" in done.stdout and "small.onnx under load for 0:0" in done.stdout
    )
    assert "the same command begins anew" in done.stderr
    (document,) = run(tmp_path / "store.sqlite", "results", "--sustained", "--json").json
    assert document["ended"] == "stopped by the user" and 1 <= len(document["minutes"]) < 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sustained", "30m", "--level", "quick", "--memory"), "leave out --level, --memory"),
        (("--sustained", "soon"), "--sustained 'soon': no time"),
        (("--plot", "warm.png"), "--plot draws runs under load"),
        (("--sustained", "3s", "--plot", "warm.txt"), "warm.txt"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    refused(run(tmp_path / "store.sqlite", "measure", "conv/conv/conv", *options), words)
    unnamed = run(tmp_path / "store.sqlite", "measure", "--sustained", "3s")
    refused(unnamed, "--sustained works on networks or files that are named")
