"""Splits a response into its parts: ``<think>…</think><answer>…</answer><scene>…</scene>``.

The scene is the description of new surroundings. ``workflow.groups`` calls ``parse_response`` for
every response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from syngrpo.method.language import NO_LIMITS, Fault, WordingLimits

_TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<scene>", "</scene>"]
_TAG = re.compile(r"(</?(?:think|answer|scene)>)")
_TAG_BEFORE_SCENE = re.compile(r"(</?(?:think|answer)>)")
ANSWER_END = "</answer>"
"""A response that describes no surroundings ends here."""


@dataclass(frozen=True)
class ParsedResponse:
    """The parts found in a response. A part is None if it is missing.

    ``answer`` is the text between the last pair of its tags; see ``parse_response`` for a response
    without one. ``scene_span`` is the half-open range of characters of the scene part, from its tag
    to the end of the text, or to the next tag of another part. What is written after the closing
    tag belongs to it, because it cannot have changed the answer either. ``fault`` says what is
    wrong with the wording of the description, where that alone makes the response not well formed.
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

    An answer is also read if its tags are damaged: of several the last one after the thinking
    counts, an answer that was cut off ends with the text, and without any tag the answer is what
    stands between the thinking and the scene. The format reward of such a response is 0.

    A response is well formed if each tag occurs exactly once, in the order think, answer, scene,
    with nothing but whitespace outside, if neither the answer nor the scene is blank, and if the
    wording of the scene keeps to the ``limits``. Training has limits (``method``), evaluation has
    none. A response that ``describes`` no surroundings has no scene, and tags in the thinking begin
    none.
    """
    span = _scene_span(text) if describes else None
    answer, scene = _answer(text), _between(text[slice(*span)], "scene") if span else None
    well_formed = (
        _holds_only_parts(text, describes)
        and bool(answer and answer.strip())
        and bool(not describes or (scene and scene.strip()))
    )
    fault = limits.fault(scene) if well_formed and scene else None
    return ParsedResponse(
        think=_between(text, "think"),
        answer=answer,
        scene=scene,
        well_formed=well_formed and fault is None,
        scene_span=span,
        fault=fault,
    )


def format_reward(parsed: ParsedResponse) -> float:
    """Return 1.0 for a well-formed response, else 0.0."""
    return 1.0 if parsed.well_formed else 0.0


def _holds_only_parts(text: str, describes: bool) -> bool:
    """Return whether the text is all parts in their order, with nothing but whitespace outside and
    each of their tags once."""
    tag, tags = (_TAG, _TAGS) if describes else (_TAG_BEFORE_SCENE, _TAGS[:4])
    pieces = tag.split(text)  # what is before the first tag, the tag, what is before the second, …
    return pieces[1::2] == tags and not "".join(pieces[::4]).strip()


def _between(text: str, tag: str) -> str | None:
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start)
    return text[start + len(tag) + 2 : end] if start >= 0 and end >= 0 else None


def _answer(text: str) -> str | None:
    """Return the answer of a response, None if there is nothing that can be one."""
    after_thinking = text.rfind("</think>") + len("</think>") if "</think>" in text else 0
    for start in (after_thinking, 0):
        answer = _last_between(text[start:], "answer")
        if answer is not None:
            return answer
    if "<answer>" in text:
        rest = text[text.rindex("<answer>") + len("<answer>") :]
    elif "<think>" in text and not after_thinking:
        return None  # nothing but thinking, which was cut off or does not end
    else:
        rest = text[after_thinking:]
    answer = rest.partition("<scene>")[0]
    return answer if answer.strip() else None


def _last_between(text: str, tag: str) -> str | None:
    """Return the text of the last pair of tags, None without any."""
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(end, 0))
    return text[start + len(tag) + 2 : end] if start >= 0 else None


def _scene_span(text: str) -> tuple[int, int] | None:
    thinking = _thinking_span(text)
    starts = (found.start() for found in re.finditer("<scene>", text))
    start = next((one for one in starts if one not in thinking), None)
    if start is None:
        return None
    other = _TAG_BEFORE_SCENE.search(text, start)
    return (start, other.start() if other else len(text))


def _thinking_span(text: str) -> range:
    """Return the range of characters of the thinking, which may lack one of its tags. Without an
    end it goes on to the answer."""
    begins = text.find("<think>")
    ends = text.find("</think>", max(begins, 0))
    if begins < 0:
        return range(max(ends, 0))
    if ends < 0:
        ends = text.find("<answer>", begins)
    return range(begins, ends if ends >= 0 else len(text))
