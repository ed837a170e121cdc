"""Fine-tuning: initial weights, and knowledge distillation from a teacher.

The teacher sees the same augmented images as the student, in evaluation mode, and the loss of a batch is

    (1 - weight) * cross-entropy(labels, student) + weight * T^2 * KL(softmax(teacher / T) || softmax(student / T))

after Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2: softened by a temperature T, gradients become smaller by
T^2, and are multiplied by it. Both terms are means over the images of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from search.checked import Checked, Range
from search.training.sealed import content_digest
from search.training.trained import Trained, check_weights, trained_digest
from space import Architecture
from space.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Initial weights of a training: a state dict of the architecture's network.

    `origin` says where they are from, such as a digest; it is kept with the result.

    Raises:
        ConfigError: the origin is empty.
    """

    weights: Mapping[str, Tensor]
    origin: str

    def __post_init__(self) -> None:
        if not isinstance(self.origin, str) or not self.origin.strip():
            raise ConfigError(
                f"start: origin = {self.origin!r}; say where the weights are from, such as their digest"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Guide(Checked):
    """Knowledge distillation: `weight` is the teacher's share of the loss, `temperature` the divisor of both networks' logits.

    The defaults are a middle way, not a published recipe.

    Raises:
        ConfigError: a value is out of its range.
    """

    NAME: ClassVar[str] = "guide"

    teacher: Trained
    weight: Annotated[float, Range(above=0, most=1)] = 0.5
    temperature: Annotated[float, Range(above=0)] = 4.0

    @property
    def terms(self) -> dict[str, str]:
        """The teacher's digest, weight and temperature as text, kept with the result."""
        return {
            "teacher": trained_digest(self.teacher),
            "weight": repr(self.weight),
            "temperature": repr(self.temperature),
        }


def beginning_of(start: Start | None, guide: Guide | None) -> dict[str, str]:
    """Return the part of a training's identity on initial weights and teacher; empty without either."""
    identity: dict[str, str] = {}
    if start:
        identity |= {"start": start.origin, "start's weights": content_digest(start.weights)}
    if guide:
        identity |= {f"guide's {key}": value for key, value in guide.terms.items()}
    return identity


def check_beginning(architecture: Architecture, start: Start | None, guide: Guide | None) -> None:
    """Refuse weights that are not the architecture's, and a teacher of another space.

    Raises:
        ConfigError: they are; the message names what differs.
    """
    if start:
        check_weights(start.weights, architecture, f"start {start.origin!r}")
    if guide is None:
        return
    teacher, config = guide.teacher.architecture, architecture.config
    differing = [
        f"{name} {getattr(teacher.config, name)} and {getattr(config, name)}"
        for name in ("name", "ops", "widths", "image_size", "classes", "in_channels")
        if getattr(teacher.config, name) != getattr(config, name)
    ]
    if differing:
        raise ConfigError(
            f"guide: teacher {teacher} is of another space than the student: {'; '.join(differing)}; "
            f"take a teacher of space {config.name!r}"
        )
    check_weights(guide.teacher.weights, teacher, f"guide: teacher {teacher}")


def distillation_loss(
    logits: Tensor, taught: Tensor, labels: Tensor, weight: float, temperature: float, smoothing: float = 0.0
) -> Tensor:
    """Return the loss of a batch from the student's and the teacher's logits (B, classes) and the labels (B,)."""
    soft = kl_div(
        log_softmax(logits / temperature, dim=1),
        log_softmax(taught / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    hard = cross_entropy(logits, labels, label_smoothing=smoothing)
    return (1 - weight) * hard + weight * temperature**2 * soft
