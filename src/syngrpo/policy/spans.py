"""Which tokens of a response wrote which characters of its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def decode(tokenizer: Any, token_ids: torch.Tensor) -> str:
    """The text of a response (L,): special tokens left out, spaces exactly as written."""
    return tokenizer.decode(
        token_ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def scene_token_mask(
    tokenizer: Any, token_ids: torch.Tensor, char_span: tuple[int, int]
) -> torch.Tensor:
    """bool (L,): true for the tokens that wrote any character of ``decode(...)[start:end]``.

    A token that holds only some bytes of a character belongs to it. Special tokens, which write
    nothing, are inside when characters of the span surround them.
    """
    start, end = char_span
    length = len(token_ids)
    mask = torch.zeros(length, dtype=torch.bool)
    if end <= start:
        return mask
    text = decode(tokenizer, token_ids)

    def written(count: int) -> int:
        return _common_prefix(decode(tokenizer, token_ids[:count]), text)

    first = _first(length, lambda count: written(count) >= start)
    if first > 0 and written(first) > start:
        first -= 1  # this token writes across the border
    special = set(tokenizer.all_special_ids)
    while first < length and int(token_ids[first]) in special:
        first += 1
    last = _first(length, lambda count: written(count) >= end)
    mask[first:last] = True
    return mask


def _first(length: int, reached: Callable[[int], bool]) -> int:
    """The smallest count in 0..length for which the monotone ``reached`` holds, else length."""
    low, high = 0, length
    while low < high:
        middle = (low + high) // 2
        if reached(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _common_prefix(a: str, b: str) -> int:
    """Characters that are final: a cut character decodes to a replacement mark, which differs."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))
