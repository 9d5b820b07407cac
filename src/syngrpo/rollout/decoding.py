"""Decodes many responses to few prompts, one token a step, with each prompt computed once.

``SharedDecoder`` runs the model. ``DecodeLayout`` computes the attention of its layers: the keys
and values of a prompt are stored once; each row stores only those of its response's own tokens.
Their memory is allocated once. A step writes into it in place, at a position that is itself a
tensor, so between two calls of ``reserve`` or ``keep`` all steps do the same operations on the same
addresses with the same shapes, and can be recorded (``cuda_graphs.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from syngrpo.policy.encode import Prompt
from syngrpo.policy.forward import forward_packed
from syngrpo.policy.kept_prompts import keep
from syngrpo.policy.model import Policy

ALIGNED = 8
"""Lengths of prompts and of responses are padded to multiples of this, because a GPU's matrix
kernels are then faster."""

Pair = tuple[torch.Tensor, torch.Tensor]


class SharedDecoder:
    """Decodes R rows (responses), which continue B prompts, by one token a call.

    Each prompt is computed once and stored once. ``states`` (R, d) are the hidden states that
    predict the first tokens; up to ``room`` tokens can be appended. ``recordable``: whether
    ``append`` may be recorded as a CUDA graph. If the weights will be trained on the responses to
    all prompts, these keep their forward pass with its graph (``Prompt.kept``).
    """

    def __init__(
        self, policy: Policy, prompts: Sequence[Prompt], group_size: int, room: int
    ) -> None:
        nothing: list[list[torch.Tensor]] = [[] for _ in prompts]
        owners = torch.arange(len(prompts), device=policy.device).repeat_interleave(group_size)
        keeps = all(prompt.will_train for prompt in prompts)
        with torch.set_grad_enabled(keeps):
            rows = forward_packed(policy, policy.base, prompts, nothing, keep_prefix=True)
            states = rows.hidden[rows.last]
            if keeps:
                kept = keep(states, rows.starts, rows.layout.prefix)
                for prompt, one in zip(prompts, kept, strict=True):
                    prompt.kept = one
        self.states = states.detach()[owners]
        self._positions = torch.tensor(rows.starts, device=policy.device)[owners]
        self._layout = DecodeLayout(rows.layout.prefix, owners, room)
        self._text_model = policy.family.text_model(policy.base)
        self.recordable = _has_fixed_shapes(policy)

    def append(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token a row (R,); return the states (R, d) that predict the next tokens."""
        self._layout.advance()
        outputs = self._text_model(
            input_ids=tokens[:, None],
            attention_mask=self._layout.bias,
            position_ids=self._positions.expand(3, -1)[..., None],
            use_cache=False,
            layout=self._layout,
        )
        self._positions += 1
        states: torch.Tensor = outputs.last_hidden_state[:, 0]
        return states

    def reserve(self, length: int, block: int) -> bool:
        """Let the next steps attend to ``length`` tokens of each response, as
        ``DecodeLayout.reserve`` does."""
        return self._layout.reserve(length, block)

    def keep(self, rows: torch.Tensor) -> None:
        """Remove all rows but these (ascending indices into the current rows)."""
        self._layout.keep(rows)
        self._positions = self._positions[rows]


def _has_fixed_shapes(policy: Policy) -> bool:
    """Return whether the shapes of all operations are independent of the values of tensors.

    They are, except in a mixture of experts, where the number of tokens of an expert is such a
    value. PyTorch has grouped matrix products that keep this number on the device, but only in
    bfloat16 on GPUs of compute capability 9 and 10; on other GPUs the host reads the numbers and
    multiplies expert by expert.
    """
    experts = getattr(policy.base.config.text_config, "num_experts", None)
    if not experts or policy.device.type != "cuda":
        return True
    major, _ = torch.cuda.get_device_capability(policy.device)
    return policy.base.dtype == torch.bfloat16 and major in (9, 10)


