"""What every transport promises, as tests: a subclass hands over a connected transport by its fixture `transport`."""

from __future__ import annotations

import hashlib
import json
import sys
import time

import pytest

from harness.devices.transports.contract import MAX_OUTPUT_BYTES, Channel, Transport
from harness.errors import DeviceError, LinkError

ECHO_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"
PYTHON = (sys.executable, "-I", "-S", "-c")  # without packages it starts in a third of the time
AWKWARD_ARGUMENTS = [
    "",
    "two words",
    "'single'",
    '"double"',
    "$(touch pwned)",
    "`id`",
    "; echo pwned",
    "&& exit 3 #",
    "line\nbreak",
    "\\n is no line break",
    "tab\there",
    "*",
    "~/tilde",
    "-c",
    "naïve, 計算, 🙂",
    "",
]


class TransportContract:
    """The tests; `transport` is the subclass's to define."""

    @pytest.fixture
    def transport(self) -> Transport:
        raise NotImplementedError

    def test_arguments_arrive_as_they_were_given(self, transport: Transport) -> None:
        done = transport.run([*PYTHON, ECHO_ARGUMENTS, *AWKWARD_ARGUMENTS])
        assert json.loads(done.stdout) == AWKWARD_ARGUMENTS
        assert done.status == 0

    def test_arguments_of_a_started_command_arrive_as_they_were_given(self, transport: Transport) -> None:
        channel = transport.start([*PYTHON, ECHO_ARGUMENTS, *AWKWARD_ARGUMENTS])
        assert json.loads(read_to_end(channel)) == AWKWARD_ARGUMENTS
        channel.close()

    def test_five_megabytes_of_input_arrive_unharmed(self, transport: Transport) -> None:
        data = bytes(range(256)) * 20_000
        code = "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
        done = transport.run([*PYTHON, code], stdin=data)
        assert done.stdout.decode().strip() == hashlib.sha256(data).hexdigest()

    def test_input_that_the_command_does_not_read_is_no_error(self, transport: Transport) -> None:
        done = transport.run([*PYTHON, "print('early')"], stdin=bytes(5_000_000))
        assert (done.status, done.stdout) == (0, b"early\n")

    def test_a_command_without_input_finds_it_at_its_end(self, transport: Transport) -> None:
        done = transport.run([*PYTHON, "import sys; print(sys.stdin.read() == '')"], timeout_s=20)
        assert done.stdout == b"True\n"

    def test_exit_status_and_standard_error_come_back(self, transport: Transport) -> None:
        done = transport.run([*PYTHON, "import sys; print('why', file=sys.stderr); sys.exit(42)"])
        assert (done.status, done.stdout, done.stderr) == (42, b"", "why")

    def test_standard_error_is_cut_to_its_end(self, transport: Transport) -> None:
        code = "import sys; sys.stderr.write('x' * 100_000 + 'the end')"
        stderr = transport.run([*PYTHON, code]).stderr
        assert stderr.endswith("xthe end")
        assert len(stderr) <= 4096

    def test_bytes_that_are_no_text_come_back_unharmed(self, transport: Transport) -> None:
        code = "import os; os.write(1, bytes(range(256))); os.write(2, b'\\xff\\xfe')"
        done = transport.run([*PYTHON, code])
        assert done.stdout == bytes(range(256))
        assert done.stderr == "\ufffd\ufffd"

    def test_a_missing_program_is_status_127(self, transport: Transport) -> None:
        for program in ("no-such-program-here", "/no/such/program", "~/no/such/program"):
            assert transport.run([program, "argument"]).status == 127

    def test_a_file_that_cannot_run_is_status_126(self, transport: Transport) -> None:
        assert transport.run(["/etc/passwd"]).status == 126

    def test_a_command_that_does_not_end_is_a_broken_link(self, transport: Transport) -> None:
        started = time.monotonic()
        with pytest.raises(LinkError, match=r"sleep|end within|sign of life"):
            transport.run(["sleep", "60"], timeout_s=0.5)
        assert time.monotonic() - started < 10

    def test_a_command_that_goes_on_printing_does_not_outlast_the_deadline(
        self, transport: Transport
    ) -> None:
        code = "import time\nfor _ in range(200): print('.', flush=True); time.sleep(0.05)"
        started = time.monotonic()
        with pytest.raises(LinkError):
            transport.run([*PYTHON, code], timeout_s=1.0)
        assert time.monotonic() - started < 6

    def test_output_up_to_the_limit_is_whole_and_more_is_refused(self, transport: Transport) -> None:
        code = "import sys; sys.stdout.write('x' * int(sys.argv[1]))"
        done = transport.run([*PYTHON, code, str(MAX_OUTPUT_BYTES)])
        assert len(done.stdout) == MAX_OUTPUT_BYTES
        with pytest.raises(DeviceError, match=f"more than {MAX_OUTPUT_BYTES} bytes"):
            transport.run([*PYTHON, code, str(MAX_OUTPUT_BYTES + 1)])

    def test_endless_output_is_refused_at_the_limit_and_not_gathered(self, transport: Transport) -> None:
        started = time.monotonic()
        with pytest.raises(DeviceError, match=f"more than {MAX_OUTPUT_BYTES} bytes"):
            transport.run(["yes"], timeout_s=30)
        assert time.monotonic() - started < 15

    def test_both_outputs_of_a_short_command_are_drained_together(self, transport: Transport) -> None:
        code = "import sys; sys.stderr.write('e' * 1_000_000); sys.stderr.flush(); print('out')"
        done = transport.run([*PYTHON, code], timeout_s=30)
        assert (done.status, done.stdout) == (0, b"out\n")

    def test_a_started_command_with_a_megabyte_on_standard_error_does_not_hang(
        self, transport: Transport
    ) -> None:
        code = "import sys; sys.stderr.write('e' * 1_000_000 + 'last'); sys.stderr.flush(); print('out')"
        channel = transport.start([*PYTHON, code])
        assert read_to_end(channel) == b"out\n"
        assert channel.stderr_tail().endswith("elast")
        assert len(channel.stderr_tail()) <= 4096
        channel.close()

    def test_what_a_command_says_after_its_output_is_not_missed(self, transport: Transport) -> None:
        code = "import os, sys, time; os.close(1); time.sleep(0.2); sys.stderr.write('why')"
        channel = transport.start([*PYTHON, code])
        assert read_to_end(channel) == b""
        assert channel.stderr_tail() == "why"
        channel.close()

    def test_a_started_command_answers_and_ends_with_its_input(self, transport: Transport) -> None:
        channel = transport.start(["cat"])
        data = bytes(range(256)) * 120  # less than the pipes hold: nobody reads meanwhile
        channel.write(data, 10)
        received = b""
        while len(received) < len(data):
            piece = channel.read(1 << 16, 10)
            assert 0 < len(piece) <= 1 << 16
            received += piece
        assert received == data
        channel.close()

    def test_a_read_hands_over_no_more_than_was_asked_for(self, transport: Transport) -> None:
        channel = transport.start([*PYTHON, "print('abcdef')"])
        assert channel.read(2, 10) == b"ab"
        assert read_to_end(channel) == b"cdef\n"
        channel.close()

    def test_silence_is_a_broken_link(self, transport: Transport) -> None:
        channel = transport.start(["cat"])
        started = time.monotonic()
        with pytest.raises(LinkError, match="sign of life"):
            channel.read(1, 0.3)
        assert 0.2 < time.monotonic() - started < 5
        channel.close()

    def test_a_command_that_takes_no_input_is_a_broken_link(self, transport: Transport) -> None:
        channel = transport.start([*PYTHON, "import time; time.sleep(2)"])
        with pytest.raises(LinkError, match="input"):
            channel.write(bytes(64 << 20), 0.5)
        channel.close()

    def test_writing_to_a_command_that_ended_is_a_broken_link(self, transport: Transport) -> None:
        channel = transport.start(["true"])
        assert read_to_end(channel) == b""
        with pytest.raises(LinkError):
            for _ in range(100):
                channel.write(bytes(1 << 16), 5)
                time.sleep(0.05)
        channel.close()

    def test_close_ends_the_started_command(self, transport: Transport) -> None:
        code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
        channel = transport.start([*PYTHON, code])
        pid = int(channel.read(100, 20))
        transport.close()
        await_end(pid)
        with pytest.raises(LinkError):
            while channel.read(1, 1):
                pass
            raise LinkError("the end of the stream tells it, too")

    def test_closing_twice_and_connecting_twice_do_no_harm(self, transport: Transport) -> None:
        transport.connect()
        channel = transport.start(["cat"])
        channel.close()
        channel.close()
        transport.close()
        transport.close()
        transport.connect()
        transport.connect()
        assert transport.run(["true"]).status == 0


def read_to_end(channel: Channel, timeout_s: float = 20) -> bytes:
    """Return all that the command writes until it ends its output."""
    received = b""
    while piece := channel.read(1 << 16, timeout_s):
        received += piece
    return received


def await_end(pid: int, timeout_s: float = 10) -> None:
    """Wait until a process on this machine has ended; one that waits to be noticed has."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
