"""Finds which token of a response wrote which part of its text.

Reading a response gives the span of characters of its scene; the update gives the tokens of that
span an advantage of their own. ``tokenizer`` is one of transformers, or anything with the same
``decode`` and ``all_special_ids``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def decoded(tokenizer: Any, token_ids: NDArray[np.int64]) -> str:
    """Return the text of a response (L,), without special tokens and with all spaces as written."""
    text: str = tokenizer.decode(
        token_ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text


def span_tokens(
    tokenizer: Any, token_ids: NDArray[np.int64], char_span: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return bool (L,): true for the tokens that wrote a character of ``decoded(…)[start:end]``.

    A token that holds only some bytes of a character counts as having written it. A special token
    writes no text; it is inside if characters of the span are written before it, and after it
    characters of the span or nothing more: the token that ends a response belongs to its last part.
    """
    start, end = char_span
    length = len(token_ids)
    mask = np.zeros(length, dtype=np.bool_)
    if end <= start:
        return mask
    text = decoded(tokenizer, token_ids)

    def written(count: int) -> int:
        return common_prefix(decoded(tokenizer, token_ids[:count]), text)

    first = _first(length, lambda count: written(count) >= start)
    if first > 0 and written(first) > start:
        first -= 1  # the token before it also writes a character of the span
    special = set(tokenizer.all_special_ids)
    while first < length and int(token_ids[first]) in special:
        first += 1
    last = length if end >= len(text) else _first(length, lambda count: written(count) >= end)
    mask[first:last] = True
    return mask


def common_prefix(a: str, b: str) -> int:
    """Return the length of the common prefix of two texts. A character that is cut between two
    tokens decodes to a replacement character, so it does not count."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))


def _first(length: int, reached: Callable[[int], bool]) -> int:
    """Return the smallest count in 0..length for which ``reached`` holds, ``length`` if there is
    none. Once it holds for a count, it must hold for all larger ones."""
    low, high = 0, length
    while low < high:
        middle = (low + high) // 2
        if reached(middle):
            high = middle
        else:
            low = middle + 1
    return low