class DecodeLayout:
    """The attention of R rows, each of which continues one of B prompts by up to ``room`` tokens.

    ``prefix[layer]`` holds one (P, kv_heads, d) pair of keys and values a prompt; ``owners`` (R,)
    is the index of each row's prompt, in ascending order. A row has ``room`` slots for the keys and
    values of its own tokens and attends to the first S of them. ``bias`` (R, 1, 1, P + S) is added
    to a row's scores: 0 for its prompt and the tokens it has, -inf for everything else.
    """

    def __init__(self, prefix: Sequence[Sequence[Pair]], owners: torch.Tensor, room: int) -> None:
        lengths = torch.tensor([len(keys) for keys, _ in prefix[0]], device=owners.device)
        longest, room = (-(-n // ALIGNED) * ALIGNED for n in (int(lengths.max()), room))
        self._prefix = [
            (_padded([k for k, _ in pairs], longest), _padded([v for _, v in pairs], longest))
            for pairs in prefix
        ]
        _, kv_heads, _, dim = self._prefix[0][0].shape
        # Zeros instead of uninitialised memory, because unused slots are multiplied by 0, and
        # 0 · NaN is NaN.
        shape = (len(owners), kv_heads, room, dim)
        self._own = [(keys.new_zeros(shape), keys.new_zeros(shape)) for keys, _ in self._prefix]
        self._bias = self._prefix[0][0].new_full((len(owners), 1, 1, longest + room), float("-inf"))
        columns = torch.arange(longest + room, device=owners.device)
        self._bias.masked_fill_((columns < lengths[owners][:, None])[:, None, None], 0.0)
        self._longest, self._room, self._slots = longest, room, 0
        self._owners = owners
        self._slot = torch.tensor([-1], device=owners.device)
        self._arrange()

    def advance(self) -> None:
        """Make the slot of the next token visible. A slot must be left."""
        self._slot += 1
        self.bias.index_fill_(-1, self._longest + self._slot, 0.0)

    def reserve(self, length: int, block: int) -> bool:
        """Let rows attend to ``length`` slots, rounded up to whole blocks. Return whether shapes
        have changed."""
        slots = min(-(-length // block) * block, self._room)
        changed = slots > self._slots
        if changed:
            self._slots = slots
            self._take_views()
        return changed

    def keep(self, rows: torch.Tensor) -> None:
        """Remove all rows but these (ascending indices into the current rows)."""
        for keys, values in self._visible:
            keys[: len(rows)], values[: len(rows)] = keys[rows], values[rows]
        self._bias = self._bias[rows]
        present, self._owners = self._owners[rows].unique(return_inverse=True)
        if len(present) < len(self._prefix[0][0]):
            self._prefix = [(k[present], v[present]) for k, v in self._prefix]
        self._arrange()

    def _arrange(self) -> None:
        """Arrange the rows as a grid (B, A) with one line for each prompt, where A is the largest
        number of rows of a prompt; unused cells repeat row 0."""
        counts = torch.bincount(self._owners)
        widest = int(counts.max())
        order = torch.arange(len(self._owners), device=self._owners.device)
        column = order - (counts.cumsum(0) - counts)[self._owners]
        self._cell = (self._owners, column)
        self._grid = self._owners.new_zeros(len(counts), widest)
        self._grid[self._cell] = order
        self._heads = torch.arange(self._prefix[0][0].shape[1], device=order.device)[:, None]
        self._full = self._grid.numel() == len(order)
        self._take_views()

    def _take_views(self) -> None:
        """Take the views of keys, values and bias that the current rows attend to."""
        rows, slots = len(self._owners), self._slots
        self._visible = [(k[:rows, :, :slots], v[:rows, :, :slots]) for k, v in self._own]
        self.bias = self._bias[..., : self._longest + slots]

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Attend in one layer for one new token of each row; the model's layers call this.

        ``query`` (R, heads, 1, d), ``key`` and ``value`` (R, kv_heads, 1, d), which are stored in
        the slot of the new token. Returns (R, 1, heads, d).
        """
        rows, heads, _, dim = query.shape
        kv_heads = key.shape[1]
        keys, values = self._visible[layer]
        keys.index_copy_(2, self._slot, key)
        values.index_copy_(2, self._slot, value)
        shared_keys, shared_values = self._prefix[layer]
        # The query heads that share a key head become rows of one product, so no key is copied.
        folded = query.reshape(rows, kv_heads, heads // kv_heads, dim)
        shared = self._to_rows(self._to_grid(folded) @ shared_keys.transpose(-1, -2))
        own = (folded @ keys.transpose(-1, -2)).view(*shared.shape[:-1], -1)
        scores = torch.cat([shared, own], dim=-1).view(rows, kv_heads, heads // kv_heads, -1)
        # One softmax over both parts: the result is that of attention over prompt and response.
        weights = torch.add(self.bias, scores, alpha=scaling).softmax(-1)
        seen = self._to_rows(self._to_grid(weights[..., : self._longest]) @ shared_values)
        out = (weights[..., self._longest :] @ values).view(seen.shape) + seen
        return out.view(rows, 1, heads, dim)

    def _to_grid(self, x: torch.Tensor) -> torch.Tensor:
        """Convert (R, kv_heads, n, e) to (B, kv_heads, A·n, e)."""
        if self._full:
            x = x.view(*self._grid.shape, *x.shape[1:]).transpose(1, 2)
        else:
            x = x[self._grid[:, None], self._heads]
        return x.flatten(2, 3)

    def _to_rows(self, x: torch.Tensor) -> torch.Tensor:
        """Convert (B, kv_heads, A·n, e) to (R, kv_heads, n, e), or to a view (B, A, kv_heads, n, e)
        when no cell of the grid is unused."""
        x = x.unflatten(2, (self._grid.shape[1], -1)).transpose(1, 2)
        return x if self._full else x[self._cell]


def _padded(parts: list[torch.Tensor], length: int) -> torch.Tensor:
    """Convert sequences (P_i, kv_heads, d) to contiguous (B, kv_heads, length, d) with zeros to the
    right."""
    first = parts[0]
    padded = first.new_zeros(len(parts), first.shape[1], length, first.shape[2])
    for row, part in zip(padded, parts, strict=True):
        row[:, : len(part)] = part.transpose(0, 1)
    return padded
