"""What the exporters have processes for, done in the process of the tests, which imports torch anyway."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from exporters import conversion, expected
from exporters.processes import give_back, take

_lock = threading.Lock()  # of campaigns' threads


class ConverterHere:
    """The converter of some formats, in one thread of this process; other formats have their process."""

    def __init__(self, formats: Sequence[str]) -> None:
        self._formats = formats

    def ask(self, request: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """Give the answers to a request; runs take many threads, for which a process is prepared."""
        if request["format"] not in self._formats or "run" in request:
            return self._ask_process(request)
        import torch  # late: it takes a second

        from exporters import worker

        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters warn of themselves
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                return [dict(answer) for answer in worker.answers(json.loads(json.dumps(request)))]
            finally:
                torch.set_num_threads(threads)

    @staticmethod
    def _ask_process(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        process = take("exporters.worker")
        try:
            yield from process.ask(request)
        finally:
            give_back(process)


class TorchHere:
    """Expected outputs computed in this process; test_expected.py is about the other way."""

    @staticmethod
    def ask(request: dict[str, Any]) -> Iterable[dict[str, object]]:
        """Give the answer that a process of its own gives."""
        from exporters.expected_worker import answers  # late: campaigns of kept values need no torch

        return answers(request)


@contextmanager
def converted_here(*formats: str) -> Iterator[None]:
    """Convert to some formats in this process while this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "take", lambda module: ConverterHere(formats))
        patch.setattr(conversion, "give_back", lambda process: None)
        yield


@contextmanager
def expected_here() -> Iterator[None]:
    """Compute in this process, while this lasts, what networks should give."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expected, "take", lambda module: TorchHere())
        patch.setattr(expected, "give_back", lambda process: None)
        yield
