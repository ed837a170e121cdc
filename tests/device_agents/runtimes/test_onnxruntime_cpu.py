"""ONNX Runtime's other providers, over a stand-in of its package, for no test machine has a GPU; and its pools of threads."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from factories.agent_models import CHANNELS, IMAGE, onnx_parts

from device_agents import cuda_events
from device_agents.cuda_events import CudaError, EventTimer, open_library
from device_agents.outputs import OutputChanged, Outputs, OutputUnmoved, reversed_values
from device_agents.refusal import Refusal
from device_agents.runtimes import onnxruntime_cpu, onnxruntime_providers
from device_agents.runtimes.loaded import Inputs, fixed_input, output_sums
from device_agents.runtimes.onnxruntime_cpu import ALL_NODES, bind, device_times, load, open_session
from device_agents.runtimes.onnxruntime_providers import Chosen, offered, shares

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
RIGHT = output_sums(fixed_input([1, 3, 4, 4], "float32", "NCHW").reshape(-1)[:10].tolist())


class Options:
    """Session options: what was set, whatever it is called."""

    def __init__(self):
        self.entries = {}

    def add_session_config_entry(self, key, value):
        self.entries[key] = value


class RunOptions:
    """Options of a run."""

    def __init__(self):
        self.entries = {}

    def add_run_config_entry(self, key, value):
        self.entries[key] = value


class Value:
    """A value on the card or not."""

    def __init__(self, array, where):
        self.array, self.where = array, where

    @classmethod
    def ortvalue_from_numpy(cls, array, where="cpu", number=0):
        return cls(array.copy(), where)

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape, kind, where="cpu", number=0):
        return cls(np.ones(shape, kind), where)

    def update_inplace(self, array):
        self.array[...] = array

    def is_tensor(self):
        return True

    def data_type(self):
        return "tensor(float)"

    def numpy(self):
        return self.array


class Binding:
    """A binding: what is bound to which name."""

    def __init__(self):
        self.inputs, self.outputs, self.waits = {}, {}, 0

    def bind_ortvalue_input(self, name, value):
        self.inputs[name] = value

    def bind_ortvalue_output(self, name, value):
        self.outputs[name] = value

    def synchronize_outputs(self):
        self.waits += 1

    def get_outputs(self):
        return list(self.outputs.values())


class Session:
    """A session of one input and one output; `pieces`: the nodes that each provider runs."""

    def __init__(self, providers):
        self.providers, self.runs, self.binding, self.pieces = providers, [], Binding(), {providers[0]: 4}
        self.sizes = [1, 10]
        self.heeds_input, self.gain = True, 1

    def get_providers(self):
        return self.providers

    def get_inputs(self):
        return [SimpleNamespace(name="x", type="tensor(float)", shape=[1, 3, 4, 4])]

    def get_outputs(self):
        return [SimpleNamespace(name="y", type="tensor(float)", shape=self.sizes)]

    def io_binding(self):
        return self.binding

    def run_with_iobinding(self, binding, options=None):
        self.runs.append(options)
        if self.heeds_input:
            for value in binding.outputs.values():
                value.array[...] = self.gain * binding.inputs["x"].array.reshape(-1)[:10]

    def get_provider_graph_assignment_info(self):
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda count=count: [None] * count)
            for name, count in self.pieces.items()
        ]


@pytest.fixture
def package(monkeypatch):
    """Put a package of CUDA in onnxruntime's place; `started` and `runs_all` say what its provider does here."""
    calls = []
    made = SimpleNamespace(calls=calls, started=True, runs_all=True, stumbles=[])
    made.pieces = {CUDA: 3, "CPUExecutionProvider": 1}  # where it does not run all
    made.available = [CUDA, "CPUExecutionProvider"]

    def session(model, options, providers, provider_options=None, enable_fallback=1):
        assert providers == ["CPUExecutionProvider"] or not enable_fallback
        calls.append(("session", options.entries.get(ALL_NODES)))
        made.options, made.told = options, (provider_options or [{}])[0]
        if made.stumbles:
            raise made.stumbles.pop()
        if options.entries.get(ALL_NODES) == "1" and not (made.started and made.runs_all):
            raise RuntimeError("this session contains graph nodes that are assigned to the CPU")
        found = [*providers, "CPUExecutionProvider"] if made.started else ["CPUExecutionProvider"]
        made.session = Session(found)
        if not made.runs_all:
            made.session.pieces = made.pieces
        return made.session

    module = SimpleNamespace(
        SessionOptions=Options,
        ExecutionMode=SimpleNamespace(ORT_SEQUENTIAL=0),
        InferenceSession=session,
        get_available_providers=lambda: [*made.available],
        RunOptions=RunOptions,
        OrtValue=Value,
        preload_dlls=lambda: calls.append(("preload", None)),
    )
    monkeypatch.setattr(onnxruntime_cpu, "find", lambda: ("onnxruntime", "1.29.0", module))
    made.module = module
    return made


