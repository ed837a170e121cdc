"""Answer of a blockwise search as JSON-ready values: the network found, its accuracy and costs, and how to repeat the search."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from harness.blockwise.fronts import CostFront
from harness.estimates.latency import Latency
from harness.models.exported import ModelFile
from harness.prediction.provenance import Provenance, provenance_document
from harness.query.rows import limit_row
from harness.store.database import hide
from harness.version import __version__
from search.blockwise.cross_validation import FittedPredictor
from search.blockwise.iterated_search import Iterated
from search.blockwise.rounds import Searched, SeedRun, between_seeds, with_seed
from search.blockwise.search import Student
from search.blockwise.setting import Setting
from search.distillation.block_library import BlockLibrary, StageLibrary
from search.statistics import COVERAGE, finite
from search.training.history import Figures
from search.training.trained import trained_digest

FORMAT, VERSION = "blockwise-answer", 1
# The libraries that the numbers come from.
LIBRARIES = ("numpy", "torch", "onnx", "onnxruntime", "tensorflow", "ai-edge-litert")

Measured = Mapping[str, Mapping[str, Latency]]  # by device and network's text: the trained model itself


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockwiseAnswer:
    """Result of a search: the runs of all seeds, the answer's run and student, and measured latencies of finished models.

    `within`: whether the student meets the limits by predicted and measured costs. `provenance` is that of latencies by name;
    `command` is the command line of the search, empty where it was called from Python.
    """

    setting: Setting
    provenance: Mapping[str, Provenance]
    runs: Sequence[SeedRun]
    run: SeedRun
    student: Student
    measured: Measured | None
    within: bool
    library: Path
    command: Sequence[str]
    fronts: Sequence[CostFront] = ()

    @property
    def searched(self) -> Searched:
        """The round of the answer."""
        return self.run.searched

    @property
    def iterated(self) -> Iterated | None:
        """The history of the answer's rounds, None for a single round."""
        return self.run.iterated


def blockwise_document(answer: BlockwiseAnswer) -> dict[str, Any]:
    """Return the answer in JSON's types; accuracies in percent, latencies in ms. Keys of synthetic values hold the word."""
    setting, searched, student = answer.setting, answer.searched, answer.student
    library, choice, architecture = searched.library, searched.choice, student.architecture
    teacher, task = library.teacher, setting.task
    rounds = 1 if answer.iterated is None else len(answer.iterated.rounds)
    return {
        "format": FORMAT,
        "version": VERSION,
        "space": library.config.name,
        "architecture": str(architecture),
        "graph_hash": architecture.graph_hash,
        "index": architecture.index,
        "task": {
            "name": task.name,
            "source": task.source,
            "synthetic": task.synthetic,
            "images": task.uses,
            "images_apart": task.held_out is not None,
        },
        "accuracy": _accuracy_document(answer),
        "costs": costs_document(answer, student),
        "within_limits": answer.within,
        "constraints": [limit_row(one, confident=setting.confident) for one in setting.constraints],
        "networks_within_limits": searched.found.allowed,
        "finalists_chosen_by": choice.chosen,
        "pool": {"networks": choice.pool, "best_by_sum_of": choice.pool_by} if choice.pool else None,
        **provenance_document(answer.provenance),
        "predictor": predictor_document(searched),
        "fronts": [one.document() for one in answer.fronts],
        "candidates": candidate_documents(searched, task.synthetic),
        "students": [student_document(answer, one) for one in searched.found.students],
        "teacher": {
            "architecture": str(teacher.architecture),
            "digest": trained_digest(teacher),
            **_figures(teacher.best.val, teacher.test, task.synthetic),
        },
        "library": {
            "folder": str(answer.library),
            "digest": library.digest,
            "form": library.form,
            "blocks": [0 if one is None else len(one.blocks) for one in library.stages],
        },
        "signatures": {
            "digest": searched.signatures.digest,
            "block_latencies": dict(setting.costs.sources),
        },
        "recipes": recipe_documents(library, with_seed(setting, answer.run.added)),
        "runs": [run_document(answer, run) for run in answer.runs],
        "seeds": _seeds_document(answer),
        "training_flops": sum(run.searched.flops for run in answer.runs),
        "rounds": None if answer.iterated is None else answer.iterated.to_plain(),
        "environment": {} if student.trained is None else dict(student.trained.environment),
        "versions": versions(),
        "commands": commands(answer.library, answer.runs[0].searched.library, answer.command, rounds=rounds),
    }


