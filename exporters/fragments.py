"""Parts of a network: fragments that are exported once, and the steps that wire them.

Every tensor that passes from one fragment to another is a *value* with a fixed name, the same in every network:

    image --stem--> s0.x;  in stage s:  sS.x --op0--> sS.n1,  sS.n1 + sS.x = sS.h,  --op1--> sS.n2,
    sS.n2 + sS.n1 = sS.y,  --reduction--> s(S+1).x;  after the last stage  --head--> logits

A block uses some of these values only; `steps` says which. Value names, not positions, are what lets the
fragments of one format be joined without touching their bytes.

In a chain of sites each candidate is one fragment. One that gives back what it is given is none: the next then reads what it
would have read.

    image --stem--> s0.x --site 0--> s1.x --site 1--> s2.x ... --head--> logits
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from space import Architecture, Block, SpaceConfig
from space.chain import Chain
from space.segments import Segment

Kind = Literal["glue", "stem", "op", "reduction", "head", "site"]

IMAGE = "image"
LOGITS = "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """Name one separately exported piece of a network.

    `stage` counts from 0; `slot` is 0 for a block's op0 and 1 for its op1. Of a chain's sites, `stage` is the place and `op`
    the candidate. The glue holds the sums of every stage's wiring; it is part of every network and has no weights.
    `str(fragment)` is unique within a space.
    """

    kind: Kind
    stage: int | None = None
    slot: int | None = None
    op: str | None = None

    def __str__(self) -> str:
        if self.kind == "op":
            return f"stage{self.stage}.op{self.slot}.{self.op}"
        if self.kind == "site":
            return f"site{self.stage}.{self.op}"
        return self.kind if self.stage is None else f"stage{self.stage}.{self.kind}"

    @property
    def module_path(self) -> str:
        """Where the fragment stands in `space.networks.Network`, as a dotted module name."""
        if self.kind == "op":
            return f"stages.{self.stage}.cell.op{self.slot}"
        if self.kind == "site":
            return f"sites.{self.stage}"
        return self.kind if self.stage is None else f"stages.{self.stage}.{self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Run one fragment on one value, or one sum of the glue on two, and name the value that comes out."""

    fragment: Fragment
    inputs: tuple[str, ...]
    output: str


GLUE = Fragment(kind="glue")
STEM = Fragment(kind="stem")
HEAD = Fragment(kind="head")


def all_fragments(config: SpaceConfig) -> tuple[Fragment, ...]:
    """Return every fragment of a space, the glue first: 24 for Blox, of which 23 have weights."""
    if config.chain is not None:
        candidates = [
            Fragment(kind="site", stage=place, op=module.name)
            for place, site in enumerate(config.chain.sites)
            for module in site.candidates
            if not module.traced.passes
        ]
        return (GLUE, STEM, *candidates, HEAD)
    ops = [
        Fragment(kind="op", stage=stage, slot=slot, op=op)
        for stage in range(config.stages)
        for slot in (0, 1)
        for op in config.ops
    ]
    reductions = [Fragment(kind="reduction", stage=stage) for stage in range(config.stages)]
    return (GLUE, STEM, *ops, *reductions, HEAD)


def fragments_of(architecture: Architecture) -> tuple[Fragment, ...]:
    """Return the fragments of one network, the glue first, then in the order in which they run."""
    return fragments_in(steps(architecture))


def fragments_in(plan: Sequence[Step]) -> tuple[Fragment, ...]:
    """Return the fragments that some steps run: the glue first, whether they sum or not, then in their order."""
    return (GLUE, *(step.fragment for step in plan if step.fragment != GLUE))


def steps(model: Architecture | Segment) -> tuple[Step, ...]:
    """Return the steps of one network, or of a segment, in a valid topological order.

    A segment reads the first step's input and writes the last step's output.
    """
    if isinstance(model, Segment):
        if model.kind == "cell":
            assert model.block is not None
            return _cell_steps(model.stage or 0, model.block)
        op = None if model.block is None else str(model.block)
        return possible_steps(Fragment(kind=model.kind, stage=model.stage, op=op), model.config)[:1]
    found, layout = [step_of(STEM, IMAGE)], model.config.layout
    for place, _, module in layout.modules(model.blocks):
        kind, number = layout.numbered(place)
        if kind == "cell":
            found += _cell_steps(number, model.blocks[number])
        elif not module.traced.passes:
            fragment = Fragment(kind=kind, stage=number, op=module.name or None)
            found.append(step_of(fragment, found[-1].output))
    return (*found, step_of(HEAD, found[-1].output))


def sum_steps(stage: int) -> tuple[Step, Step]:
    """Return the two sums that a stage's wiring may ask of the glue: into op1, and into the cell's output."""
    s = f"s{stage}"
    return (
        Step(fragment=GLUE, inputs=(f"{s}.n1", f"{s}.x"), output=f"{s}.h"),
        Step(fragment=GLUE, inputs=(f"{s}.n2", f"{s}.n1"), output=f"{s}.y"),
    )


