"""Model files for any network of a space, assembled from fragments that were exported once.

    library = FragmentLibrary.open("onnx", cache_dir=path)
    assembly = library.assembly(Architecture.parse("conv-mbconv+in/bconv/conv+mbconv"))
    model = assembly.whole()

Importing this package loads no converter; neither does linking. torch, onnx and tensorflow run in a process of
their own, and only when the cache lacks a fragment.
"""

from exporters.errors import ConversionError
from exporters.expected import ExpectedOutputs
from exporters.formats import FORMATS, PRECISIONS, Format, Precision
from exporters.library import FragmentLibrary
from exporters.node_names import node_fragment, node_fragments, with_node_names
from exporters.standalone import standalone
from exporters.weights import Weights

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "ConversionError",
    "ExpectedOutputs",
    "Format",
    "FragmentLibrary",
    "Precision",
    "Weights",
    "node_fragment",
    "node_fragments",
    "standalone",
    "with_node_names",
]
