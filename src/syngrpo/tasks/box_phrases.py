"""Rewrites boxes without brackets, between words, or in per cent, in the usual notations.

Such as ``bbox: 1, 2, 30, 40``, ``from (1, 2) to (30, 40)`` and ``["dog", [1, 2, 30, 40]]``.
``[10%, 20%, 50%, 60%]`` becomes shares of the image, ``[0.1, 0.2, 0.5, 0.6]``. Takes time linear in
the length of the text.
"""

from __future__ import annotations

import re

from syngrpo.tasks.box_notation import NUMBER, SIDES

_ROW = rf"{NUMBER}(?:(?:[ \t]*+,[ \t]*+|[ \t]++){NUMBER}){{3}}"
_COMMA = r"\s*+,\s*+"
_SQUARE = rf"\[\s*+{NUMBER}(?:{_COMMA}{NUMBER}){{3}}\s*+\]"
_POINT = rf"[\[(]\s*+{NUMBER}{_COMMA}{NUMBER}\s*+[\])]"
_XY = rf"\{{\s*+[\"']?x[\"']?\s*+:\s*+({NUMBER}){_COMMA}[\"']?y[\"']?\s*+:\s*+({NUMBER})\s*+\}}"

_ONLY = re.compile(
    rf"[\s*_`]*+(?:json|text|python)?[\s*_`]*+(?P<row>{_ROW})[\s*_`.]*+", re.IGNORECASE
)
"""A text that is nothing but four numbers."""
_AFTER_KEY = re.compile(
    rf"^(?P<key>[^\n\[\](){{}}<>\"|:=]{{1,200}}+[:=][ \t]*+)[*_`]*+[ \t]*+(?P<row>{_ROW})"
    r"(?P<end>[ \t*_`.;,]*+)$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line of a key and four numbers."""
_ITEM = re.compile(
    r"^(?P<name>[ \t]*+(?:[-*•]|[0-9]{1,3}[.)])[ \t]++"
    r"(?![^\n\[]{0,80}\b(?:is|are|at|in|located|found|see|from)\b)"
    r"[^\W\d_][^\n:;,.\[\](){}<>\"'|=]{0,60}?)[ \t]++"
    rf"(?={_SQUARE}[ \t.;,]*+$)",
    re.IGNORECASE | re.MULTILINE,
)
"""An item of a list, up to its box: a name without a colon."""
_PIXELS = re.compile(
    rf"[\[(]\s*+(?:{NUMBER}\s?px{_COMMA}){{3}}{NUMBER}\s?px\s*+[\])]", re.IGNORECASE
)
_FROM_TO = re.compile(rf"\bfrom\s++(?P<first>{_POINT})\s++to\s++(?P<second>{_POINT})", re.I)
_CORNERS = re.compile(
    r"(?P<quote>[\"']?)\b(?:the\s)?(?:top|upper)(?P<dash>[-_ ]?)left(?:\scorner)?(?P=quote)\s*+"
    rf"(?:[:=]|at|is)?\s*+(?P<first>{_POINT})\s*+[,;]?\s*+(?:and|to)?\s*+"
    r"(?P=quote)(?:the\s)?(?:bottom|lower)[-_ ]?right(?:\scorner)?(?P=quote)\s*+"
    rf"(?:[:=]|at|is)?\s*+(?P<second>{_POINT})",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"\[\s*+(?P<label>\"(?:[^\"\\\n]|\\[^\n]){1,200}+\"|'(?:[^'\\\n]|\\[^\n]){1,200}+')"
    rf"{_COMMA}(?P<boxes>{_SQUARE}(?:{_COMMA}{_SQUARE})*+)\s*+\]?",
    re.IGNORECASE,
)
"""A list of a label and its boxes."""
_POINTS_OF_BOX = re.compile(
    rf"(?P<key>box(?:_?2d)?[\"']?\s*+:\s*+)\[\s*+{_XY}{_COMMA}{_XY}\s*+\]", re.IGNORECASE
)
_PERCENT = r"[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)\s?[%％]"
_BETWEEN = r"[\s,;()\[\]\"'\\]*+"
_FOUR_PERCENT = re.compile(
    rf"(?<![0-9]){_PERCENT}{_BETWEEN}{_PERCENT}"
    rf"{_BETWEEN}(?:(?:and|to)\b{_BETWEEN})?(?:(?:the\s)?(?:bottom|lower)[-_ ]?right(?:\scorner)?"
    rf"(?:\s*+(?:[:=]|at|is))?{_BETWEEN})?{_PERCENT}{_BETWEEN}{_PERCENT}",
    re.IGNORECASE,
)
"""Four numbers in per cent, which may be two points with words between them. The first begins at
the first digit of a row of them, so that a long row is gone through once."""
_SIDE_PERCENT = re.compile(
    rf"(?<!\w)(?:{'|'.join(SIDES)})[\"'\\]*+\s*+[:=]\s*+[\"'\\]*+{_PERCENT}", re.IGNORECASE
)
"""One coordinate with a name, in per cent."""
_NUMBER_PERCENT = re.compile(r"([-+]?[0-9.]++)\s?[%％]")


def without_phrases(text: str) -> str:
    """Return the text with every box in a usual notation."""
    if "%" in text or "％" in text:
        text = _SIDE_PERCENT.sub(_shares, _FOUR_PERCENT.sub(_shares, text))
    if only := _ONLY.fullmatch(text):
        return f"({_row(only['row'])})"
    if ":" in text or "=" in text:
        text = _AFTER_KEY.sub(lambda one: f"{one['key']}({_row(one['row'])}){one['end']}", text)
    text = _ITEM.sub(r"\g<name>: ", text)
    if "px" in text.lower():
        text = _PIXELS.sub(lambda one: re.sub("px", "", one.group(), flags=re.I), text)
    text = _FROM_TO.sub(r"\g<first>,\g<second>", text)
    text = _CORNERS.sub(_corners, text)
    text = _PAIR.sub(r'{"label": \g<label>, "bbox": [\g<boxes>]}', text)
    return _POINTS_OF_BOX.sub(r"\g<key>[[\2, \3], [\4, \5]]", text)


def _shares(match: re.Match[str]) -> str:
    """Return the text of a match with numbers between 0 and 1 for those in per cent."""
    return _NUMBER_PERCENT.sub(lambda one: f"{float(one[1]) / 100:.8g}", match.group())


def _row(numbers: str) -> str:
    return ", ".join(numbers.replace(",", " ").split())


def _corners(match: re.Match[str]) -> str:
    """Return a box as two points, with a key if the corners are keys."""
    key = "bbox: " if match["quote"] or match["dash"] == "_" else ""
    return f"{key}[{match['first']}, {match['second']}]"
