"""Options of ONNX Runtime's providers in devices.toml: their names, their values, and their text in a configuration.

    [devices.jetson.provider_options.tensorrt]
    trt_fp16_enable = true

Names are those of ONNX Runtime's documentation (https://onnxruntime.ai/docs/execution-providers/) and of its sources.
Some providers say nothing of a name that they do not know, so that it is refused here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from space.errors import did_you_mean

Value = str | int | float | bool
RUNTIME: Final = "onnxruntime"
MOST_OPTIONS = 64
MOST_CHARACTERS = 1000

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,99}")
_TEXT = re.compile(r"[!-~]+")  # a configuration tells options with spaces between
# Options by the provider's short name. Of another provider whatever is named is passed on.
KNOWN: Mapping[str, tuple[str, ...]] = {
    provider: tuple(names.split())
    for provider, names in {
        "cuda": """
            device_id gpu_mem_limit arena_extend_strategy cudnn_conv_algo_search prefer_nhwc use_tf32
            cudnn_conv_use_max_workspace cudnn_conv1d_pad_to_nc1d do_copy_in_default_stream fuse_conv_bias
            use_ep_level_unified_stream sdpa_kernel enable_skip_layer_norm_strict_mode
            tunable_op_enable tunable_op_tuning_enable tunable_op_max_tuning_duration_ms
        """,
        "tensorrt": """
            device_id trt_max_workspace_size trt_max_partition_iterations trt_min_subgraph_size
            trt_fp16_enable trt_bf16_enable trt_int8_enable trt_int8_calibration_table_name
            trt_int8_use_native_calibration_table trt_dla_enable trt_dla_core trt_sparsity_enable
            trt_force_sequential_engine_build trt_context_memory_sharing_enable trt_layer_norm_fp32_fallback
            trt_timing_cache_enable trt_timing_cache_path trt_force_timing_cache trt_detailed_build_log
            trt_build_heuristics_enable trt_builder_optimization_level trt_auxiliary_streams
            trt_tactic_sources trt_extra_plugin_lib_paths trt_profile_min_shapes trt_profile_max_shapes
            trt_profile_opt_shapes trt_engine_hw_compatible trt_weight_stripped_engine_enable
            trt_op_types_to_exclude trt_preview_features trt_load_user_initializer
        """,
        "openvino": """
            device_type device_id precision num_streams cache_dir load_config model_priority
            enable_opencl_throttling disable_dynamic_shapes enable_qdq_optimizer reshape_input layout
            enable_causallm
        """,
        "qnn": """
            backend_path backend_type profiling_level profiling_file_path rpc_control_latency vtcm_mb
            htp_performance_mode qnn_saver_path qnn_context_priority soc_model htp_arch device_id
            htp_graph_finalization_optimization_mode enable_htp_fp16_precision enable_htp_weight_sharing
            offload_graph_io_quantization enable_htp_spill_fill_buffer enable_htp_shared_memory_allocator
        """,
        "dml": "device_id performance_preference device_filter disable_metacommands",
        "xnnpack": "",
    }.items()
}
# Options that harness sets itself, with what sets them.
_OWN: Mapping[str, Mapping[str, str]] = {
    "cuda": {"enable_cuda_graph": "the runtime onnxruntime:cuda+graph"},
    "tensorrt": {
        "trt_cuda_graph_enable": "the runtime onnxruntime:tensorrt+graph",
        "trt_engine_cache_enable": "the agent, which keeps engines in its own folder",
        "trt_engine_cache_path": "the agent, which keeps engines in its own folder",
    },
    "openvino": {"num_of_threads": "threads = N, or --threads"},
    "xnnpack": {"intra_op_num_threads": "threads = N, or --threads"},
}
_UNNAMED_DEVICES = (
    "AUTO",
    "HETERO",
    "MULTI",
    "BATCH",
)  # https://docs.openvino.ai, "Inference Devices and Modes"
_WORDS_FOR_TRUTH = ("openvino", "dml")  # the others take 1 and 0


def check_provider_options(options: Mapping[str, Mapping[str, Value]]) -> None:
    """Check options by provider and name. Raises: ValueError, which names the option, and what is meant."""
    for provider, given in options.items():
        if not re.fullmatch(r"[a-z][a-z0-9]*", provider):
            raise ValueError(
                f"{provider!r} is no provider; write its short name, such as 'cuda' ({', '.join(KNOWN)})"
            )
        if provider == "cpu":
            raise ValueError("the CPU provider takes no options; set threads and cores in place of them")
        if len(given) > MOST_OPTIONS:
            raise ValueError(f"{provider} has {len(given)} options; {MOST_OPTIONS} are the most")
        for name, value in given.items():
            _check(provider, name, value)


def check_delegate_options(options: Mapping[str, Value]) -> None:
    """Check the options of an external delegate of TFLite. Raises: ValueError, which names the option."""
    for name, value in options.items():
        if name == "library":
            raise ValueError("'library' stands beside the options, not among them")
        _check_value("the delegate", name, value)


def _check(provider: str, name: str, value: Value) -> None:
    if setter := _OWN.get(provider, {}).get(name):
        raise ValueError(f"{provider}: {name} is set by {setter}; leave it out")
    known = KNOWN.get(provider)
    if not _NAME.fullmatch(name) or (known is not None and name not in known):
        there = (
            f"; there is: {', '.join(sorted(known))}" if known else "; it has none that harness does not set"
        )
        raise ValueError(
            f"{provider} has no option {name!r}{did_you_mean(name, known or ())}{there if known is not None else ''}"
        )
    if name == "device_type" and str(value).startswith(_UNNAMED_DEVICES):
        raise ValueError(
            f"{provider}: {name} = {value!r}: OpenVINO would choose where a model computes, or share it out, and not tell; "
            "name one device: CPU, GPU, GPU.1 or NPU"
        )
    _check_value(provider, name, value)


def _check_value(provider: str, name: str, value: Value) -> None:
    """Check that a configuration can tell a value. Raises: ValueError."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{provider}: {name} = {value}: a finite number")
    if isinstance(value, str) and not (_TEXT.fullmatch(value) and len(value) <= MOST_CHARACTERS):
        raise ValueError(
            f"{provider}: {name} = {value[:40]!r}: 1 to {MOST_CHARACTERS} characters of ASCII without spaces"
        )


def option_texts(provider: str, options: Mapping[str, Mapping[str, Value]]) -> dict[str, str]:
    """Return a provider's options as ONNX Runtime takes them, by name in order; `provider`: its short name, `cuda+graph` too."""
    name = provider.partition("+")[0]
    truths = ("false", "true") if name in _WORDS_FOR_TRUTH else ("0", "1")
    return {
        key: truths[value] if isinstance(value, bool) else str(value)
        for key, value in sorted(options.get(name, {}).items())
    }


def options_line(texts: Mapping[str, str]) -> str:
    """Return options as a configuration tells them: `NAME=VALUE`, with spaces between."""
    return " ".join(f"{name}={value}" for name, value in sorted(texts.items()))
