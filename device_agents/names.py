"""Names that the harness and a device must form alike: of providers, of what a worker is asked, and of a machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping


def short_provider(provider: str) -> str:
    """Return a provider's short name: `cuda` of `CUDAExecutionProvider`, `cuda+cpu` of `CUDAExecutionProvider+CPU`."""
    name, plus, also = provider.lower().partition("+")
    end = "executionprovider"
    return (name[: -len(end)] if name.endswith(end) else name) + plus + also


def job_digest(job: Mapping[str, Any]) -> str:
    """Return the sha256 of what is asked of a worker, but for the cores, which the device chose."""
    asked = {key: value for key, value in job.items() if key != "cores"}
    return hashlib.sha256(
        json.dumps(asked, sort_keys=True, separators=(",", ":")).encode("utf-8")
    ).hexdigest()


def machine_id(text: str) -> str | None:
    """Return a digest of a serial number, an id or a public key that a machine alone has; None where none is set."""
    word = text.strip("\0\n\r ")
    if not word.strip("0") or word.lower() in ("unknown", "uninitialized"):
        return None
    return hashlib.sha256(("harness " + word).encode()).hexdigest()[:16]
