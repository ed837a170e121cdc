"""scripts/test: which tests it runs, and its exit status, which CI goes by. A stub stands in for pytest."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LANES = ("device", "ssh", "converter", "ray", "browser", "training", "simulation", "alone")

STUB = """#!/usr/bin/env bash
echo "$PYTEST_DEBUG_TEMPROOT" >>../roots.txt
echo "pytest: $*"
case "$*" in
    *"-m alone") exit "$ALONE" ;;
    *) exit "$MANY" ;;
esac
"""


def run(folder: Path, *arguments: str, many: int = 0, alone: int = 0) -> subprocess.CompletedProcess[str]:
    """scripts/test in a project whose parallel tests, and those that run alone, end with the given statuses."""
    project = folder / "project"
    nothing = "#!/usr/bin/env bash\n"
    programs = {f"bin/{name}": nothing for name in ("sshd", "chromium", "chromedriver")}  # none is installed
    for name, text in {**programs, "scripts/setup": nothing, ".venv/bin/python": STUB}.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    shutil.copy(ROOT / "scripts" / "test", project / "scripts" / "test")
    path = f"{project / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [project / "scripts" / "test", *arguments],
        env={**os.environ, "PATH": path, "MANY": str(many), "ALONE": str(alone)},
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
    assert serial.endswith("-m alone")
    assert "numprocesses" not in serial


@pytest.mark.parametrize("status", [0, 1, 5])
def test_the_fast_lane_leaves_out_every_marker_of_the_project(tmp_path, status):
    finished = run(tmp_path, "fast", many=status, alone=9)
    assert finished.returncode == status
    assert finished.stdout.endswith(f"-m not ({' or '.join(LANES)})\n")


def test_the_markers_are_those_that_pytest_knows(pytestconfig):
    own = pytestconfig.getini("markers")[: len(LANES)]
    assert tuple(line.split(":")[0] for line in own) == LANES


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