def test_cuda_is_loaded_from_its_packages_and_has_every_node_or_none(package):
    _, runtime = open_session(b"", 1, {"provider": CUDA})
    assert package.calls == [("preload", None), ("session", "1")]
    assert runtime["provider"] == CUDA


def test_a_package_that_cannot_load_cuda_from_packages_is_used_all_the_same(package):
    del package.module.preload_dlls
    open_session(b"", 1, {"provider": CUDA})
    assert package.calls == [("session", "1")]


def test_the_cpu_needs_no_library_and_promises_nothing(package):
    open_session(b"", 1, {"provider": "CPUExecutionProvider"})
    assert package.calls == [("session", None)]


def test_a_version_that_cannot_promise_every_node_is_refused_for_all_but_the_cpu(package, monkeypatch):
    for version, is_refused in (("1.15.1", True), ("1.16.0", False), ("2.0.0", False)):
        monkeypatch.setattr(
            onnxruntime_cpu, "find", lambda version=version: ("onnxruntime", version, package.module)
        )
        open_session(b"", 1, {"provider": "CPUExecutionProvider"})
        if is_refused:
            with pytest.raises(
                Refusal, match=r"onnxruntime 1\.15\.1 may run nodes on the CPU that CUDA.* 1\.16 or newer"
            ):
                open_session(b"", 1, {"provider": CUDA})
        else:
            open_session(b"", 1, {"provider": CUDA})


def test_a_provider_that_does_not_start_is_told_from_one_that_leaves_nodes_out(package):
    package.runs_all = False
    with pytest.raises(Refusal, match="CUDAExecutionProvider does not run all nodes") as refused:
        open_session(b"", 1, {"provider": CUDA})
    assert refused.value.kind == "worker-error", "another network may run whole"
    package.pieces = {"CPUExecutionProvider": 4}
    with pytest.raises(Refusal, match="CUDAExecutionProvider does not run all nodes"):
        open_session(b"", 1, {"provider": CUDA})
    package.started = False
    with pytest.raises(Refusal, match=r"could not start CUDA.*'onnxruntime-gpu\[cuda,cudnn\]'") as refused:
        open_session(b"", 1, {"provider": CUDA})
    assert refused.value.kind == "runtime-missing", "no network will run"


def test_memory_that_was_lacking_once_is_not_told_as_nodes_that_were_left_out(package):
    package.stumbles = [MemoryError("the card had no room")]
    with pytest.raises(MemoryError, match="no room"):
        open_session(b"", 1, {"provider": CUDA})


def test_options_reach_the_provider_and_none_the_cpu(package):
    open_session(b"", 1, {"provider": CUDA, "provider_options": {"use_tf32": "0"}})
    assert package.told == {"use_tf32": "0"}
    with pytest.raises(Refusal, match="takes no options"):
        open_session(b"", 1, {"provider": "CPUExecutionProvider", "provider_options": {"a": "1"}})


@pytest.mark.parametrize(
    ("provider", "option"),
    [("XnnpackExecutionProvider", "intra_op_num_threads"), ("OpenVINOExecutionProvider", "num_of_threads")],
)
def test_a_provider_with_threads_of_its_own_has_them_all_and_the_session_one_that_does_not_spin(
    package, provider, option
):
    package.available = [provider, "CPUExecutionProvider"]
    open_session(b"", 4, {"provider": provider, "allow_spinning": True})
    assert package.told == {option: "4"}
    assert package.options.intra_op_num_threads == 1
    assert package.options.entries["session.intra_op.allow_spinning"] == "0"
    assert not hasattr(package.options, "use_per_session_threads"), "no common pool either"


