"""Finds what a text asks for: the phrase for one object, or the names of classes.

The text is the question of a row of another program, with an instruction around it. This module
knows the wordings of the data that VLM-R1 and Visual-RFT published, of Qwen's grounding examples,
and "find …" and "where is …"; of any other, the whole text is the phrase.
"""

from __future__ import annotations

import re

from syngrpo.sample import InputError

IMAGE_MARK = "<image>"

_PHRASE = re.compile(
    r"\b(?:sentence|phrase|expression|description|instruction)\b(?:\s+(?:describes?|refers\s+to|is))?\s*:\s*"
    r"(?P<phrase>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_LOCATE = re.compile(
    r"^(?:please\s+)?locate\s+(?P<phrase>\S.*?),?\s+in\s+(?:this|the)\s+(?:image|picture)\b",
    re.IGNORECASE | re.DOTALL,
)
_ANSWER = (
    r"(?:,?\s+(?:and|then)\s+(?:\w+\s+)?(?:give|provide|output|return|report|write|answer)\b.*"
    r"|,?\s+(?:located\s+)?in\s+(?:this|the)\s+(?:image|picture|photo)\b.*"
    r"|\s*[.!?]\s+(?:give|provide|output|return|report|write|answer|please|first|if)\b.*"
    r"|\s*[.!?]?\s*)$"
)
"""Matches how an instruction goes on after what is to be found, up to its end."""
_FIND = re.compile(
    r"^(?:please\s+|can\s+you\s+)?(?:find|locate|identify|ground|point\s+(?:to|at|out))\s+"
    rf"(?P<phrase>\S.*?){_ANSWER}",
    re.IGNORECASE | re.DOTALL,
)
_WHERE = re.compile(
    rf"^where(?:\s+is|\s+are|'s)\s+(?P<phrase>\S.*?)(?=\?|\s+in\s){_ANSWER}",
    re.IGNORECASE | re.DOTALL,
)
_INSTRUCTIONS = re.compile(
    r"(?:(?<=[.!?\"'])\s+|\s*\n\s*)(?:first\b|output\b|please\b|answer\b|if\b).*",
    re.IGNORECASE | re.DOTALL,
)
"""Matches the instructions that follow the question and say how to answer it."""

_CATEGORIES = re.compile(
    r"\bdetect\b[^:\n]{0,60}\bbelonging to the (?:category|categories|class|classes)\s+"
    r"['\"](?P<names>[^\n]+?)['\"](?=\s+in\b|\s*[,.;\n]|\s*$)",
    re.IGNORECASE,
)
_CLASSES = re.compile(
    r"\bdetect\b[^:\[\n]{0,60}:\s*(?P<classes>\S.*)|\bdetect\b[^:\[\n]{0,60}(?P<list>\[.*)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(
    r"\s*+(?:'(?P<single>(?:[^'\\]|\\.)*+)'\s*|\"(?P<double>(?:[^\"\\]|\\.)*+)\"\s*|(?P<bare>[^,\[\]]*+))"
    r"(?P<end>[,\]])"
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(?P<name>\S.*?)\s*$")


_WORDINGS = (_PHRASE, _LOCATE, _FIND, _WHERE)
"""The instructions around a phrase, in the order in which they are looked for."""


def without_image_mark(text: str) -> str:
    """Return the text without the mark ``<image>`` and the white space around it. Raises InputError
    when it has several."""
    marks = text.count(IMAGE_MARK)
    if marks > 1:
        raise InputError(f"the question has {marks} images; only rows with one can be used")
    return text.replace(IMAGE_MARK, "").strip()


def phrase_in(text: str) -> str:
    """Return the referring phrase without the instruction around it; the whole text if its wording
    is unknown."""
    match = next((m for one in _WORDINGS if (m := one.search(text)) is not None), None)
    if match is None:
        return text.strip()
    phrase = _INSTRUCTIONS.sub("", match["phrase"]).strip()
    bare = phrase.removesuffix(".").strip().strip("\"'").removesuffix(".").strip()
    return bare or text.strip()


def is_detection(text: str) -> bool:
    """Return whether the text asks for classes and not for the object that a phrase describes."""
    return _PHRASE.search(text) is None and bool(classes_in(text))


def classes_in(text: str) -> tuple[str, ...]:
    """Return the class names in the order in which they are asked for; () if the text lists none.

    Reads ``['a', "b"]``, ``["a", "b"]`` and ``[a, b]``, lines with bullets, and ``a, b, c.``
    """
    if (match := _CATEGORIES.search(text)) is not None:
        names = re.split(r"['\"]\s*,\s*(?:and\s+)?['\"]", match["names"])
        return tuple(name for part in names if (name := part.strip()))
    match = _CLASSES.search(text)
    if match is None:
        return ()
    rest = match["classes"] or match["list"]
    if rest.startswith("["):
        return _bracketed(rest)
    lines = rest.splitlines()
    bullets = [found["name"] for line in lines if (found := _BULLET.match(line))]
    if bullets:
        return tuple(bullets)
    listed = _INSTRUCTIONS.sub("", rest).splitlines()[0].strip().removesuffix(".").split(",")
    return tuple(name for part in listed if (name := part.strip().strip("\"'").strip()))


def _bracketed(text: str) -> tuple[str, ...]:
    """Return the names in a list as Python or JSON writes it; () if the list has no end."""
    names: list[str] = []
    position = 1
    while match := _NAME.match(text, position):
        quoted = match["single"] if match["single"] is not None else match["double"]
        name = (match["bare"] or "") if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if name.strip():
            names.append(name.strip())
        if match["end"] == "]":
            return tuple(names)
        position = match.end()
    return ()