def _accuracy_document(answer: BlockwiseAnswer) -> dict[str, Any]:
    student, synthetic = answer.student, answer.setting.task.synthetic
    return {
        **_figures(student.val, student.test, synthetic),
        "images": {"val": student.val.images, "test": student.test.images},
        f"{_word(synthetic)}test_interval": {
            "of": "test images, binomial (Clopper-Pearson)",
            "coverage": COVERAGE,
            **student.test.top1_interval.to_plain(),
        },
        f"{_word(synthetic)}test_between_seeds": {
            "of": "seeds, Student's t of the answers' mean, from 8 on with the studentized bootstrap",
            "coverage": COVERAGE,
            **between_seeds(answer.runs).to_plain(),
        },
        **_weights(student, synthetic),
    }


def _seeds_document(answer: BlockwiseAnswer) -> dict[str, Any]:
    setting, library = answer.setting, answer.searched.library
    return {
        "added": answer.run.added,
        "search": setting.seed + answer.run.added,
        "teacher": library.teacher.recipe.seed,
        "distil": [one.recipe.seed for one in library.stages if one is not None],
        "fine_tune": setting.recipe.seed + answer.run.added,
    }


def run_document(answer: BlockwiseAnswer, run: SeedRun) -> dict[str, Any]:
    """Return the answer of one seed, and whether it is the answer of all."""
    student, synthetic = run.answer, answer.setting.task.synthetic
    return {
        "added_seed": run.added,
        "architecture": str(student.architecture),
        "index": student.architecture.index,
        "library": run.searched.library.digest,
        **_figures(student.val, student.test, synthetic),
        "incumbent": run is answer.run,
    }


def student_document(answer: BlockwiseAnswer, student: Student) -> dict[str, Any]:
    """Return one network that was fine-tuned or, where none was, the best finalist."""
    return {
        "architecture": str(student.architecture),
        "index": student.architecture.index,
        **_weights(student, answer.setting.task.synthetic),
        "costs": costs_document(answer, student),
    }


