"""Attention in which a prompt is computed once and shared by all its continuations.

It is registered with transformers under the name SHARED_PREFIX. A model that uses it computes what
SDPA computes, unless its text model is called with a ``layout``, which then decides which tokens
attend to which. No continuation attends to another, and each prompt passes the linear layers once.
``PackedLayout`` computes this with SDPA on any device; ``VarlenLayout`` computes the same with one
call of PyTorch's kernel for variable lengths, on a GPU that has it (``has_varlen``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from syngrpo.policy.compat_torch import varlen_kernel
from syngrpo.policy.compat_transformers import plain_attention, register_attention
from syngrpo.policy.kept_prompts import KeptPrompt
from syngrpo.serving.wording import one_line

logger = logging.getLogger(__name__)

SHARED_PREFIX = "shared_prefix"

CAUSAL = (-1, 0)
"""Window of the kernel for variable lengths: a query attends to all keys before it and none after
it, and the last query is at the position of the last key."""
TOLERANCE = 0.05
"""Largest difference between the outputs and gradients of two kernels, in bfloat16 and near 1."""


class Layout(Protocol):
    """Decides which tokens attend to which in one forward pass of the text model."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Attend: ``query`` (rows, heads, N, d), ``key`` and ``value`` (rows, kv_heads, N, d), with
        rotary positions applied. Return (rows, N, heads, d)."""


def shared_prefix_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend in one layer of the text model; transformers calls this."""
    if layout is None:
        return plain_attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return layout.attend(module.layer_idx, query, key, value, scaling), None


register_attention(SHARED_PREFIX, shared_prefix_attention)


class _Rearrange(torch.autograd.Function):
    """Take rows of ``x`` by index, where index ``len(x)`` gives zeros.

    The gradient of plain indexing adds up values at addresses that may repeat, which is slower and
    not deterministic on a GPU. Here each row is taken once, so the inverse index gives the
    gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, to: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(to, back)
        return _take(x, to)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        _, back = ctx.saved_tensors
        return _take(grads[0], back), None, None


def _take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, index)


@dataclass(frozen=True, eq=False)
class Ragged:
    """Converts S sequences of different lengths between two forms: one after the other (N, …), and
    padded to the right (S, L, …).

    ``to`` (S·L,) and ``back`` (N,) are indices, None when all lengths are equal and nothing is
    padded.
    """

    count: int
    longest: int
    to: torch.Tensor | None
    back: torch.Tensor | None

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Ragged:
        count, longest, total = len(lengths), max(lengths, default=0), sum(lengths)
        if longest * count == total:
            return cls(count, longest, None, None)
        sizes = torch.tensor(lengths)
        columns = torch.arange(longest).expand(count, longest)
        inside = columns < sizes[:, None]
        starts = sizes.cumsum(0) - sizes
        to = torch.where(inside, starts[:, None] + columns, total).flatten()
        back = inside.flatten().nonzero().flatten()
        return cls(count, longest, to.to(device), back.to(device))

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """Return (S, L, …) of (N, …), with zeros for padding."""
        if self.to is not None:
            x = _Rearrange.apply(x, self.to, self.back)
        return x.reshape(self.count, self.longest, *x.shape[1:])

    def flatten(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, …) of (S, L, …), without padding."""
        x = x.flatten(0, 1)
        return x if self.to is None else _Rearrange.apply(x, self.back, self.to)


