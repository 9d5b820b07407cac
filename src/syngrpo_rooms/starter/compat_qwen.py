"""Every use of the internals of transformers' Qwen2.5-VL by the starter's supervised training.

Checked with transformers 5.23.0. When something breaks with a new version, look here first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_vision,
)

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine of the rotary positions of all tokens."""


def encode_patches(model: Any, patches: Tensor, grid: int) -> Tensor:
    """Encode pictures of grid x grid patches: (N, cells, 3, patch²) → (N, cells, width).

    The vision blocks see all pictures as one batch, where transformers loops over them.
    """
    visual = model.model.visual
    count, cells = patches.shape[:2]
    weight = visual.patch_embed.proj.weight
    frames = weight.shape[2]
    hidden = F.linear(
        patches.unsqueeze(3).expand(-1, -1, -1, frames, -1).flatten(2), weight.flatten(1)
    )
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    where = torch.stack([rows.flatten(), columns.flatten()], dim=-1).to(hidden.device)
    rotary = visual.rotary_pos_emb(hidden, where)
    for block in visual.blocks:
        hidden = hidden + _attend(block.attn, block.norm1(hidden), rotary)
        hidden = hidden + block.mlp(block.norm2(hidden))
    encoded: Tensor = visual.merger(hidden.flatten(0, 1)).view(count, cells, -1)
    return encoded


def _attend(attention: Any, hidden: Tensor, rotary: Rotary) -> Tensor:
    """Attend with plain matrix products: the backward pass of the fused CPU kernel is several times
    slower."""
    heads = (*hidden.shape[:2], 3, attention.num_heads, -1)
    q, k, v = attention.qkv(hidden).reshape(heads).unbind(2)
    q, k = apply_rotary_pos_emb_vision(q, k, *rotary)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    weights = (q @ k.transpose(2, 3) * attention.scaling).softmax(-1).to(v.dtype)
    attended: Tensor = attention.proj((weights @ v).transpose(1, 2).flatten(2))
    return attended


def rotary_of(model: Any, hidden: Tensor, positions: Tensor) -> Rotary:
    """Return the rotary values of the language model for the positions (3, N, T)."""
    rotary: Rotary = model.model.language_model.rotary_emb(hidden, positions)
    return rotary


def language_layers(model: Any) -> Iterable[Any]:
    """Return the layers of the language model, in order."""
    layers: Iterable[Any] = model.model.language_model.layers
    return layers


def run_layer(layer: Any, hidden: Tensor, mask: Tensor, rotary: Rotary) -> Tensor:
    """Return what a layer makes of the hidden states; ``mask`` is added to its attention scores."""
    output: Tensor = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    return output


def normed(model: Any, hidden: Tensor) -> Tensor:
    """Return the input of the language model's head, from the output of its last layer."""
    output: Tensor = model.model.language_model.norm(hidden)
    return output


def first_head_scores(
    layer: Any, hidden: Tensor, rotary: Rotary, queries: slice, keys: slice
) -> Tensor:
    """Return the scores, before the softmax, that the first attention head of a layer gives the
    tokens of ``keys`` at the tokens of ``queries``: (N, queries, keys)."""
    attention = layer.self_attn
    hidden = layer.input_layernorm(hidden)
    shape = (*hidden.shape[:2], -1, attention.head_dim)
    q = attention.q_proj(hidden).view(shape)[:, :, :1].transpose(1, 2)
    k = attention.k_proj(hidden).view(shape)[:, :, :1].transpose(1, 2)
    q, k = apply_rotary_pos_emb(q, k, *rotary)
    scores: Tensor = q[:, 0, queries] @ k[:, 0, keys].transpose(1, 2) * attention.scaling
    return scores
