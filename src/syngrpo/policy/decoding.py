"""Attention for decoding many responses to few prompts, one token a step.

The prompts' keys and values exist once a prompt, not once a response; only what a response wrote
itself is its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from syngrpo.policy.encode import Prompt
from syngrpo.policy.forward import forward_rows
from syngrpo.policy.loading import Policy

BLOCK = 64
"""Room for own keys and values grows by this many tokens at a time."""

Pair = tuple[torch.Tensor, torch.Tensor]


class SharedDecoder:
    """R rows that continue B prompts one token a call; each prompt runs, and is kept, once.

    ``states`` (R, d) are the hidden states that predict the next tokens.
    """

    def __init__(self, policy: Policy, prompts: Sequence[Prompt], group_size: int) -> None:
        nothing: list[list[torch.Tensor]] = [[] for _ in prompts]
        rows = forward_rows(policy, policy.base, prompts, nothing, keep_prefix=True)
        owners = torch.arange(len(prompts), device=policy.device).repeat_interleave(group_size)
        lengths = torch.tensor([len(p.input_ids) for p in prompts], device=policy.device)
        self.states = rows.hidden[lengths.cumsum(0) - 1][owners]
        self._positions = torch.tensor(rows.starts, device=policy.device)[owners]
        self._layout = DecodeLayout(rows.layout.prefix, owners)
        self._text_model = policy.family.text_model(policy.base)

    def append(self, tokens: torch.Tensor) -> None:
        """Continues each row by one token (R,)."""
        outputs = self._text_model(
            input_ids=tokens[:, None],
            position_ids=self._positions.expand(3, -1)[..., None],
            use_cache=False,
            layout=self._layout,
        )
        self._layout.advance()
        self._positions = self._positions + 1
        self.states = outputs.last_hidden_state[:, 0]

    def keep(self, rows: torch.Tensor) -> None:
        """Drops all rows but these (ascending indices into the rows of now)."""
        self._layout.keep(rows)
        self._positions = self._positions[rows]


class DecodeLayout:
    """R rows, each continuing one of B prompts; every call appends one token to each row.

    ``prefix[layer]`` holds one (P, kv_heads, d) pair of keys and values a prompt; ``owners`` (R,)
    says whose prompt a row continues, in ascending order.
    """

    def __init__(self, prefix: Sequence[Sequence[Pair]], owners: torch.Tensor) -> None:
        lengths = torch.tensor([len(keys) for keys, _ in prefix[0]], device=owners.device)
        self._prefix = [
            (_pad([k for k, _ in pairs]), _pad([v for _, v in pairs])) for pairs in prefix
        ]
        longest = int(lengths.max())
        hidden = torch.arange(longest, device=owners.device) >= lengths[:, None]
        self._bias = hidden.float().masked_fill(hidden, float("-inf")) if hidden.any() else None
        self._own: list[Pair | None] = [None] * len(prefix)
        self._owners = owners
        self._length = 0
        self._arrange()

    def advance(self) -> None:
        """Says that every layer has appended its token."""
        self._length += 1

    def keep(self, rows: torch.Tensor) -> None:
        """Drops all rows but these (ascending indices into the rows of now)."""
        self._own = [own and (own[0][rows], own[1][rows]) for own in self._own]
        owners = self._owners[rows]
        present, self._owners = owners.unique(return_inverse=True)
        if len(present) < len(self._prefix[0][0]):
            self._prefix = [(k[present], v[present]) for k, v in self._prefix]
            self._bias = self._bias[present] if self._bias is not None else None
        self._arrange()

    def _arrange(self) -> None:
        """Rows → a rectangle (B, A) of the rows of each prompt; spare cells repeat row 0."""
        counts = torch.bincount(self._owners)
        widest = int(counts.max())
        starts = counts.cumsum(0) - counts
        order = torch.arange(len(self._owners), device=self._owners.device)
        self._cell = self._owners * widest + order - starts[self._owners]
        self._grid = self._owners.new_zeros(len(counts) * widest)
        self._grid[self._cell] = order
        self._shape = (len(counts), widest)
        self._full = len(self._grid) == len(order)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows, heads, _, dim = query.shape
        kv_heads = key.shape[1]
        keys, values = self._append(layer, key, value)
        shared_keys, shared_values = self._prefix[layer]
        folded = query.reshape(rows, kv_heads, heads // kv_heads, dim) * scaling
        own = folded @ keys.transpose(-1, -2)
        shared = self._to_grid(folded) @ shared_keys.transpose(-1, -2)
        if self._bias is not None:
            shared = shared + self._bias[:, None, None]
        shared = self._to_rows(shared, heads // kv_heads)
        prompt = shared.shape[-1]
        # One softmax over both parts, so the split changes nothing.
        weights = torch.cat([shared, own], dim=-1).softmax(-1, dtype=torch.float32).to(query.dtype)
        seen = self._to_grid(weights[..., :prompt]) @ shared_values
        out = self._to_rows(seen, heads // kv_heads) + weights[..., prompt:] @ values
        return out.reshape(rows, 1, heads, dim)

    def _append(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> Pair:
        """Own keys and values (R, kv_heads, written + 1, d) with the new token's at the end."""
        own, end = self._own[layer], self._length + 1
        if own is None or own[0].shape[2] < end:
            rows, heads, _, dim = key.shape
            room = key.new_empty(rows, heads, BLOCK, dim), value.new_empty(rows, heads, BLOCK, dim)
            own = (
                room
                if own is None
                else (
                    torch.cat([own[0], room[0]], dim=2),
                    torch.cat([own[1], room[1]], dim=2),
                )
            )
            self._own[layer] = own
        own[0][:, :, self._length] = key[:, :, 0]
        own[1][:, :, self._length] = value[:, :, 0]
        return own[0][:, :, :end], own[1][:, :, :end]

    def _to_grid(self, x: torch.Tensor) -> torch.Tensor:
        """(R, kv_heads, n, e) → (B, kv_heads, A·n, e)."""
        _, heads, repeats, width = x.shape
        if not self._full:
            x = x[self._grid]
        x = x.reshape(*self._shape, heads, repeats, width).transpose(1, 2)
        return x.reshape(self._shape[0], heads, -1, width)

    def _to_rows(self, x: torch.Tensor, repeats: int) -> torch.Tensor:
        """(B, kv_heads, A·n, e) → (R, kv_heads, n, e)."""
        prompts, heads, _, width = x.shape
        x = x.reshape(prompts, heads, -1, repeats, width).transpose(1, 2)
        x = x.reshape(-1, heads, repeats, width)
        return x if self._full else x[self._cell]


def _pad(parts: list[torch.Tensor]) -> torch.Tensor:
    """Sequences (P_i, kv_heads, d) → (B, kv_heads, longest, d), contiguous, padded right."""
    return pad_sequence(parts, batch_first=True).transpose(1, 2).contiguous()
