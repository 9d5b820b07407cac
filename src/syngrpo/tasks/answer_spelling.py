"""Rewrites an answer in the spelling that ``box_notation`` reads.

Models also write JSON into a string, with its quotes escaped, or with typographic quotes, or with
the wide signs and digits of East Asian texts; they write tables and lists (``answer_layouts``), and
boxes without brackets or in words (``box_phrases``). What is between plain quotes stays as it is,
so a label keeps its letters. All takes time linear in the length of the text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from syngrpo.tasks.answer_layouts import without_lists, without_tables
from syngrpo.tasks.box_notation import is_key_of_label
from syngrpo.tasks.box_phrases import without_phrases

LONGEST = 20_000
"""Number of characters of an answer that are read, enough for 300 objects. A longer answer counts
as one that was cut off there."""

_FIRST_BRACE = re.compile(r"\{(?:\s|\\[nrt])*+")
_STRING_OF_JSON = re.compile(
    r"(?P<key>\"([^\"\\\n]{1,40})\"\s*+:\s*+)"
    r"\"(?P<json>(?:\s|\\[nrt])*+[\[{](?:[^\"\\\n]|\\[^\n])*+)(?:\"|\Z)"
)
_ESCAPE = re.compile(r"\\([\"\\/nrt])")
_MEANING = {"n": "\n", "r": "\r", "t": "\t"}

_BEFORE_SIGN = r"(?=\s*+(?:[]:=,)}：，）］｝]|\Z))"
"""A quotation ends where a sign of JSON follows; any other typographic quote is part of a text."""
# An escaped quote begins no string: otherwise each one would be tried up to the end of its line.
_TYPOGRAPHIC = re.compile(
    r"(?P<plain>(?<!\\)\"(?:[^\"\\\n]|\\[^\n])*+\")"
    rf"|[“”„‟«「『＂](?P<double>[^“”„‟«»「」『』＂\"\n]*+)[“”‟»」』＂]{_BEFORE_SIGN}"
    rf"|(?:[‘‚]|(?<!\w)’)(?P<single>(?:[^‘’‚\"\n]|(?<=\w)’(?=\w))*+)[‘’]{_BEFORE_SIGN}"
    r"|(?P<wide>[｛｝［］＜＞：；，、。]"
    r"|−(?=[.0-9０-９])"
    r"|（[-+.,0-9\s０-９．，、＋－]*+）"
    r"|(?<!\w)[＋－]?+[０-９]++(?:．[０-９]++)?+(?!\w))"
)
_WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {
    ord("、"): ",",
    ord("。"): ";",
    ord("−"): "-",
}
_UNUSUAL = re.compile("[“”„‟«「『‘’‚、。−\uff01-\uff5e]")


@lru_cache(maxsize=4)  # a task may read an answer for several things
def plain_spelling(text: str) -> str:
    """Return the text in the usual spelling. Most texts have it and are returned as they are.

    What is rewritten may become longer, a table above all; it is cut at ``LONGEST`` characters too.
    """
    if '\\"' in text:
        text = _unescaped(text)
    if not text.isascii() and _UNUSUAL.search(text):
        text = _TYPOGRAPHIC.sub(_respelled, text)
    return without_lists(without_tables(without_phrases(text)))[:LONGEST]


def plain_digits(text: str) -> str:
    """Return the text with plain instead of wide signs, digits and letters."""
    return text if text.isascii() else text.translate(_WIDE)


def _unescaped(text: str) -> str:
    """Read JSON that is the text of a string: the whole answer, or the value of a key, unless that
    is the key of a label."""
    brace = _FIRST_BRACE.search(text)
    if brace is not None and text.startswith('\\"', brace.end()):
        return _ESCAPE.sub(_meaning, text.strip().removeprefix('"').removesuffix('"'))
    return _STRING_OF_JSON.sub(_value, text)


def _value(match: re.Match[str]) -> str:
    if is_key_of_label(match[2]) or '\\"' not in match["json"]:
        return match.group()
    return match["key"] + _ESCAPE.sub(_meaning, match["json"])


def _meaning(match: re.Match[str]) -> str:
    return _MEANING.get(match[1], match[1])


def _respelled(match: re.Match[str]) -> str:
    if match.lastgroup in ("double", "single"):
        return f'"{match[match.lastgroup]}"'
    return match.group().translate(_WIDE) if match.lastgroup == "wide" else match.group()
