"""LiteRT's way to an NPU: the vendor's libraries that it is given, what is refused and why, OpenVINO's CPU in an NPU's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any

import pytest
from factories.model_files import save_half_supported_tflite, save_int8_tflite, save_tflite
from factories.npu import litert_folder

from device_agents.refusal import Refusal
from device_agents.runtimes import litert, litert_library
from device_agents.runtimes.litert_api import LiteRtError
from device_agents.runtimes.litert_library import PATH_VARIABLE
from device_agents.runtimes.litert_npu import npu_libraries, why_refused

ROOT = Path(__file__).parents[3]
# Loads models for providers; prints of each what it gave, or what it was refused with.
SCRIPT = """
import json, sys
from dataclasses import replace
from device_agents.runtimes import litert
from device_agents.runtimes.loaded import Inputs
options, *jobs = json.loads(sys.argv[1])
litert.PROVIDERS["NPU"] = replace(litert.PROVIDERS["NPU"], options=options)
for path, provider, shapes in jobs:
    try:
        with open(path, "rb") as file:
            one = litert.load_with_inputs(file.read(), 1, {"provider": provider}, Inputs(shapes))
        one.run()
        print(json.dumps([one.shares, one.output()]))
    except Exception as error:
        print(json.dumps([getattr(error, "kind", type(error).__name__), str(error)]))