def test_tensorrt_keeps_its_engines_in_the_agents_folder_apart_by_options(package, monkeypatch, tmp_path):
    package.available = [TENSORRT, "CPUExecutionProvider"]
    monkeypatch.setenv(onnxruntime_cpu.AGENT_FOLDER, str(tmp_path))
    folders = []
    for given in ({}, {"trt_fp16_enable": "1"}, {}):
        open_session(b"", 1, {"provider": TENSORRT, "provider_options": given})
        assert package.told.pop("trt_engine_cache_enable") == "1"
        folders.append(package.told.pop("trt_engine_cache_path"))
        assert package.told == given
    assert folders[0] == folders[2] != folders[1]
    assert all(Path(folder).is_dir() and tmp_path / "engines" in Path(folder).parents for folder in folders)
    monkeypatch.setattr(onnxruntime_providers, "ENGINES_LIMIT_BYTES", 3)
    (Path(folders[0]) / "a.engine").write_bytes(b"1234")
    open_session(b"", 1, {"provider": TENSORRT})
    assert not list(tmp_path.rglob("*.engine")), "engines beyond the limit are gone"
    monkeypatch.setenv(onnxruntime_cpu.AGENT_FOLDER, "/proc/nowhere")
    open_session(b"", 1, {"provider": TENSORRT})
    assert "trt_engine_cache_path" not in package.told, "a folder that cannot be made is none"


def test_the_cpu_helps_where_that_is_asked_for_and_its_share_is_told(package):
    package.runs_all = False
    with pytest.raises(
        Refusal, match=r"does not run all nodes .*with the provider CUDAExecutionProvider\+CPU"
    ):
        load(b"", 1, {"provider": CUDA})
    package.calls.clear()
    session, runtime = open_session(b"", 1, {"provider": CUDA + "+CPU"})
    assert package.calls == [("preload", None), ("session", "0")]
    assert runtime["provider"] == CUDA + "+CPU"
    session.pieces = {CUDA: 3, "CPUExecutionProvider": 1}
    assert shares(session, Chosen.of(CUDA + "+CPU")) == {CUDA: 0.75, "CPUExecutionProvider": 0.25}
    session.get_provider_graph_assignment_info = None
    assert shares(session, Chosen.of(CUDA)) == {CUDA: 1.0}, "the session was made on that condition"
    with pytest.raises(Refusal, match=r"does not tell which nodes CUDA.* install 1\.24 or newer"):
        shares(session, Chosen.of(CUDA + "+CPU"))


def test_names_of_providers_are_those_of_the_package_and_what_may_stand_behind_them():
    assert offered([TENSORRT, CUDA, "AzureExecutionProvider", "CPUExecutionProvider"]) == [
        *(TENSORRT, CUDA, "AzureExecutionProvider", "CPUExecutionProvider"),
        *(TENSORRT + "+graph", CUDA + "+graph", TENSORRT + "+CPU", CUDA + "+CPU"),
    ]
    assert offered(["AzureExecutionProvider", "CPUExecutionProvider"])[2:] == []


def test_a_cuda_graph_runs_on_the_cards_memory_and_is_over_when_a_run_is(package):
    loaded = load(b"", 1, {"provider": CUDA + "+graph"})
    assert package.told == {"enable_cuda_graph": "1"}
    binding = package.session.binding
    assert {value.where for value in (*binding.inputs.values(), *binding.outputs.values())} == {"cuda"}
    loaded.run()
    assert (package.session.runs, binding.waits) == ([None], 1)
    fixed = fixed_input([1, 3, 4, 4], "float32", "NCHW").reshape(-1)
    assert loaded.output() == pytest.approx(RIGHT)
    outputs = Outputs(loaded)
    loaded.run()
    outputs.check()
    assert loaded.other_output(reversed_values) == pytest.approx(output_sums(fixed[::-1][:10].tolist()))
    loaded.run()
    assert loaded.output() == outputs.first, "its own input is back"
    package.available = [TENSORRT, "CPUExecutionProvider"]
    load(b"", 1, {"provider": TENSORRT + "+graph"})
    assert package.told["trt_cuda_graph_enable"] == "1"


