"""Output folder of a blockwise search, written atomically.

FOLDER/answer.json                 the answer, the commands that repeat it, and the SHA-256 of every other file
FOLDER/model.onnx, model.tflite    the trained network in fp32, for any tool
FOLDER/model-int8.tflite           in every other precision that was searched, by the format of its runtime
FOLDER/weights.pt                  its weights, for `harness export --checkpoint`
FOLDER/network.harness             the training, where it was fine-tuned: `harness distill` takes it as a teacher
FOLDER/predicted.csv               accuracies predicted for every network, where the predictor predicts any: for `--accuracies` of
                                   `harness search` and `harness report`
FOLDER/signatures.json, recipe-teacher.json, recipe-fine-tune.json
FOLDER/recipe-distil.json         of all stages; recipe-distil-0.json and so on where they were distilled in different ways
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from exporters import PRECISIONS, Format, Precision, Weights
from exporters.conversion import check_installed
from harness.blockwise.answer import BlockwiseAnswer, distil_recipes, model_document
from harness.devices.config import DEFAULT_PRECISION, runtime_format
from harness.models.accuracy import write_calibration
from harness.models.exported import ModelFile, make_model
from harness.prediction.provenance import Provenance
from search.checked import Checked
from search.table import NetworkTable
from search.training.trained_files import save_trained, write_weights
from space import Architecture
from space.atomic_files import new_folder

ANSWER = "answer.json"
PREDICTED = "predicted.csv"
FORMATS: tuple[Format, ...] = ("onnx", "tflite")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """Format and precision of a model."""

    format: Format
    precision: Precision

    @property
    def file_name(self) -> str:
        """The name of its file in the folder."""
        word = "" if self.precision == DEFAULT_PRECISION else f"-{self.precision}"
        return f"model{word}.{self.format}"


def searched_models(provenance: Mapping[str, Provenance], precision: str) -> tuple[ModelKind, ...]:
    """Return the models of a search's answer: fp32 in all formats, other precisions in the formats of the devices' runtimes.

    Other precisions are those of the latencies searched, and `precision`, the requested one, if not empty. Without a device that
    determines the format they are in all formats.
    Raises: ConversionError when a package that makes or runs them is absent.
    """
    named = {(one.precision, one.configuration) for one in provenance.values()}
    if precision not in {word for word, _ in named}:
        named.add((precision, None))
    wanted = dict.fromkeys(ModelKind(format=one, precision=DEFAULT_PRECISION) for one in FORMATS)
    for word in (one for one in PRECISIONS if one != DEFAULT_PRECISION):
        searched = [one for found, one in named if found == word]
        known = {runtime_format(one.runtime) for one in searched if one is not None}
        formats = FORMATS if None in searched else sorted(known)
        wanted |= dict.fromkeys(ModelKind(format=one, precision=word) for one in formats)
    for one in wanted:
        check_installed(one.format, one.precision, runs=one.precision != DEFAULT_PRECISION)
    return tuple(wanted)


def write_answer(
    output: Path,
    answer: BlockwiseAnswer,
    document: Mapping[str, Any],
    scratch: Path,
    kinds: Sequence[ModelKind],
) -> tuple[dict[str, Any], tuple[ModelFile, ...]]:
    """Write the folder; return the document with its models and the files' digests, as in answer.json, and the models.

    A model that is not in fp32 is run on the task's validation and test images; int8 is calibrated on its training images.
    `scratch` takes the network's exported fragments and these images.
    Raises: ConfigError when the folder cannot be written, ConversionError when a model cannot be made.
    """
    with new_folder(output) as folder:
        _write_files(folder, answer)
        models = tuple(_write_model(folder, answer, one, scratch) for one in kinds)
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        }
        whole = {**document, "models": [model_document(one) for one in models], "files": files}
        (folder / ANSWER).write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", "utf-8")
    return whole, tuple(replace(one, path=output / one.path.name) for one in models)


def write_predictions(path: Path, table: NetworkTable) -> None:
    """Write the predicted accuracies of a table's networks as a user's own table of accuracies, which are from 0 to 100 %."""
    values = table.accuracy.values.clip(0, 100)
    title = table.accuracy.label.replace(" ", "_")  # with the word synthetic where it applies
    rows = [
        f"{Architecture.from_index(index, table.config)},{values[index]:.3f}\n"
        for index in np.flatnonzero(~np.isnan(values)).tolist()
    ]
    path.write_text("".join([f"architecture,{title}\n", *rows]), "utf-8")


def _write_model(folder: Path, answer: BlockwiseAnswer, kind: ModelKind, scratch: Path) -> ModelFile:
    task, network = answer.setting.task, answer.student.architecture
    images = write_calibration(scratch / "images.npz", task) if kind.precision == "int8" else None
    weights = Weights.from_checkpoint(folder / "weights.pt", network, calibration=images)
    data, accuracy = make_model(
        network,
        kind.format,
        weights=weights,
        precision=kind.precision,
        task=task,
        cache_dir=scratch / "fragments",
        judged=kind.precision != DEFAULT_PRECISION,
    )
    path = folder / kind.file_name
    path.write_bytes(data)
    return ModelFile(
        path=path,
        network=network,
        format=kind.format,
        precision=kind.precision,
        size_bytes=len(data),
        weights="weights.pt",
        accuracy=accuracy,
    )


def _write_files(folder: Path, answer: BlockwiseAnswer) -> None:
    student, library = answer.student, answer.searched.library
    write_weights(folder / "weights.pt", student.weights, student.architecture, task=answer.setting.task.name)
    if student.trained is not None and student.is_tuned:
        save_trained(folder / "network.harness", student.trained)
    answer.searched.signatures.save(folder / "signatures.json")
    if answer.searched.choice.table is not None and answer.searched.fitted.in_percent:
        write_predictions(folder / PREDICTED, answer.searched.choice.table)
    distilled = distil_recipes(answer.runs[0].searched.library)
    recipes: dict[str, Checked] = {
        "recipe-teacher.json": library.teacher.recipe,
        "recipe-fine-tune.json": answer.setting.recipe,
        **{name: stages[0].recipe for name, stages in distilled.items()},
    }
    for name, recipe in recipes.items():
        (folder / name).write_text(recipe.to_json() + "\n", "utf-8")