def possible_steps(fragment: Fragment, config: SpaceConfig) -> tuple[Step, ...]:
    """Return a step for every value (or pair of values) that any block feeds to a fragment."""
    s = fragment.stage
    if config.chain is not None:
        return tuple(step_of(fragment, value) for value in _chain_inputs(fragment, config.chain))
    if fragment.kind == "glue":
        return tuple(step for stage in range(config.stages) for step in sum_steps(stage))
    if fragment.kind == "op":
        inputs = [f"s{s}.x"] if fragment.slot == 0 else [f"s{s}.x", f"s{s}.n1", f"s{s}.h"]
    elif fragment.kind == "reduction":
        inputs = [f"s{s}.n2", f"s{s}.y"]
    else:
        inputs = [IMAGE if fragment.kind == "stem" else f"s{config.stages}.x"]
    return tuple(step_of(fragment, value) for value in inputs)


def step_of(fragment: Fragment, value: str) -> Step:
    """Return the step that runs a fragment other than the glue on a value; a fragment's output never varies."""
    if fragment.kind == "op":
        output = f"s{fragment.stage}.n{(fragment.slot or 0) + 1}"
    elif fragment.kind in ("reduction", "site"):
        output = f"s{(fragment.stage or 0) + 1}.x"
    else:
        output = "s0.x" if fragment.kind == "stem" else LOGITS
    return Step(fragment=fragment, inputs=(value,), output=output)


def all_values(config: SpaceConfig) -> tuple[str, ...]:
    """Return the names of all values of a space, used by a network or not: image first, logits last."""
    if config.chain is not None:
        return (IMAGE, *(f"s{place}.x" for place in range(len(config.chain.sites) + 1)), LOGITS)
    inner = [f"s{s}.{name}" for s in range(config.stages) for name in ("x", "n1", "h", "n2", "y")]
    return (IMAGE, *inner, f"s{config.stages}.x", LOGITS)


def value_shape(value: str, config: SpaceConfig) -> tuple[int, ...]:
    """Return the shape of a value for one image: (1, C, H, W) in torch's order, (1, classes) for the logits."""
    if value == IMAGE:
        return (1, config.in_channels, config.image_size, config.image_size)
    if value == LOGITS:
        return (1, config.classes)
    return config.layout.shape(int(value[1 : value.index(".")]) * len(config.layout.kinds))


def _chain_inputs(fragment: Fragment, chain: Chain) -> list[str]:
    """Return the values that some network has a fragment of a chain read: that of its place, or earlier ones."""
    if fragment.kind == "glue":
        return []
    if fragment.kind == "stem":
        return [IMAGE]
    place = len(chain.sites) if fragment.kind == "head" else fragment.stage or 0
    values = [f"s{first}.x" for first in range(place, -1, -1)]
    return [value for value in values if reading_choices(fragment, value, chain) is not None]


def reading_choices(fragment: Fragment, value: str, chain: Chain) -> Mapping[int, frozenset[str]] | None:
    """Return the candidates of each choice with which a network of a chain has a fragment read a value; None where none does.

    Then the sites between the value and the fragment pass, and the site that writes the value does not; and sites of one
    choice run the same candidate. A choice that is not named may be any.
    """
    if value == IMAGE:
        return {}
    first = int(value[1 : value.index(".")])
    place = len(chain.sites) if fragment.kind == "head" else fragment.stage or 0
    wanted = {site: True for site in range(first, place)} | ({first - 1: False} if first else {})
    found: dict[int, frozenset[str]] = {}
    if fragment.kind == "site" and (own := chain.sites[place].choice) is not None:
        found[own] = frozenset({fragment.op or ""})
    for number, passes in wanted.items():
        site = chain.sites[number]
        fitting = frozenset(module.name for module in site.candidates if module.traced.passes == passes)
        if site.choice is not None:
            fitting &= found.get(site.choice, fitting)
            found[site.choice] = fitting
        if not fitting:
            return None
    return found


def _cell_steps(s: int, block: Block) -> tuple[Step, ...]:
    """Return the steps of the cell of stage s, from s.x to the value that its last step writes."""
    x = f"s{s}.x"
    op1 = Fragment(kind="op", stage=s, slot=1, op=block.op1)
    if block.op0 is None:
        return (step_of(op1, x),)
    sum_in, sum_out = sum_steps(s)
    found = [step_of(Fragment(kind="op", stage=s, slot=0, op=block.op0), x)]
    into_op1 = found[0].output if block.prev else x
    if block.prev and block.inp:
        found.append(sum_in)
        into_op1 = sum_in.output
    found.append(step_of(op1, into_op1))
    if block.sc:
        found.append(sum_out)
    return tuple(found)
