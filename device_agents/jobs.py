"""A job: which networks to time beside which reference, how, and until when."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from device_agents.core_request import METHODS
from device_agents.fields import Fields, refuse, show
from device_agents.pacing import Plan
from device_agents.refusal import Refusal
from device_agents.runtimes import FORMATS, PROFILED, RUNTIMES

RECIPE_PARTS_LIMIT = 256
NETWORKS_LIMIT = 256
INPUTS_LIMIT = 256
DIMENSIONS_LIMIT = 16
BATCH_LIMIT = 1 << 16
CORES_LIMIT = 4096
RUNS_LIMIT = 1000  # of a profile: each writes some 60 KB
BLOCKS_LIMIT = 10000
BLOCKS_S_LIMIT = 86400.0
BLOCK_KINDS = ("network", "reference", "idle")
TERMS = ("runtime", "options", "threads", "cores", "silence_s")  # of every job


@dataclass(frozen=True)
class ModelRecipe:
    """A model as an ordered list of parts, joined with zero bytes up to multiples of `alignment`.

    shapes: of inputs that the model leaves free, by name. inputs: the part (.npz) that holds the values of inputs by name.
    signature: the one of a TFLite model that is run, empty for its first graph. batch: the images of one run.
    """

    format: str
    alignment: int
    parts: tuple[str, ...]
    shapes: dict[str, list[int]] = field(default_factory=dict)
    inputs: str | None = None
    signature: str = ""
    batch: int = 1

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all parts that a worker reads for the model."""
        return self.parts if self.inputs is None else (*self.parts, self.inputs)


@dataclass(frozen=True)
class WorkerJob:
    """One worker's work.

    task: what is done with the models, `run`, `profile`, `memory` or `blocks`. models: all that it reads. cores: those that it
    may take, None for any. silence_s: for how long it may give no sign of life. fields: what it is told besides, by name: the
    recipes of its models, and what the task takes.
    """

    task: str
    models: tuple[ModelRecipe, ...]
    runtime: str
    options: dict[str, Any]
    threads: int
    cores: tuple[int, ...] | None
    silence_s: float
    fields: dict[str, Any]

    def parts(self) -> tuple[str, ...]:
        """Return the digests of all parts, each once."""
        return tuple(dict.fromkeys(digest for model in self.models for digest in model.digests()))

    def message(self, cores: list[int], parts_dir: Path, **further: str) -> dict[str, Any]:
        """Return the worker's instructions: the job, the cores chosen, where the parts lie, whose child it is."""
        job = {"runtime": self.runtime, "options": self.options, "threads": self.threads, **self.fields}
        told = {
            "task": self.task,
            "job": job,
            "cores": cores,
            "parts_dir": str(parts_dir),
            "parent": os.getpid(),
        }
        return dict(told, **further)


def parse_job(values: Any) -> WorkerJob:
    """Read and check a job that times `networks` one after another, each beside the `reference`.

    request: how the core is asked for, empty for not. Raises: Refusal (`bad-request`, `runtime-missing`).
    """
    fields = Fields("run: job", values).only(*TERMS, "networks", "reference", "plan", "request")
    runtime = parse_runtime(fields)
    values = fields.values
    networks, reference = parse_networks(fields, runtime), parse_recipe(fields.object("reference"), runtime)
    plan = parse_plan(Fields("run: job.plan", values.get("plan") or {}))
    request = fields.choice("request", ("", *METHODS)) if "request" in values else ""
    told = {"networks": [asdict(one) for one in networks], "reference": asdict(reference)}
    told.update(plan=asdict(plan), request=request)
    return worker_job("run", (reference, *networks), fields, runtime, told)


def parse_networks(job: Fields, runtime: str) -> tuple[ModelRecipe, ...]:
    """Read and check the recipes of the networks. Raises: Refusal."""
    recipes = job.values.get("networks")
    if not isinstance(recipes, list) or not 0 < len(recipes) <= NETWORKS_LIMIT:
        raise refuse(job.name + ".networks", recipes, "a list of 1 to %d recipes" % NETWORKS_LIMIT)
    return tuple(
        parse_recipe(Fields("%s.networks[%d]" % (job.name, number), recipe), runtime)
        for number, recipe in enumerate(recipes)
    )


