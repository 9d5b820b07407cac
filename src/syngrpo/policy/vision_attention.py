"""Attention of the vision tower, in which all sequences of one length are computed together.

A sequence is an image, or a window of an image: its tokens attend to each other and to no other.
transformers calls SDPA once for each sequence and asks the device for their lengths in every layer.
In Qwen2.5-VL an image of 640x480 pixels has 30 windows, so a GPU would wait for Python. Here SDPA
is called once for each length that occurs, at most four for the windows of one image, and the
lengths are read once for each forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from syngrpo.policy.compat_transformers import register_attention

BY_LENGTH = "by_length_instead_of_flash"
"""The name under which transformers knows this attention. An attention with "flash" in its name is
called once for all sequences, and is told where each one ends."""


@dataclass(frozen=True, eq=False)
class _Sequences:
    """The sequences of a vision tower's N tokens, sorted by their lengths.

    ``groups`` holds a number of sequences and the length of each of them; ``order`` and ``back``,
    both (N,), sort the tokens and undo it; None if the tokens are sorted already.
    """

    groups: list[tuple[int, int]]
    order: torch.Tensor | None
    back: torch.Tensor | None

    @classmethod
    def of(cls, ends: torch.Tensor) -> _Sequences:
        """Read them from ``ends`` (S + 1,): 0, and where each of the S sequences ends."""
        places = ends.tolist()
        lengths = torch.tensor(places).diff()
        present, counts = lengths.unique(return_counts=True)
        groups = list(zip(counts.tolist(), present.tolist(), strict=True))
        by_length = lengths.argsort(stable=True)
        if torch.equal(by_length, torch.arange(len(lengths))):
            return cls(groups, None, None)
        tokens = torch.arange(places[-1]).split(lengths.tolist())
        order = torch.cat([tokens[sequence] for sequence in by_length.tolist()])
        return cls(groups, order.to(ends.device), order.argsort().to(ends.device))

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Attend within each sequence: (N, heads, d) → (N, heads, d)."""
        tensors = [query, key, value]
        if self.order is not None:
            tensors = [x.index_select(0, self.order) for x in tensors]
        sizes = [count * length for count, length in self.groups]
        outputs = []
        for (count, _), *parts in zip(self.groups, *(x.split(sizes) for x in tensors), strict=True):
            q, k, v = (x.unflatten(0, (count, -1)).transpose(1, 2) for x in parts)
            out = F.scaled_dot_product_attention(q, k, v, scale=scaling)
            outputs.append(out.transpose(1, 2).flatten(0, 1))
        out = torch.cat(outputs)
        return out if self.back is None else out.index_select(0, self.back)


class VisionLayout:
    """The sequences of one forward pass of the vision tower, which its layers share.

    Give it to the tower as ``layout``. Layers that attend within windows and layers that attend
    within whole images get different sequences.
    """

    def __init__(self) -> None:
        self._known: list[tuple[torch.Tensor, _Sequences]] = []

    def sequences(self, ends: torch.Tensor) -> _Sequences:
        """Return the sequences with these ends (S + 1,), the same object for the same tensor."""
        for known, found in self._known:
            if known is ends:
                return found
        self._known.append((ends, _Sequences.of(ends)))
        return self._known[-1][1]


def attention_by_length(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    layout: VisionLayout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend in one layer of a vision tower; transformers calls this.

    ``query``, ``key`` and ``value`` are (1, heads, N, d); the result is (1, N, heads, d). Without a
    ``layout`` the sequences are read anew.
    """
    sequences = (layout or VisionLayout()).sequences(cu_seq_lens_q)
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    out = sequences.attend(q, k, v, scaling)
    return out[None], None


register_attention(BY_LENGTH, attention_by_length)
