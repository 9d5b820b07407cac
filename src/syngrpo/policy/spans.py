"""Finds which token of a response wrote which part of its text.

Reading a response gives the span of characters of its scene; the update gives the tokens of that
span an advantage of their own. Kept responses have the text of every token.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from tokenizers.decoders import DecodeStream


def decode(tokenizer: Any, token_ids: torch.Tensor) -> str:
    """Return the text of a response (L,), without special tokens and with all spaces as written."""
    return tokenizer.decode(
        token_ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def scene_token_mask(
    tokenizer: Any, token_ids: torch.Tensor, char_span: tuple[int, int]
) -> torch.Tensor:
    """Return bool (L,): true for the tokens that wrote a character of ``decode(...)[start:end]``.

    A token that holds only some bytes of a character counts as having written it. A special token
    writes no text; it is inside if characters of the span are written before and after it.
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
        first -= 1  # the token before it also writes a character of the span
    special = set(tokenizer.all_special_ids)
    while first < length and int(token_ids[first]) in special:
        first += 1
    last = _first(length, lambda count: written(count) >= end)
    mask[first:last] = True
    return mask


def token_texts(tokenizer: Any, token_ids: torch.Tensor) -> list[str]:
    """Return the text that each token of a response (L,) adds; joined, they are ``decode(...)``.

    A character that several tokens write is in the text of the last of them. The text of a special
    token is "".
    """
    if not len(token_ids):
        return []
    text, backend = decode(tokenizer, token_ids), getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        stream = DecodeStream(skip_special_tokens=True)
        texts = [stream.step(backend, token) or "" for token in token_ids.tolist()]
        written = "".join(texts)
        if text.startswith(written):
            texts[-1] += text[len(written) :]  # the end of a response may be half a character
            return texts
    counts = range(1, len(token_ids) + 1)
    ends = [_common_prefix(decode(tokenizer, token_ids[:count]), text) for count in counts]
    ends[-1] = len(text)
    return [text[start:end] for start, end in pairwise([0, *ends])]


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


def _common_prefix(a: str, b: str) -> int:
    """Return the length of the common prefix of two texts. A character that is cut between two
    tokens decodes to a replacement character, so it does not count."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))