class PackedLayout:
    """Attends with SDPA in one sequence that holds several rows; a row is a prompt and then its
    segments.

    A token of a prompt attends to the tokens before it; a token of a segment attends to its prompt
    and to the tokens before it in the segment. With ``keep`` the keys and values of every prompt
    are kept: ``prefix[layer]`` is a list of (P, kv_heads, d) pairs, one for each row. Of a row with
    a prompt in ``kept`` the sequence holds the segments only.
    """

    def __init__(
        self,
        prompt_lengths: Sequence[int],
        segment_lengths: Sequence[Sequence[int]],
        device: torch.device,
        keep: bool = False,
        kept: Sequence[KeptPrompt | None] = (),
    ) -> None:
        self.kept = list(kept) or [None] * len(prompt_lengths)
        self.segments = [Ragged.of(lengths, device) for lengths in segment_lengths]
        self.parts = [
            size
            for prompt, lengths, before in zip(
                prompt_lengths, segment_lengths, self.kept, strict=True
            )
            for size in (prompt if before is None else 0, sum(lengths))
        ]
        self.device = device
        self.keep = keep
        self.prefix: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
        self._masks: dict[tuple[int, int, int], torch.Tensor] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        whole = [x[0].transpose(0, 1) for x in (query, key, value)]
        self._keep(*whole[1:])
        queries, keys, values = (x.split(self.parts) for x in whole)
        outputs = []
        for row, segments in enumerate(self.segments):
            prompt, rest = 2 * row, 2 * row + 1
            if (before := self.kept[row]) is None:
                prefix = keys[prompt], values[prompt]
                outputs.append(_causal(queries[prompt], *prefix, scaling))
            else:
                prefix = before.layers[layer]
            if segments.longest:
                outputs.append(
                    self._continue(
                        segments, queries[rest], keys[rest], values[rest], prefix, scaling
                    )
                )
        return torch.cat(outputs)[None]

    def _keep(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep the prompts' keys and values (N, kv_heads, d) of one layer, if asked to."""
        if self.keep:
            pairs = zip(keys.split(self.parts)[::2], values.split(self.parts)[::2], strict=True)
            self.prefix.append(list(pairs))

    def _continue(
        self,
        segments: Ragged,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        prefix: tuple[torch.Tensor, torch.Tensor],
        scaling: float,
    ) -> torch.Tensor:
        """Attend for all segments of one row; ``query`` and the result are (N, heads, d)."""
        count, longest = segments.count, segments.longest
        kv_heads, dim = key.shape[1:]
        repeats = query.shape[1] // kv_heads
        keys, values = (
            torch.cat([shared.expand(count, *shared.shape), segments.pad(own)], dim=1)
            for shared, own in zip(prefix, (key, value), strict=True)
        )
        # Query heads that share a key head become further query positions, so that no key is
        # copied.
        folded = segments.pad(query).view(count, longest, kv_heads, repeats, dim)
        folded = folded.permute(0, 2, 3, 1, 4).reshape(count, kv_heads, repeats * longest, dim)
        mask = self._mask(prefix[0].shape[0], longest, repeats, query.dtype)
        out = F.scaled_dot_product_attention(
            folded, keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask, scale=scaling
        )
        out = out.view(count, kv_heads, repeats, longest, dim).permute(0, 3, 1, 2, 4)
        return segments.flatten(out.reshape(count, longest, kv_heads * repeats, dim))

    def _mask(self, prompt: int, longest: int, repeats: int, dtype: torch.dtype) -> torch.Tensor:
        """Return the additive mask (repeats·L, P + L). Padding is at the right, where no token
        attends to it."""
        shape = (prompt, longest, repeats)
        if shape not in self._masks:
            visible = torch.ones(longest, prompt + longest, dtype=torch.bool).tril(prompt)
            bias = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, float("-inf"))
            self._masks[shape] = bias.repeat(repeats, 1).to(self.device)
        return self._masks[shape]


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attend causally inside one prompt: (P, heads, d), (P, kv_heads, d) → (P, heads, d)."""
    q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))
    out = F.scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out[0].transpose(0, 1)


class VarlenLayout(PackedLayout):
    """Computes what PackedLayout does, on a device for which ``has_varlen`` returns true.

    For the kernel every prompt and every segment is a sequence of its own; the keys of a segment
    are those of its prompt and its own. One call of the kernel computes a layer, without masks and
    padding. Gradients differ in their last bits between two calls, because threads of the device
    add to the gradient of a prompt's keys in any order.
    """

    def __init__(
        self,
        prompt_lengths: Sequence[int],
        segment_lengths: Sequence[Sequence[int]],
        device: torch.device,
        keep: bool = False,
        kept: Sequence[KeptPrompt | None] = (),
    ) -> None:
        super().__init__(prompt_lengths, segment_lengths, device, keep, kept)
        self._kernel = varlen_kernel()
        queries: list[int] = []
        keys: list[torch.Tensor] = []
        # The keys of all kept prompts come first.
        place, start = 0, sum(before.length for before in self.kept if before is not None)
        for prompt, lengths, before in zip(prompt_lengths, segment_lengths, self.kept, strict=True):
            if before is None:
                shared = torch.arange(start, start + prompt)
                queries.append(prompt)
                keys.append(shared)
                start += prompt
            else:
                shared = torch.arange(place, place + prompt)
                place += prompt
            for length in lengths:
                if length:
                    queries.append(length)
                    keys.append(torch.cat([shared, torch.arange(start, start + length)]))
                    start += length
        if not queries:  # kept prompts with responses of one token: nothing attends
            return
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
        if before := [one.layers[layer] for one in self.kept if one is not None]:
            keys = torch.cat([*(own for own, _ in before), keys])
            values = torch.cat([*(own for _, own in before), values])
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
    """Return int32 (len(lengths) + 1,): the index at which each sequence begins, and the end of the
    last."""
    return torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)


def has_varlen(config: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether this device has a kernel for variable lengths that computes what SDPA does.

    It is tried with the numbers of heads in ``config``, that of a text model. If the kernel fails
    or computes something else, a warning is logged.
    """
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    try:
        problem = (
            None if _agrees(heads, kv_heads, dim, device, dtype) else "it computes something else"
        )
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        problem = one_line(error)
    if problem:
        logger.warning(
            "the attention kernel for variable lengths cannot be used (%s): packed rows use SDPA",
            problem,
        )
    return problem is None


def _agrees(heads: int, kv_heads: int, dim: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether both layouts agree, gradients too, for two rows of unequal segments."""
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
