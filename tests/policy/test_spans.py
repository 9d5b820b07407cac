"""Token spans against the bytes each token of a byte-level vocabulary stands for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import build_tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from syngrpo.policy.spans import decode, scene_token_mask, token_texts

TEXTS = (
    "<think>the lamp</think><answer>None</answer>\n<scene>a green room</scene>",
    "<think>é</think><answer>🪑</answer><scene>grüne Wände, 椅子 🛋️ und Licht</scene> 椅",
    "🛋️<scene>椅</scene>🛋️",
    "<scene></scene>",
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


def overlap_by_bytes(tokenizer: Any, ids: list[int], span: tuple[int, int]) -> list[bool]:
    """Every character of a token's string is one byte; special tokens write none."""
    text = decode(tokenizer, torch.tensor(ids))
    start, end = (len(text[:i].encode()) for i in span)
    whole = len(text.encode())
    overlaps, position = [], 0
    for token_id, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True):
        size = 0 if token_id in tokenizer.all_special_ids else len(token)
        inside = start < position and (position < end or end == whole) if size == 0 else None
        overlaps.append(position < end and position + size > start if size else bool(inside))
        position += size
    return overlaps


def encodings(tokenizer: Any, text: str) -> list[list[int]]:
    """The usual tokens, and one token a byte, so that characters are cut apart."""
    letters = bytes_to_unicode()
    single = tokenizer.convert_tokens_to_ids([letters[byte] for byte in text.encode()])
    return [tokenizer.encode(text), single]


@pytest.mark.parametrize("text", TEXTS)
def test_every_span_of_every_text(tokenizer: Any, text: str) -> None:
    end_token = tokenizer.eos_token_id
    for ids in encodings(tokenizer, text):
        ids = [*ids, end_token]
        tokens = torch.tensor(ids)
        assert decode(tokenizer, tokens) == text
        for start in range(len(text)):
            for end in (start + 1, (start + len(text) + 1) // 2, len(text)):
                if end <= start:
                    continue
                mask = scene_token_mask(tokenizer, tokens, (start, end))
                assert mask.tolist() == overlap_by_bytes(tokenizer, ids, (start, end))


def test_scene_tokens_decode_to_the_scene(tokenizer: Any) -> None:
    text = TEXTS[1]
    start, end = text.index("<scene>"), text.index("</scene>") + len("</scene>")
    for ids in encodings(tokenizer, text):
        tokens = torch.tensor([*ids, tokenizer.eos_token_id])
        mask = scene_token_mask(tokenizer, tokens, (start, end))
        assert text[start:end] in decode(tokenizer, tokens[mask])
        assert not mask[-1]
        assert scene_token_mask(tokenizer, tokens, (start, len(text)))[-1]  # the end of all


def test_invalid_bytes_before_the_span_do_not_shift_it(tokenizer: Any) -> None:
    letters = bytes_to_unicode()
    broken = tokenizer.convert_tokens_to_ids([letters[b] for b in (0xE6, 0xA4, 0x41, 0xFF)])
    scene = tokenizer.encode("<scene>plain</scene>")
    tokens = torch.tensor([*broken, *scene])
    text = decode(tokenizer, tokens)
    start = text.index("<scene>")
    mask = scene_token_mask(tokenizer, tokens, (start, len(text)))
    assert mask.tolist() == [False] * len(broken) + [True] * len(scene)


def test_empty_span_and_empty_response(tokenizer: Any) -> None:
    tokens = torch.tensor(tokenizer.encode("the lamp"))
    assert not scene_token_mask(tokenizer, tokens, (3, 3)).any()
    assert scene_token_mask(tokenizer, tokens[:0], (0, 4)).shape == (0,)


class PlainTokenizer:
    """A tokenizer that has no fast backend."""

    def __init__(self, tokenizer: Any) -> None:
        self.decode = tokenizer.decode


@pytest.mark.parametrize("text", TEXTS)
def test_the_texts_of_tokens_add_up_and_end_with_whole_characters(
    tokenizer: Any, text: str
) -> None:
    for ids in encodings(tokenizer, text):
        for length in range(len(ids) + 1):  # also cut within a character
            tokens = torch.tensor([*ids[:length], tokenizer.eos_token_id])
            texts = token_texts(tokenizer, tokens)
            assert "".join(texts) == decode(tokenizer, tokens) and len(texts) == len(tokens)
            plain = token_texts(PlainTokenizer(tokenizer), tokens)
            assert "".join(plain) == "".join(texts)
            if "\N{REPLACEMENT CHARACTER}" not in "".join(texts):
                assert plain == texts
    tokens = torch.tensor(tokenizer.encode(TEXTS[0]))
    alone = [decode(tokenizer, token[None]) for token in tokens]
    assert token_texts(tokenizer, tokens) == alone  # every token here is whole characters
    assert token_texts(tokenizer, torch.tensor([], dtype=torch.long)) == []
