"""Whole campaigns over SSH: deploy, measure, store; then send and measure only what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from factories.model_files import dense, save
from rigs.short_campaigns import NETWORKS, SHORT, any_core, await_no_process, measure, models, short_levels
from rigs.sshd import Sshd, start_sshd

import harness
from harness.devices.client import AgentClient, deploy
from harness.devices.config import SshDevice
from harness.devices.sending import Part, PartSender
from harness.devices.transports.ssh import SshTransport
from harness.errors import AgentError, LinkError
from harness.measurement.plan import Options
from harness.store import Store
from harness.store.latencies import latencies

pytestmark = [pytest.mark.ssh, pytest.mark.converter]

FIRST = ("conv/bconv/bconv", "bconv/conv/bconv")
SECOND = "conv/conv/bconv"
NOISE = """#!/bin/sh
echo "Welcome to the lab"
echo "motd: HARNESS-BOOT is not for you" >&2
printf 'You have mail. '
[ -n "$SSH_ORIGINAL_COMMAND" ] && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def agent(device: SshDevice) -> tuple[SshTransport, AgentClient]:
    transport = SshTransport(device)
    transport.connect()
    return transport, AgentClient.start(transport, device, deploy(transport, device))


def test_a_file_travels_once_and_goes_on_where_a_link_broke_off(
    server: Sshd, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = server.device(root=str(server.folder / "files"))
    path, small = (save(dense(width=width), tmp_path / f"{width}.onnx") for width in (100_000, 8))
    with any_core(), short_levels(), pytest.MonkeyPatch.context() as patch:
        quick: dict[str, Any] = {"store": store, "reference": small, "level": "quick", "sessions": 1}
        sent = [0]
        post = PartSender._post_part

        def break_off(
            sender: PartSender, end: int, payload: bytes, fields: dict[str, Any]
        ) -> Callable[[], None]:
            answered = post(sender, end, payload, fields)
            before, sent[0] = sent[0], sent[0] + len(payload)
            if before < 1_000_000 <= sent[0]:
                raise LinkError("made to break off for a test")
            return answered

        patch.setattr(PartSender, "_post_part", break_off)
        (row,) = harness.measure(device, path, **quick)
        assert row.architecture == "100000.onnx"
        assert 1_000_000 <= sent[0] < 1.1 * path.stat().st_size, "what was there was not sent again"
        sent[0] = 2_000_000
        harness.measure(device, path, **quick, fresh=True)
        assert sent[0] == 2_000_000, "nothing was sent again"


def test_networks_are_measured_once_and_weights_travel_once(
    server: Sshd, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = server.device(root=str(server.folder / "whole path"))
    sent: dict[str, int] = {}
    send = PartSender.send

    def record(sender: PartSender, parts: Sequence[Part], *rest: Any) -> None:
        for part in parts:
            before = sender.sent_bytes
            send(sender, [part], *rest)
            sent[part.digest] = sender.sent_bytes - before

    monkeypatch.setattr(PartSender, "send", record)

    first = measure(device, store, FIRST)
    assert (first.measured, first.reused, first.failures, first.error) == (2, 0, [], None)
    assert sum(sent.values()) == first.sent_bytes > 1_000_000
    configuration = first.uses[0].configuration
    with any_core():  # every run is a sample, whatever else runs here
        rows = latencies(store, configuration)
    assert {row.architecture for row in rows} == set(FIRST)
    assert all(0 < row.latency_ms < 1000 for row in rows)
    sessions = store.sessions(configuration)
    assert {len(session.slices) >= SHORT.plan.min_slices for session in sessions} == {True}
    assert all(session.conditions_before["time_utc"] for session in sessions)

    sent.clear()
    second = measure(device, store, [SECOND])
    assert (second.measured, second.reused, second.error) == (1, 0, None)
    skeleton = models((SECOND,)).models("onnx")[0].assemble().skeleton_digest
    assert set(sent) == {skeleton}, "its weights are those of the first two"
    assert 0 < second.sent_bytes == sent[skeleton] <= 2_000

    sent.clear()
    third = measure(device, store, [*FIRST, SECOND])
    assert (third.measured, third.reused, third.sent_bytes, sent) == (0, 3, 0, {})
    assert sum(store.session_counts(configuration).values()) == 3
    await_no_process(device.root, timeout_s=5)


def test_the_agent_on_the_device_is_used_again_until_it_changes(server: Sshd, tmp_path: Path) -> None:
    device = server.device(root=str(tmp_path / "root"))
    transport = SshTransport(device)
    first, second = deploy(transport, device), deploy(transport, device)
    assert first.sent_bytes > 10_000
    assert second.sent_bytes == 0
    assert first.path == second.path
    Path(first.path).write_bytes(Path(first.path).read_bytes()[:-1])
    assert deploy(transport, device).sent_bytes == first.sent_bytes
    assert len(list((tmp_path / "root").iterdir())) == 1, "nothing but the agent is left"
    transport.close()


def test_tflite_is_measured_over_ssh(server: Sshd, store: Store) -> None:
    device = server.device(root=str(server.folder / "tflite root"))
    options = Options(runtimes=("tflite",), level=SHORT, silence_s=20.0)
    outcome = measure(device, store, NETWORKS[:1], options=options)
    assert (outcome.measured, outcome.failures, outcome.error) == (1, [], None)
    assert outcome.uses[0].configuration.format == "tflite"


def test_a_login_shell_that_prints_does_not_break_the_protocol(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("noisy")
    script = folder / "noise.sh"
    script.write_text(NOISE)
    script.chmod(0o755)
    with start_sshd(folder, settings=(f"ForceCommand {script}",)) as server:
        transport, client = agent(server.device())
        assert client.probe()["time_utc"]
        client.close()
        transport.close()


def test_a_part_that_arrives_otherwise_than_announced_is_damaged(server: Sshd, tmp_path: Path) -> None:
    model = models(NETWORKS).models("onnx")[0].assemble()
    transport, client = agent(server.device(root=str(tmp_path / "root")))
    digest = model.parts[0]
    data = bytearray(model.read_part(digest))
    data[len(data) // 2] ^= 1
    for payload, encoding in ((bytes(data), "raw"), (b"no zlib", "zlib")):
        with pytest.raises(AgentError, match="damaged") as caught:
            client._post_sized(
                "put",
                payload,
                digest=digest,
                size_bytes=len(data),
                encoding=encoding,
                dictionary=None,
            )[1]()
        assert caught.value.kind == "damaged"
    assert client.send_models([model]) > 0, "and the agent goes on"
    client.close()
    transport.close()
    await_no_process(str(tmp_path / "root"))
