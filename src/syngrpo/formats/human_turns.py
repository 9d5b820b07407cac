"""What is asked for in the human turn of a VLM-R1 row: a phrase, or a list of classes.

The wordings are those of the data that om-ai-lab published, and of Qwen's grounding examples; a
wording that is not known is kept whole.
"""

from __future__ import annotations

import re

_PHRASE = re.compile(
    r"\b(?:sentence|phrase|expression|description)\b(?:\s+(?:describes?|refers\s+to|is))?\s*:\s*"
    r"(?P<phrase>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_LOCATE = re.compile(
    r"^(?:please\s+)?locate\s+(?P<phrase>\S.*?),?\s+in\s+(?:this|the)\s+(?:image|picture)\b",
    re.IGNORECASE | re.DOTALL,
)
_INSTRUCTIONS = re.compile(
    r"(?:(?<=[.!?\"'])\s+|\s*\n\s*)(?:first\b|output\b|please\b|answer\b|if\b).*",
    re.IGNORECASE | re.DOTALL,
)
"""What follows the question: how to answer it."""

_CLASSES = re.compile(
    r"\bdetect\b[^:\[\n]{0,60}:\s*(?P<classes>\S.*)|\bdetect\b[^:\[\n]{0,60}(?P<list>\[.*)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(
    r"\s*+(?:'(?P<single>(?:[^'\\]|\\.)*+)'\s*|\"(?P<double>(?:[^\"\\]|\\.)*+)\"\s*|(?P<bare>[^,\[\]]*+))"
    r"(?P<end>[,\]])"
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(?P<name>\S.*?)\s*$")


def phrase_in(text: str) -> str:
    """The referring phrase, without the words around it; the whole text where none are known."""
    match = _PHRASE.search(text) or _LOCATE.search(text)
    if match is None:
        return text.strip()
    phrase = _INSTRUCTIONS.sub("", match["phrase"]).strip()
    bare = phrase.removesuffix(".").strip().strip("\"'").removesuffix(".").strip()
    return bare or text.strip()


def is_detection(text: str) -> bool:
    """Whether the text asks for classes, not for what one sentence describes."""
    return _PHRASE.search(text) is None and bool(classes_in(text))


def classes_in(text: str) -> tuple[str, ...]:
    """The class names in the order they are asked for; empty when there is no list of them.

    ``['a', "b"]``, ``["a", "b"]`` and ``[a, b]`` are read, lines with bullets, and ``a, b, c.``
    """
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
    names = _INSTRUCTIONS.sub("", rest).splitlines()[0].strip().removesuffix(".").split(",")
    return tuple(name for part in names if (name := part.strip().strip("\"'").strip()))


def _bracketed(text: str) -> tuple[str, ...]:
    """The names in a list as Python or JSON writes it; empty when it does not end."""
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