def student_row(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `student_document` as one row of plain values, a unit at the end of a column's name."""
    row = {name: document[name] for name in ("architecture", "index", "weights")}
    for when in ("plugged_in", "fine_tuned"):
        row |= {f"{when}_{name}": value for name, value in (document[when] or {}).items()}
    for name, cost in document["costs"].items():
        unit = f"_{cost['unit']}" if cost["unit"] else ""
        row |= {f"{name}{unit}": cost["value"]}
        row |= {f"{name}_{end}{unit}": cost[end] for end in ("low", "high") if end in cost}
        row |= {f"{name}_{key}": cost[key] for key in ("source", "grade") if key in cost}
    return row


def costs_document(answer: BlockwiseAnswer, student: Student) -> dict[str, Any]:
    """Return the costs of a student; the latency of the finished model itself where it was measured."""
    found: dict[str, Any] = {}
    for name, cost in answer.setting.costs.costs.items():
        amount = cost.at(student.architecture.index)
        one: dict[str, Any] = {"value": finite(amount.value), "unit": cost.unit}
        if cost.coverage is not None:
            one |= {"low": finite(amount.low), "high": finite(amount.high), "coverage": cost.coverage}
        if cost.is_latency:
            one["grade"] = amount.grade or None
            source = "measured with random weights" if amount.is_measured else "predicted"
            one["source"] = None if one["value"] is None else source
        row = (answer.measured or {}).get(name, {}).get(str(student.architecture))
        if row is not None:
            low, high = row.interval_ms or (None, None)
            one = {
                "value": row.latency_ms,
                "unit": "ms",
                "low": low,
                "high": high,
                "coverage": cost.coverage,
                "grade": row.grade,
                "source": "measured with the weights of this answer",
                "sessions": row.estimate.sessions,
                "findings": [str(finding.message) for finding in row.findings],
                "before": one,
            }
        found[name] = one
    return found


def model_document(model: ModelFile) -> dict[str, Any]:
    """Return a model file; if not in fp32, with its own accuracies, the network's in torch, and the images of changed class."""
    accuracy = model.accuracy
    found: dict[str, Any] = {"file": model.path.name, "format": model.format, "precision": model.precision}
    if accuracy is not None:
        splits, word = {"val": accuracy.val, "test": accuracy.test}, _word(accuracy.synthetic)
        found["accuracy"] = {f"{word}{name}_top1_percent": one.model_top1 for name, one in splits.items()}
        found["before"] = {f"{word}{name}_top1_percent": one.torch_top1 for name, one in splits.items()}
        found["images"] = {name: one.images for name, one in splits.items()}
        found["classed_otherwise"] = {name: one.changed for name, one in splits.items()}
    return found


def candidate_documents(searched: Searched, synthetic: bool) -> list[dict[str, Any]]:
    """Return the finalists with their predictions, best first by accuracy with the library's weights."""
    candidates = searched.found.candidates
    intervals = _intervals(searched.fitted, [one.architecture.index for one in candidates])
    key = _word(synthetic) + searched.choice.metric
    percent = "_percent" if searched.fitted.in_percent else ""
    return [
        {
            "architecture": str(one.architecture),
            "index": one.architecture.index,
            f"{key}{percent}": one.predicted,
            **({f"{key}_low_percent": low, f"{key}_high_percent": high} if percent else {}),
            f"{_word(synthetic)}plugged_in_val_top1_percent": one.inherited.top1,
            "distance": one.distance,
        }
        for one, (low, high) in zip(candidates, intervals, strict=True)
    ]


def predictor_document(searched: Searched) -> dict[str, Any]:
    """Return the predictor, the networks that it was fitted to, their cost, and its cross-validated errors."""
    known = searched.known
    return {
        "name": searched.fitted.name,
        "columns": list(searched.fitted.features.columns),
        "fitted_to": 0 if known is None else len(known.indices),
        "fit": None if known is None else known.kind,
        "fit_costs": {kind: asdict(cost) for kind, cost in searched.fit_costs.items()},
        "origin": [] if known is None else list(known.origin),
        "leave_out": None if searched.report is None else searched.report.to_plain(),
    }


def recipe_documents(library: BlockLibrary, setting: Setting) -> dict[str, Any]:
    """Return the recipes of the teacher, of the distillation of each stage, and of fine-tuning."""
    return {
        "teacher": library.teacher.recipe.to_plain(),
        "distil": [one.recipe.to_plain() for one in library.stages if one is not None],
        "fine_tune": setting.recipe.to_plain(),
        "guide": dict(setting.guide),
    }


def commands(folder: Path, library: BlockLibrary, command: Sequence[str], *, rounds: int) -> list[str]:
    """Return the command lines that reproduce the answer, `command` the last, passwords masked.

    Later rounds distill their own libraries and need no command besides the last one. A teacher that was itself fine-tuned has no
    command: its file is needed.
    """
    masked = [hide(word) for word in command]
    typed = [shlex.join(["harness", *masked])] if command else []
    if rounds > 1:
        return typed
    teacher = library.teacher
    is_from_scratch = not (teacher.start or teacher.guide)
    source = "TEACHER" if is_from_scratch else f"{folder}/teacher.harness"
    distil = []
    for name, stages in distil_recipes(library).items():
        first = stages[0]
        which = ["--stage", str(first.stage)] if len(stages) < library.config.stages else []
        images = ["--task", first.source] if first.source != teacher.source else []
        distil.append(
            ["harness", "distill", source, "--recipe", name, *which, *images, "--output", str(folder)]
        )
    train = [
        *("harness", "train", str(teacher.architecture), "--space", library.config.name),
        *("--task", teacher.source, "--recipe", "recipe-teacher.json", "--output", "TEACHER"),
    ]
    return [*map(shlex.join, [train, *distil] if is_from_scratch else distil), *typed]


def distil_recipes(library: BlockLibrary) -> dict[str, tuple[StageLibrary, ...]]:
    """Return the stages of a whole library by the name of their recipe's file: one file where all were distilled alike."""
    stages = tuple(library.stage(place) for place in range(library.config.stages))
    if len({(one.recipe, one.source) for one in stages}) == 1:
        return {"recipe-distil.json": stages}
    return {f"recipe-distil-{one.stage}.json": (one,) for one in stages}


def versions() -> dict[str, str]:
    """Return the versions of this harness and of the libraries that the numbers come from."""
    found = {"harness": __version__, "python": python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _intervals(fitted: FittedPredictor, indices: Sequence[int]) -> list[tuple[float | None, float | None]]:
    """Return the 90 % interval of each prediction, None for an end that is not known."""
    if not fitted.left_out or not indices:
        return [(None, None)] * len(indices)
    low, high = fitted.interval(np.array(indices, dtype=np.int64))
    return [(finite(a), finite(b)) for a, b in zip(low, high, strict=True)]


def _weights(student: Student, synthetic: bool) -> dict[str, Any]:
    """Return which weights are kept, and the accuracies before and after fine-tuning."""
    return {
        "weights": "fine-tuned" if student.is_tuned else "of the library, not fine-tuned",
        "plugged_in": _figures(student.candidate.inherited, student.inherited_test, synthetic),
        "fine_tuned": _tuned(student, synthetic),
    }


def _tuned(student: Student, synthetic: bool) -> dict[str, float] | None:
    """Return the accuracies after fine-tuning, and the one of the images by which the epoch was chosen."""
    if student.trained is None or student.tuned_rescored is None:
        return None
    figures = _figures(student.tuned_rescored, student.trained.test, synthetic)
    return figures | {f"{_word(synthetic)}epoch_choice_top1_percent": student.trained.best.val.top1}


def _figures(val: Figures, test: Figures, synthetic: bool) -> dict[str, float]:
    word = _word(synthetic)
    return {f"{word}val_top1_percent": val.top1, f"{word}test_top1_percent": test.top1}


def _word(synthetic: bool) -> str:
    return "synthetic_" if synthetic else ""
