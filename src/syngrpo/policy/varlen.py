"""The attention of packed rows as one call of PyTorch's kernel for variable lengths.

Where a GPU has that kernel, every prompt and every segment of a micro-batch is a sequence of its
own: a segment's queries over its prompt's keys and its own, causal from the end. No mask, no
padding, one call a layer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from syngrpo.policy.attention import PackedLayout

logger = logging.getLogger(__name__)

CAUSAL = (-1, 0)
"""Of ``varlen_attn``: all keys to the left, none to the right, the last query at the last key."""
TOLERANCE = 0.05
"""Of outputs and gradients around 1 in bfloat16, which two kernels round differently."""


class VarlenLayout(PackedLayout):
    """As PackedLayout, on a device for which ``has_varlen`` holds."""

    def __init__(
        self,
        prompt_lengths: Sequence[int],
        segment_lengths: Sequence[Sequence[int]],
        device: torch.device,
        keep: bool = False,
    ) -> None:
        from torch.nn.attention.varlen import varlen_attn  # builds of PyTorch may lack it

        super().__init__(prompt_lengths, segment_lengths, device, keep)
        self._kernel: Callable[..., Any] = varlen_attn
        queries: list[int] = []
        keys: list[torch.Tensor] = []
        start = 0
        for prompt, lengths in zip(prompt_lengths, segment_lengths, strict=True):
            shared = torch.arange(start, start + prompt)
            queries.append(prompt)
            keys.append(shared)
            start += prompt
            for length in lengths:
                if length:
                    queries.append(length)
                    keys.append(torch.cat([shared, torch.arange(start, start + length)]))
                    start += length
        seen = [len(one) for one in keys]
        self._keys = torch.cat(keys).to(device)
        self._ends = _ends(queries, device), _ends(seen, device)
        self._longest = max(queries), max(seen)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        queries, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))
        self._keep(keys, values)
        out: torch.Tensor = self._kernel(
            queries.contiguous(),
            keys.index_select(0, self._keys),
            values.index_select(0, self._keys),
            *self._ends,
            *self._longest,
            scale=scaling,
            window_size=CAUSAL,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
        return out[None]


def _ends(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    """int32 (len(lengths) + 1,): where each sequence begins, and the end of the last."""
    return torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)


def has_varlen(config: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this device's kernel computes what SDPA does, tried out with the heads of a text
    model of this configuration. Says once if there is one that does not."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    try:
        problem = None if _agrees(heads, kv_heads, dim, device, dtype) else "it computes otherwise"
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        problem = " ".join(str(error).split())
    if problem:
        logger.warning(
            "no attention kernel for variable lengths here (%s): packed rows use SDPA", problem
        )
    return problem is None


def _agrees(heads: int, kv_heads: int, dim: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Outputs and gradients of both layouts over two rows of unequal segments."""
    lengths: tuple[list[int], list[list[int]]] = ([19, 7], [[5, 1, 9], [3]])
    total = sum(lengths[0]) + sum(map(sum, lengths[1]))
    generator = torch.Generator().manual_seed(0)

    def noise(count: int) -> torch.Tensor:
        return torch.randn(1, count, total, dim, generator=generator).to(device, dtype)

    inputs = [noise(heads), noise(kv_heads), noise(kv_heads)]
    weights = noise(heads).transpose(1, 2)
    found = []
    for kind in (PackedLayout, VarlenLayout):
        query, key, value = leaves = [x.clone().requires_grad_() for x in inputs]
        out = kind(*lengths, device).attend(0, query, key, value, dim**-0.5)
        found.append([out, *torch.autograd.grad((out * weights).sum(), leaves)])
    pairs = zip(*found, strict=True)
    return all(torch.allclose(a, b, atol=TOLERANCE, rtol=TOLERANCE) for a, b in pairs)
