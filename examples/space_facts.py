"""Facts about networks of the space, without building one: identity, cost, neighbors of equal cost.

python examples/space_facts.py conv-mbconv+in/bconv/conv+mbconv
"""

from __future__ import annotations

import sys

from space import BLOX, Architecture
from space.costs import all_macs, all_params


def main(text: str) -> None:
    """Print what is known of one network."""
    a = Architecture.parse(text)
    same_cost = int(((all_params(BLOX) == a.params) & (all_macs(BLOX) == a.macs)).sum())
    print(f"{a}\n  index      {a.index} of {len(BLOX)}\n  graph hash {a.graph_hash}\n  vector     {a.vector}")
    print(
        f"  {a.params:,} parameters, {a.macs:,} MACs; {same_cost} networks share both: only measuring tells them apart"
    )


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["conv-mbconv+in/bconv/conv+mbconv"]))
