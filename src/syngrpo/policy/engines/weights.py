"""A policy's weights as a checkpoint would hold them, without writing one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.distributed.tensor import DTensor
from transformers.core_model_loading import revert_weight_conversion

from syngrpo.policy.loading import Policy


@torch.no_grad()
def checkpoint_weights(policy: Policy) -> dict[str, torch.Tensor]:
    """Name → tensor, under the names of a saved checkpoint, adapters merged.

    Layers without adapters are not copied: the tensors are the policy's own. Weights that are
    sharded over processes are put together, so every process has to call this.
    """
    return revert_weight_conversion(policy.base, dict(_merged(policy.base)))


def _merged(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters of a plain transformers model, some of whose layers may carry adapters."""
    adapted = [n for n, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    inside = tuple(f"{name}." for name in adapted)
    for name, parameter in model.named_parameters():
        if not name.startswith(inside):
            yield name, _whole(parameter.detach())
    for name in adapted:
        # A copy: merging and unmerging in place would round the base weights.
        layer = copy.deepcopy(model.get_submodule(name))
        layer.merge()
        for own, parameter in layer.get_base_layer().named_parameters():
            yield f"{name}.{own}", _whole(parameter.detach())


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
