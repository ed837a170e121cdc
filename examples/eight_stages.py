"""The best of 17 trillion networks within a MACs limit: a space of 8 stages, solved as an integer program.

    python examples/eight_stages.py 2.0e9

No network of this space was trained: what each block adds to a score is synthetic, drawn at random. Replace `synthetic_scores` by
scores of your own, (8, 45), such as what each trained block keeps of a teacher's accuracy.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from search.integer_program.solve import Limit, solve
from space import BLOX, Architecture, SpaceConfig
from space.costs import block_costs, fixed_cost

EIGHT = SpaceConfig(
    name="eight-stages",
    ops=BLOX.ops,
    widths=(8, 16, 32, 64, 128, 256, 512, 1024),
    image_size=256,
    classes=100,
)


def synthetic_scores(seed: int) -> NDArray[np.float64]:
    """Return made-up scores, (stages, blocks): dear blocks tend to be better, as they would be."""
    macs = np.array([[cost.macs for cost in stage] for stage in block_costs(EIGHT)])
    scores: NDArray[np.float64] = macs / macs.max() + np.random.default_rng(seed).normal(0, 0.3, macs.shape)
    return scores


def main(max_macs: float, count: int = 100) -> None:
    """Print the networks with the highest sums of synthetic scores within the limit."""
    limit = Limit(
        name="macs",
        costs=np.array([[cost.macs for cost in stage] for stage in block_costs(EIGHT)]),
        constant=fixed_cost(EIGHT).macs,
        upper=max_macs,
    )
    start = time.perf_counter()
    found = solve(synthetic_scores(seed=0), [limit], count)
    seconds = time.perf_counter() - start
    if not found:
        sys.exit(f"none of {len(EIGHT):,} networks has {max_macs:,.0f} MACs or fewer; give a higher limit")
    print(
        f"the {len(found)} best of {len(EIGHT):,} networks within {max_macs:,.0f} MACs, in {seconds:.2f} s:"
    )
    for place, solution in enumerate(found[:5], start=1):
        network = Architecture(blocks=tuple(EIGHT.blocks[block] for block in solution.blocks), config=EIGHT)
        if network.macs != solution.totals[0]:  # the program's sum against the network's own count
            sys.exit(
                f"{network}: {network.macs:,} MACs, and {solution.totals[0]:,.0f} by the integer program"
            )
        print(f"{place}. synthetic score {solution.score:.4f}, {network.macs:,} MACs\n   {network}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 2.0e9)
