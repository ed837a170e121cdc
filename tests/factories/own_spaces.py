"""A space of one's own, as a user writes it: ops that harness does not know, sites of unequal widths and strides, in two files.

64 x 64 pixels are the images of the issue's example; here they are 16 x 16, so that a test takes no time.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rigs.made_files import new_folder

from space import Space, load_space

CANDIDATES = """
import torch
from torch import nn


class Ghost(nn.Module):
    def __init__(self, channels_in, channels_out, stride, ratio):
        super().__init__()
        few = channels_out // ratio
        self.first = nn.Conv2d(channels_in, few, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(few)
        self.cheap = nn.Conv2d(few, channels_out - few, 3, 1, 1, groups=few)

    def forward(self, x):
        y = torch.relu(self.norm(self.first(x)))
        return torch.cat([y, self.cheap(y)], 1)


def ghost(channels_in, channels_out, stride, *, ratio=2):
    return Ghost(channels_in, channels_out, stride, ratio)
"""

DEFINITION = """
name = "mine"
image_size = 16
classes = 7

[candidates]
mb = { module = "mbconv", expansion = 2 }
ghost = { module = "own_ops:ghost", ratio = 2 }
basic = "resnet_basic"
skip = "identity"

[stem]
module = "conv"
channels = 6
stride = 2

[[sites]]
candidates = ["mb", "ghost"]
channels = 8
stride = 2

[[sites]]
candidates = ["mb", "ghost", "skip"]
repeat = 2

[[sites]]
candidates = ["basic"]
channels = 12

[[sites]]
candidates = ["basic", "skip"]
choice = "depth"
repeat = 2

[head]
module = "conv_linear"
channels = 16
"""
# Its first two sites, which are traced in a part of the time.
FEW_SITES = DEFINITION.replace('basic = "resnet_basic"\n', "").partition('[[sites]]\ncandidates = ["basic"]')[
    0
]
FEW_SITES += '[head]\nmodule = "linear"\n'


def write_space(folder: Path, definition: str = DEFINITION, candidates: str = CANDIDATES) -> Path:
    """Write a definition and its candidates into a folder, and return the definition's path."""
    (folder / "own_ops.py").write_text(candidates)
    path = folder / "mine.toml"
    path.write_text(definition)
    return path


@cache
def own_space() -> Space:
    """Return the space of the two files: 2 * 3 * 3 * 2 networks of six sites, one of them fixed and two that share a choice."""
    return load_space(write_space(new_folder()))


SQUEEZE = """
from torch import nn


class Squeeze(nn.Module):
    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1)
        layers = [nn.Conv2d(channels_out, channels_out, 1), nn.BatchNorm2d(channels_out), nn.Sigmoid()]
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), *layers)

    def forward(self, x):
        y = self.conv(x)
        return y * self.gate(y)


def squeeze(channels_in, channels_out, stride):
    return Squeeze(channels_in, channels_out, stride)


def plain(channels_in, channels_out, stride):
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1)
"""


@cache
def lone_space(size: int = 4) -> Space:
    """Return a space of one site of so many pixels, plain or squeeze: the latter alone has a BatchNorm, at 1 x 1 pixel."""
    definition = f"""
name = "lone"
image_size = 4
classes = 2
candidates = {{ plain = "own_ops:plain", squeeze = "own_ops:squeeze" }}
stem = {{ module = "own_ops:plain", channels = 4, stride = {4 // size} }}
sites = [{{ candidates = ["plain", "squeeze"] }}]
head = {{ module = "linear" }}
"""
    return load_space(write_space(new_folder(), definition, SQUEEZE))
