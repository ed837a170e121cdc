"""Zero-cost proxies as the commands use them: what they score on, and progress while they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from space.errors import ConfigError

if TYPE_CHECKING:
    from search.comparing import ProxyOf
    from search.methods.contract import Proxy
    from search.proxies import Batch
    from space import SpaceConfig
    from space.indexing import FloatArray, IndexArray


def batch_for(methods: Sequence[str], path: Path | None, config: SpaceConfig) -> Batch | None:
    """Return the images that proxies score on; None when no method names a proxy.

    Raises: ConfigError when a file was named that no method needs; HarnessError as `load_batch`.
    """
    from search.methods.table import parse_method
    from search.proxies import load_batch

    if any(parse_method(text)[1] for text in methods):
        return load_batch(path or "", config)
    if path is not None:
        raise ConfigError(f"--proxy-batch {path}: no method names a proxy; write e.g. evolution+synflow")
    return None


def proxies_on(config: SpaceConfig, batch: Batch, on_score: Callable[[str, int, int], None]) -> ProxyOf:
    """Return a maker of proxies by name and seed that score on a batch; `on_score` is told name, seed and networks scored."""
    from search.proxies import proxy

    def proxy_of(name: str, seed: int) -> Proxy:
        score, count = proxy(name, config, batch, seed), 0

        def scored(indices: IndexArray) -> FloatArray:
            nonlocal count
            scores = score(indices)
            count += len(indices)
            on_score(name, seed, count)
            return scores

        return scored

    return proxy_of
