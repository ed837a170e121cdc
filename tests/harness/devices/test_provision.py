"""`harness provision` on real devices: this machine, and over a real sshd, from an index of tiny wheels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pip
import pytest
from factories.wheels import PIP, runtime_wheels
from rigs.commands import run as run_command
from rigs.read_only import read_only
from rigs.small_disk import small_disk
from rigs.sshd import Sshd, start_sshd

from harness.devices import doctor, provision
from harness.devices.answers import InstallNote, Survey
from harness.devices.config import Device, LocalDevice
from harness.devices.connection import Connection, new_owner
from harness.devices.doctor import diagnose
from harness.devices.provision import provision_device
from harness.devices.transports import open_transport
from harness.errors import DeviceError

pytestmark = pytest.mark.device

# Looked for before a test has a home of its own.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
OLD = sorted(PYENV.glob("versions/3.[67].*/bin/python3"))
OLDEST = sorted(PYENV.glob("versions/3.8.*/bin/python3"))
PACKAGES = {"ai-edge-litert": "2.3.0", "made-up-need": "1.0"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_wheels(tmp_path_factory.mktemp("index"))


@pytest.fixture(autouse=True)
def only_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find a folder of wheels and nothing else, here and on this machine as a device."""
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(index), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with no packages, and no pip."""
    return make_python(tmp_path_factory.mktemp("bare"))[0]


@pytest.fixture(autouse=True)
def sessions_alone_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor try neither other forms of measuring nor how cores can be asked for: test_trial.py and others do."""
    monkeypatch.setattr(doctor, "try_forms", lambda *_: {})
    monkeypatch.setattr(doctor, "_permissions", lambda *_: [])


def make_python(folder: Path) -> tuple[Path, Path]:
    """Return a Python with no packages, and the folder for some."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    return folder / "bin" / "python", packages


@pytest.fixture(scope="module")
def with_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with pip and nothing else."""
    python, packages = make_python(tmp_path_factory.mktemp("with-pip"))
    (packages / "pip").symlink_to(Path(pip.__file__).parent)
    return python