def test_a_captured_graph_that_ignores_its_input_is_found_out(package):
    loaded = load(b"", 1, {"provider": CUDA + "+graph"})
    loaded.run()
    outputs = Outputs(loaded)
    loaded.run()
    package.session.heeds_input = False  # a replay that reads what was there when it was captured
    with pytest.raises(OutputChanged, match=r"of its input in reverse at first .* does not count"):
        outputs.check()
    with pytest.raises(OutputUnmoved):
        Outputs(loaded)


def test_a_cuda_graph_of_outputs_without_a_size_is_refused(package, monkeypatch):
    monkeypatch.setattr(
        Session, "get_outputs", lambda self: [SimpleNamespace(name="y", type="tensor(float)", shape=["n", 4])]
    )
    with pytest.raises(ValueError, match="a CUDA graph has outputs of numbers, whose sizes are fixed"):
        load(b"", 1, {"provider": CUDA + "+graph"})


class Card:
    """CUDA's runtime: events in a stream, each run 2 ms after the event before it; `fails`: the function that does."""

    def __init__(self, session, fails=""):
        self.events, self.session, self.fails = {}, session, fails

    def __getattr__(self, name):
        def call(*arguments):
            known = getattr(type(self), "_" + name, lambda *_: 0)
            return 35 if name == self.fails else known(self, *arguments)

        return call

    def _cudaStreamCreateWithFlags(self, stream, flags):
        stream._obj.value, self.flags = 77, flags
        return 0

    def _cudaEventCreate(self, event):
        event._obj.value = 100 + len(self.events)
        self.events[event._obj.value] = None
        return 0

    def _cudaEventRecord(self, event, stream):
        assert stream.value == 77, "on the network's own stream"
        self.events[event.value] = len(self.session().runs)
        return 0

    def _cudaEventElapsedTime(self, elapsed, begin, end):
        elapsed._obj.value = 2.0 * (self.events[end.value] - self.events[begin.value])
        return 0


def test_the_cards_events_time_runs_that_are_not_awaited_in_a_stream_and_a_session_of_their_own(package):
    first, _ = open_session(b"", 1, {"provider": CUDA})
    card = Card(lambda: package.session)
    options = {"provider": CUDA, "provider_options": {"use_tf32": "0"}}
    times = device_times(b"", 1, options, Inputs(), 5, RIGHT, card)
    assert times == [2_000_000] * 5
    assert package.told == {"use_tf32": "0", "has_user_compute_stream": "1", "user_compute_stream": "77"}
    assert package.session is not first
    waited, unawaited = package.session.runs[:3], package.session.runs[3:]
    assert waited == [None] * 3
    assert [run.entries for run in unawaited] == [{"disable_synchronize_execution_providers": "1"}] * 5


@pytest.mark.parametrize("function", ["cudaStreamCreateWithFlags", "cudaEventRecord", "cudaEventElapsedTime"])
def test_what_cuda_refuses_is_no_time(package, function):
    with pytest.raises(CudaError, match=f"{function}: status 35"):
        device_times(b"", 1, {"provider": CUDA}, Inputs(), 5, RIGHT, Card(lambda: package.session, function))


def test_times_of_another_output_are_none(package):
    wrong = [2 * value for value in RIGHT]
    with pytest.raises(OutputChanged, match=r"CUDAExecutionProvider gave .* does not count"):
        device_times(b"", 1, {"provider": CUDA}, Inputs(), 5, wrong, Card(lambda: package.session))


def test_a_stream_in_which_nothing_ran_has_no_time():
    with pytest.raises(CudaError, match="nothing ran in the stream"):
        EventTimer(Card(lambda: SimpleNamespace(runs=[]))).time_ns(lambda: None)


def test_the_real_library_is_called_as_it_wants_and_a_machine_without_a_card_has_no_stream():
    try:
        library = open_library()
    except OSError as error:
        pytest.skip(str(error))
    if library.cudaGetDeviceCount(ctypes.byref(ctypes.c_int())) == 0:
        pytest.skip("this machine has a card")
    with pytest.raises(CudaError, match=r"cudaStreamCreateWithFlags: status \d+"):
        EventTimer(library)


def test_a_machine_without_cuda_has_no_times_and_says_so(monkeypatch):
    monkeypatch.setattr(cuda_events, "LIBRARIES", ("libno-such.so.1",))
    with pytest.raises(OSError, match="no library of CUDA's runtime is found"):
        open_library()


