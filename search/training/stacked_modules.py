"""Many networks, or many blocks, as one module: each layer of all of them is one grouped convolution.

    stages = StackedStages([build_network(a).stages[0] for a in architectures])
    y = stages(x)                            # (B, N*C, H, W) -> (B, N*2C, H/2, W/2)
    states = stages.unstacked()              # N state dicts of `space.networks.Stage`

A small network does not keep a processor busy: a layer of 8 channels takes longer to call than to compute. N of them side by side
are one layer of N*8 channels in N groups. Groups are independent, so that the sum of the members' losses gives each member its
own gradients, and its training is the same as alone, to rounding. Members are the leading part of the channel axis everywhere:
shapes at the line ends are (batch, members * channels, height, width). Layers keep their names and their order, and a stacked
tensor is the members' own tensors one after another along its first axis.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from space.networks import AnyNetwork, AnyStage, Cell, Network, Stage

States: TypeAlias = Sequence[Mapping[str, Tensor]]  # the state dict of each member


class StackedConv2d(nn.Module):
    """N convolutions of one shape in N times their groups; `shared_input`: all N read the same channels."""

    def __init__(self, first: nn.Conv2d, states: States, prefix: str, shared_input: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = _weight_and_bias(first, states, prefix)
        self.stride, self.padding = first.stride, first.padding
        self.groups = first.groups if shared_input else first.groups * len(states)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N*Cin, H, W), or (B, Cin, H, W) of a shared input, to (B, N*Cout, H', W')."""
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class StackedLinear(nn.Module):
    """N linear layers of one shape."""

    def __init__(self, first: nn.Linear, states: States, prefix: str) -> None:
        super().__init__()
        self.weight, self.bias = _weight_and_bias(first, states, prefix)
        self.members = len(states)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N*Cin) to (B, N*Cout)."""
        weight = self.weight.view(self.members, -1, self.weight.shape[1])  # (N, Cout, Cin)
        each = x.reshape(len(x), self.members, -1).transpose(0, 1)  # (N, B, Cin)
        y: Tensor = torch.bmm(each, weight.transpose(1, 2)).transpose(0, 1).flatten(1)
        return y + self.bias


def stack(first: nn.Module, states: States, prefix: str = "", shared_input: bool = False) -> nn.Module:
    """Return one module of N modules like `first` side by side, with the weights in `states`, whose names have a prefix.

    It maps (B, N*C, H, W), or (B, C, H, W) where the input is shared, as each member maps its own channels. Modules without
    weights are kept, and must treat all channels alike.

    Raises:
        TypeError: a layer with weights is none that this module knows.
    """
    if isinstance(first, nn.Conv2d):
        return StackedConv2d(first, states, prefix, shared_input)
    if isinstance(first, nn.Linear):
        return StackedLinear(first, states, prefix)
    if isinstance(first, nn.BatchNorm2d):
        return _stacked_norm(first, states, prefix)
    if next(first.parameters(recurse=False), None) is not None:
        raise TypeError(f"layers of {type(first).__name__} cannot be stacked: how is not known here")
    whole = copy.copy(first)
    whole._modules = {}  # the first keeps its own
    for place, (name, module) in enumerate(first._modules.items()):
        whole._modules[name] = stack(module, states, f"{prefix}{name}.", shared_input and not place)  # type: ignore[arg-type]
    return whole


class StackedCells(nn.Module):
    """N cells of one width, of any blocks, with weights in `states`: all first ops of a kind run as one, then the second ones."""

    _prev: Tensor
    _inp: Tensor
    _sc: Tensor

    def __init__(self, cells: Sequence[Cell], states: States, prefix: str) -> None:
        super().__init__()
        blocks = [cell.block for cell in cells]
        self.members = len(cells)
        self._first, order = _by_op([block.op0 for block in blocks])
        self.op0 = nn.ModuleList(
            stack(_op0(cells[rows[0]]), [states[i] for i in rows], f"{prefix}op0.") for rows in self._first
        )
        self._alone = len(cells) - sum(map(len, self._first))
        self.register_buffer("_order0", _inverse(order), persistent=False)
        self._second, order = _by_op([block.op1 for block in blocks])
        self.op1 = nn.ModuleList(
            stack(cells[rows[0]].op1, [states[i] for i in rows], f"{prefix}op1.") for rows in self._second
        )
        self.register_buffer("_order1", _inverse(order), persistent=False)
        for number, group in enumerate(self._first + self._second):
            self.register_buffer(f"_rows{number}", torch.tensor(group), persistent=False)
        # How much of node 1 and of the input the second op reads, and of node 1 the sum behind it: 0 or 1 for each member.
        for name in ("prev", "inp", "sc"):
            flags = torch.tensor([float(getattr(block, name)) for block in blocks])
            self.register_buffer(f"_{name}", flags, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N*C, H, W) to the same shape."""
        node1 = self._run(self.op0, x, 0, self._alone)
        channels = x.shape[1] // self.members
        prev, inp, sc = (
            flags.to(x.dtype).repeat_interleave(channels).view(1, -1, 1, 1)
            for flags in (self._prev, self._inp, self._sc)
        )
        node2 = self._run(self.op1, torch.addcmul(inp * x, prev, node1), len(self._first), 0)
        return torch.addcmul(node2, sc, node1)

    def _run(self, ops: nn.ModuleList, x: Tensor, number: int, alone: int) -> Tensor:
        """Run each op on its members; `alone` members have none, and give zeros."""
        parts = [
            op(_members(x, self.members, getattr(self, f"_rows{number + i}"))) for i, op in enumerate(ops)
        ]
        if alone:
            shape = (x.shape[0], x.shape[1] // self.members * alone, *x.shape[2:])
            parts.append(x.new_zeros(shape).contiguous(memory_format=torch.channels_last))
        order = self._order1 if ops is self.op1 else self._order0
        return _members(torch.cat(parts, 1), self.members, order)  # type: ignore[arg-type]

    def unstacked(self) -> list[dict[str, Tensor]]:
        """Return the state dict of each cell."""
        states: list[dict[str, Tensor]] = [{} for _ in range(self.members)]
        for prefix, ops, groups in (("op0.", self.op0, self._first), ("op1.", self.op1, self._second)):
            for op, rows in zip(ops, groups, strict=True):
                for row, state in zip(rows, unstack(op, len(rows)), strict=True):
                    states[row] |= {prefix + name: tensor for name, tensor in state.items()}
        return states


class StackedStages(nn.Module):
    """N stages of one width, of any blocks; weights in `states` replace their own."""

    def __init__(self, stages: Sequence[Stage], states: States | None = None, prefix: str = "") -> None:
        super().__init__()
        states = states or [stage.state_dict() for stage in stages]
        self.cell = StackedCells([stage.cell for stage in stages], states, f"{prefix}cell.")
        self.reduction = stack(stages[0].reduction, states, f"{prefix}reduction.")
        self.members = len(stages)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N*C, H, W) to (B, N*2C, H/2, W/2)."""
        y: Tensor = self.reduction(self.cell(x))
        return y

    def unstacked(self) -> list[dict[str, Tensor]]:
        """Return the state dict of each stage, as `space.networks.Stage` loads it."""
        pairs = zip(self.cell.unstacked(), unstack(self.reduction, self.members), strict=True)
        return [_prefixed("cell.", cell) | _prefixed("reduction.", reduction) for cell, reduction in pairs]


class SideBySide(nn.Module):
    """N modules of any layers that map one shape to another, each run on its own."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each = nn.ModuleList(modules)
        self.members = len(modules)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N*C, H, W) to (B, N*C', H', W')."""
        own = map(channels_first, x.chunk(self.members, 1))
        return torch.cat([module(one) for module, one in zip(self.each, own, strict=True)], 1)

    def unstacked(self) -> list[dict[str, Tensor]]:
        """Return the state dict of each module; their tensors are copies on its device."""
        return [
            {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
            for module in self.each
        ]


AnyStages: TypeAlias = StackedStages | SideBySide


def stack_stages(stages: Sequence[AnyStage], device: str = "cpu", states: States | None = None) -> AnyStages:
    """Return blocks of one stage as one module on a device: stacked, channels last, where layers are known, else side by side.

    Weights in `states` take the place of their own, which may then be shapes alone.
    """
    known = [stage for stage in stages if isinstance(stage, Stage)]
    if not known:
        for stage, state in zip(stages, states or (), strict=states is not None):
            stage.load_state_dict(dict(state))  # into its own tensors, which other attributes may name
        return SideBySide(stages).to(device)
    stacked: StackedStages = StackedStages(known, states).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return stacked


class StackedNetworks(nn.Module):
    """N networks of one space, of any blocks, on the same images."""

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.members, states = len(networks), [network.state_dict() for network in networks]
        self.stem = stack(networks[0].stem, states, "stem.", shared_input=True)
        each = enumerate(zip(*(network.stages for network in networks), strict=True))
        self.stages = nn.ModuleList(
            StackedStages(stages, states, f"stages.{number}.") for number, stages in each
        )
        self.head = stack(networks[0].head, states, "head.")

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, N, classes)."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(x)
        return logits.reshape(len(logits), self.members, -1)

    def unstacked(self) -> list[dict[str, Tensor]]:
        """Return the state dict of each network, as `space.networks.Network` loads it."""
        states = [_prefixed("stem.", state) for state in unstack(self.stem, self.members)]
        for number, stage in enumerate(self.stages):
            for state, part in zip(states, stage.unstacked(), strict=True):  # type: ignore[operator]
                state |= _prefixed(f"stages.{number}.", part)
        for state, part in zip(states, unstack(self.head, self.members), strict=True):
            state |= _prefixed("head.", part)
        return states


class NetworksSideBySide(SideBySide):
    """N networks of one space of one's own, on the same images."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, N, classes)."""
        return torch.stack([network(channels_first(images)) for network in self.each], 1)


AnyNetworks: TypeAlias = StackedNetworks | NetworksSideBySide


def stack_networks(networks: Sequence[AnyNetwork], device: torch.device) -> AnyNetworks:
    """Return networks of one space as one module on a device: as `stack_stages` does."""
    known = [network for network in networks if isinstance(network, Network)]
    if not known:
        return NetworksSideBySide(networks).to(device)
    stacked: StackedNetworks = StackedNetworks(known).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return stacked


def unstack(module: nn.Module, count: int) -> list[dict[str, Tensor]]:
    """Return the state dicts of the `count` members of a stacked module; their tensors are copies on its device."""
    states: list[dict[str, Tensor]] = [{} for _ in range(count)]
    for name, tensor in module.state_dict().items():
        # A counter of batches is all members'.
        pieces = tensor.chunk(count) if tensor.ndim else [tensor] * count
        for state, piece in zip(states, pieces, strict=True):
            state[name] = piece.detach().clone()
    return states


def channels_first(x: Tensor) -> Tensor:
    """Return a copy of (B, C, H, W) for a user's own modules: channels first, and free to be overwritten.

    With channels last, torch's gradient of a strided 1x1 convolution of fewer than 8 channels writes past its memory on a CPU
    (torch 2.13). `contiguous` would not copy one channel, or one pixel, and may leave strides of channels last.
    """
    return x.clone(memory_format=torch.contiguous_format)


def repeated(x: Tensor, count: int) -> Tensor:
    """Return the input of `count` members that all read x: (B, C, H, W) to (B, count*C, H, W), channels last."""
    each = x.permute(0, 2, 3, 1).repeat(1, 1, 1, count)
    return each.permute(0, 3, 1, 2)


def _members(x: Tensor, count: int, rows: Tensor) -> Tensor:
    """Return the channels of some of `count` members, in the order of `rows`: (B, len(rows)*C, H, W), channels last."""
    last = x.permute(0, 2, 3, 1)  # (B, H, W, N*C)
    each = last.reshape(*last.shape[:3], count, -1)  # (B, H, W, N, C)
    return each.index_select(3, rows).flatten(3).permute(0, 3, 1, 2)


def _by_op(ops: Sequence[str | None]) -> tuple[list[list[int]], list[int]]:
    """Return the members of each op, and all members in the order of their ops, those without an op last."""
    groups = [[i for i, op in enumerate(ops) if op == kind] for kind in sorted({op for op in ops if op})]
    return groups, [i for group in groups for i in group] + [i for i, op in enumerate(ops) if op is None]


def _inverse(order: Sequence[int]) -> Tensor:
    return torch.argsort(torch.tensor(order))


def _op0(cell: Cell) -> nn.Module:
    assert cell.op0 is not None
    return cell.op0


def _stacked_norm(first: nn.BatchNorm2d, states: States, prefix: str) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(first.num_features * len(states), eps=first.eps, momentum=first.momentum)
    norm.weight, norm.bias = _weight_and_bias(first, states, prefix)
    norm.running_mean, norm.running_var = (
        _cat(states, prefix + name) for name in ("running_mean", "running_var")
    )
    norm.num_batches_tracked = states[0][f"{prefix}num_batches_tracked"].clone()
    return norm


def _weight_and_bias(
    layer: nn.Conv2d | nn.Linear | nn.BatchNorm2d, states: States, prefix: str
) -> tuple[nn.Parameter, nn.Parameter]:
    if layer.bias is None:
        raise TypeError(f"{layer} has no bias; layers of a space have one")
    return nn.Parameter(_cat(states, f"{prefix}weight")), nn.Parameter(_cat(states, f"{prefix}bias"))


def _cat(states: States, name: str) -> Tensor:
    return torch.cat([state[name].detach() for state in states])


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}