@pytest.fixture(scope="module")
def with_quick_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with a pip that does what is asked of it here, in a tenth of the time; device_agents asks the real one."""
    python, packages = make_python(tmp_path_factory.mktemp("with-quick-pip"))
    (packages / "pip.py").write_text(PIP)
    return python


Local = Callable[..., LocalDevice]


@pytest.fixture
def local(tmp_path: Path, with_quick_pip: Path) -> Local:
    def make(**changes: Any) -> LocalDevice:
        fields = {
            "name": "board",
            "python": str(with_quick_pip),
            "root": str(tmp_path / "root"),
            "runtimes": ("tflite",),
        }
        return LocalDevice(**{**fields, **changes})

    return make


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


SURVEY = Survey(
    executable="/usr/bin/python3", implementation="CPython", version=[3, 11, 2], free_threaded=False, machine="aarch64",
    bits=64, libc="glibc", libc_version="2.36", pip="23.0", pkg=False, free_bytes=1 << 30, note=None,
)  # fmt: skip
BOARD = LocalDevice(name="board")


def plan(
    survey: Survey, *there: str, names: tuple[str, ...] = provision.USUAL, is_asked: bool = False
) -> Any:
    hello = {"runtimes": [{"name": name, "version": "2.0", "package": name} for name in there]}
    return provision._plan(BOARD, names, hello, survey, is_asked=is_asked)


def noted(*runtimes: str, executable: str = "/usr/bin/python3") -> Survey:
    note = InstallNote(
        executable=executable, version=[3, 11, 2], packages={}, runtimes=list(runtimes), how="pip"
    )
    return SURVEY.model_copy(update={"note": note})


def test_what_is_there_is_left_and_what_was_installed_before_is_installed_again_with_more() -> None:
    assert list(plan(SURVEY, "tflite").rows) == ["onnxruntime"]
    assert plan(SURVEY, "tflite").present == ("tflite",)
    more = plan(noted("tflite"), "tflite")
    assert list(more.rows) == ["onnxruntime", "tflite"] and more.present == ()
    assert list(plan(noted("litert"), names=("tflite",)).rows) == ["tflite", "litert"]
    assert list(plan(noted("litert", executable="/other"), names=("tflite",)).rows) == ["tflite"]
    assert plan(noted("tflite"), "tflite", "onnxruntime").rows == {}


def test_a_runtime_that_does_not_fit_is_left_out_unless_it_was_asked_for() -> None:
    arm = SURVEY.model_copy(update={"bits": 32})
    assert list(plan(arm).rows) == ["tflite"] and "armv7l" in plan(arm).left_out["onnxruntime"]
    assert plan(arm, "tflite").rows == {}, "there is nothing more to do"
    with pytest.raises(DeviceError, match="nothing fits it: onnxruntime"):
        plan(arm, "tflite", is_asked=True)


def test_packages_that_only_the_devices_pip_has_are_told_as_such() -> None:
    arm = SURVEY.model_copy(update={"bits": 32})
    assert provision._ways(BOARD, plan(arm), arm, False) == ["pip"]
    assert provision._ways(BOARD, plan(SURVEY), SURVEY, False) == ["pip", "carried"]
    assert provision._ways(BOARD, plan(SURVEY), SURVEY, True) == ["carried"]
    with pytest.raises(DeviceError, match="leave out --carry"):
        provision._ways(BOARD, plan(arm), arm, True)
    with pytest.raises(DeviceError, match="sudo apt install python3-numpy"):
        provision._ways(BOARD, plan(arm), arm.model_copy(update={"pip": ""}), False)


def test_a_device_with_a_numpy_of_its_own_gets_wheels_without_what_they_need(tmp_path: Path) -> None:
    arm = SURVEY.model_copy(update={"bits": 32, "numpy": "1.24.2", "pip": ""})
    assert plan(arm).no_deps and not plan(SURVEY).no_deps
    assert provision._ways(BOARD, plan(arm), arm, False) == ["carried"]
    sent = provision.download_wheels(SURVEY, ["ai-edge-litert"], tmp_path, no_deps=True)
    assert [path.name.split("-")[0] for path in sent] == ["ai_edge_litert"]


def test_what_a_device_refuses_to_tell_is_an_error_with_its_words() -> None:
    with pytest.raises(
        DeviceError, match=r"device 'board': OSError: Input/output error; on the device: the disk has errors"
    ):
        provision._survey(BOARD, lambda request, limit_s: {"refused": "OSError: Input/output error"})
    with pytest.raises(DeviceError, match="its survey: executable is missing"):
        provision._survey(BOARD, lambda request, limit_s: {})


def tree(root: Path) -> dict[str, int]:
    """Return the files that packages are made of, with the time of their last change."""
    paths = [*root.glob("environment*.json"), *(root / "environments").rglob("*")]
    return {
        str(path): path.stat().st_mtime_ns
        for path in paths
        if path.is_file() and "__pycache__" not in str(path)
    }


def runtimes_of(device: Device) -> list[str]:
    connection = Connection(device, open_transport(device), owner=new_owner())
    try:
        connection.open(lock=False)
        return [str(one["name"]) for one in connection.hello["runtimes"]]
    finally:
        connection.close()


@pytest.mark.long
def test_the_devices_pip_installs_once_the_agent_finds_it_and_remove_takes_it_away(
    local: Local, with_pip: Path, tmp_path: Path
) -> None:
    device, root = local(python=str(with_pip)), tmp_path / "root"
    planned = provision_device(device, dry_run=True)
    assert (planned.state, planned.how, planned.runtimes) == ("planned", "pip", ("tflite",))
    assert tree(root) == {} and runtimes_of(device) == []

    done = provision_device(device)
    assert (done.state, done.how, dict(done.packages)) == ("installed", "pip", PACKAGES)
    assert [(check.name, check.status) for check in done.checks] == [
        ("trial", "ok")
    ] and done.exit_status == 0
    assert runtimes_of(device) == ["tflite"]
    checks = {check.name: check for check in diagnose(device)}
    assert "with packages of harness provision: ai-edge-litert 2.3.0" in checks["python"].found
    assert "named in devices.toml" in checks["python"].found

    before = tree(root)
    again = provision_device(device)
    assert (again.state, again.runtimes, dict(again.packages)) == ("unchanged", ("tflite",), PACKAGES)
    assert tree(root) == before and again.checks[0].status == "ok"

    assert provision_device(device, remove=True, dry_run=True).state == "would-remove"
    assert tree(root) == before
    removed = provision_device(device, remove=True)
    assert (removed.state, dict(removed.packages)) == ("removed", PACKAGES)
    assert tree(root) == {} and runtimes_of(device) == []
    assert provision_device(device, remove=True).state == "unchanged"


@pytest.mark.ssh
def test_a_device_without_pip_gets_wheels_over_ssh_that_pip_downloads_here(
    sshd: Sshd, bare: Path, tmp_path: Path
) -> None:
    device = sshd.device(python=str(bare), root=str(tmp_path / "root"), runtimes=("tflite",))
    steps: list[str] = []
    done = provision_device(device, on_progress=lambda name, step: steps.append(step))
    assert (done.state, done.how, dict(done.packages)) == ("installed", "carried", PACKAGES)
    assert done.notes == (f"{bare} has no pip",)
    assert [check.status for check in done.checks] == ["ok"]
    assert any("MB" in step for step in steps) and steps[-1] == ""
    assert provision_device(device).state == "unchanged"


def test_wheels_are_carried_where_the_devices_pip_gets_nowhere_and_on_request(
    local: Local, with_quick_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = local()
    monkeypatch.setattr(
        "harness.devices.runtime_packages.sys", SimpleNamespace(executable=str(with_quick_pip))
    )
    assert provision_device(device, carry=True, dry_run=True).how == "carried"

    def only_here(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setenv("PIP_FIND_LINKS", links)
        return download(*arguments, **options)

    links, download = os.environ["PIP_FIND_LINKS"], provision.download_wheels
    monkeypatch.setattr(provision, "download_wheels", only_here)
    monkeypatch.delenv("PIP_FIND_LINKS")
    done = provision_device(device)
    assert (done.how, len(done.notes)) == ("carried", 1)
    assert "pip ended with status 1" in done.notes[0] and "ai-edge-litert" in done.notes[0]


def test_no_pip_and_no_wheels_is_told_with_what_each_says(
    local: Local, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        DeviceError, match=r"has no pip; then this machine's pip has no wheels for the device"
    ) as caught:
        provision_device(local(python=str(bare)))
    assert "nothing was changed" in str(caught.value) and "ai-edge-litert" in str(caught.value)
    assert tree(tmp_path / "root") == {}


def test_what_stands_against_both_ways_is_told_once(
    local: Local, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*anything: Any) -> Any:
        raise DeviceError("device 'board'", "No space left on device")

    monkeypatch.setattr(provision._Work, "_installed_by", full)
    monkeypatch.setattr(provision, "_ways", lambda *anything: ["pip", "carried"])
    with pytest.raises(DeviceError, match="nothing was changed") as caught:
        provision_device(local(python=str(bare)))
    assert str(caught.value).count("No space left on device") == 1


def test_a_runtime_that_computes_something_else_fails_its_trial(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(runtime_wheels(tmp_path / "bad", output="[0.25] * 10")))
    done = provision_device(local())
    assert [check.status for check in done.checks] == ["FAIL"] and done.exit_status == 3
    assert "0.25" in done.checks[0].found and "--remove" in done.checks[0].remedy


def test_packages_of_another_python_are_not_used_and_the_doctor_says_so(
    local: Local, bare: Path, tmp_path: Path
) -> None:
    (tmp_path / "root" / "environments" / "0a").mkdir(parents=True)
    note = {"folder": "0a", "executable": "/opt/python", "version": [3, 11, 2], "packages": {"numpy": "2.0"}}
    (tmp_path / "root" / "environment.json").write_text(
        json.dumps(note | {"runtimes": ["tflite"], "how": "pip"})
    )
    check = next(check for check in diagnose(local(python=str(bare))) if check.name == "python")
    assert check.status == "warn" and "are for Python 3.11.2 (/opt/python) and not used" in check.found
    assert check.remedy == "harness provision --device board"


def test_a_full_disk_is_told_before_anything_is_installed(local: Local, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        device = local(root=str(disk.folder / "root"))
        with pytest.raises(
            DeviceError, match=r"MiB are free in the agent's folder.*free some, or name another"
        ):
            provision_device(device)
        assert tree(disk.folder / "root") == {}


def test_a_file_system_that_loads_no_library_is_told_before_anything_is_installed(
    local: Local, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 1 << 30, "noexec") as disk:
        device = local(root=str(disk.folder / "root"))
        with pytest.raises(DeviceError, match=r'noexec.*root = "\.\.\." in \[devices\.board\]'):
            provision_device(device)
        assert tree(disk.folder / "root") == {}


def test_a_folder_of_another_account_is_told_with_the_key_for_another() -> None:
    with pytest.raises(DeviceError, match=r'this account may not.*root = "\.\.\." in \[devices\.board\]'):
        provision._installed(
            BOARD, {"refused": "PermissionError: [Errno 13] Permission denied: 'environments/0a'"}
        )


def test_variables_of_another_python_do_not_keep_runtimes_from_their_processes(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert [check.status for check in provision_device(local()).checks] == ["ok"]


def test_a_home_that_is_read_only_is_told_with_the_key_for_another_folder(
    local: Local, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    with (
        read_only(tmp_path / "home"),
        pytest.raises(DeviceError, match=r'cannot be stored .* root = "\.\.\." in \[devices\.board\]'),
    ):
        provision_device(local(root=str(tmp_path / "home" / "root")))


def test_python_3_7_is_told_with_the_key_for_another_and_those_that_would_do(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not OLD:
        pytest.skip("needs a Python 3.6 or 3.7 (pyenv install 3.7)")
    there, broken = tmp_path / "python3.28", tmp_path / "python3.29"
    there.symlink_to("/bin/true")
    broken.symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        DeviceError,
        match=r'needs 3\.8 or newer: name one with python = "\.\.\." in \[devices\.board\] \(there: ',
    ) as caught:
        provision_device(local(python=str(OLD[-1])))
    assert str(there) in str(caught.value) and str(broken) not in str(caught.value)


def test_python_3_8_gets_the_last_packages_for_it_and_is_told_which_runtime_has_none(local: Local) -> None:
    if not OLDEST:
        pytest.skip("needs a Python 3.8 (pyenv install 3.8)")
    device = local(python=str(OLDEST[-1]), runtimes=("onnxruntime", "tflite", "litert"))
    planned = provision_device(device, dry_run=True)
    assert [*planned.packages] == ["onnxruntime>=1.19", "tflite-runtime>=2.13", "numpy<2"]
    assert [*planned.left_out] == ["litert"] and "for Python 3.10 to 3.14" in planned.left_out["litert"]
    assert "and this is 3.8." in planned.left_out["litert"]


def test_a_system_that_nothing_fits_is_told_and_left_alone(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = provision.check_survey
    monkeypatch.setattr(provision, "check_survey", lambda said: real({**said, "libc": "musl"}))
    with pytest.raises(DeviceError, match=r"device 'board': nothing fits it: tflite: .*musl"):
        provision_device(local())
    assert tree(tmp_path / "root") == {}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"libc": "musl", "libc_version": ""}, "musl"),
        ({"bits": 32, "machine": "x86_64"}, "32 bits"),
        ({"version": [3, 8, 0], "machine": "riscv64"}, "riscv64"),
    ],
)
def test_what_does_not_fit_a_system_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DeviceError, match=rf"device 'board': nothing fits it: tflite: .*{told}"):
        plan(SURVEY.model_copy(update=changes), names=("tflite",))


def devices_file(device: LocalDevice, folder: Path, runtime: str = "tflite") -> str:
    text = f'python = "{device.python}"\nroot = "{device.root}"\nruntimes = ["{runtime}"]\n'
    (folder / "devices.toml").write_text(f'[devices.board]\ntransport = "local"\n{text}')
    return str(folder / "devices.toml")


def test_the_doctor_installs_what_is_missing_where_it_is_asked_to_and_checks_again(
    local: Local, tmp_path: Path
) -> None:
    asked = ("doctor", "--device", "board", "--devices", devices_file(local(), tmp_path), "--json")
    ill = run_command("unused", *asked)
    assert ill.status == 3
    assert [check["name"] for check in ill.json["board"] if check["fixable"]] == ["runtime"]
    well = run_command("unused", *asked, "--fix")
    assert well.status == 0, well.stderr
    told, *checks = well.json["board"]
    assert told["name"] == "fix" and "installed for tflite by the device's pip: ai-edge" in told["found"]
    assert {check["name"]: check["status"] for check in checks}["trial"] == "ok"
    again = run_command("unused", *asked, "--fix")
    assert again.status == 0 and "fix" not in {check["name"] for check in again.json["board"]}


def test_what_the_doctor_cannot_install_is_told_beside_what_is_missing(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_wheels(*_: Any, **__: Any) -> Any:
        raise DeviceError("no wheels of onnxruntime")

    monkeypatch.setattr(provision, "download_wheels", no_wheels)
    file = devices_file(local(), tmp_path, "onnxruntime")
    done = run_command("unused", "doctor", "--device", "board", "--devices", file, "--fix", "--json")
    failed = [check for check in done.json["board"] if check["status"] == "FAIL"]
    assert done.status == 3 and [check["name"] for check in failed] == ["runtime", "fix"]
    assert "onnxruntime" in failed[1]["found"] and "nothing was changed" in failed[1]["found"]


def test_the_command_prints_what_was_done_and_json(local: Local, tmp_path: Path) -> None:
    named = ("provision", "--device", "board", "--devices", devices_file(local(), tmp_path))
    planned = run_command("unused", *named, "--dry-run")
    assert (
        planned.status == 0
        and "would install for tflite by the device's pip: ai-edge-litert" in planned.stdout
    )
    done = run_command("unused", *named, "--json")
    assert done.status == 0 and done.json["state"] == "installed" and done.json["packages"] == PACKAGES
    assert done.json["checks"][0]["status"] == "ok"
    again = run_command("unused", *named)
    assert "nothing to do for tflite (installed here: ai-edge-litert 2.3.0" in again.stdout
    assert "removed ai-edge-litert 2.3.0" in run_command("unused", *named, "--remove").stdout
    devices_file(local(python="/no/such/python"), tmp_path)
    refused = run_command("unused", *named)
    assert refused.status == 3 and refused.stdout == "" and "/no/such/python" in refused.stderr
