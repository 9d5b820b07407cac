"""Splits a response into its parts: ``<think>…</think><answer>…</answer><scene>…</scene>``.

The scene is the description of new surroundings. ``workflow.groups`` calls ``parse_response`` for
every response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from syngrpo.method.language import NO_LIMITS, Fault, WordingLimits

_WELL_FORMED = re.compile(
    r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*<scene>.*?</scene>\s*", re.DOTALL
)
_WELL_FORMED_ANSWER = re.compile(r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<scene>", "</scene>")
ANSWER_END = "</answer>"
"""A response that describes no surroundings ends here."""


@dataclass(frozen=True)
class ParsedResponse:
    """The parts found in a response. A part is None if its pair of tags is missing.

    ``scene_span`` is the half-open range of characters of the whole scene part, tags included. If
    the closing tag is missing, as in a response cut off at its length limit, it ends with the text.
    ``fault`` says what is wrong with the wording of the description, where that alone makes the
    response not well formed.
    """

    think: str | None
    answer: str | None
    scene: str | None
    well_formed: bool
    scene_span: tuple[int, int] | None
    fault: Fault | None = None


def parse_response(
    text: str, limits: WordingLimits = NO_LIMITS, describes: bool = True
) -> ParsedResponse:
    """Return the parts of a response. A malformed response raises no error.

    A response is well formed if each tag occurs exactly once, in the order think, answer, scene,
    with nothing but whitespace outside, if neither the answer nor the scene is blank, and if the
    wording of the scene keeps to the ``limits``. Training has limits (``method``), evaluation has
    none. A response that ``describes`` no surroundings has no scene.
    """
    answer, scene = _between(text, "answer"), _between(text, "scene")
    tags, pattern = (_TAGS, _WELL_FORMED) if describes else (_TAGS[:4], _WELL_FORMED_ANSWER)
    well_formed = (
        all(text.count(tag) == 1 for tag in tags)
        and pattern.fullmatch(text) is not None
        and bool(answer and answer.strip())
        and bool(not describes or (scene and scene.strip()))
    )
    fault = limits.fault(scene) if well_formed and scene else None
    return ParsedResponse(
        think=_between(text, "think"),
        answer=answer,
        scene=scene,
        well_formed=well_formed and fault is None,
        scene_span=_scene_span(text),
        fault=fault,
    )


def format_reward(parsed: ParsedResponse) -> float:
    """Return 1.0 for a well-formed response, else 0.0."""
    return 1.0 if parsed.well_formed else 0.0


def _between(text: str, tag: str) -> str | None:
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start)
    return text[start + len(tag) + 2 : end] if start >= 0 and end >= 0 else None


def _scene_span(text: str) -> tuple[int, int] | None:
    start = text.find("<scene>")
    if start < 0:
        return None
    end = text.find("</scene>", start)
    return (start, end + len("</scene>") if end >= 0 else len(text))
