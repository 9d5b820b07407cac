"""The columns of a kept response, and how responses become an Arrow table.

``KeptResponse`` is one row; its fields are the columns, except that ``rewards`` and ``tokens`` are
several columns each. docs/responses.md explains every column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

TokenTexts = Callable[[np.ndarray], list[str]]
"""Returns the text that each of these token ids (L,) adds to a response."""

_PART = re.compile(r"<(think|answer|scene)>.*?(?:</\1>|\Z)", re.DOTALL)
OUTSIDE = "other"
"""The part of a token that is in none of the three parts of a response."""


@dataclass(frozen=True, eq=False)
class KeptTokens:
    """The tokens of a response; all arrays have the shape (L,).

    ``advantages`` and ``logp_training`` are None for a response that did not enter the loss, and
    ``logp_training`` also for one from which the update learns nothing, which is not computed.
    ``logp_sampling`` is NaN for a response to a distorted image.
    """

    ids: np.ndarray
    entropy: np.ndarray
    logp_sampling: np.ndarray
    advantages: np.ndarray | None
    logp_training: np.ndarray | None


@dataclass(frozen=True, eq=False)
class KeptResponse:
    """One response.

    ``group_index`` is the place of its sample in the batch of the step, ``response_index`` its
    place among the responses to this sample. ``boxes`` are (label, x1, y1, x2, y2) and ``points``
    (label, x, y) of the answer, in pixels of the original image. ``truth`` and ``prediction`` are
    JSON. ``advantage`` is that of the tokens outside of the description, None for a response that
    did not enter the loss. ``rewards`` holds the user's own rewards by name.
    """

    step: int
    group_index: int
    response_index: int
    policy_version: int
    sample_id: str
    parent: str | None
    dataset: str
    task: str
    question: str
    truth: str
    transformed: bool
    text: str
    answer: str | None
    prediction: str | None
    boxes: Sequence[tuple[str, float, float, float, float]]
    points: Sequence[tuple[str, float, float]]
    description: str | None
    accuracy: float
    format: float
    advantage: float | None
    diversity: float
    entropy: float
    length: int
    finished: bool
    in_loss: bool
    rewards: Mapping[str, float | None]
    tokens: KeptTokens | None


def _struct(*numbers: str) -> pa.DataType:
    fields = [pa.field("label", pa.string()), *(pa.field(name, pa.float32()) for name in numbers)]
    return pa.list_(pa.struct(fields))


COLUMNS: dict[str, pa.DataType] = {
    "step": pa.int32(),
    "group_index": pa.int32(),
    "response_index": pa.int32(),
    "policy_version": pa.int32(),
    "sample_id": pa.string(),
    "parent": pa.string(),
    "dataset": pa.string(),
    "task": pa.string(),
    "question": pa.string(),
    "truth": pa.string(),
    "transformed": pa.bool_(),
    "text": pa.string(),
    "answer": pa.string(),
    "prediction": pa.string(),
    "boxes": _struct("x1", "y1", "x2", "y2"),
    "points": _struct("x", "y"),
    "description": pa.string(),
    "accuracy": pa.float32(),
    "format": pa.float32(),
    "advantage": pa.float32(),
    "diversity": pa.float32(),
    "entropy": pa.float32(),
    "length": pa.int32(),
    "finished": pa.bool_(),
    "in_loss": pa.bool_(),
}
TOKEN_COLUMNS: dict[str, pa.DataType] = {
    "token_ids": pa.list_(pa.int32()),
    "token_texts": pa.list_(pa.string()),
    "token_parts": pa.list_(pa.string()),
    "token_advantages": pa.list_(pa.float32()),
    "token_entropy": pa.list_(pa.float32()),
    "token_logp_sampling": pa.list_(pa.float32()),
    "token_logp_training": pa.list_(pa.float32()),
}
_STRUCTS = {"boxes": ("label", "x1", "y1", "x2", "y2"), "points": ("label", "x", "y")}


def reward_column(name: str) -> str:
    """Return the column of a custom reward; its mean over a step is the metric of this name."""
    return f"reward/{name}"


def schema_of(rewards: Sequence[str]) -> pa.Schema:
    """Return the columns of the files of a run with these custom rewards."""
    own = {reward_column(name): pa.float32() for name in rewards}
    return pa.schema(list((COLUMNS | own | TOKEN_COLUMNS).items()))


def table_of(
    responses: Sequence[KeptResponse], rewards: Sequence[str], token_texts: TokenTexts
) -> pa.Table:
    """Return the responses as a table, a row each."""
    values = {name: [getattr(one, name) for one in responses] for name in COLUMNS}
    for name, fields in _STRUCTS.items():
        values[name] = [
            [dict(zip(fields, one, strict=True)) for one in found] for found in values[name]
        ]
    for name in rewards:
        values[reward_column(name)] = [one.rewards.get(name) for one in responses]
    tokens = [_token_values(one, token_texts) for one in responses]
    values |= {name: [one.get(name) for one in tokens] for name in TOKEN_COLUMNS}
    schema = schema_of(rewards)
    return pa.table([pa.array(values[one.name], one.type) for one in schema], schema=schema)


def _token_values(response: KeptResponse, token_texts: TokenTexts) -> dict[str, Any]:
    tokens = response.tokens
    if tokens is None:
        return {}
    texts = token_texts(tokens.ids)
    return {
        "token_ids": tokens.ids,
        "token_texts": texts,
        "token_parts": parts_of_tokens(texts),
        "token_advantages": tokens.advantages,
        "token_entropy": tokens.entropy,
        "token_logp_sampling": tokens.logp_sampling,
        "token_logp_training": tokens.logp_training,
    }


def parts_of_text(text: str) -> list[tuple[str, str]]:
    """Return the parts of a response in order: think, answer or scene with its tags, or
    ``OUTSIDE``, and the text of it. Joined, the texts are the response."""
    found, end = [], 0
    for match in _PART.finditer(text):
        found += [(OUTSIDE, text[end : match.start()]), (match[1], match[0])]
        end = match.end()
    return [(part, piece) for part, piece in [*found, (OUTSIDE, text[end:])] if piece]


def parts_of_tokens(texts: Sequence[str]) -> list[str]:
    """Return for each token the part of the response that it wrote: think, answer or scene, tags
    included, else ``OUTSIDE``. ``texts`` are those of the tokens.

    A token that writes the end of one part and the beginning of the next belongs to the next. One
    without text belongs where the next character is written.
    """
    parts = [(match[1], *match.span()) for match in _PART.finditer("".join(texts))]
    found, start = [], 0
    for text in texts:
        end = start + max(len(text), 1)
        inside = [name for name, first, last in parts if first < end and start < last]
        found.append(inside[-1] if inside else OUTSIDE)
        start += len(text)
    return found
