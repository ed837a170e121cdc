"""One run of a training, of one or several networks: its epochs, and its checkpoints.

A run owns the optimizer, the history and the best weights of each network, and the checkpoint. The caller's functions train and
evaluate the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.training.checkpoints import Checkpoint, State, load_checkpoint, save_checkpoint
from search.training.history import Epoch, EpochDone, Figures, best_epoch
from search.training.images import Task
from search.training.recipe import Recipe
from search.training.trained import Trained, both_environments
from space import Architecture

Clock = Callable[[], int]
OnEpoch = Callable[[EpochDone], None]


@dataclass(kw_only=True, slots=True, eq=False)
class TrainingRun:
    """A training of `architectures` that are computed by one `network`; it resumes from the checkpoint of `folder`.

    `identity` and `terms` are the training's inputs (`search.training.checkpoints`); `terms` are empty where several networks
    are trained together. `histories`, `best` weights and `tests` are by network, in the order of the architectures; `tests` are
    empty until `finish`.

    Raises:
        ConfigError: the checkpoint is damaged or of another training.
    """

    architectures: Sequence[Architecture]
    task: Task
    recipe: Recipe
    network: nn.Module
    identity: Mapping[str, str]
    environment: Mapping[str, str]
    terms: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    device: str = "cpu"
    optimizer: torch.optim.SGD = field(init=False)
    histories: list[list[Epoch]] = field(init=False)
    best: list[State] = field(init=False)
    tests: list[Figures] = field(default_factory=list)

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self.histories = [[] for _ in self.architectures]
        self.best = [{} for _ in self.architectures]
        former = load_checkpoint(self.folder, self.identity, self.device) if self.folder else None
        if former:
            self._go_on(former)

    def train(
        self,
        learn: Callable[[int], list[Figures]],
        judge: Callable[[int], list[Figures]],
        states: Callable[[], Sequence[State]],
        clock_ns: Clock,
        on_epoch: OnEpoch | None,
    ) -> None:
        """Train for the remaining epochs: `learn` and `judge` take an epoch's number and return the figures of each network.

        `states` returns copies of the networks' weights. `on_epoch` is called once the checkpoint of an epoch is written.

        Raises:
            ConfigError: the checkpoint cannot be written.
        """
        count, recipe = len(self.architectures), self.recipe
        for number in range(len(self.histories[0]) + 1, recipe.epochs + 1):
            rate = recipe.rate_at(number)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            begin = clock_ns()
            learned = learn(number)
            middle = clock_ns()
            judged = judge(number)
            times = {"train_ns": (middle - begin) // count, "val_ns": (clock_ns() - middle) // count}
            for history, train, val in zip(self.histories, learned, judged, strict=True):
                history.append(Epoch(number=number, rate=rate, train=train, val=val, **times))
            self._note_best(states)
            self._keep()
            if on_epoch:
                on_epoch(
                    EpochDone(number=number, epochs=recipe.epochs, val=judged[0] if count == 1 else None)
                )

    def finish(self, test: Callable[[], list[Figures]]) -> list[Trained]:
        """Return the finished trainings; `test` judges the best weights on the test images, unless that was done before.

        Raises:
            ConfigError: the checkpoint cannot be written.
        """
        if not self.tests:
            self.tests = test()
            if self.terms:
                self._keep()
        return [
            Trained(
                architecture=architecture,
                task=self.task.name,
                synthetic=self.task.synthetic,
                recipe=self.recipe,
                history=tuple(history),
                test=test,
                weights={name: tensor.cpu() for name, tensor in weights.items()},
                environment=self.environment,
                source=self.task.source,
                start=self.terms.get("start", ""),
                guide=self.terms.get("guide", {}),
            )
            for architecture, history, test, weights in zip(
                self.architectures, self.histories, self.tests, self.best, strict=True
            )
        ]

    def _note_best(self, states: Callable[[], Sequence[State]]) -> None:
        better = [place for place, history in enumerate(self.histories) if best_epoch(history) is history[-1]]
        found = states() if better else []
        for place in better:
            self.best[place] = found[place]

    # A checkpoint of one network holds its history and weights; of several, those of each.

    def _keep(self) -> None:
        if self.folder is None:
            return
        plain = [[asdict(epoch) for epoch in history] for history in self.histories]
        checkpoint = Checkpoint(
            identity=self.identity,
            terms=self.terms,
            environment=self.environment,
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            best=self.best[0] if self.terms else {str(place): state for place, state in enumerate(self.best)},
            history=plain[0] if self.terms else [{"epochs": epochs} for epochs in plain],
            test=asdict(self.tests[0]) if self.tests and self.terms else None,
        )
        save_checkpoint(self.folder, checkpoint)

    def _go_on(self, former: Checkpoint) -> None:
        self.network.load_state_dict(former.network)
        self.optimizer.load_state_dict(dict(former.optimizer))
        plain = [former.history] if self.terms else [one["epochs"] for one in former.history]
        self.histories = [[Epoch.from_plain(values) for values in epochs] for epochs in plain]
        self.best = [former.best] if self.terms else [former.best[str(place)] for place in range(len(plain))]
        self.tests = [Figures(**former.test)] if former.test else []
        self.environment = both_environments(former.environment, self.environment)
