"""LiteRT by its C library: the outputs of TFLite's interpreter, its threads, its handles, and libraries that cannot be used."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from ctypes import c_bool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import (
    save_half_supported_tflite,
    save_int8_tflite,
    save_tflite,
    save_two_outputs_tflite,
)

from device_agents.names import may_use_gpu
from device_agents.nvidia import uses_gpu
from device_agents.outputs import reversed_values
from device_agents.refusal import Refusal
from device_agents.runtimes import litert, litert_library, tflite, uses_accelerator
from device_agents.runtimes.litert_api import LiteRtError, LiteRtLibrary
from device_agents.runtimes.litert_library import ANY_VERSION_VARIABLE, PATH_VARIABLE, open_library
from device_agents.runtimes.litert_printed import GpuError, PrintedText, printed_text
from device_agents.runtimes.loaded import Inputs, fixed_input
from device_agents.runtimes.plain_values import fixed_bytes
from device_agents.worker import ENDS_JOB
from harness.devices.client import ISOLATED

TYPES = {
    "f": "float32",
    "e": "float16",
    "d": "float64",
    "b": "int8",
    "B": "uint8",
    "i": "int32",
    "q": "int64",
}

ROOT = Path(__file__).parents[3]
TASKS = Path("/proc/self/task")


@pytest.fixture(autouse=True)
def library_found_anew() -> Iterator[None]:
    open_library.cache_clear()
    printed_text.cache_clear()  # pytest puts another file in the place of standard error for each test
    yield
    open_library.cache_clear()


def outputs(runtime: Any, model: bytes, inputs: Inputs, threads: int = 1) -> list[float]:
    one = runtime.load_with_inputs(model, threads, {}, inputs)
    one.run()
    return list(one.output())


@pytest.mark.parametrize(
    "shape", [(1, 5, 7, 3), (3, 50, 41, 3), (2, 0, 7, 3), (2, 64, 64, 1), (2, 3), (4,), (9001,)]
)
@pytest.mark.parametrize(("scale", "zero_point"), [(0.0, 0), (0.0078125, 3), (float(np.float32(0.013)), -7)])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_fixed_values_without_numpy_are_those_with_it(
    shape: tuple[int, ...], scale: float, zero_point: int, layout: str
) -> None:
    for code, dtype in {**TYPES, "?": "bool"}.items():
        made = fixed_input(shape, dtype, layout, scale, zero_point)
        assert fixed_bytes(shape, code, layout, scale, zero_point) == made.tobytes()


def test_a_run_gives_what_the_interpreter_gives_in_float_and_int8(tmp_path: Path) -> None:
    for save, count in ((save_tflite, 1), (save_int8_tflite, 1), (save_two_outputs_tflite, 2)):
        model = save(tmp_path / "a.tflite").read_bytes()
        expected = outputs(tflite, model, Inputs())
        assert len(expected) == 8 * count
        assert any(expected)
        assert outputs(litert, model, Inputs()) == expected


def test_shapes_and_values_are_given_as_to_the_interpreter(tmp_path: Path) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    images = np.random.default_rng(0).standard_normal((3, 16, 16, 3)).astype(np.float32)
    for given in (Inputs({}, {"image": images}), Inputs({"image": [3, 16, 16, 3]})):
        assert outputs(litert, model, given) == outputs(tflite, model, given)
    with pytest.raises(ValueError, match="input 'image' is given as float64; the model wants float32"):
        litert.load_with_inputs(model, 1, {}, Inputs({}, {"image": images.astype(np.float64)}))
    with pytest.raises(LiteRtError, match="LiteRt"):
        litert.load_with_inputs(model, 1, {}, Inputs({"image": [1, 16, 16, 7]}))


@pytest.mark.skipif(not TASKS.is_dir(), reason="Linux tells of a process's threads")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_so_many_threads_compute_as_are_asked_for(tmp_path: Path, threads: int) -> None:
    model = save_tflite(tmp_path / "a.tflite", width=48).read_bytes()
    before = set(TASKS.iterdir())
    loaded = litert.load(model, threads, {})
    added = sorted(set(TASKS.iterdir()) - before)
    assert len(added) == threads - 1
    spent = {name: spent_ns(name) for name in added}
    for _ in range(5000):  # the system counts a thread's time now and then
        loaded.run()
        if all(spent_ns(name) > spent[name] for name in added):
            return
    raise AssertionError("a thread did not compute")


def spent_ns(thread: Path) -> int:
    return int((thread / "schedstat").read_text().split()[0])


def test_handles_are_destroyed_once_and_in_reverse_when_a_model_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    library = litert.find()[2]
    calls: list[tuple[str, int]] = []

    def watch(name: str, function: Any) -> Any:
        def watched(*arguments: Any) -> Any:
            if name.startswith("LiteRtDestroy"):
                calls.append((name.removeprefix("LiteRtDestroy"), arguments[0].value))
            status = function(*arguments)
            if name.startswith("LiteRtCreate") and "Environment" not in name:
                calls.append((name.removeprefix("LiteRtCreate"), arguments[-1]._obj.value))
            return status

        return watched

    watched = {name: watch(name, function) for name, function in library.functions.items()}
    monkeypatch.setattr(library, "functions", watched)
    loaded = litert.load(model, 1, {})
    loaded.run()
    made = [handle for name, handle in calls if name != "OpaqueOptions"]
    assert len(made) == len(set(made)) == 5  # model, options, compiled model, input, output
    calls.clear()
    del loaded
    assert [handle for _, handle in calls] == made[::-1]


def test_a_run_is_over_when_what_an_accelerator_computed_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert.api, "HOST_MEMORY", -1)  # so that every buffer counts as an accelerator's
    loaded = litert.load(save_tflite(tmp_path / "a.tflite").read_bytes(), 1, {})
    library = litert.find()[2]
    order: list[str] = []

    def watch(name: str, function: Any) -> Any:
        def watched(*arguments: Any) -> Any:
            order.append(name)
            return function(*arguments)

        return watched

    for name in ("LiteRtLockTensorBuffer", "LiteRtUnlockTensorBuffer"):
        monkeypatch.setitem(library.functions, name, watch(name, library.functions[name]))
    loaded.run()
    assert order == ["LiteRtLockTensorBuffer", "LiteRtUnlockTensorBuffer"]


def test_an_accelerator_that_goes_away_is_an_error_of_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = litert.find()[2]
    statuses = iter([0, 3])
    monkeypatch.setitem(library.functions, "LiteRtRunCompiledModel", lambda *_: next(statuses))
    loaded = litert.load(save_tflite(tmp_path / "a.tflite").read_bytes(), 1, {})
    loaded.run()
    with pytest.raises(LiteRtError, match=r"LiteRtRunCompiledModel: runtime failure \(status 3\)"):
        loaded.run()


@pytest.mark.parametrize(
    "function",
    [
        "LiteRtCreateCompiledModel",
        "LiteRtCreateManagedTensorBufferFromRequirements",
        "LiteRtRunCompiledModel",
    ],
)
def test_memory_that_an_accelerator_lacks_is_that_model_s_failure_wherever_it_lacks(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = litert.find()[2]
    monkeypatch.setitem(library.functions, function, lambda *_: 2)
    with pytest.raises(
        Refusal, match=f"{function}: memory allocation failure .* has not the memory"
    ) as refused:
        litert.load(save_tflite(tmp_path / "a.tflite").read_bytes(), 1, {}).run()
    assert refused.value.kind == "out-of-memory"
    assert refused.value.kind not in ENDS_JOB, "the networks that follow may fit"


def test_what_waits_for_an_accelerator_is_not_said_to_wait_for_a_core() -> None:
    accelerators = (
        *("GPU", "GPU-fp32", "GPU+CPU", "NPU", "EdgeTPU", "ethosn", "vx+CPU"),
        *("CUDAExecutionProvider", "QNNExecutionProvider", "OpenVINOExecutionProvider"),
    )
    assert [name for name in accelerators if not uses_accelerator(name)] == []
    processors = ("", "CPU", "XNNPACK", "builtin", "CPUExecutionProvider", "XnnpackExecutionProvider")
    assert [name for name in processors if uses_accelerator(name)] == []


def test_nvidia_is_asked_for_conditions_wherever_a_run_may_be_on_its_card() -> None:
    cards = ("GPU", "GPU-fp32", "GPU+CPU", "CUDAExecutionProvider+graph", "TensorrtExecutionProvider")
    others = ("WebGpuExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider")
    assert all(map(may_use_gpu, (*cards, *others)))
    assert not any(map(may_use_gpu, ("", "CPU", "XNNPACK", "NPU", "CPUExecutionProvider")))
    assert not uses_gpu("GPU"), "whose libraries are no packages of CUDA's"


def test_neither_numpy_nor_any_other_package_is_needed(tmp_path: Path) -> None:
    model = save_int8_tflite(tmp_path / "a.tflite")
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from device_agents.runtimes import litert\n"
        f"one = litert.load(open({str(model)!r}, 'rb').read(), 1, {{}})\n"
        "one.run(); print(one.output(), 'numpy' in sys.modules)"
    )
    environment = {PATH_VARIABLE: str(library_of_package())}
    command = [sys.executable, *ISOLATED, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"{outputs(tflite, model.read_bytes(), Inputs())} False", done.stderr


def test_what_is_no_model_is_an_error_by_name_and_leaves_nothing_open() -> None:
    with pytest.raises(LiteRtError, match=r"LiteRtCreateModelFromBuffer: .+ \(status "):
        litert.load(b"no flatbuffer at all, and long enough to be read as one", 1, {})


def library_of_package() -> Path:
    return litert_library.locate({})[2]


def test_a_named_library_is_used_and_known_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "libLiteRt.so"
    shutil.copy(library_of_package(), copy)
    package, version, path = litert_library.locate({PATH_VARIABLE: str(copy)})
    assert (package, path) == ("libLiteRt.so", copy)
    assert version == litert_library.locate({})[1]
    with copy.open("ab") as file:
        file.write(b"\0")
    monkeypatch.setenv(PATH_VARIABLE, str(copy))
    with pytest.raises(
        Refusal, match=r"of version unknown, and harness was tried with .*litert_any_version"
    ) as caught:
        open_library()
    assert caught.value.kind == "runtime-missing"
    monkeypatch.setenv(ANY_VERSION_VARIABLE, "1")
    assert litert.find()[:2] == ("libLiteRt.so", "unknown")
    assert litert.providers() == ["CPU"]  # no library of an accelerator lies beside it


def test_a_package_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert_library, "DIGESTS", {})
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9.9")
    with pytest.raises(Refusal, match=r"LiteRT of version 9\.9\.9"):
        open_library()


def test_without_package_and_library_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(litert_library.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        open_library()
    assert caught.value.name in litert.PACKAGES
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "libLiteRt.so"))
    with pytest.raises(Refusal, match=r"there is no file .*libLiteRt.so, which litert_library"):
        open_library()


def foreign(data: bytes) -> bytes:
    return data[:18] + struct.pack("<H", 183 if data[18] != 183 else 62) + data[20:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (foreign, "is for 64-bit (aarch64|x86-64), and this Python runs on 64-bit"),
        (lambda data: data[:-1000], "is cut off: .* bytes of at least"),
        (lambda data: data[:30], "no ELF header"),
        (lambda data: b"", "no ELF header"),
        (lambda data: b"<html>not found" * 100, "no ELF header"),
    ],
)
def test_a_file_that_is_no_whole_library_of_this_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, said: str
) -> None:
    path = tmp_path / "libLiteRt.so"
    path.write_bytes(damage(library_of_package().read_bytes()))
    monkeypatch.setenv(PATH_VARIABLE, str(path))
    monkeypatch.setenv(ANY_VERSION_VARIABLE, "1")
    with pytest.raises(Refusal, match=said):
        open_library()


def test_a_library_that_lacks_a_function_is_refused_with_its_name() -> None:
    other = next(Path(sysconfig.get_path("platlib")).glob("numpy/_core/_simd*.so"))
    with pytest.raises(Refusal, match="harness does not know: it has no function LiteRtCreateEnvironment, "):
        LiteRtLibrary(other)


def test_an_unknown_provider_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    with pytest.raises(Refusal, match="litert has no provider 'TPU' here; it has: CPU"):
        litert.load(model, 1, {"provider": "TPU"})


def answer(values: list[Any]) -> Any:
    """Return a function of LiteRT's that tells the first value as it then is."""

    def told(_: Any, where: Any) -> int:
        where._obj.value = values[0]
        return 0

    return told


