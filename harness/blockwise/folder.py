"""Output folder of a blockwise search, written atomically.

FOLDER/answer.json                 what was found, and what repeats it; the SHA-256 of every other file
FOLDER/model.onnx, model.tflite    the trained network, for any tool
FOLDER/weights.pt                  its weights, for `harness export --checkpoint`
FOLDER/network.harness             the training, where it was fine-tuned: `harness distill` takes it as a teacher
FOLDER/signatures.json, recipe-teacher.json, recipe-distil.json, recipe-fine-tune.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import exporters
from exporters import Format, Weights
from harness.blockwise.answer import BlockwiseAnswer
from harness.version import __version__
from search.training.trained_files import save_trained, write_weights
from space.atomic_files import check_folder_of, new_folder
from space.errors import ConfigError

ANSWER = "answer.json"
FORMATS: tuple[Format, ...] = ("onnx", "tflite")


def check_output(output: Path) -> None:
    """Refuse an output folder that exists already, or whose parent does not.

    Raises: ConfigError.
    """
    if output.exists():
        raise ConfigError(f"--output {output}: is there already; name another folder, or remove it")
    check_folder_of(output)


def write_answer(
    output: Path, answer: BlockwiseAnswer, document: Mapping[str, Any], cache_dir: Path
) -> dict[str, Any]:
    """Write the folder and return the document with the files' digests, as in answer.json.

    `cache_dir` takes the network's exported fragments.
    Raises: ConfigError when the folder cannot be written, ConversionError when a model cannot be made.
    """
    with new_folder(output) as folder:
        _write_files(folder, answer, cache_dir)
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        }
        whole = {**document, "files": files}
        (folder / ANSWER).write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", "utf-8")
    return whole


def _write_files(folder: Path, answer: BlockwiseAnswer, cache_dir: Path) -> None:
    student, library = answer.student, answer.searched.library
    write_weights(folder / "weights.pt", student.weights, student.architecture)
    if student.trained is not None and student.is_tuned:
        save_trained(folder / "network.harness", student.trained)
    answer.searched.signatures.save(folder / "signatures.json")
    recipes = {
        "teacher": library.teacher.recipe.to_json(),
        "distil": library.stage(0).recipe.to_json(),
        "fine-tune": answer.setting.recipe.to_json(),
    }
    for name, text in recipes.items():
        (folder / f"recipe-{name}.json").write_text(text + "\n", "utf-8")
    weights = Weights.from_checkpoint(folder / "weights.pt", student.architecture)
    for model_format in FORMATS:
        version = {"harness.version": __version__}
        data = exporters.standalone(
            student.architecture,
            model_format,
            weights=weights,
            cache_dir=cache_dir,
            metadata=version,
        )
        (folder / f"model.{model_format}").write_bytes(data)
