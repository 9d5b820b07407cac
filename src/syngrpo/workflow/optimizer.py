"""AdamW with a learning rate schedule, on float32 copies of weights that are stored in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import get_scheduler

from syngrpo.config import Config
from syngrpo.policy.model import Policy
from syngrpo.policy.sharding import spread_like

STEP_BYTES = 2**28
"""Bytes of float32 gradients that exist at once while master weights are updated."""


class Optimizer:
    """Updates the trained weights of a policy by their gradients.

    In bfloat16, whose values near 1 are 1/128 apart, an update of 1e-6 would be lost. So bfloat16
    weights have float32 copies, the *master weights*: these are updated, and the model's weights
    are set to their rounding. Float32 weights are updated directly.

    ``weights``: name → trained weight. ``masters``: name → master weight, where there is one.
    """

    def __init__(self, policy: Policy, config: Config) -> None:
        trainer = config.trainer
        self.weights = {n: p for n, p in policy.model.named_parameters() if p.requires_grad}
        self.masters = {
            name: nn.Parameter(weight.detach().float())
            for name, weight in self.weights.items()
            if trainer.master_weights and weight.dtype != torch.float32
        }
        self.adamw = torch.optim.AdamW(
            [self.masters.get(name, weight) for name, weight in self.weights.items()],
            lr=trainer.learning_rate,
            weight_decay=trainer.weight_decay,
            # On a GPU the default makes temporary copies of all gradients.
            fused=policy.device.type == "cuda" or None,
        )
        self.schedule = _schedule(self.adamw, config)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def steps(self) -> int:
        """The number of steps taken since the run began."""
        return int(self.schedule.last_epoch)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for weight in self.weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights by their gradients, and advance the schedule."""
        self.adamw.step()  # updates the weights that have no master; masters have no gradient yet
        if self.masters:
            self._step_masters()
        self.schedule.step()

    def _step_masters(self) -> None:
        """Update the master weights in portions, to limit the memory of float32 gradients."""
        for name in self.weights.keys() - self.masters.keys():
            self.weights[name].grad = None  # updated already
        for names in self._portions():
            for name in names:
                gradient = self.weights[name].grad
                self.masters[name].grad = None if gradient is None else gradient.float()
            self.adamw.step()  # skips weights without a gradient
            for name in names:
                self.masters[name].grad = None
                self.weights[name].copy_(self.masters[name])

    def _portions(self) -> Iterator[list[str]]:
        """Yield the names of all master weights in portions of about STEP_BYTES."""
        names: list[str] = []
        size = 0
        for name, master in self.masters.items():
            names.append(name)
            size += 4 * master.numel()
            if size >= STEP_BYTES:
                yield names
                names, size = [], 0
        yield names

    def state_dict(self) -> dict[str, Any]:
        """Return trained weights (master weights where there are any), optimizer and schedule."""
        return {
            "weights": {n: self.masters.get(n, w).detach() for n, w in self.weights.items()},
            "optimizer": self.adamw.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(
        self, state: dict[str, Any], receive: Callable[[Tensor], Tensor] = torch.Tensor.detach
    ) -> None:
        """Restore what ``state_dict`` returned, one tensor at a time.

        ``receive`` gets each tensor of ``state`` and returns the tensor to load, not sharded.
        Raises KeyError when the model has other trained weights.
        """

        def place(tensor: Tensor, weight: Tensor) -> Tensor:
            return spread_like(receive(tensor), weight) if tensor.ndim else tensor

        for name, weight in self.weights.items():
            own = self.masters.get(name, weight)
            own.copy_(place(state["weights"][name], own))
            weight.copy_(own)
        numbered = dict(enumerate(self.adamw.param_groups[0]["params"]))
        moments = {
            number: {key: place(value, numbered[number]) for key, value in of_weight.items()}
            for number, of_weight in state["optimizer"]["state"].items()
        }
        self.adamw.load_state_dict({**state["optimizer"], "state": moments})
        self.schedule.load_state_dict(state["schedule"])


def _schedule(
    optimizer: torch.optim.Optimizer, config: Config
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up, then constant, linear or cosine to the end of the run."""
    names = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    return get_scheduler(
        names[config.trainer.schedule],
        optimizer,
        num_warmup_steps=config.trainer.warmup_steps,
        num_training_steps=config.trainer.steps * config.trainer.updates_per_rollout,
    )