@pytest.fixture
def cpu_for_all(monkeypatch: pytest.MonkeyPatch) -> LiteRtLibrary:
    """Have LiteRT run on its CPU what is asked of any accelerator; return the library."""
    library = litert.find()[2]
    environment, choose = litert.environment, library.functions["LiteRtSetOptionsHardwareAccelerators"]
    monkeypatch.setattr(
        litert, "environment", lambda library, accelerators: environment(library, litert.api.CPU)
    )
    monkeypatch.setattr(litert, "providers", lambda: ["GPU-fp32", "GPU-fp32+CPU", "NPU"])
    for name, function in (
        ("LiteRtSetOptionsHardwareAccelerators", lambda options, _: choose(options, litert.api.CPU)),
        ("LiteRtGetNumAccelerators", answer([2])),
    ):
        monkeypatch.setitem(library.functions, name, function)
    return library


def test_what_the_cpu_runs_in_an_accelerator_s_place_is_refused_as_litert_tells_it(
    cpu_for_all: LiteRtLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = save_tflite(tmp_path / "a.tflite").read_bytes()
    half = save_half_supported_tflite(tmp_path / "half.tflite").read_bytes()
    for_all, but_xnnpack = litert.TELL_WHOLE

    def refused(model: bytes) -> str:
        with pytest.raises(
            Refusal, match="GPU-fp32 does not run all operators of this network: LiteRt"
        ) as caught:
            litert.load(model, 1, {"provider": "GPU-fp32"})
        assert caught.value.kind == "worker-error"
        assert "with the provider gpu-fp32+cpu" in str(caught.value)
        return str(caught.value)

    assert but_xnnpack in refused(whole)
    assert for_all in refused(half)
    monkeypatch.delitem(cpu_for_all.functions, but_xnnpack)  # as in 2.1.6, to which XNNPACK is an accelerator
    assert for_all in refused(half)
    monkeypatch.delitem(cpu_for_all.functions, for_all)
    assert litert.load(half, 1, {"provider": "GPU-fp32"}).shares == {}, "nothing proves it"


@pytest.mark.parametrize("provider", ["GPU-fp32", "GPU-fp32+CPU"])
def test_a_shape_of_which_an_accelerator_runs_a_part_is_refused(
    cpu_for_all: LiteRtLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    resize = cpu_for_all.functions["LiteRtGetCompiledModelOutputTensorLayouts"]
    whole = [True]

    def resized(*arguments: Any) -> int:
        whole[:] = [False]
        return int(resize(*arguments))

    monkeypatch.setitem(cpu_for_all.functions, "LiteRtGetCompiledModelOutputTensorLayouts", resized)
    for name, is_whole in zip(litert.TELL_WHOLE, (whole, [True]), strict=True):
        monkeypatch.setitem(cpu_for_all.functions, name, answer(is_whole))
    with pytest.raises(Refusal, match="GPU-fp32 does not run all operators of this network: LiteRt"):
        litert.load_with_inputs(model, 1, {"provider": provider}, Inputs({"image": [3, 16, 16, 3]}))


def test_what_an_accelerator_does_not_compile_is_its_own_fault_until_it_has_compiled_another(
    cpu_for_all: LiteRtLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    monkeypatch.setattr(litert, "COMPILED_FOR", set())
    for name in litert.TELL_WHOLE:
        monkeypatch.setitem(cpu_for_all.functions, name, answer([True]))

    def refused() -> tuple[str, str]:
        with monkeypatch.context() as patch, pytest.raises(Refusal) as caught:
            patch.setitem(cpu_for_all.functions, "LiteRtCreateCompiledModel", lambda *_: 3)
            litert.load(model, 1, {"provider": "GPU-fp32"})
        return caught.value.kind, str(caught.value).partition(":")[0]

    assert refused() == ("runtime-missing", "LiteRT cannot use the GPU-fp32 of this device")
    litert.load(model, 1, {"provider": "GPU-fp32"})
    assert refused() == ("worker-error", "the GPU-fp32 does not run this network")


@pytest.mark.parametrize("code", ["f", "b", "q", "?", "e", "H"])
def test_values_of_any_type_are_put_in_reverse_order(code: str) -> None:
    values = [1, 0, 1, 1, 0] if code == "?" else [3, 1, 0, 7, 5]
    data = struct.pack(f"=5{code}", *values)
    assert struct.unpack(f"=5{code}", reversed_values(data, code)) == tuple(values[::-1])


def test_another_input_gives_another_output_and_the_own_one_is_put_back(
    cpu_for_all: LiteRtLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    for name in litert.TELL_WHOLE:
        monkeypatch.setitem(cpu_for_all.functions, name, answer([True]))
    loaded = litert.load(model, 1, {"provider": "GPU-fp32"})
    loaded.run()
    own = loaded.output()
    assert loaded.other_output is not None
    image = fixed_input((1, 16, 16, 3), "float32", "NHWC").reshape(-1)[::-1].reshape(1, 16, 16, 3)
    assert (
        loaded.other_output(reversed_values) == outputs(tflite, model, Inputs(arrays={"image": image})) != own
    )
    loaded.run()
    assert loaded.output() == own


def test_an_npu_runs_a_network_in_the_shape_alone_that_it_was_compiled_for(
    cpu_for_all: LiteRtLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    for name in litert.TELL_WHOLE:
        monkeypatch.setitem(cpu_for_all.functions, name, answer([True]))
    own = litert.load_with_inputs(model, 1, {"provider": "NPU"}, Inputs({"image": [1, 16, 16, 3]}))
    assert own.shares == {"NPU": 1.0}
    with pytest.raises(
        ValueError,
        match=r"'image' is given the shape \[3, 16, 16, 3\], and the NPU's code .* \[1, 16, 16, 3\]",
    ):
        litert.load_with_inputs(model, 1, {"provider": "NPU"}, Inputs({"image": [3, 16, 16, 3]}))


def test_litert_calls_a_network_of_the_cpu_whole_or_not_and_the_cpu_runs_all_of_both(tmp_path: Path) -> None:
    library = litert.find()[2]
    for save, is_whole in ((save_tflite, True), (save_half_supported_tflite, False)):
        compiled, _ = litert.open_compiled(save(tmp_path / "a.tflite").read_bytes(), 1, {})
        compiled.bind(Inputs())
        assert library.ask(c_bool, litert.TELL_WHOLE[0], compiled.handle) is is_whole
        assert compiled.shares == {"CPU": 1.0}


def test_errors_that_can_no_longer_be_read_are_not_taken_for_none() -> None:
    before = os.dup(2)
    try:
        printed = PrintedText()
        os.write(2, b"so far\n")
        assert printed.read() == "so far\n"
        printed.check("GPU")
    finally:
        os.dup2(before, 2)
        os.close(before)
    with pytest.raises(GpuError, match="errors is not seen: standard error was replaced"):
        printed.check("GPU")


NO_GPU = """
import sys
from pathlib import Path
from device_agents.refusal import Refusal
from device_agents.runtimes import litert
try:
    litert.load(Path(sys.argv[1]).read_bytes(), 1, {"provider": "GPU"})
except Refusal as refusal:
    print(refusal.kind, refusal)
"""


def test_a_gpu_that_vulkan_does_not_find_is_refused_with_what_to_install(tmp_path: Path) -> None:
    model = save_tflite(tmp_path / "a.tflite")
    environment = {**os.environ, "VK_ICD_FILENAMES": str(tmp_path / "none.json")}
    command = [sys.executable, "-c", NO_GPU, str(model)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout.splitlines()[-1]
    assert said.startswith("runtime-missing LiteRT cannot use the GPU of this device")
    assert "apt install libvulkan1 mesa-vulkan-drivers" in said and "usermod -aG render" in said
