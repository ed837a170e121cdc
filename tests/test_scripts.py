"""scripts/test and .ci/run: what they run, and their exit status. Stubs stand in for pytest and for what CI runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
LANES = ("device", "ssh", "adb", "converter", "ray", "browser", "training", "simulation", "slow", "alone")

STUB = """#!/usr/bin/env bash
echo "$PYTEST_DEBUG_TEMPROOT" >>../roots.txt
echo "pytest: $*"
[ -n "${HARNESS_TEST_ALL:-}" ] || echo "absent programs may skip" >&2
case "$*" in
    *"-m alone") exit "$ALONE" ;;
    *) exit "$MANY" ;;
esac
"""


def write_programs(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def run(
    folder: Path, *arguments: str, many: int = 0, alone: int = 0, absent: int = 0
) -> subprocess.CompletedProcess[str]:
    """scripts/test in a project whose parallel tests, those that run alone, and scripts/programs end with the given statuses."""
    project = folder / "project"
    write_programs(
        project,
        {
            "scripts/setup": "#!/bin/sh\n",
            "scripts/programs": f"#!/bin/sh\nexit {absent}\n",
            ".venv/bin/python": STUB,
        },
    )
    (project / "tests").mkdir(exist_ok=True)
    for name, text in {"test_quiet.py": "@pytest.mark.alone\n", "test_any.py": "", "conftest.py": ""}.items():
        (project / "tests" / name).write_text(text)
    shutil.copy(ROOT / "scripts" / "test", project / "scripts" / "test")
    return subprocess.run(
        [project / "scripts" / "test", *arguments],
        env={**os.environ, "MANY": str(many), "ALONE": str(alone), "HARNESS_TEST_ALL": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("many", "alone"), [(0, 0), (1, 0), (0, 2), (139, 1)])
def test_the_whole_run_fails_exactly_when_one_of_its_parts_does(tmp_path, many, alone):
    finished = run(tmp_path, many=many, alone=alone)
    assert finished.returncode == (1 if many or alone else 0), finished.stderr
    told = f"with {many} on the tests in parallel, with {alone} on those that run alone"
    assert (told in finished.stderr) == bool(many or alone)
    parallel, serial = finished.stdout.splitlines()
    assert parallel.endswith("-m not alone")
    assert serial.endswith("cacheprovider tests/test_quiet.py -m alone"), "no other file is read for them"
    assert "numprocesses" not in serial


def test_ci_leaves_out_the_long_ones_alone(tmp_path):
    parallel, serial = run(tmp_path, "ci").stdout.splitlines()
    assert parallel.endswith("-m not long and not alone")
    assert serial.endswith("-m not long and alone")


@pytest.mark.parametrize("absent", [0, 1])
def test_tests_may_skip_where_a_program_is_absent_and_nowhere_else(tmp_path, absent):
    finished = run(tmp_path, absent=absent)
    assert finished.returncode == 0
    assert (
        ("absent programs may skip" in finished.stderr)
        == ("not all programs" in finished.stderr)
        == bool(absent)
    )


def test_programs_that_cannot_be_installed_are_named_and_the_status_says_so(tmp_path):
    write_programs(
        tmp_path,
        {"bin/apt-get": "#!/bin/sh\nexit 100\n", "bin/id": "#!/bin/sh\necho 0\n"}
        | {
            f"bin/{name}": "#!/bin/sh\n"
            for name in ("adb", "tcsh", "mksh", "chromium", "chromedriver", "initdb")
        },
    )
    for name in ("bash", "env"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    here = {"PATH": str(tmp_path / "bin")}
    finished = subprocess.run(
        [ROOT / "scripts" / "programs"], env=here, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 1
    assert "toybox could not be installed" in finished.stderr and "tcsh" not in finished.stderr


@pytest.mark.parametrize("status", [0, 1, 5])
def test_the_fast_lane_leaves_out_every_marker_of_the_project(tmp_path, status):
    finished = run(tmp_path, "fast", many=status, alone=9)
    assert finished.returncode == status
    assert finished.stdout.endswith(f"-m not ({' or '.join(LANES)})\n")


def test_the_markers_are_those_that_pytest_knows(pytestconfig):
    own = pytestconfig.getini("markers")[: len(LANES)]
    assert tuple(line.split(":")[0] for line in own) == LANES


def test_the_tests_that_convert_go_to_one_process_and_those_of_any_other_file_to_one(pytestconfig):
    dealt_with = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py")).dealt_with
    nodes = ("exporters/test_cache.py::test_a", "exporters/test_models.py::test_b[c::d]")
    nodes += ("benchmarks/test_tflite_converters.py::test_a",)
    assert (ROOT / "tests/benchmarks/test_tflite_converters.py").exists()
    assert {dealt_with(f"tests/{node}") for node in nodes} == {"tests/exporters"}
    assert dealt_with("tests/space/test_costs.py::TestAll::test_a[b]") == "tests/space/test_costs.py"


def test_tests_with_deadlines_of_other_processes_get_another_try_and_no_others(pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    tries = {}
    for marks in ("device", "adb slow", "device alone", "slow", "training converter", ""):
        marked = [getattr(pytest.mark, name) for name in marks.split()]
        tries[marks] = conftest.another_try(lambda name, of=marked: any(mark.name == name for mark in of))
    assert {marks: flaky and flaky.kwargs["reruns"] for marks, flaky in tries.items()} == {
        **{"device": 1, "adb slow": 1, "device alone": 2},
        **{"slow": None, "training converter": None, "": None},
    }


@pytest.mark.parametrize(
    ("selected", "unread"),
    [
        ("not (device or training)", {"one", "list"}),
        ("not long and not device", {"one"}),
        ("not alone", set()),
        ("training", set()),
        ("not (device or training) or slow", set()),  # one of these may be marked slow
        ("not device and slow", set()),
        ("", set()),
    ],
)
def test_files_all_of_whose_tests_are_left_out_are_not_read(tmp_path, pytestconfig, selected, unread):
    heads = {
        "one": "pytestmark = pytest.mark.device\n",
        "list": "pytestmark = [\n    pytest.mark.training,\n    pytest.mark.skipif(not TORCH, reason='none'),\n]\n",
        "other": "pytestmark = [pytest.mark.usefixtures('quiet')]\n\nDEVICE = [\n    pytest.mark.device,\n]\n",
        "some": "@pytest.mark.device\ndef test_one(): ...\n",
    }
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    config = SimpleNamespace(getoption={"markexpr": selected}.__getitem__)
    for name, head in heads.items():
        (path := tmp_path / f"test_{name}.py").write_text(f"import pytest\n{head}")
        assert (conftest.pytest_ignore_collect(path, config) is True) == (name in unread), name


@pytest.mark.parametrize("part", [0, 1 / 3, 2 / 3])
def test_processes_that_begin_with_other_files_read_all_of_them_once(pytestconfig, part):
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    given = [Path(one) for one in conftest.rotated(ROOT / "tests", part)]
    first = given.index(min(given, key=str))
    assert len(given) - first == int(len(given) * part) or (first, part) == (0, 0)
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert sum(path == one or one in path.parents for one in given) == 1, path


def test_tests_that_run_alone_are_marked_in_their_own_file():
    marked = [path for path in (ROOT / "tests").rglob("*.py") if "mark.alone" in path.read_text()]
    assert marked and all(path.name.startswith("test_") for path in marked), "scripts/test reads no other"


@pytest.mark.parametrize("status", [0, 5])
def test_arguments_go_to_one_process_of_pytest_whose_status_counts(tmp_path, status):
    finished = run(tmp_path, "tests/space", "-k", "a b", many=status, alone=9)
    assert finished.returncode == status
    assert finished.stdout == "pytest: -m pytest tests/space -k a b\n"


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path):
    run(tmp_path)
    roots = set((tmp_path / "roots.txt").read_text().split())
    assert len(roots) == 1
    assert not Path(roots.pop()).exists()


@pytest.mark.parametrize(("check", "test", "programs"), [(0, 0, 0), (3, 0, 0), (0, 4, 0), (0, 0, 1)])
def test_ci_runs_the_checks_and_then_the_tests_and_fails_with_either(tmp_path, check, test, programs):
    statuses = {"check": check, "test": test, "programs": programs}
    write_programs(
        tmp_path,
        {
            f"scripts/{name}": f'#!/bin/sh\necho "{name} $* $HARNESS_TEST_ALL"\nexit {status}\n'
            for name, status in statuses.items()
        },
    )
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    own = {name: value for name, value in os.environ.items() if name != "HARNESS_TEST_ALL"}
    done = subprocess.run([tmp_path / ".ci" / "run"], env=own, capture_output=True, text=True, check=False)
    assert done.returncode == (check or test)
    ran = done.stdout.splitlines()
    assert [line for line in ran if line != "programs  "] == ["check  "] + ["test ci 1"] * (not check)
    assert check or "programs  " in ran


def test_what_is_absent_skips_a_test_and_a_file_and_fails_them_where_all_is_there(tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\ndef test_program(): pytest.skip('chromium is not installed')\n"
        "def test_cores(): pytest.skip('needs two cores')\n"
    )
    for own, told in (({}, "3 skipped"), ({"HARNESS_TEST_ALL": "1"}, "1 skipped, 1 failed, 1 error")):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "--continue-on-collection-errors",
            ],
            cwd=tmp_path,
            env={**{k: v for k, v in os.environ.items() if k != "HARNESS_TEST_ALL"}, **own}
            | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # conftest.py needs none
            capture_output=True,
            text=True,
            check=False,
        )
        assert sorted(told.split(", ")) == sorted(done.stdout.splitlines()[-1].split(" in ")[0].split(", "))


@pytest.mark.parametrize(
    ("apt", "mirror", "found"),
    [
        ("", "", "http://deb.debian.org/debian"),  # there is no apt
        ("exit 100", "", "http://deb.debian.org/debian"),
        ("echo mirror+file:/etc/apt/mirrors", "", "http://deb.debian.org/debian"),
        ("printf '%s\\n' cdrom:/x file:/x https://a/debian http://b/debian", "", "https://a/debian"),
        ("echo http://b/debian", "http://mine/debian", "http://mine/debian"),
    ],
)
def test_the_emulated_board_has_a_mirror_whatever_apt_tells(
    apt: str, mirror: str, found: str, tmp_path: Path
) -> None:
    for name in ("grep", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    if apt:
        (tmp_path / "apt-get").write_text(f"#!/bin/sh\n{apt}\n")
        (tmp_path / "apt-get").chmod(0o755)
    text = (ROOT / "scripts" / "check-emulated-board").read_text()
    function = text[text.index("find_mirror() {") : text.index("\n}\n")] + "\n}\n"
    done = subprocess.run(
        ["/bin/bash", "-c", f'set -euo pipefail\n{function}mirror=$(find_mirror)\necho "$mirror"'],
        env={"PATH": str(tmp_path), "MIRROR": mirror},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{found}\n"), done.stderr


@pytest.mark.parametrize("asked", ["", "0", "1"])
def test_setup_compiles_what_it_installs_but_where_pip_is_told_not_to(tmp_path, asked):
    stub = '#!/bin/sh\n[ "$1" = -c ] || echo "$2" >>asked.txt\n'
    write_programs(tmp_path, {".venv/bin/python": stub, "pyproject.toml": ""})
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts" / "setup")
    environment = {name: value for name, value in os.environ.items() if name != "PIP_COMPILE"}
    if asked:
        environment["PIP_COMPILE"] = asked
    for _ in range(2):  # the second finds all of it done
        subprocess.run([tmp_path / "scripts" / "setup"], env=environment, check=True, timeout=60)
    expected = ["pip"] if asked == "0" else ["pip", "compileall"]
    assert (tmp_path / "asked.txt").read_text().split() == expected


def test_the_emulated_board_names_the_systems_that_it_can_be():
    done = subprocess.run(
        [ROOT / "scripts" / "check-emulated-board"],
        env={**os.environ, "ARCH": "mips"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "ARCH=mips: one of arm64, armhf, i386 and musl\n")