"""


def load(
    *jobs: tuple[Path, str, dict[str, list[int]]],
    options: dict[str, str] | None = None,
    **environment: str,
) -> tuple[list[Any], str]:
    """Load models in a process of their own; return what came of each, and what was printed."""
    told = [options or {}, *((str(path), *rest) for path, *rest in jobs)]
    command = [sys.executable, "-c", SCRIPT, json.dumps(told)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_an_npu_is_listed_where_a_library_drives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libLiteRt.so"
    library.symlink_to(litert_library.locate({})[2])
    monkeypatch.setenv(PATH_VARIABLE, str(library))
    litert_library.open_library.cache_clear()
    touch(tmp_path, "libLiteRtCompilerPlugin_Qualcomm.so")
    assert litert.providers() == ["CPU"]
    touch(tmp_path, "libLiteRtDispatch_Qualcomm.so")
    assert litert.providers() == ["CPU", "NPU"]
    litert_library.open_library.cache_clear()


def test_both_libraries_are_of_one_vendor_however_it_is_written(tmp_path: Path) -> None:
    of_package = touch(
        tmp_path / "package",
        *("vendors/google_tensor/compiler/libLiteRtCompilerPlugin_google_tensor.so",),
        *("vendors/qualcomm/compiler/libLiteRtCompilerPlugin_Qualcomm.so",),
        *("vendors/google_tensor/dispatch/libLiteRtDispatch_GoogleTensor.so",),
    )
    found = npu_libraries(of_package)
    assert found.compiler is not None
    assert found.dispatch.parent == of_package / "vendors/google_tensor/dispatch"
    assert found.compiler.parent == of_package / "vendors/google_tensor/compiler"
    carried = touch(
        tmp_path / "carried", "libLiteRtDispatch_MediaTek.so", "libLiteRtCompilerPlugin_MediaTek.so"
    )
    assert npu_libraries(carried).compiler == carried / "libLiteRtCompilerPlugin_MediaTek.so"
    foreign = touch(
        tmp_path / "foreign", "libLiteRtDispatch_MediaTek.so", "libLiteRtCompilerPlugin_Qualcomm.so"
    )
    assert npu_libraries(foreign).compiler is None


@pytest.mark.parametrize(
    "names",
    [
        ("libLiteRtDispatch_A.so", "libLiteRtDispatch_B.so"),
        ("libLiteRtDispatch_A.so", "vendors/b/dispatch/libLiteRtDispatch_B.so"),
        (
            "libLiteRtDispatch_A.so",
            "libLiteRtCompilerPlugin_A.so",
            "vendors/b/compiler/libLiteRtCompilerPlugin_B.so",
        ),
    ],
)
def test_libraries_of_several_vendors_of_which_litert_takes_any_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(
        Refusal, match=r"several NPUs' libraries, .*_A\.so, .*_B\.so: leave those of"
    ) as refused:
        npu_libraries(touch(tmp_path, *names))
    assert refused.value.kind == "runtime-missing"


@pytest.mark.parametrize("layout", ["", "vendors/a/{}/"])
def test_litert_asks_the_vendor_s_compiler_and_then_what_drives_its_npu(tmp_path: Path, layout: str) -> None:
    names = (
        layout.format("compiler") + "libLiteRtCompilerPlugin_A.so",
        layout.format("dispatch") + "libLiteRtDispatch_A.so",
    )
    library = litert_folder(tmp_path / "litert", *names)
    model = save_tflite(tmp_path / "a.tflite")
    ((kind, message),), printed = load((model, "NPU", {}), **{PATH_VARIABLE: str(library)})
    assert f"compiler asked: {library.parent / names[0]}" in printed
    assert f"dispatch asked: {library.parent / names[1]}" in printed
    assert kind == "worker-error"
    assert message.startswith(
        "NPU does not run all operators of this network, or its compiler failed: LiteRtCreate"
    )
    assert message.endswith("A device without an NPU that LiteRT knows says so of every network")


def test_without_the_vendor_s_compiler_a_network_is_to_be_compiled_ahead(tmp_path: Path) -> None:
    library = litert_folder(tmp_path / "litert", "libLiteRtDispatch_A.so")
    model = save_tflite(tmp_path / "a.tflite")
    ((kind, message),), _ = load((model, "NPU", {}), **{PATH_VARIABLE: str(library)})
    assert kind == "worker-error"
    assert message.startswith("NPU does not run this network: LiteRtCreateCompiledModel")
    assert message.endswith(
        f"Without its vendor's libLiteRtCompilerPlugin_*.so in {library.parent} it runs only what was compiled ahead"
    )
    with pytest.raises(
        Refusal, match=r"LiteRT cannot use the NPU of this device: f: .* \(status 3\)"
    ) as refused:
        raise why_refused(library.parent, LiteRtError("f", 3))
    assert refused.value.kind == "runtime-missing"


def test_a_library_that_lacks_another_is_refused_by_both_their_names(tmp_path: Path) -> None:
    names = ("libLiteRtDispatch_A.so", "libLiteRtCompilerPlugin_A.so")
    library = litert_folder(tmp_path / "litert", *names, needs="libabsent.so")
    model = save_tflite(tmp_path / "a.tflite")
    ((kind, message),), _ = load((model, "NPU", {}), **{PATH_VARIABLE: str(library)})
    assert (kind, message.partition("; ")[0]) == (
        "runtime-missing",
        f"the NPU's library {library.parent / names[0]} does not load: libabsent.so: cannot open shared object file: "
        "No such file or directory",
    )


# What LiteRT's package was linked with, by its version.
OPENVINO = {"2.1.6": "2026.3.0", "2.3.0": "2026.3.1"}
# LiteRtIntelOpenVinoGraphBackend 0, of all parts of a network: OpenVINO's CPU in the place of the NPU.
ON_CPU = {"intel_openvino": "graph.-1.graph_backend = 0\n"}


def openvino() -> dict[str, str]:
    """Return the environment of a process that finds OpenVINO; skip the test where there is none of the right version."""
    version = OPENVINO.get(litert_library.locate({})[1])
    found = util.find_spec("openvino")
    if version is None or found is None or metadata.version("openvino") != version:
        pytest.skip(f"OpenVINO in an NPU's place is tried by hand: pip install --no-deps openvino=={version}")
    (folder,) = found.submodule_search_locations or ()
    return {"LD_LIBRARY_PATH": str(Path(folder) / "libs")}


def test_openvino_s_cpu_in_the_place_of_an_npu_gives_the_outputs_of_the_cpu(tmp_path: Path) -> None:
    environment = openvino()
    whole, int8 = save_tflite(tmp_path / "a.tflite", width=24), save_int8_tflite(tmp_path / "i.tflite")
    half = save_half_supported_tflite(tmp_path / "half.tflite", "ATAN2")
    jobs = [(path, provider, {}) for path in (whole, int8, half) for provider in ("CPU", "NPU")]
    jobs.append((whole, "NPU", {"image": [3, 16, 16, 3]}))
    told, _ = load(*jobs, options=ON_CPU, **environment)
    on_cpu, on_npu, int8_on_cpu, int8_on_npu, half_on_cpu, half_on_npu, resized = told
    assert [on_cpu[0], on_npu[0], int8_on_npu[0]] == [{"CPU": 1.0}, {"NPU": 1.0}, {"NPU": 1.0}]
    assert any(on_cpu[1])
    assert on_npu[1] == pytest.approx(on_cpu[1], rel=1e-3, abs=1e-3)
    assert any(int8_on_cpu[1])
    assert int8_on_npu[1] == pytest.approx(int8_on_cpu[1], abs=2 * 0.05)
    assert half_on_cpu[0] == {"CPU": 1.0}
    assert half_on_npu[0] == "worker-error"
    assert "NPU does not run all operators of this network" in half_on_npu[1]
    assert resized == [
        "ValueError",
        "input 'image' is given the shape [3, 16, 16, 3], and the NPU's code is compiled for [1, 16, 16, 3]: "
        "make a model of that shape",
    ]