def parse_profile_job(values: Any) -> WorkerJob:
    """Read and check a job that runs a `network` so many times (`runs`), node by node.

    Raises: Refusal (`bad-request`, `runtime-missing`, `no-profiler`).
    """
    fields = Fields("profile: job", values).only(*TERMS, "network", "runs")
    runtime = parse_runtime(fields)
    if runtime not in PROFILED:
        raise Refusal(
            "no-profiler",
            "profile: %s has no profiler that can be reached; profile with --runtime %s"
            % (runtime, " or ".join(PROFILED)),
        )
    network = parse_recipe(fields.object("network"), runtime)
    told = {"network": asdict(network), "runs": fields.integer("runs", 1, RUNS_LIMIT, 50)}
    return worker_job("profile", (network,), fields, runtime, told)


def parse_memory_job(values: Any) -> WorkerJob:
    """Read and check a job that weighs a `network` in a worker of its own. Raises: Refusal (`bad-request`, `runtime-missing`)."""
    fields = Fields("memory: job", values).only(*TERMS, "network")
    runtime = parse_runtime(fields)
    network = parse_recipe(fields.object("network"), runtime)
    return worker_job("memory", (network,), fields, runtime, {"network": asdict(network)})


def parse_block_job(values: Any) -> WorkerJob:
    """Read and check a job of `blocks`: in turns a `network`, its `reference` or nothing runs for some seconds.

    timed_runs: at most so many runs of a block are timed. settle_s: what runs before each block, untold. sample_s: how often
    conditions are taken beside it. energy_of: of which provider a sensor of energy is read beside it, each energy_s; empty for
    none. Raises: Refusal (`bad-request`, `runtime-missing`).
    """
    fields = Fields("blocks: job", values).only(
        *(*TERMS, "network", "reference", "blocks", "timed_runs", "settle_s"),
        *("sample_s", "energy_of", "energy_s"),
    )
    runtime = parse_runtime(fields)
    network, reference = (parse_recipe(fields.object(which), runtime) for which in ("network", "reference"))
    told = {
        "network": asdict(network),
        "reference": asdict(reference),
        "blocks": parse_blocks(fields),
        "timed_runs": fields.integer("timed_runs", 1, 10000, 600),
        "settle_s": fields.number("settle_s", 0, 60, 0),
        "sample_s": fields.number("sample_s", 0.1, 600, 1),
        "energy_of": fields.text("energy_of") if "energy_of" in fields.values else "",
        "energy_s": fields.number("energy_s", 0.01, 600, 0.1),
    }
    return worker_job("blocks", (reference, network), fields, runtime, told)


def worker_job(
    task: str, models: tuple[ModelRecipe, ...], fields: Fields, runtime: str, told: dict[str, Any]
) -> WorkerJob:
    """Return a job of some models, with the fields that each has. Raises: Refusal."""
    return WorkerJob(
        task=task,
        models=models,
        runtime=runtime,
        options=parse_options(fields, runtime),
        threads=fields.integer("threads", 1, CORES_LIMIT),
        cores=parse_cores(fields),
        silence_s=fields.number("silence_s", 0.5, 3600, 60),
        fields=told,
    )


def parse_blocks(job: Fields) -> tuple[tuple[str, float], ...]:
    """Read a list of blocks, each what runs and for how many seconds. Raises: Refusal."""
    name, blocks = job.name + ".blocks", job.values.get("blocks")
    if not isinstance(blocks, list) or not 0 < len(blocks) <= BLOCKS_LIMIT:
        raise refuse(name, blocks, "a list of 1 to %d blocks" % BLOCKS_LIMIT)
    for number, block in enumerate(blocks):
        is_block = isinstance(block, list) and len(block) == 2 and block[0] in BLOCK_KINDS
        if not is_block or type(block[1]) not in (int, float) or not 0.01 <= block[1] <= 3600:
            raise refuse("%s[%d]" % (name, number), block, "what runs and for how long, 0.01 to 3600 s")
    total_s = sum(seconds for _, seconds in blocks)
    if total_s > BLOCKS_S_LIMIT:
        raise refuse(name, "%g s in all" % total_s, "at most %g s" % BLOCKS_S_LIMIT)
    return tuple((which, float(seconds)) for which, seconds in blocks)


