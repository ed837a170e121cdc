"""Random definitions of small chains, of shipped modules, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from space import ArchitectureError, Space, define

CANDIDATES: dict[str, Any] = {
    "mb": {"module": "mbconv", "expansion": 2},
    "sep": "separable",
    "basic": "resnet_basic",
    "conv": {"module": "conv", "kernel": 1, "activation": "silu"},
    "skip": "identity",
}


@st.composite
def spaces(draw: st.DrawFn, most_sites: int = 4) -> Space:
    """Draw a space of `most_sites` kinds of sites at most, on images of 8 or 9 pixels."""
    names = st.lists(st.sampled_from(list(CANDIDATES)), min_size=1, max_size=3, unique=True)
    sites = []
    for _ in range(draw(st.integers(1, most_sites))):
        site: dict[str, Any] = {"candidates": draw(names), "repeat": draw(st.integers(1, 2))}
        site["channels"], site["stride"] = draw(st.sampled_from([4, 6])), draw(st.sampled_from([1, 2]))
        if len(site["candidates"]) > 1 and draw(st.booleans()):
            site["choice"] = f"like_{'_'.join(site['candidates'])}"
        sites.append(site)
    try:
        return define(
            "random",
            image_size=draw(st.sampled_from([8, 9])),
            classes=draw(st.integers(1, 3)),
            in_channels=draw(st.sampled_from([1, 3])),
            candidates=CANDIDATES,
            stem={"module": "conv", "channels": 4, "stride": draw(st.sampled_from([1, 2]))},
            sites=sites,
        )
    except ArchitectureError as error:
        assume("nothing to choose" not in str(error))
        raise