COUNT_THREADS = """
import os, sys
from device_agents.runtimes.onnxruntime_cpu import load
options = {"allow_spinning": False} if sys.argv[1] == "quiet" else {}
model, counts = sys.stdin.buffer.read(), []
load(model, 1, options).run()
for _ in range(3):
    loaded = load(model, 3, options)
    loaded.run()
    counts.append(len(os.listdir("/proc/self/task")))
    globals().setdefault("kept", []).append(loaded)
print(*counts)
"""


def threads_of(how):
    """Return how many threads a process has after each of three models is loaded on 3 threads."""
    model = b"".join(onnx_parts(4))
    told = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, how], input=model, capture_output=True, check=True
    )
    assert b"ignored" not in told.stderr, "onnxruntime warns of nothing"
    return [int(count) for count in told.stdout.split()]


@pytest.mark.skipif(
    not hasattr(onnxruntime_cpu.find()[2], "set_global_thread_pool_sizes"), reason="an old onnxruntime"
)
def test_models_that_take_turns_compute_on_the_same_threads():
    assert len(set(threads_of("spinning"))) == 1
    first, second, third = threads_of("quiet")
    assert third - second == second - first == 2, "threads that do not spin disturb nobody"


def test_a_version_without_a_common_pool_ends_the_spinning_with_each_run(package):
    onnxruntime_cpu.share_pool.cache_clear()
    made = []
    package.module.SessionOptions = lambda: made.append(Options()) or made[-1]
    open_session(b"", 2, {"provider": "CPUExecutionProvider"})
    onnxruntime_cpu.share_pool.cache_clear()
    assert made[0].entries["session.force_spinning_stop"] == "1"
    assert made[0].intra_op_num_threads == 2


def test_what_a_run_writes_into_lives_as_long_as_the_model():
    from harness.devices.trial import trial_model

    loaded = onnxruntime_cpu.load(trial_model("onnx").skeleton, 1, {})
    # Seen in 1.29: a binding alone does not keep the output's memory, and a run writes where it was.
    assert len(loaded.buffers) == 2
    loaded.run()
    assert loaded.buffers[1].numpy().any()


def test_an_accelerator_runs_other_values_and_then_has_its_own_again():
    model, shape = b"".join(onnx_parts(4)), (1, CHANNELS, IMAGE, IMAGE)
    session, runtime = open_session(model, 1, {})
    assert bind(session, runtime, Inputs()).other_output is None, "a processor leaves nothing out"
    loaded = bind(session, dict(runtime, provider=CUDA), Inputs())
    loaded.run()
    own = loaded.output()
    other = loaded.other_output(reversed_values)
    loaded.run()
    assert loaded.output() == own != other
    in_reverse = fixed_input(shape, np.float32, "NCHW").reshape(-1)[::-1].reshape(shape)
    given = bind(session, runtime, Inputs(arrays={"image": np.ascontiguousarray(in_reverse)}))
    given.run()
    assert given.output() == other


@pytest.mark.parametrize(
    ("nodes", "output", "is_changed"),
    [
        ([("Relu", ["x"], {})], ("FLOAT", ["batch", 4]), True),
        ([("ArgMax", ["x"], {"axis": 1})], ("INT64", ["batch", 1]), False),  # classes alone
        (
            [("Greater", ["x", "zero"], {}), ("Compress", ["x", "y0"], {"axis": 1})],
            ("FLOAT", [1, "found"]),
            False,
        ),
    ],
)
def test_other_values_are_given_where_they_make_other_real_numbers_and_as_many(nodes, output, is_changed):
    from onnx import TensorProto, helper

    made = [
        helper.make_node(op, given, [f"y{place}"], **more) for place, (op, given, more) in enumerate(nodes)
    ]
    if len(made) > 1:  # a condition of one dimension
        made.insert(1, helper.make_node("Squeeze", ["y0"], ["flat"]))
        made[2].input[1] = "flat"
    kind, shape = output
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(f"y{len(nodes) - 1}", getattr(TensorProto, kind), shape)],
        [helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session, runtime = open_session(model.SerializeToString(), 1, {})
    loaded = bind(session, dict(runtime, provider=CUDA), Inputs())
    loaded.run()
    assert (loaded.other_output is not None) is is_changed
