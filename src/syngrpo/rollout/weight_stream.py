"""A policy's weights as a checkpoint would hold them, without writing one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.core_model_loading import revert_weight_conversion

from syngrpo.policy.loading import Policy

Weights = dict[str, torch.Tensor]
"""Name → tensor, under the names of a saved checkpoint."""


def checkpoint_weights(policy: Policy) -> Weights:
    """All weights, adapters merged.

    Layers without adapters are not copied: the tensors are the policy's own. Weights that are
    sharded over processes are put together, so every process has to call this.
    """
    return {name: tensor for piece in checkpoint_pieces(policy) for name, tensor in piece.items()}


@torch.no_grad()
def checkpoint_pieces(policy: Policy) -> Iterator[Weights]:
    """The same, a block of the model at a time: no more than one block's copies exist at once."""
    blocks: dict[str, list[str]] = {}
    for name, module in policy.base.named_modules():
        adapted = isinstance(module, BaseTunerLayer)
        if adapted or any(True for _ in module.parameters(recurse=False)):
            blocks.setdefault(_block(name), []).append(name)
    seen: set[nn.Parameter] = set()
    for names in blocks.values():
        piece = dict(_merged(policy.base, names, seen))
        if piece:
            yield revert_weight_conversion(policy.base, piece)


def _block(name: str) -> str:
    """``model.layers.7.mlp.up_proj`` → ``model.layers.7``; what is in no numbered block by itself,
    as embeddings are large."""
    numbered = re.match(r"(.*?\.\d+)(\.|$)", name)
    return numbered[1] if numbered else name


def _merged(
    model: Any, names: list[str], seen: set[nn.Parameter]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters of some modules of a plain transformers model, some of which may carry
    adapters; shared ones the first time alone."""
    adapted = [n for n in names if isinstance(model.get_submodule(n), BaseTunerLayer)]
    inside = tuple(f"{name}." for name in adapted)
    for name in names:
        module = model.get_submodule(name)
        if name in adapted:
            # A copy: merging and unmerging in place would round the base weights.
            layer = copy.deepcopy(module)
            layer.merge()
            own = dict(layer.get_base_layer().named_parameters())
        elif name.startswith(inside):
            continue
        else:
            own = {n: p for n, p in module.named_parameters(recurse=False) if p not in seen}
            seen.update(own.values())
        for last, parameter in own.items():
            yield f"{name}.{last}" if name else last, _whole(parameter.detach())


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
