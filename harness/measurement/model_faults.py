"""Remedies for models that a runtime does not load or run, by the runtime's message."""

from __future__ import annotations

import re

# A pattern of the runtime's own words, and the remedy; the first that fits counts.
_REMEDIES = (
    (
        r"Unsupported model IR version",
        "upgrade onnxruntime there, or save the file with an older ir_version (8 is read by every version since 1.12)",
    ),
    (
        r"ONNX Runtime only \*?guarantees\*? support|opset.{0,40}is (under development|not supported)|"
        r"No opset import|Unrecognized attribute",
        "upgrade onnxruntime there, or convert the file to an older opset: onnx.version_converter.convert_version(model, 17)",
    ),
    (
        r"is not a registered function/op|domain_version|[Uu]nresolved custom op|Encountered unresolved",
        "harness loads no custom operators: export the model from standard ones, or measure it without the part that has them",
    ),
    (
        r"[Ff]lex|Select TensorFlow op|Regular TensorFlow ops are not supported",
        "convert the file without SELECT_TF_OPS, or install tensorflow on the device, whose interpreter has them",
    ),
    (
        r"Didn't find op for builtin opcode|unsupported (builtin )?version|Op builtin_code out of range",
        "install a newer ai-edge-litert on the device, or convert the file with an older converter",
    ),
    (
        r"NOT_IMPLEMENTED|Could not find an implementation",
        "this runtime or provider has no such operator in that type: name another --runtime, or export another precision",
    ),
    (
        r"bad_?alloc|[Ff]ailed to allocate|MemoryError|out of memory|has not the memory|killed by signal 9|cannot allocate",
        "the device lacks the memory: use smaller inputs (--shape), less precision, or another device",
    ),
    (
        r"indices element out of data bounds|out of range.{0,40}(Gather|gather)|(Gather|gather).{0,80}out of|index out of",
        "the fixed input holds integers of 0 to 127, perhaps no tokens of this model: give true ones with --inputs FILE.npz",
    ),
    (r"is not finite", "give inputs that the model is made for, with --inputs FILE.npz"),
    (
        r"INVALID_PROTOBUF|[Pp]rotobuf parsing failed|not a valid Flatbuffer|Model provided has model identifier",
        "the file is damaged: copy or export it again",
    ),
)


def with_remedy(message: str) -> str:
    """Return the message of a failed model with what helps, or as it is where that is not known.

    >>> with_remedy("Fatal error: com.acme:Warp(-1) is not a registered function/op").split("; ")[1][:33]
    'harness loads no custom operators'
    """
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, message):
            return message if remedy in message else f"{message.rstrip()}; {remedy}"
    return message
