"""One campaign for a benchmark: nothing shown, and the end of the program when anything failed."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Sequence
from typing import cast

from harness.devices.config import Device, Format, LocalDevice
from harness.measurement.campaign import Outcome, run_campaign
from harness.measurement.events import Event
from harness.measurement.plan import Options
from harness.models.exported import ExportedModels
from harness.models.names import select_models_and_segments
from harness.store import Store
from space.errors import HarnessError


class Silent:
    """An observer that shows nothing."""

    def event(self, device: str, event: Event) -> None:
        """Show nothing."""


def models_of(selection: Sequence[str]) -> ExportedModels:
    """Return the models of a selection, exported without a word when they are asked for."""
    return ExportedModels(select_models_and_segments(selection), on_progress=lambda *_: None)


def run(
    selection: Sequence[str],
    store: Store,
    options: Options,
    device: Device | None = None,
    *,
    seed: int | None = 0,
) -> Outcome:
    """Measure what the store lacks of a selection on a device, by default this machine; exit when that failed.

    The models of `options.formats` are exported before the campaign begins: `Outcome.elapsed_s` is without that.
    """
    source = models_of(selection)
    for model_format in options.formats:
        source.models(cast(Format, model_format))
    try:
        outcome = run_campaign(
            device or LocalDevice(name="local"),
            source,
            options,
            store,
            Silent(),
            rng=random.Random(seed),
            cancel=threading.Event(),
        )
    except HarnessError as error:
        sys.exit(f"the campaign failed: {error}")
    if outcome.error or outcome.failures:
        sys.exit(f"the campaign failed: {outcome.error or outcome.failures[0].message}")
    return outcome
