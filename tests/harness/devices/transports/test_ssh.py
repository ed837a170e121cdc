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


@pytest.fixture(scope="module")
def link(server: Sshd) -> Iterator[SshTransport]:
    """Return a connection for all tests that leave it as it was."""
    transport = SshTransport(server.device())
    yield transport
    transport.close()


class TestSshTransport(TransportContract):
    @pytest.fixture
    def transport(self, link: SshTransport) -> Transport:
        if not all(hop.is_active() for hop in link._transports):  # a test has broken it
            link.close()
        link.connect()
        return link


def test_an_ssh_device_opens_this_transport(server: Sshd) -> None:
    assert isinstance(open_transport(server.device()), SshTransport)
