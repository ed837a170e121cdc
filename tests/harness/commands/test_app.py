"""The command line as a user meets it: in a process of its own, with its exit statuses and its two outputs."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from factories.records import CAMPAIGN, make_failure, make_session, make_slice
from factories.stores import stored
from rigs import with_tests
from rigs.short_campaigns import NETWORKS, models

from harness.devices.config import devices_schema
from harness.store import Store
from harness.version import __version__

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = sorted(
    re.findall(
        r"^from harness\.commands\.(\w+) import \1$", (ROOT / "harness/commands/app.py").read_text(), re.M
    )
)

# A process that imports the commands once and forks for each call: a process of its own without the second of imports.
SERVER = """
import json, os, signal, sys
import alembic.command, alembic.runtime.migration, alembic.script, exporters, numpy.random, space.selection
import sqlalchemy.dialects.sqlite
import harness.devices.client, harness.measurement.campaign, harness.devices.doctor, harness.store
import harness.output.campaigns, harness.output.progress, harness.models.exported, harness.models.results
import harness.output.devices, harness.output.tables, harness.store.database, harness.store.opening
from harness.commands.app import app, main
from harness.commands.help_pages import command_line
from rigs.compiled_agent import build_compiled
command_line(app)
harness.devices.client._compressed(build_compiled()[0])  # once for all forks
harness.devices.client.build_archive = build_compiled
harness.store.database.OPENING_WAITS_S = (0.1,)  # for a server that is not there
from harness.measurement.plan import LEVELS
from rigs.forked_agents import server_for
from rigs.short_campaigns import SHORT, any_core
LEVELS["screen"] = SHORT  # what is tested is the command, not the number
short = any_core()
short.__enter__()
for line in sys.stdin:
    request = json.loads(line)
    server_for(build_compiled()[1], request["environment"])  # all forks share it
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        for number, name in enumerate((os.devnull, request["stdout"], request["stderr"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["harness", *request["arguments"]]
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # to take all modules down takes longer than most commands
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class User:
    """A user with a home, a working folder and a store of their own."""

    home: Path
    server: subprocess.Popen[str]

    @property
    def store(self) -> Path:
        return self.home / "store.sqlite"

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HARNESS_", "XDG_"))}
        own = {
            "HOME": str(self.home),
            "HARNESS_STORE": str(self.store),
            "HARNESS_CACHE": str(self.home / "cache"),
            # Tests and campaigns beside these are let be.
            "HARNESS_LOCK_NAME": os.environ["HARNESS_LOCK_NAME"],
            "COLUMNS": "80",
        }
        return kept | own | changes

    def run(self, *arguments: str, **changes: str) -> Done:
        """Run a command in a fork of the server."""
        self.begin(*arguments, **changes)
        return self.end()

    def begin(self, *arguments: str, **changes: str) -> int:
        """Start a command in a fork of the server, with short sessions where it measures; return its process's id."""
        request = {
            "arguments": arguments,
            "folder": str(self.home),
            "environment": self.environment(**changes),
            "stdout": str(self.home / ".stdout"),
            "stderr": str(self.home / ".stderr"),
        }
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return self._told()

    def _told(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    def end(self) -> Done:
        """Wait until the command that was started ends."""
        status = self._told()
        return Done(status, (self.home / ".stdout").read_text(), (self.home / ".stderr").read_text())

    def start(self, *python: str, **changes: str) -> Done:
        """Run a fresh Python with these arguments."""
        done = subprocess.run(
            [sys.executable, *python],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            env=self.environment(**changes),
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def rows(self) -> dict[str, int]:
        """Return how many rows each table of the store holds."""
        if not self.store.exists():
            return {}
        connection = sqlite3.connect(self.store)
        try:
            tables = ("campaigns", "sessions", "failures")
            return {
                table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables
            }
        finally:
            connection.close()


@pytest.fixture
def user(tmp_path: Path, server: subprocess.Popen[str]) -> User:
    return User(tmp_path, server)


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=with_tests()
    ) as process:
        yield process


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python in which no package is installed."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def fill(path: Path) -> None:
    """Store one measured network and one failure."""
    store = Store(str(path))
    store.start_campaign(CAMPAIGN, "made-up", "2024", {})
    store.add_session(make_session([make_slice([6_000_000], [3_000_000], [3_000_000])], number=1))
    store.add_failure(make_failure(number=3))
    store.close()


# Help


def test_the_list_of_commands_is_not_empty() -> None:
    assert {"measure", "results", "devices", "doctor", "export"} <= set(COMMANDS)


HELP = """
import contextlib, io, json, sys
from harness.commands.app import main
shown = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["harness", *arguments]
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            main()
    except SystemExit as end:
        shown[" ".join(arguments)] = [end.code, output.getvalue()]
    if arguments == ["--help"] and "pydantic" in sys.modules:
        shown["pydantic"] = [1, ""]
heavy = {"torch", "tensorflow", "onnx", "onnxruntime", "ai_edge_litert", "scipy", "sklearn", "plotly", "ray"}
print(json.dumps([shown, sorted(heavy & sys.modules.keys())]))
"""


def test_help_and_devices_are_quick_because_nothing_heavy_is_imported(user: User) -> None:
    arguments = [["--help"], ["--version"], ["devices"], *([command, "--help"] for command in COMMANDS)]
    done = user.start("-c", HELP, json.dumps(arguments))
    assert done.returncode == 0, done.stderr
    shown, heavy = json.loads(done.stdout)
    assert heavy == []
    assert list(shown) == [" ".join(each) for each in arguments]
    for each, (status, text) in shown.items():
        assert status == 0
        assert "Usage:" in text or "--help" not in each
        assert len(text) > 10
    assert user.rows() == {}, "help makes no store"


EARLY = """
import contextlib, io, json, sys
from harness.commands.app import main
late = {"torch", "harness.query.query", "harness.prediction.space_prediction", "harness.measurement.campaign"}
told = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["harness", *arguments]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as end:
            told[" ".join(arguments)] = [end.code, errors.getvalue(), sorted(late & sys.modules.keys())]
print(json.dumps(told))
"""
MISTAKES = {
    "search -a synthetic -d made-op": "did you mean 'made-up'?",
    "search -a synthetic --confidence 95": "--confidence 95",
    "search -a synthetic --space bloks": "did you mean 'blox'?",
    "search -a synthetic --latencies none.csv": "none.csv: cannot be read",
    "search -a synthetic -o bad.json/x.csv": "bad.json/x.csv: cannot be written",
    "search --objective parms": "did you mean 'params'?",
    "search --objective none.csv": "none.csv: cannot be read",
    "search --method blockwise --library x --predictor linaer": "did you mean 'linear'?",
    "search compare -a synthetic --figure a.gif": "end it in .png",
    "report -d made-op": "did you mean 'made-up'?",
    "report --figure a.gif": "end it in .png",
    "gate net.onnx --baseline bad.json": "bad.json: Invalid JSON",
    "measure --plot a.gif --sustained 3s -m 1": "end it in .png",
    "measure --space bloks": "did you mean 'blox'?",
    "pack -d board -o bad.json/job.zip": "bad.json/job.zip: cannot be written",
    "import none.zip": "none.zip: cannot be read",
    "export 1 --format onnx -o bad.json/a.onnx": "bad.json/a.onnx: cannot be written",
    "distill . -o library": "holds no checkpoint.harness",
    "distill bad.json -o library": "is no trained network",
    "study --settings none.json": "none.json: cannot be read",
    "study --ground-truth none": "none: cannot be read",
}


def test_mistakes_are_told_before_anything_heavy_is_imported(user: User) -> None:
    user.store.write_bytes(stored(segments=False))
    (user.home / "bad.json").write_text("no json")
    (user.home / "net.onnx").write_bytes(b"")
    done = user.start("-c", EARLY, json.dumps([line.split() for line in MISTAKES]))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(MISTAKES)
    for line, (status, message, late) in told.items():
        assert (status, late) == (2, []), line
        assert MISTAKES[line] in message


def test_the_version_is_printed(user: User) -> None:
    assert user.run("--version").stdout == f"harness {__version__}\n"


def test_without_a_command_the_help_is_shown(user: User) -> None:
    done = user.run()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


# Bad input: exit status 2, the reason on standard error, nothing on standard output, nothing stored

BAD: dict[str, tuple[list[str], list[str]]] = {
    "a block that is none": (["measure", "-m", "conv/convv/conv"], ["convv", "conv"]),
    "too few stages": (["measure", "-m", "conv/conv/conv,conv-conv/conv"], ["conv-conv/conv"]),
    "a hash of no network": (["measure", "-m", "0" * 32], ["0" * 32]),
    "an index past the end": (["measure", "-m", "91125"], ["91125"]),
    "a file of networks that is absent": (["measure", "-m", "file:absent.txt"], ["absent.txt"]),
    "no network": (["measure", "--models", ""], ["names no network"]),
    "an empty sample": (["measure", "-m", "sample:0"], ["sample:0"]),
    "an unknown runtime": (
        ["measure", "-r", "onxruntime"],
        ["harness: --runtime names unknown runtime 'onxruntime'; did you mean 'onnxruntime'?"],
    ),
    "an unknown format": (["measure", "--format", "onx"], ["onx", "tflite"]),
    "an unknown device": (
        ["measure", "-d", "pixle"],
        ["unknown device 'pixle'", "known: local", "devices.toml"],
    ),
    "a devices file that is absent": (["measure", "--devices", "no.toml"], ["no.toml: cannot be read"]),
    "a devices file that is absent, of which nothing is needed": (
        ["results", "--devices", "no.toml"],
        ["no.toml: cannot be read: No such file or directory; check the path"],
    ),
    "a wrong devices file": (
        ["measure", "--devices", "bad.toml"],
        ["bad.toml:3: [devices.a] has no key 'prot'"],
    ),
    "a wrong devices file, listed": (
        ["devices", "--devices", "bad.toml"],
        ["bad.toml:3: [devices.a] has no key 'prot'", "port"],
    ),
    "a wrong devices file, diagnosed": (["doctor", "--devices", "bad.toml"], ["bad.toml:3:"]),
    "a store that is no URL": (
        ["measure", "--store", "post gres://u:hunter2@h/d"],
        ["store post gres", "not a URL"],
    ),
    "a store without driver": (
        ["measure", "--store", "nosuchdb://u:hunter2@h/d"],
        ["nosuchdb://", "SQLAlchemy has no database 'nosuchdb'", "write e.g. postgresql+psycopg://"],
    ),
    "a store that is a folder": (["results", "--store", "."], ["cannot be opened"]),
    "a store that is no database": (["results", "--store", "bad.toml"], ["bad.toml", "cannot be opened"]),
    "cores that are none": (["measure", "--cores", "fast"], ["--cores 'fast'", "write e.g. --cores 4-7"]),
    "no thread": (["measure", "-t", "0"], ["--threads", "greater than or equal to 1"]),
    "no session": (["measure", "-n", "0"], ["--sessions", "greater than or equal to 1"]),
    "a time behind --wait": (
        ["measure", "--wait", "60"],
        ["--wait takes no value", "--wait-limit 60s to wait"],
    ),
    "a time of --wait": (["measure", "--wait=8h"], ["--wait takes no value", "--wait-limit 8h to wait"]),
    "an unknown option": (["measure", "--modles", "5"], ["--modles"]),
    "an unknown command": (["mesure"], ["mesure"]),
    "results of a device never measured": (
        ["results", "-d", "pi4"],
        ["nothing is stored of device 'pi4'", "harness measure --device pi4"],
    ),
    "results of a network that is none": (["results", "-m", "conv"], ["conv"]),
    "an export of two networks": (
        ["export", "1,2", "--format", "onnx", "-o", "a.onnx"],
        ["'1,2' names 2 networks"],
    ),
    "an export into a file": (
        ["export", "1", "--format", "onnx", "-o", "bad.toml/a.onnx"],
        ["bad.toml/a.onnx: cannot be written", "Not a directory"],
    ),
    "an export over a file": (
        ["export", "1", "--format", "onnx", "-o", "bad.toml"],
        ["bad.toml: exists already", "--force"],
    ),
    "an export of an unknown format": (["export", "1", "--format", "pb", "-o", "a"], ["pb"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_status_2_and_stores_nothing(user: User, name: str) -> None:
    arguments, parts = BAD[name]
    (user.home / "bad.toml").write_text('[devices.a]\ntransport = "ssh"\nprot = 22\naddress = "a"\n')
    done = user.run(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    for part in parts:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert set(user.rows().values()) <= {0}


# What else a device may refuse, and each message whole: tests/harness/devices/test_runtimes.py.
BAD_FOR_THE_DEVICE: dict[str, tuple[list[str], list[str]]] = {
    "no runtime at all": (["-d", "bare"], ["no runtime to measure with", "-m pip install"]),
    "a core that is not there": (["--cores", "4000"], ["core 4000 is not usable", "--cores"]),
}


@pytest.mark.long
def test_the_package_and_the_script_are_the_same_command(user: User) -> None:
    as_module = user.start("-m", "harness", "measure", "-d", "pixle")
    assert (as_module.returncode, as_module.stdout) == (2, "")
    assert as_module == user.run("measure", "-d", "pixle")
    script = Path(sys.executable).with_name("harness")
    if script.exists():
        assert user.start(str(script), "measure", "-d", "pixle") == as_module


@pytest.mark.parametrize("name", BAD_FOR_THE_DEVICE)
@pytest.mark.device
def test_what_the_device_cannot_do_ends_with_status_2_and_stores_nothing(
    user: User, name: str, bare_python: Path
) -> None:
    arguments, parts = BAD_FOR_THE_DEVICE[name]
    (user.home / "devices.toml").write_text(
        f'[devices.bare]\ntransport = "local"\npython = "{bare_python}"\n'
    )
    done = user.run("measure", "-m", NETWORKS[0], *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    for part in parts:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert user.rows() == {"campaigns": 0, "sessions": 0, "failures": 0}
    assert not (user.home / "cache").exists(), "nothing was exported either"


def test_a_device_without_python_ends_with_status_3(user: User) -> None:
    (user.home / "devices.toml").write_text('[devices.none]\ntransport = "local"\npython = "/no/python"\n')
    done = user.run("measure", "-d", "none", "-m", NETWORKS[0])
    assert (done.returncode, done.stdout) == (3, "")
    assert "no Python at '/no/python'" in done.stderr
    assert 'python = "/path/to/python3" in [devices.none]' in done.stderr
    assert set(user.rows().values()) == {0}


def test_debug_shows_the_traceback_before_and_after_the_command(user: User) -> None:
    plain = user.run("measure", "-d", "pixle")
    assert "Traceback" not in plain.stderr
    for arguments in (("--debug", "measure", "-d", "pixle"), ("measure", "-d", "pixle", "--debug")):
        done = user.run(*arguments)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.endswith(plain.stderr)


# Devices, doctor, results


def test_devices_are_listed_for_people_and_for_programs(user: User) -> None:
    (user.home / "devices.toml").write_text(
        '[devices.pi4]\ntransport = "ssh"\naddress = "10.0.0.4"\nuser = "pi"\n'
    )
    done = user.run("devices")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pi@10.0.0.4:22" in done.stdout
    assert "this machine" in done.stdout
    listed = json.loads(user.run("devices", "--json").stdout)
    assert list(listed) == ["local", "pi4"]
    assert listed["pi4"]["address"] == "10.0.0.4"
    assert user.rows() == {}


def test_the_schema_is_printed(user: User) -> None:
    assert json.loads(user.run("devices", "--schema").stdout) == devices_schema()


def test_an_environment_variable_names_the_devices_file(user: User) -> None:
    (user.home / "lab.toml").write_text('[devices.rack]\ntransport = "local"\n')
    listed = json.loads(user.run("devices", "--json", HARNESS_DEVICES="lab.toml").stdout)
    assert list(listed) == ["local", "rack"]


@pytest.mark.long
@pytest.mark.device
def test_the_doctor_checks_this_machine_and_says_what_fails(user: User, bare_python: Path) -> None:
    (user.home / "devices.toml").write_text(
        f'[devices.bare]\ntransport = "local"\npython = "{bare_python}"\n'
        '[devices.none]\ntransport = "local"\npython = "/no/python"\n'
    )
    done = user.run("doctor", "-d", "bare", "-d", "none", "--json")
    assert done.returncode == 3
    report: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    assert list(report) == ["bare", "none"]
    states = {(name, check["name"]): check["status"] for name, checks in report.items() for check in checks}
    assert states["bare", "runtime"] == "FAIL"
    assert states["none", "reach"] == "FAIL"
    failed = [check for checks in report.values() for check in checks if check["status"] == "FAIL"]
    assert "pip install" in failed[0]["found"]
    assert 'python = "' in failed[-1]["found"]
    people = user.run("doctor")
    assert people.returncode == 0, people.stdout
    assert "python" in people.stdout and "FAIL" not in people.stdout
    assert user.rows() == {}


def test_results_of_an_empty_store_say_what_to_do(user: User) -> None:
    done = user.run("results")
    assert (done.returncode, done.stdout) == (0, "")
    assert "measure first: harness measure" in done.stderr
    assert json.loads(user.run("results", "--json").stdout) == []
    assert json.loads(user.run("results", "--failures", "--json").stdout) == []


def test_results_are_shown_for_people_and_for_programs(user: User) -> None:
    fill(user.store)
    done = user.run("results")
    assert done.returncode == 0
    assert "few-slices: 1 of 1 network, e.g. network 1:" in done.stderr, "what speaks against the number"
    assert "network 1" in done.stdout
    assert "6.000" in done.stdout
    (row,) = json.loads(user.run("results", "--json").stdout)
    assert row["latency_ms"] == 6.0
    assert row["device"] == "made-up"
    assert row["cores"] == [4, 5]
    (line,) = csv.DictReader(io.StringIO(user.run("results", "--csv").stdout))
    flat = {"cores": "4 5", "findings": " ".join(finding["kind"] for finding in row["findings"])}
    assert {key: str(value if value is not None else "") for key, value in row.items()} | flat == line
    assert row["grade"] == line["grade"] == "D", "one slice carries no interval"
    assert json.loads(user.run("results", "--json", "-r", "tflite").stdout) == []
    (failure,) = json.loads(user.run("results", "--failures", "--json").stdout)
    assert failure["kind"] == "worker-killed"
    assert failure["architecture"] == "network 3"
    assert "killed by signal 9" in user.run("results", "--failures").stdout
    (row,) = csv.DictReader(io.StringIO(user.run("results", "--failures", "--csv").stdout))
    assert row == failure
    assert json.loads(user.run("results", "--failures", "--json", "-m", NETWORKS[0]).stdout) == []


def test_results_name_runtimes_as_measure_does(user: User) -> None:
    fill(user.store)
    for text in ("onnxruntime", "onnxruntime:cpu", "onnxruntime:CPUExecutionProvider"):
        assert len(json.loads(user.run("results", "--json", "-r", text).stdout)) == 1
    assert json.loads(user.run("results", "--json", "-r", "onnxruntime:cuda").stdout) == []
    done = user.run("results", "-r", "onnxrutime")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'onnxruntime'?" in done.stderr


def test_a_password_in_the_stores_url_is_not_shown(user: User) -> None:
    done = user.run("results", "--store", "postgresql://me:hunter2@localhost:1/lab")
    assert done.returncode == 2
    assert "hunter2" not in done.stdout + done.stderr
    empty = user.run("results", "--store", f"sqlite:///{user.home}/empty.sqlite?password=hunter2")
    assert "empty.sqlite?password=***): measure first" in empty.stderr.replace(";", ":").replace("\n", "")
    assert "hunter2" not in empty.stdout + empty.stderr


# Measuring, for real


@pytest.fixture(scope="module")
def exported(harness_cache: Path) -> str:
    """Return the folder with the models of `NETWORKS` and what they should give: commands then need no torch."""
    source = models(NETWORKS)
    for one in (source.reference("onnx"), *source.models("onnx")):
        one.expected()
    return str(harness_cache)


@pytest.mark.converter
def test_one_network_is_measured_and_measured_no_second_time_and_quiet_hides_progress_alone(
    user: User, exported: str
) -> None:
    command = ("measure", "-m", NETWORKS[0], "-r", "onnxruntime")
    first = user.run(*command, HARNESS_CACHE=exported)
    assert first.returncode == 0, first.stderr
    assert NETWORKS[0] in first.stdout
    assert re.search(r"connecting[^$]*to measure[^$]*local: \d of 1 session", first.stderr)
    assert "1 session measured" in first.stderr
    stored = user.rows()
    assert stored == {"campaigns": 1, "sessions": 1, "failures": 0}
    again = user.run(*command, "--json", "--level", "quick", HARNESS_CACHE=exported)
    (row,) = json.loads(again.stdout)
    assert (again.returncode, row["architecture"]) == (0, NETWORKS[0])
    assert row["latency_ms"] > 0
    assert (row["low_ms"] is None) == (row["high_ms"] is None) == (row["slices"] < 6)
    assert "1 already stored" in again.stderr
    assert user.rows() == stored
    assert json.loads(user.run("results", "--json").stdout) == [row]
    assert NETWORKS[0] in user.run("results").stdout
    for quiet in (("-q", *command), (*command, "--quiet"), ("measure", "-q", *command[1:], "--fresh")):
        done = user.run(*quiet, HARNESS_CACHE=exported)
        assert done.returncode == 0
        assert NETWORKS[0] in done.stdout
        assert not re.search(r"connecting|to measure|local: \d of 1 session", done.stderr), done.stderr
        assert re.search(r"^local: \d sessions? measured in ", done.stderr, re.MULTILINE), done.stderr
    assert "unknown device 'pixle'" in user.run("measure", "-q", "-d", "pixle").stderr


@pytest.mark.converter
@pytest.mark.device
def test_ctrl_c_keeps_what_was_measured_and_goes_on_from_there(user: User, exported: str) -> None:
    process = user.begin(
        *("measure", "-m", ",".join(NETWORKS), "-r", "onnxruntime", "-n", "30"), HARNESS_CACHE=exported
    )
    deadline = time.monotonic() + 100
    while measured_rows(user) < 3 and Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with suppress(ProcessLookupError):  # it says below why it ended
        os.kill(process, signal.SIGINT)
    done = user.end()
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "what was measured is stored" in done.stderr
    count = user.rows()["sessions"]
    assert 3 <= count < 60
    connection = sqlite3.connect(user.store)
    query = "select distinct architecture from sessions where purpose = 'network'"
    measured = [name for (name,) in connection.execute(query)]
    assert measured and all(name in done.stdout for name in measured), "what was measured is shown"
    assert connection.execute("select outcome from campaigns").fetchone()[0].startswith("stopped: ")
    connection.close()


def measured_rows(user: User) -> int:
    try:
        return user.rows().get("sessions", 0)
    except sqlite3.OperationalError:  # being made
        return 0
