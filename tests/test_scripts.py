"""scripts/test: its exit status is what CI goes by. Its two processes of pytest are stood in for by a stub here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "test"

STUB = """#!/usr/bin/env bash
echo "$PYTEST_DEBUG_TEMPROOT" >>../roots.txt
case "$*" in
    *--ignore=tests/harness*) echo "the rest: $*"; exit "$REST" ;;
    *) sleep "$PAUSE"; echo "harness: $*"; exit "$HARNESS" ;;
esac
"""


def run(
    folder: Path, *arguments: str, harness: int, rest: int, pause: float = 0.0
) -> subprocess.CompletedProcess[str]:
    """scripts/test in a project whose tests end with the given statuses, the first of them after `pause` seconds."""
    project = folder / "project"
    nothing = "#!/usr/bin/env bash\n"
    programs = {
        f"bin/{name}": nothing for name in ("sshd", "chromium", "chromedriver")
    }  # so none is installed
    for name, text in {**programs, "scripts/setup": nothing, ".venv/bin/python": STUB}.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    shutil.copy(SCRIPT, project / "scripts" / "test")
    return subprocess.run(
        [project / "scripts" / "test", *arguments],
        env={
            **os.environ,
            "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
            "HARNESS": str(harness),
            "REST": str(rest),
            "PAUSE": str(pause),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("pause", [0.0, 0.5], ids=["at-once", "the-rest-ends-first"])
@pytest.mark.parametrize(("harness", "rest"), [(0, 0), (1, 0), (0, 2), (0, 139)])
def test_the_whole_run_fails_exactly_when_one_of_its_parts_does(tmp_path, harness, rest, pause):
    finished = run(tmp_path, harness=harness, rest=rest, pause=pause)
    assert finished.returncode == (1 if harness or rest else 0), finished.stderr
    assert (f"with {harness} on tests/harness, with {rest} on all other tests" in finished.stderr) == bool(
        harness or rest
    )
    assert "harness: " in finished.stdout
    assert "the rest: " in finished.stdout


@pytest.mark.parametrize("status", [0, 5])
def test_arguments_go_to_one_process_of_pytest_whose_status_counts(tmp_path, status):
    finished = run(tmp_path, "tests/space", "-k", "a b", harness=status, rest=9)
    assert finished.returncode == status
    assert finished.stdout == "harness: -m pytest tests/space -k a b\n"


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path):
    run(tmp_path, harness=0, rest=0)
    roots = set((tmp_path / "roots.txt").read_text().split())
    assert len(roots) == 1
    assert not Path(roots.pop()).exists()
