"""The notebook in examples/: kept without outputs, and run from its first cell to its last."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples/measure_to_pareto.ipynb"
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=240, resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(notebook, sys.argv[3])
"""


def test_the_notebook_is_kept_without_outputs_and_is_a_page() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert sum(len(cell["source"]) for cell in cells) <= 70


def outputs(cells: list[dict[str, Any]], kind: str) -> list[str]:
    """Return what the cells put out of a MIME type, or as a `stream` of text."""
    found = [output for cell in cells for output in cell.get("outputs", [])]
    if kind == "stream":  # a kernel sends what a cell prints in several pieces
        streams = [
            [text for output in cell.get("outputs", []) for text in output.get("text", ())] for cell in cells
        ]
        return ["".join(texts) for texts in streams if texts]
    return ["".join(output["data"][kind]) for output in found if kind in output.get("data", {})]


@pytest.mark.alone
@pytest.mark.converter
def test_the_notebook_measures_predicts_searches_and_draws(harness_cache: Path, tmp_path: Path) -> None:
    for library in ("nbclient", "ipykernel", "matplotlib", "pandas"):
        pytest.importorskip(library)
    run = tmp_path / "run.ipynb"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK), str(tmp_path), str(run)],
        env={
            **os.environ,
            "HARNESS_CACHE": str(harness_cache),
            "HOME": str(tmp_path),  # a campaign of the user's own locks the device
            "PYTHONPATH": str(ROOT),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads(run.read_text())["cells"]
    (progress, chosen) = outputs(cells, "stream")
    assert re.search(r"local: (\d+) of \1 sessions", progress), progress
    assert "rank correlation" in chosen
    assert len([text for text in outputs(cells, "text/html") if "local_ms" in text]) == 2
    (picture,) = outputs(cells, "image/png")
    (tmp_path / "front.png").write_bytes(base64.b64decode(picture))
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    assert image.width > 500 and len(image.getcolors(1 << 24)) > 50  # type: ignore[arg-type]
