"""What a campaign measures: a model that the device assembles from parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harness.devices.assembly import Assembly


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network in one format: its text, the graph hash that joins it with accuracies, and how to assemble it.

    A segment of a network (`purpose`) has its key where a network has its graph hash.
    `weights` names the weights and the exporter that made the parts: equal names mean equal models.
    `assemble` is called when the model is about to be sent, so that a campaign over a whole space holds no model bytes.
    """

    architecture: str
    graph_hash: str
    format: str
    precision: str
    space: str
    weights: str
    purpose: str = "network"
    assemble: Callable[[], Assembly] = field(repr=False, compare=False)