def parse_runtime(fields: Fields) -> str:
    """Read a runtime's name. Raises: Refusal."""
    runtime = fields.text("runtime", 100)
    if runtime not in RUNTIMES:
        raise Refusal(
            "runtime-missing",
            "%s.runtime is %r; this agent knows: %s" % (fields.name, runtime, ", ".join(RUNTIMES)),
        )
    return runtime


def parse_recipe(fields: Fields, runtime: str) -> ModelRecipe:
    """Read and check a recipe. Raises: Refusal."""
    fields.only("format", "alignment", "parts", "shapes", "inputs", "signature", "batch")
    model_format = fields.choice("format", FORMATS)
    if model_format not in RUNTIMES[runtime].FORMATS:
        raise refuse(fields.name + ".format", model_format, "a format that %s reads" % runtime)
    parts = fields.digests("parts", RECIPE_PARTS_LIMIT)
    if not parts:
        raise refuse(fields.name + ".parts", parts, "at least one digest")
    return ModelRecipe(
        model_format,
        fields.integer("alignment", 1, 1 << 16),
        tuple(parts),
        parse_shapes(fields),
        fields.optional_digest("inputs"),
        fields.text("signature") if "signature" in fields.values else "",
        fields.integer("batch", 1, BATCH_LIMIT, 1),
    )


def parse_shapes(recipe: Fields) -> dict[str, list[int]]:
    """Read the shapes of a model's inputs by name, empty where none is given. Raises: Refusal."""
    shapes = recipe.values.get("shapes") or {}
    if not isinstance(shapes, dict) or len(shapes) > INPUTS_LIMIT:
        raise refuse(recipe.name + ".shapes", shapes, "an object of at most %d shapes" % INPUTS_LIMIT)
    for name, shape in shapes.items():
        is_shape = isinstance(shape, list) and len(shape) <= DIMENSIONS_LIMIT
        if not is_shape or not all(type(size) is int and 0 < size < 1 << 31 for size in shape):
            raise refuse("%s.shapes: %s" % (recipe.name, show(name)), shape, "a list of positive sizes")
    return shapes


def parse_options(job: Fields, runtime: str) -> dict[str, Any]:
    """Read and check a runtime's options. Raises: Refusal."""
    fields = Fields(job.name + ".options", job.values.get("options") or {})
    known = RUNTIMES[runtime].OPTIONS
    fields.only(*known)
    for key, value in fields.values.items():
        if not isinstance(value, known[key]):
            raise refuse("%s.%s" % (fields.name, key), value, "a value of type %s" % known[key].__name__)
    return fields.values


def parse_cores(fields: Fields) -> tuple[int, ...] | None:
    """Read a list of core numbers, or None. Raises: Refusal."""
    value = fields.values.get("cores")
    if value is None:
        return None
    is_cores = isinstance(value, list) and 0 < len(value) <= CORES_LIMIT
    if not is_cores or not all(type(core) is int and 0 <= core < CORES_LIMIT for core in value):
        raise refuse(fields.name + ".cores", value, "null or a list of core numbers")
    return tuple(sorted(set(value)))


def parse_plan(fields: Fields) -> Plan:
    """Read a plan; what it leaves out has its default. Raises: Refusal."""
    default = Plan()
    fields.only(*asdict(default))
    return Plan(
        reference_runs=fields.integer("reference_runs", 1, 1000, default.reference_runs),
        network_runs=fields.integer("network_runs", 2, 1000, default.network_runs),
        warmup_min_runs=fields.integer("warmup_min_runs", 1, 100000, default.warmup_min_runs),
        warmup_min_s=fields.number("warmup_min_s", 0, 3600, default.warmup_min_s),
        warmup_max_s=fields.number("warmup_max_s", 0, 3600, default.warmup_max_s),
        warmup_stable_runs=fields.integer("warmup_stable_runs", 1, 100000, default.warmup_stable_runs),
        min_slices=fields.integer("min_slices", 1, 100000, default.min_slices),
        max_s=fields.number("max_s", 0.01, 86400, default.max_s),
        half_width=fields.number("half_width", 0, 1, default.half_width),
        min_sample_ns=fields.integer("min_sample_ns", 1, 10**10, default.min_sample_ns),
        settled_runs=fields.integer("settled_runs", 0, 1000, default.settled_runs),
    )
