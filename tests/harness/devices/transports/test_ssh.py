"""A device over SSH: the transports' contract against a real sshd, and what only SSH can get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contracts.transport import TransportContract
from rigs.sshd import Sshd, start_sshd

from harness.devices.transports import open_transport
from harness.devices.transports.contract import Transport
from harness.devices.transports.ssh import SshTransport

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


class TestSshTransport(TransportContract):
    @pytest.fixture
    def transport(self, server: Sshd) -> Iterator[Transport]:
        transport = SshTransport(server.device())
        transport.connect()
        yield transport
        transport.close()


def test_an_ssh_device_opens_this_transport(server: Sshd) -> None:
    assert isinstance(open_transport(server.device()), SshTransport)
