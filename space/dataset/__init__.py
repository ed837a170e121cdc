"""The published data files of the space: accuracies, costs, environments and latencies, keyed by graph hash.

A file is a YAML header and rows in one of three formats, named by its suffix: `.blox` (packed and compressed),
`.csv`, `.pickle`. Latencies of a device, `blox-bench-DEVICE`, are what this project adds to them.
"""

from space.dataset.files import read_dataset, write_dataset
from space.dataset.model import Dataset, bench_dataset

__all__ = ["Dataset", "bench_dataset", "read_dataset", "write_dataset"]
