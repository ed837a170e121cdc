"""What repeats a blockwise search: recipes, commands, versions."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.version import __version__

if TYPE_CHECKING:
    from harness.commands.blockwise_work import Setting
    from search.blockwise.library import BlockLibrary

LIBRARIES = ("numpy", "torch", "onnx", "onnxruntime", "tensorflow", "ai-edge-litert")
_PASSWORD = re.compile(r"(//[^/@:\s]*):[^@/\s]*@")


def recipe_documents(library: BlockLibrary, setting: Setting) -> dict[str, Any]:
    """Return the recipes of the teacher, of the distillation of each stage, and of fine-tuning."""
    return {
        "teacher": json.loads(library.teacher.recipe.to_json()),
        "distil": [json.loads(one.recipe.to_json()) for one in library.stages if one is not None],
        "fine_tune": json.loads(setting.recipe.to_json()),
        "guide": dict(setting.guide),
    }


def commands(folder: Path, library: BlockLibrary, argv: Sequence[str], *, rounds: int) -> list[str]:
    """Return the commands that lead here, passwords masked.

    Later rounds distil themselves: of them the last command, which began with another library, is all that there is to type. Of a
    teacher that was itself fine-tuned there is the file alone.
    """
    typed = shlex.join(["harness", *(_PASSWORD.sub(r"\1:***@", word) for word in argv)])
    if rounds > 1:
        return [typed]
    teacher = library.teacher
    is_from_scratch = not (teacher.start or teacher.guide)
    source = "TEACHER" if is_from_scratch else f"{folder}/teacher.harness"
    distil = ["harness", "distill", source, "--recipe", "recipe-distil.json", "--output", str(folder)]
    train = [
        *("harness", "train", str(teacher.architecture), "--space", library.config.name),
        *("--task", teacher.source, "--recipe", "recipe-teacher.json", "--output", "TEACHER"),
    ]
    return [*([shlex.join(train)] if is_from_scratch else []), shlex.join(distil), typed]


def versions() -> dict[str, str]:
    """Return the versions of this harness and of the libraries that the numbers come from."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"harness": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
