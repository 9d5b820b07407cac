"""Finds which token of a response wrote which part of its text, for tensors.

``method.token_spans`` does so for arrays. Kept responses have the text of every token.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from tokenizers.decoders import DecodeStream

from syngrpo.method.token_spans import common_prefix, decoded, span_tokens


def decode(tokenizer: Any, token_ids: torch.Tensor) -> str:
    """Return the text of a response (L,), without special tokens and with all spaces as written."""
    return decoded(tokenizer, token_ids.cpu().numpy())


def scene_token_mask(
    tokenizer: Any, token_ids: torch.Tensor, char_span: tuple[int, int]
) -> torch.Tensor:
    """Return ``span_tokens``, bool (L,): true for the tokens that wrote a character of
    ``decode(...)[start:end]``, and for the end token if the span ends with the text."""
    return torch.from_numpy(span_tokens(tokenizer, token_ids.numpy(), char_span))


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
    ends = [common_prefix(decode(tokenizer, token_ids[:count]), text) for count in counts]
    ends[-1] = len(text)
    return [text[start:end] for start, end in pairwise([0, *ends])]
