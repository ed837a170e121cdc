"""What the surroundings do wrong ends as one line: full outputs, names outside an encoding, memory, modules of one's own."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from factories.model_files import dense, save
from factories.stores import stored
from rigs.commands import refused, run

from harness.__main__ import main as harness_main
from harness.commands.app import app, dataset, search, store
from harness.shadowing import foreign_package
from harness.store import Store
from space.user_paths import with_home

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, *arguments: str, stdout: int = subprocess.PIPE, **variables: str) -> tuple[int, str]:
    """Return the exit status and standard error of `python -m harness` in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["search", "difflib", "typer"])
def test_a_file_that_is_imported_in_place_of_a_module_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("import nowhere_to_be_found\n" if name == "typer" else "ROOT = 1\n")
    status, errors = start(tmp_path, "search", "--accuracies", "synthetic", "--top", "1")
    assert status == 1
    assert f"{tmp_path / name}.py: is imported in place of the module '{name}'" in errors
    assert "Traceback" not in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize("raises", ["1 / 0", "None.bit_length()"])
def test_a_fault_of_the_harness_is_not_laid_on_a_module_that_is_found_twice_by_chance(
    raises: str, tmp_path: Path
) -> None:
    (tmp_path / "colorsys.py").write_text("")  # in the place of Python's own, and no cause of anything
    (tmp_path / "sitecustomize.py").write_text(
        f"import colorsys, harness.commands.app as app\ndef fault(*_, **__): {raises}\napp.app = fault\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    status, errors = start(tmp_path, "--version", PYTHONPATH=path)
    assert status == 1 and "Traceback" in errors
    assert "is imported in place of" not in errors


def test_our_own_packages_are_not_taken_for_foreign_ones() -> None:
    assert foreign_package() == ""


@pytest.mark.parametrize("argument", ["--help", "devices"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_one_line_and_status_1(
    argument: str, unbuffered: str, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        status, errors = start(tmp_path, argument, stdout=full.fileno(), PYTHONUNBUFFERED=unbuffered)
    (told,) = [line for line in errors.splitlines() if "No space left" in line]
    assert status == 1
    assert "standard output: No space left on device; " in told or (unbuffered and argument == "--help")
    assert "Traceback" not in errors and "Exception ignored" not in errors


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    status, errors = start(tmp_path, "devices", stdout=theirs, PYTHONUNBUFFERED="1")
    os.close(theirs)
    assert (status, errors) == (1, "")


def test_streams_that_are_closed_lead_nowhere(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$@" >&- <&-', "sh", sys.executable, "-m", "harness", "devices"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(28, "No space left on device", "/x/y"),
            "/x/y: No space left on device; the disk is full: free",
        ),
        (OSError(30, "Read-only file system", "/x"), "/x: Read-only file system; nothing can be written"),
        (OSError(24, "Too many open files"), "Too many open files; raise the limit of open files there"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied; this account may not"),
        (NotADirectoryError(20, "Not a directory", "/x"), "/x: Not a directory; check the path and its perm"),
        (MemoryError(), "out of memory; free some, or ask for less"),
        (
            UnicodeEncodeError("ascii", "a\xe9", 1, 2, "no"),
            "'\\xe9' cannot be written in ascii; set PYTHONIOENC",
        ),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "a text cannot be read"),
    ],
)
def test_an_error_of_the_surroundings_is_one_line_with_a_remedy(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("harness.store.opening.open_existing", fail)
    done = run(tmp_path / "none.sqlite", "results")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith(f"harness: {words}") and len(done.stderr.splitlines()) == 1
    shown = run(tmp_path / "none.sqlite", "results", "--debug")
    assert shown.status == 1 and "Traceback" in shown.stderr


def test_a_message_that_quotes_a_long_text_keeps_the_thing_and_the_remedy(tmp_path: Path) -> None:
    done = run(tmp_path / "none.sqlite", "measure", "--cores", "9" * 20_000)
    assert done.status == 2 and len(done.stderr) < 5_000
    assert done.stderr.startswith("harness: --cores '999")
    assert done.stderr.endswith("is no core; write e.g. --cores 4-7 or --cores 0,2\n")


def test_a_store_of_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "s", "results", "--store", str(tmp_path / ("x" * 300)))
    assert done.status in (1, 2) and "File name too long" in done.stderr
    assert "Traceback" not in done.stderr


IMPORTS = {
    "PYTHONWARNINGS": {"PYTHONWARNINGS": "error"},
    "of one kind": {"PYTHONWARNINGS": "error::DeprecationWarning,error:::numpy"},
}


@pytest.mark.parametrize("variables", IMPORTS.values(), ids=IMPORTS.keys())
def test_warnings_of_libraries_are_no_errors_here_nor_in_processes_started_from_here(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """As of torch, tensorflow, onnx and others when they are imported."""
    warns = "import warnings; warnings.warn('planted', DeprecationWarning)"
    (tmp_path / "sitecustomize.py").write_text(
        "def planted(*_, **__):\n"
        f"    {warns}\n"
        "    import multiprocessing, subprocess, sys\n"
        f"    subprocess.run([sys.executable, '-S', '-c', {warns!r}], check=True)\n"
        f"    process = multiprocessing.get_context('spawn').Process(target=exec, args=({warns!r},))\n"
        "    process.start(); process.join()\n"
        "    assert process.exitcode == 0\n"
        "    raise OSError('the end was reached')\n"
        "import harness.commands.app as app\n"
        "app.command_line = lambda _: planted\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    status, errors = start(tmp_path, "measure", PYTHONPATH=path, **variables)
    assert status == 1 and "harness: the end was reached" in errors, errors


@pytest.mark.parametrize("argument", ["--output=~/t.csv", "-o~/t.csv"])
def test_a_path_is_written_below_the_home_folder_where_the_shell_leaves_its_tilde(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    done = run(tmp_path / "none.sqlite", "search", "-a", "synthetic", "-c", "params<1.75M", argument)
    assert done.status == 0, done.stderr
    assert (tmp_path / "home" / "t.csv").exists()
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("store", "export", "-o", "store.sqlite"),
        ("predict", "-d", "made-up", "-t", "2", "-o", "model.onnx"),
        ("search", "-a", "acc.csv", "-o", "acc.csv"),
        ("search", "-a", "acc.csv", "-o", "model.onnx"),
        ("search", "--objective", "acc.csv", "-o", "acc.csv"),
        ("report", "-a", "acc.csv", "-o", "acc.csv"),
        ("gate", "--write", "model.onnx", "model.onnx"),
        ("gate", "--baseline", "acc.csv", "model.onnx", "--junit", "acc.csv"),
        ("pack", "-d", "board", "model.onnx", "-o", "model.onnx"),
        ("pack", "-d", "board", "*.onnx", "-o", "model.onnx"),
        ("pack", "-d", "board", "model.onnx", "--inputs", "acc.csv", "-o", "acc.csv"),
        ("search", "-a", "~/acc.csv", "-o", "acc.csv"),
    ],
)
def test_an_output_takes_the_place_of_no_store_no_model_and_no_file_that_is_read(
    arguments: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save(dense(), Path("model.onnx"))
    Path("store.sqlite").write_bytes(stored(14, 12, False))
    Path("acc.csv").write_text("architecture,accuracy\n0,63\n")
    files = {path: path.read_bytes() for path in Path().iterdir()}
    refused(run("store.sqlite", *arguments), f"harness: {arguments[-1]}: ", "; name a")
    assert {path: path.read_bytes() for path in files} == files


def test_every_command_takes_its_paths_so() -> None:
    """Those that are texts, such as --store and --accuracies, are read where they are used."""
    groups = (app, dataset, search, store)
    commands = [one.callback for group in groups for one in group.registered_commands]
    assert len(commands) >= 20
    code = with_home(print).__code__  # type: ignore[attr-defined]
    assert all(command.__code__ is code for command in commands if command is not None)


def test_ctrl_c_ends_a_command_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.devices.doctor.diagnose_all", interrupted)
    done = run(tmp_path / "none.sqlite", "doctor")
    assert (done.status, done.stdout, done.stderr) == (130, "", "harness: stopped\n")


def test_ctrl_c_reaches_no_program_that_harness_started() -> None:
    """A terminal sends it to all of a session: a converter that died of it was an error of its own, with a traceback."""
    found = {}
    for room in ("space", "exporters", "search", "harness"):
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text("utf-8")
            if "Popen" not in text:
                continue
            calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
            started = [call for call in calls if ast.unparse(call.func).endswith("Popen")]
            if started:
                found[path.name] = [
                    {word.arg: ast.unparse(word.value) for word in call.keywords}.get("start_new_session")
                    for call in started
                ]
    assert {"processes.py", "local.py", "ssh.py"} <= found.keys()
    assert {value for values in found.values() for value in values} == {"True"}, found


# Runs a command in a fork for each signal and what is done with it before; to start a process for each takes a second.
SIGNALED = """
import json, os, signal, sys
import harness.commands.app, harness.prediction.measure, harness.output.campaigns, rich.progress, space.selection
from harness.__main__ import main
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    for action in (signal.SIG_DFL, signal.SIG_IGN):
        child = os.fork()
        if child == 0:
            is_pythons = name == "SIGINT" and action == signal.SIG_DFL
            signal.signal(getattr(signal, name), signal.default_int_handler if is_pythons else action)
            sys.argv = ["harness", "measure", "--models", "file:networks"]
            try:
                main()
            except SystemExit as end:
                sys.stderr.flush()
                os._exit(end.code)  # to take all modules down takes longer
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        print("end", file=sys.stderr, flush=True)
"""


def test_a_signal_stops_a_command_with_one_line_unless_it_is_ignored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "networks")
    Store(str(tmp_path / "store.sqlite")).close()
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNALED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HARNESS_STORE": str(tmp_path / "store.sqlite")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stderr
    with process:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for status, told in ((130, "harness: stopped"), (2, "names no network")):
                child = int(process.stdout.readline())
                with (tmp_path / "networks").open("w"):  # it waits for networks now
                    os.kill(child, number)
                    if status == 130:
                        assert int(process.stdout.readline()) == status
                    else:
                        time.sleep(0.1)
                assert status == 130 or int(process.stdout.readline()) == status
                said = process.stderr.readline()
                assert told in said and process.stderr.readline() == "end\n", said
    assert process.returncode == 0


def test_ctrl_c_while_commands_are_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        @property
        def main(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "harness.commands.app", Interrupted())
    monkeypatch.setattr("harness.__main__.warn_no_more", lambda: None)
    monkeypatch.setattr("harness.__main__.stop_by_signals", lambda: None)
    with pytest.raises(SystemExit) as left:
        harness_main()
    assert left.value.code == 130
    assert capsys.readouterr().err == "harness: stopped\n"


CHECKED = """
import json, sys
from harness.commands.app import main
said = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["harness", *arguments]
    try:
        main()
    except SystemExit as end:
        heavy = {"numpy", "sqlalchemy", "torch", "yaml", "rich.progress"} & sys.modules.keys()
        said[" ".join(arguments)] = [end.code, sorted(heavy)]
print(json.dumps(said))
"""
MISTYPED = (
    ("measure", "conv/conv/covn"),
    ("measure", "-m", "smaple:3"),
    ("measure", "absent.onnx"),
    ("measure", "-d", "locl"),
    ("measure", "-r", "onxruntime"),
    ("measure", "--precision", "fp8"),
    ("measure", "--until", "mape=2"),
    ("measure", "--sustained", "5"),
    ("measure", "--wait-limit", "5"),
    ("measure", "--cores", "x"),
    ("measure", "--batch", "0"),
    ("measure", "--shape", "3"),
    ("pack", "conv/conv/covn", "-d", "board"),
    ("pack", "-d", "my board"),
    ("profile", "conv/conv/covn"),
    ("profile", "absent.onnx"),
    ("profile", "0", "-d", "locl"),
    ("export", "conv/conv/covn", "--format", "onnx", "-o", "a.onnx"),
    ("compare", "fp32", "fp8"),
    ("compare", "fp32", "int8", "--precision", "fp16"),
    ("compare", "0", "conv/conv/covn"),
    ("compare", "absent.onnx", "absent.tflite"),
    ("compare", "0", "absent.onnx"),
    ("gate", "absent.onnx"),
    ("gate", "absent.onnx", "--write", "kept.json"),
    ("gate", ".", "--baseline", "absent.json"),
    ("gate", ".", "--write", "kept.json", "-d", "locl"),
    ("gate", ".", "--baseline", "kept.json", "--fail-if", "latency > 3"),
    ("search",),
    ("search", "-a", "absent.blox"),
    ("search", "compare", "-a", "absent.blox"),
    ("report", "-a", "absent.blox"),
    ("distill", ".", "-o", "library", "--form", "dona"),
    ("distill", "absent", "-o", "library"),
    ("train", "conv/conv/covn", "-o", "trained"),
    ("dataset", "write", "-o", "/dev/null/absent"),
    ("dataset", "write", "--name", "my_board"),
    ("dataset", "write", "--prior", "0", "--measured-only"),
    ("predict", "--csv", "--json"),
    *((*command, "-r", "onxruntime") for command in (
        ("compare", "0", "1"), ("gate", "."), ("search",), ("search", "compare"), ("report",), ("audit",), ("predict",),
        ("results",), ("dataset", "write"), ("profile", "0"), ("provision",),
    )),
    *(("results", f"{option}=1", f"{option}=2") for option in ("--batch", "--threads", "--store", "--precision")),
    ("search", "--seed", "1", "--seed=2"),
    ("train", "0", "-o", "a", "--mixed-precision", "--full-precision"),
)  # fmt: skip


def test_what_is_mistyped_is_told_before_what_works_on_it_is_imported_which_takes_a_second(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECKED, json.dumps(MISTYPED)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == {" ".join(arguments): [2, []] for arguments in MISTYPED}
    assert len(done.stderr.splitlines()) == len(MISTYPED), done.stderr
