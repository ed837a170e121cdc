"""A model from its parts: verified, joined with zero bytes up to multiples of the alignment, and loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from device_agents.jobs import ModelRecipe
from device_agents.refusal import Refusal
from device_agents.runtimes import load, start_or_refuse
from device_agents.runtimes.loaded import Inputs, Loaded, read_arrays
from device_agents.sampling import sample_ns

MODEL_LIMIT_BYTES = (1 << 31) - 1  # protobuf's and flatbuffers' own


def part_path(parts_dir: Path, digest: str) -> Path:
    """Return where a part lies."""
    return parts_dir / digest[:2] / digest


def load_part(parts_dir: Path, digest: str) -> bytes:
    """Return a part, verified. Raises: Refusal (`part-missing`, `part-damaged`), OSError."""
    try:
        data = part_path(parts_dir, digest).read_bytes()
    except FileNotFoundError:
        raise missing_parts([digest]) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise Refusal(
            "part-damaged",
            "part %s is damaged on the device and was removed; send it again" % digest,
            digest=digest,
        )
    return data


def missing_parts(digests: list[str]) -> Refusal:
    """Return the refusal of a job, or of a compressed part, whose parts are not here."""
    shown = ", ".join(digests[:3]) + (", ..." if len(digests) > 3 else "")
    message = "the device lacks %d part(s): %s; send them first" % (len(digests), shown)
    return Refusal("part-missing", message, digests=digests)


def assemble(
    recipe: ModelRecipe, parts_dir: Path, held: dict[str, bytes] | None = None, keep: set[str] | None = None
) -> bytes:
    """Return a model's bytes, held once. Raises: Refusal, OSError.

    held: parts in memory, verified; those named in `keep` are added to it.
    Nothing is written to the disk: on boards it is slow and wears out.
    """
    held = {} if held is None else held
    pieces: list[bytes] = []
    size_bytes = 0
    for digest in recipe.parts:
        padding = -size_bytes % recipe.alignment
        part = held.get(digest) or load_part(parts_dir, digest)
        if keep and digest in keep:
            held[digest] = part
        pieces += [bytes(padding), part]
        size_bytes += padding + len(part)
        if size_bytes > MODEL_LIMIT_BYTES:
            raise Refusal("bad-request", "the model is larger than %d bytes" % MODEL_LIMIT_BYTES)
    return b"".join(pieces)


def given_inputs(recipe: ModelRecipe, parts_dir: Path) -> Inputs:
    """Return the model's inputs as a recipe gives them. Raises: Refusal, OSError, and what numpy raises for no .npz file."""
    arrays = {} if recipe.inputs is None else read_arrays(load_part(parts_dir, recipe.inputs))
    return Inputs(recipe.shapes, arrays, recipe.signature, recipe.batch)


def load_model(
    job: dict[str, Any],
    recipe: dict[str, Any],
    parts_dir: Path,
    held: dict[str, bytes] | None = None,
    keep: set[str] | None = None,
) -> tuple[Loaded, dict[str, int]]:
    """Return a model of a job, loaded and run once, with how long both took and its size; held and keep: see `assemble`.

    Raises: Refusal, and what the runtime raises.
    """
    made_of = ModelRecipe(**recipe)
    model, inputs = assemble(made_of, parts_dir, held, keep), given_inputs(made_of, parts_dir)
    start_or_refuse(job["runtime"])
    start_ns = perf_counter_ns()
    loaded = load(job["runtime"], model, job["threads"], job["options"], inputs)
    load_ns = perf_counter_ns() - start_ns
    took = {"load_ns": load_ns, "first_run_ns": sample_ns(loaded.run, 1)}
    return loaded, dict(took, model_bytes=len(model))
