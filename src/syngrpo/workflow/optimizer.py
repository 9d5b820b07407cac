"""AdamW and its schedule, over float32 copies of the weights where those are stored in less."""

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
"""Float32 gradients that exist at once while master weights are updated."""


class Optimizer:
    """The trained weights of a policy and how a gradient changes them.

    An update of 1e-6 is lost in bfloat16, whose values near 1 are 1/128 apart. So float32 *master
    weights* take the steps, and the model's are their rounding; float32 weights are their own.
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
        """Of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def steps(self) -> int:
        """Taken since the run began."""
        return int(self.schedule.last_epoch)

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for weight in self.weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Changes the weights by their gradients."""
        self.adamw.step()  # the weights that are their own masters
        if self.masters:
            self._step_masters()
        self.schedule.step()

    def _step_masters(self) -> None:
        """A few at a time: float32 gradients of all weights together would take their size."""
        for name in self.weights.keys() - self.masters.keys():
            self.weights[name].grad = None  # done
        for names in self._portions():
            for name in names:
                gradient = self.weights[name].grad
                self.masters[name].grad = None if gradient is None else gradient.float()
            self.adamw.step()  # skips what has no gradient now
            for name in names:
                self.masters[name].grad = None
                self.weights[name].copy_(self.masters[name])

    def _portions(self) -> Iterator[list[str]]:
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
        """Trained weights (the masters of those that have one), optimizer and schedule."""
        return {
            "weights": {n: self.masters.get(n, w).detach() for n, w in self.weights.items()},
            "optimizer": self.adamw.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(
        self, state: dict[str, Any], receive: Callable[[Tensor], Tensor] = torch.Tensor.detach
    ) -> None:
        """Puts all three back, one tensor at a time, each of which goes through ``receive`` and is
        whole. Raises KeyError when the model has other trained weights."""

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
