"""AdamW with a learning rate schedule, on float32 copies of weights that are stored in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from syngrpo.policy.model import Policy
from syngrpo.policy.sharding import gather_state, spread_state
from syngrpo.sample import InputError
from syngrpo.workflow.run_options import RunOptions

STEP_BYTES = 2**28
"""Bytes of float32 gradients that exist at once while master weights are updated."""


class Optimizer:
    """Updates the trained weights of a policy by their gradients.

    In bfloat16, whose values near 1 are 1/128 apart, an update of 1e-6 would be lost. So bfloat16
    weights have float32 copies, the *master weights*: these are updated, and the model's weights
    are set to their rounding. Float32 weights are updated directly.

    ``weights``: name → trained weight. ``masters``: name → master weight, where there is one.
    """

    def __init__(self, policy: Policy, options: RunOptions) -> None:
        trainer = options.trainer
        self.weights = {n: p for n, p in policy.model.named_parameters() if p.requires_grad}
        self.masters = {
            name: nn.Parameter(weight.detach().float())
            for name, weight in self.weights.items()
            if trainer.master_weights and weight.dtype != torch.float32
        }
        self.adamw = torch.optim.AdamW(
            list(self._owners().values()),
            lr=trainer.learning_rate,
            weight_decay=trainer.weight_decay,
            # On a GPU the default makes temporary copies of all gradients.
            fused=policy.device.type == "cuda" or None,
        )
        self.schedule = _schedule(self.adamw, options)
        self._weight_decay = trainer.weight_decay

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def steps(self) -> int:
        """The number of optimizer steps taken since the run began."""
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
            "weights": {name: owner.detach() for name, owner in self._owners().items()},
            "optimizer": self.adamw.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Raises InputError when the model has other trained
        weights."""
        self._require_weights(outline(state))
        for name, weight in self._owners().items():
            weight.copy_(state["weights"][name])
        self.adamw.load_state_dict(state["optimizer"])
        self._restored(state["schedule"])

    def gather_state_dict(self) -> dict[str, Any] | None:
        """Return in process 0 what ``state_dict`` returns with weights that are not sharded, on the
        CPU; None in the others. All processes call this together."""
        gathered = gather_state(list(self._owners().values()), self.adamw)
        if gathered is None:
            return None
        weights, optimizer = gathered
        return {
            "weights": {name: weights[str(i)] for i, name in enumerate(self.weights)},
            "optimizer": _renamed(optimizer, int),
            "schedule": self.schedule.state_dict(),
        }

    def spread_state_dict(self, state: dict[str, Any] | None, outline: dict[str, Any]) -> None:
        """Restore in every process what ``state_dict`` or ``gather_state_dict`` returned in process
        0. All processes call this together.

        Only process 0 passes ``state``, the others None; all pass its ``outline``. Raises
        InputError when the model has other trained weights.
        """
        self._require_weights(outline)
        owners = self._owners()
        whole = None
        if state is not None:
            weights = {str(i): state["weights"][name] for i, name in enumerate(owners)}
            whole = weights, _renamed(state["optimizer"], str)
        spread_state(list(owners.values()), self.adamw, whole, outline["stepped"])
        self._restored(outline["schedule"])

    def _owners(self) -> dict[str, nn.Parameter]:
        """Return the parameters that AdamW updates, by name: the master of each weight if it has
        one, else the weight itself."""
        return {name: self.masters.get(name, weight) for name, weight in self.weights.items()}

    def _require_weights(self, outline: dict[str, Any]) -> None:
        """Raise InputError unless a saved state has the trained weights of this model."""
        saved = outline["weights"]
        own = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        if differing := [name for name in {**saved, **own} if saved.get(name) != own.get(name)]:
            raise InputError(
                f"the checkpoint holds other trained weights than the model, such as "
                f"{differing[0]}; resume with the model section that the run began with (path, "
                "lora, freeze_vision)"
            )

    @torch.no_grad()
    def _restored(self, schedule: dict[str, Any]) -> None:
        """Set the weights to their restored masters, and go on with the schedule at its step.

        Learning rate, schedule and weight decay are those of this run's options: a resumed run may
        have others than the saved state.
        """
        for name, master in self.masters.items():
            self.weights[name].copy_(master)
        first, done = self.schedule.base_lrs, schedule["last_epoch"]
        factors = [factor(done) for factor in self.schedule.lr_lambdas]
        rates = [rate * factor for rate, factor in zip(first, factors, strict=True)]
        self.schedule.load_state_dict({**schedule, "base_lrs": first, "_last_lr": rates})
        for group, start, rate in zip(self.adamw.param_groups, first, rates, strict=True):
            group |= {"initial_lr": start, "lr": rate, "weight_decay": self._weight_decay}


def outline(state: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the main process's ``Optimizer.state_dict`` that every process needs: the
    shapes of the weights by name, the numbers of those that have an AdamW state, and the
    schedule."""
    return {
        "weights": {name: tuple(weight.shape) for name, weight in state["weights"].items()},
        "stepped": set(state["optimizer"]["state"]),
        "schedule": state["schedule"],
    }


def _renamed(optimizer: dict[str, Any], kind: type[int] | type[str]) -> dict[str, Any]:
    """Return an AdamW state with the keys of its weights converted to ``kind``."""
    return {
        "state": {kind(key): value for key, value in optimizer["state"].items()},
        "param_groups": [
            {**group, "params": [kind(key) for key in group["params"]]}
            for group in optimizer["param_groups"]
        ],
    }


def _schedule(
    optimizer: torch.optim.Optimizer, options: RunOptions
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the learning rate schedule: linear warm-up, then constant, linear or cosine until the
    end of the run."""
    names = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    return get_scheduler(
        names[options.trainer.schedule],
        optimizer,
        num_warmup_steps=options.trainer.warmup_steps * options.trainer.updates_per_rollout,
        num_training_steps=options.trainer.steps * options.trainer.updates_per_rollout,
    )
