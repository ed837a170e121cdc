"""Zero-cost proxies: scores of untrained networks on one batch of images (Abdelfattah et al. 2021, arXiv:2101.08134).

    from search.proxies import load_batch, proxy_scorer
    score = proxy_scorer("synflow", BLOX, load_batch("", BLOX), seed=0)
    score(np.array([0, 17]))            # higher promises more

Importing this package loads no torch: it is imported when a scorer is made.
"""

from search.proxies.batches import Batch, load_batch
from search.proxies.scoring import proxy_scorer

__all__ = ["Batch", "load_batch", "proxy_scorer"]
