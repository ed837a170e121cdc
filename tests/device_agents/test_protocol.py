"""The agent's answers to requests, right and wrong, and its end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rigs.agent_client import Client, frame, sha256

from device_agents import PROTOCOL
from device_agents import agent as agent_module
from device_agents.agent import Agent
from device_agents.fields import Fields
from device_agents.frames import FrameReader, FrameWriter
from device_agents.parts_cache import PartsCache
from device_agents.refusal import Refusal

FORKS = False


def test_hello_tells_what_the_device_is(client, agent, tmp_path):
    answer = client.ask("hello", protocol=3, harness="0.1.0")
    assert answer["type"] == "result" and answer["protocol"] == 3
    assert answer["agent"] == sha256(Path(agent).read_bytes()) == Path(agent).stem
    assert answer["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"system", "release", "machine"} <= set(answer["platform"])
    assert answer["cores"] == sorted(os.sched_getaffinity(0))
    assert sorted(core for cluster in answer["clusters"] for core in cluster) == answer["cores"]
    names = [runtime["name"] for runtime in answer["runtimes"]]
    assert names == ["onnxruntime", "tflite", "litert", "sleeping"]
    assert answer["runtimes"][0]["formats"] == ["onnx"]
    assert "CPUExecutionProvider" in answer["runtimes"][0]["providers"]
    assert answer["runtimes"][1]["package"] == "ai_edge_litert"
    assert answer["broken"] == []
    assert answer["limits"]["header_bytes"] == 1 << 20
    assert answer["limits"]["payload_bytes"] == 64 << 20
    assert 0 < answer["limits"]["cache_bytes"] <= 1 << 30
    assert answer["free_bytes"] > 0
    assert answer["root"] == str(tmp_path / "root")
    named = client.ask("hello", protocol=3, harness="0.1.0", runtimes=["no-such", "sleeping"])
    assert named["runtimes"] == answer["runtimes"][3:] and named["broken"] == []
    assert client.ask("hello", protocol=3, harness="0.1.0", runtimes=[])["runtimes"] == []
    for folder in (tmp_path / "root", tmp_path / "root/parts"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "for its user alone"


def test_another_protocol_is_refused_with_both_numbers(one_agent):
    answer = one_agent.ask("hello", protocol=7, harness="9")
    assert answer["kind"] == "protocol" and "3" in answer["message"] and "7" in answer["message"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"verb": "dance"}, ["verb", "'dance'", "hello"]),
        ({}, ["verb", "missing"]),
        ({"verb": 5}, ["verb", "5"]),
        ({"verb": ["put"]}, ["verb", "['put']"]),
        ({"verb": "hello"}, ["hello: protocol", "missing"]),
        ({"verb": "hello", "protocol": "1"}, ["hello: protocol", "'1'"]),
        (
            {"verb": "hello", "protocol": 3, "harness": "x", "runtimes": "tflite"},
            ["hello: runtimes", "'tflite'"],
        ),
        *(
            ({"verb": "hello", "protocol": 3, "harness": "x", field: value}, ["hello: " + field, repr(value)])
            for field, values in {
                "runtimes": ({}, ""),
                "libraries": ([], 0),
                "environment": (False, ""),
            }.items()
            for value in values
        ),
        ({"verb": "hello", "protocol": 3, "harness": "x", "runtimes": [1]}, ["hello: runtimes", "[1]"]),
        ({"verb": "hello", "protocol": 3, "harness": "x", "runtimes": ["x"] * 65}, ["hello: runtimes", "64"]),
        ({"verb": "lock"}, ["lock: owner", "missing"]),
        ({"verb": "lock", "owner": ""}, ["lock: owner", "''"]),
        ({"verb": "missing", "digests": "abc"}, ["missing: digests", "'abc'"]),
        ({"verb": "missing", "digests": ["../../etc/passwd"]}, ["missing: digests[0]", "../../etc/passwd"]),
        ({"verb": "put", "digest": "A" * 64}, ["put: digest", "AAA"]),
        ({"verb": "put", "digest": "a" * 64, "size_bytes": -1}, ["put: size_bytes", "-1"]),
        (
            {"verb": "put", "digest": "a" * 64, "size_bytes": 1, "encoding": "lzma"},
            ["put: encoding", "'lzma'"],
        ),
        ({"verb": "evict", "max_bytes": 1.5}, ["evict: max_bytes", "1.5"]),
        ({"verb": "run"}, ["run: job", "None"]),
    ],
)
def test_a_bad_request_is_refused_by_field_and_value(one_agent, header, words):
    one_agent.write(frame({"id": "x", **header}))
    answer = one_agent.receive()
    assert (answer["id"], answer["type"], answer["kind"]) == ("x", "error", "bad-request")
    for word in words:
        assert word in answer["message"]
    assert "Traceback" not in answer["message"] and len(answer["message"]) < 500
    assert one_agent.ask("evict", max_bytes=0)["type"] == "result"


@pytest.mark.parametrize("request_id", [None, True, [1], 1.5])
def test_a_request_without_a_proper_id_is_refused(one_agent, request_id):
    one_agent.write(frame({"id": request_id, "verb": "probe"}))
    answer = one_agent.receive()
    assert (answer["id"], answer["kind"]) == (request_id, "bad-request")


def test_a_payload_where_none_belongs_is_refused(one_agent):
    assert one_agent.ask("probe", b"123")["kind"] == "bad-request"


def test_what_is_no_frame_ends_the_agent_with_a_protocol_error(client):
    client.write(b"GET / HTTP/1.1\r\n\r\n")
    answer = client.receive()
    assert (answer["id"], answer["type"], answer["kind"]) == (None, "error", "protocol")
    assert client.end() == 2


def test_an_input_that_ends_inside_a_frame_is_a_protocol_error(client):
    client.write(b"HRN1\0\0")
    client.process.stdin.close()
    assert client.receive()["kind"] == "protocol"
    assert client.process.wait(10) == 2


def test_bye_and_the_end_of_input_and_a_signal_end_it_with_status_0(agent, tmp_path):
    with Client(agent, tmp_path / "root") as client:
        assert client.ask("bye")["type"] == "result"
        assert client.process.wait(10) == 0
    with Client(agent, tmp_path / "root") as client:
        assert client.end() == 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Client(agent, tmp_path / "root") as client:
            client.process.send_signal(number)
            assert client.process.wait(10) == 0


def test_a_client_that_stops_reading_ends_the_agent_quietly(agent, tmp_path):
    with Client(agent, tmp_path / "root") as client:
        client.process.stdout.close()
        client.send("probe")
        assert client.process.wait(10) == 0
        assert client.process.stderr.read() == b""


def test_the_device_lock_names_who_holds_it_and_ends_with_its_agent(agent, tmp_path):
    with Client(agent, tmp_path / "root") as first, Client(agent, tmp_path / "root") as second:
        assert first.ask("lock", owner="campaign of ada")["type"] == "result"
        assert first.ask("lock", owner="campaign of ada, again")["type"] == "result"
        answer = second.ask("lock", owner="grace")
        assert answer["kind"] == "busy"
        assert "campaign of ada, again" in answer["message"]
        assert str(first.process.pid) in answer["message"]
        assert time.strftime("%Y-%m-%d", time.gmtime()) in answer["message"]
        first.process.kill()
        first.process.wait(10)
        assert second.ask("lock", owner="grace")["type"] == "result"


def test_an_agent_that_nobody_asks_any_more_ends_though_its_input_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(agent_module, "PATIENCE_S", 0.1)
    cache = PartsCache(tmp_path, 1 << 20)
    (asked, _), (_, answers) = os.pipe(), os.pipe()
    one = Agent(tmp_path, cache, tmp_path / "agent.pyz", "digest", FrameReader(asked), FrameWriter(answers))
    serving = threading.Thread(target=one.serve, daemon=True)
    serving.start()
    serving.join(10)
    assert not serving.is_alive()


def test_an_agent_holds_its_lock_across_its_workers(agent, tmp_path, models):
    from rigs.agent_jobs import send_job

    with Client(agent, tmp_path / "root") as first, Client(agent, tmp_path / "root") as second:
        first.ask("lock", owner="ada")
        assert first.run(send_job(first, models, "sleeping"))[1]["type"] == "result"
        assert second.ask("lock", owner="grace")["kind"] == "busy"


def test_a_root_that_anyone_may_write_to_is_refused(agent, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)
    done = subprocess.run(
        [sys.executable, str(agent), "serve", "--root", str(tmp_path / "root")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert b"anyone may write to" in done.stderr
    assert list((tmp_path / "root").iterdir()) == []


def test_a_root_that_cannot_be_made_is_told_on_stderr(agent, tmp_path):
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, str(agent), "serve", "--root", str(tmp_path / "file/root")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert b"--root" in done.stderr and b"Traceback" not in done.stderr


def test_a_hello_that_is_refused_changes_nothing_of_what_processes_are_given(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    cache = PartsCache(root, 1 << 20)
    one = Agent(root, cache, tmp_path / "agent.pyz", "digest", None, None)
    hello = {"protocol": PROTOCOL, "harness": "x", "environment": {"MARK": "1"}, "runtimes": [1]}
    with pytest.raises(Refusal, match="hello: runtimes"):
        one.hello(Fields("hello", hello), b"", 1)
    assert one._environment == {}


def test_what_else_runs_on_a_gpu_is_looked_for_on_the_one_that_devices_toml_names(agent, tmp_path):
    line = "%d, NVIDIA H100, 0x0, 33, 345, 1980, 71.0, Enabled"
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *index,name*) echo "{line % 0}"; echo "{line % 1}" ;; *) echo 0 ;; esac\n'
    )
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    with Client(agent, tmp_path / "root", env={**os.environ, "PATH": path}) as client:
        named = {"CUDA_VISIBLE_DEVICES": "1"}
        client.ask("hello", protocol=3, harness="0.1.0", runtimes=[], environment=named)
        gpus = client.ask("probe")["conditions"]["gpus"]
    assert [(gpu["index"], gpu.get("used", False)) for gpu in gpus] == [(0, False), (1, True)]
