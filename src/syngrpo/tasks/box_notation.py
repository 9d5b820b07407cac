"""The ways in which models write boxes, and how the text before a box names it.

``TOKEN`` finds the parts of an answer from left to right: boxes, labels, coordinates with names,
braces. ``lead_of`` reads the text directly before a box. ``answer_reading`` puts these parts
together. Repetitions are possessive, so that reading takes time linear in the length of any text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from syngrpo.sample import Box

MAX_COORDINATE = 1e9
"""A box with a larger coordinate counts as unreadable, like one with an infinity."""

LONGEST_NAME = 200
"""Largest number of characters of the name before a box, such as ``dog: [1, 2, 3, 4]``."""

# NaN and infinity are matched, so that a first box that holds one is unreadable and not skipped.
NUMBER = r"[-+]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[-+]?[0-9]++)?|nan|inf(?:inity)?+)"
_QUOTE = r"\\?[\"']"
_N = rf"(?:{NUMBER}|\\?\"{NUMBER}\\?\"|\\?'{NUMBER}\\?')"
_COMMA, _SPACE = r"\s*+,\s*+", r"\s++"
_SHARE = r"(?:0(?:\.[0-9]*+)?|1(?:\.0*+)?|\.[0-9]++)"
_PERCENT = r"(?:100|[0-9]{1,2})(?:\.[0-9]++)?+\s*+%"
_SCORE = rf"(?:{_COMMA}(?:{_QUOTE})?(?:{_PERCENT}|{_SHARE})(?:{_QUOTE})?)?"
# A number above 1 after four coordinates is a score in percent only if it alone is not whole.
_WHOLE = r"[0-9]++(?:\.0*+)?"
_SCORED = rf"{_COMMA.join([_WHOLE] * 4)}{_COMMA}[0-9]{{1,2}}\.[0-9]*[1-9][0-9]*+"

_SQUARE = rf"\[\s*+{_COMMA.join([NUMBER] * 4)}\s*+(?:,\s*+)?\]"
_ROW = rf"(?:{_COMMA.join([NUMBER] * 4)}|{_SPACE.join([NUMBER] * 4)})\s*+"
_INSIDE = rf"\s*+(?:{_SCORED}\s*+|{_COMMA.join([_N] * 4)}{_SCORE}\s*+(?:,\s*+)?|{_ROW})"
_FOUR = rf"(?:\[{_INSIDE}\]|\({_INSIDE}\)|<{_INSIDE}>)"
_POINT = rf"[\[(]\s*+{_N}(?:{_COMMA}|{_SPACE}){_N}\s*+[\])]"
# Within single quotes, one between two letters is an apostrophe.
TEXT = (
    r"(?:\"(?:[^\"\\\n]|\\[^\n])*+\""
    r"|'(?:[^'\\\n]|\\[^\n]|(?<=[^\W\d_])'(?=[^\W\d_]))*+')"
)
_TEXTS = rf"\[\s*+{TEXT}(?:\s*+,\s*+{TEXT}){{0,1000}}+"
_IS = r"[\"']?\s*+[:=]\s*+"

_LABELS = ("label", "category", "class")
_NAMES = ("name", "object", "category_name", "class_name", "object_name", "label_name")
_PHRASES = ("phrase", "ref", "text", "text_content", "description", "caption", "item", "entity")
_KINDS = ("object_type", "type", "title", "tag")
_KEYS_OF_LABELS = "|".join(
    [*(f"{key}(?:e?s)?" for key in _LABELS), *_NAMES, "names", *_PHRASES, *_KINDS]
)

WEAK_LABEL = 3
"""Rank of a label that gives way to the key before its object, as in {"dog": {"type": "pet"}}."""

SIDES = {
    **dict.fromkeys(("x1", "x_1", "xmin", "x_min", "xtl", "left", "x"), "x1"),
    **dict.fromkeys(("y1", "y_1", "ymin", "y_min", "ytl", "top", "y"), "y1"),
    **dict.fromkeys(("x2", "x_2", "xmax", "x_max", "xbr", "right"), "x2"),
    **dict.fromkeys(("y2", "y_2", "ymax", "y_max", "ybr", "bottom"), "y2"),
    **dict.fromkeys(("w", "width"), "width"),
    **dict.fromkeys(("h", "height"), "height"),
}
"""Name of a single coordinate → the one that stands for it here."""

_BOX_TAGS = ("box", "bbox", "bounding_box", "box_start", "begin_of_box", "det")
_BOX_ENDS = ("box", "bbox", "bounding_box", "box_end", "end_of_box", "det")
_ANY_BOX_TAG = rf"<[|/]*+(?:{'|'.join(dict.fromkeys(_BOX_TAGS + _BOX_ENDS))})\|?>"
_OPEN_BOX_TAGS = tuple(f"<{bar}{tag}{bar}>" for tag in _BOX_TAGS for bar in ("", "|"))
_REFERENCES = {
    "</ref>": "<ref>",
    "<|object_ref_end|>": "<|object_ref_start|>",
    "<|/ref|>": "<|ref|>",
    "</p>": "<p>",
    "</phrase>": "<phrase>",
    "</label>": "<label>",
    "</name>": "<name>",
}
"""Tags around the name of a box: the closing one → the opening one."""

TOKEN = re.compile(
    r"(?P<brace>[{}])"
    r"|(?=[\[(<]\s*+[-+.0-9ni\"'\\])(?:"  # what follows a bracket: the start of a number
    rf"(?P<square>{_SQUARE})|(?P<four>{_FOUR})|(?P<points>{_POINT}(?:\s*+,\s*+{_POINT})*+))"
    rf"|<(?:\|?(?:{'|'.join(_BOX_TAGS)})\|?>\s*+(?P<tagged>{_ROW})(?=<|\Z)"
    r"|(?P<pointer>points?\b[^<>]*+>))"
    rf"|(?=[\"'\\]){_QUOTE}\s*+(?P<quoted>{_ROW}){_QUOTE}"
    r"|(?<!\w)(?=[a-z])(?:"
    rf"(?:{'|'.join(_LABELS)}){_IS}(?P<label>{TEXT})"
    rf"|(?P<key>{_KEYS_OF_LABELS}){_IS}(?P<labels>{TEXT}|{_TEXTS})"
    rf"|(?P<side>{'|'.join(SIDES)})(?:{_QUOTE})?\s*+[:=]\s*+(?:{_QUOTE})?(?P<value>{NUMBER}))",
    re.IGNORECASE,
)
"""The parts of an answer. The last group of a match says which one it is: a ``brace``; a ``label``;
``labels``, one or a list; the ``value`` of one ``side`` of a box; a box in one of the notations
``square`` ([x1, y1, x2, y2]), ``four``, ``tagged`` and ``quoted``; ``points``, which are a box if
there are two; a ``pointer``, which is none."""

BOXES = frozenset({"square", "four", "points", "tagged", "quoted"})

CONTINUES = re.compile(rf"(?:[\s,;\[\]()\"'\\&]|and\b|{_ANY_BOX_TAG})*+", re.IGNORECASE)
"""Matches what is between two boxes that have the same name or key."""

BOX_IN_TEXT = re.compile(rf"(bbox(?:_?2d)?{_IS}(?:\[\s*+)?)?({_SQUARE})", re.IGNORECASE)
"""Matches a box inside a text, and the key before it."""

_KEY_OF_LABEL = re.compile(_KEYS_OF_LABELS, re.IGNORECASE)
_OF_NUMBER = re.compile(NUMBER, re.IGNORECASE)
_OF_TEXT = re.compile(TEXT)
_OPENERS = " \t\r\n[(\"'\\"
_BBOX_KEY = re.compile(r"bbox(?:_?2d)?[\"']?\s*+[:=]\Z", re.IGNORECASE)
BOX_KEY = re.compile(
    r"(?:the\s+)?(?:\w+_)?(?:b?box|bounding[ _]?box|rect(?:angle)?|coord(?:inate)?|position"
    r"|location|xyxy)(?:e?s)?(?:_?2d|_?xyxy)?",
    re.IGNORECASE,
)
_POINT_KEY = re.compile(
    r"(?:key)?points?(?:_?[23]d)?|(?:.*[\s_-])?(?:polygons?|segmentations?|contours?)",
    re.IGNORECASE | re.DOTALL,
)
_NO_BOX_KEY = re.compile(
    r"(?:^|[\s_-])(?:size|resolution|dimensions?|scores?|confidences?|prob(?:abilitie)?s?|logits?|ids?"
    r"|colou?rs?|rgba?|padding|margins?|mean|std)\Z",
    re.IGNORECASE,
)
"""Keys whose four numbers are no box."""
_NO_CLASS = re.compile(
    r"(?:(?:the|all|final|detected|found|here are)\s+)*(?:answers?|objects?|detections?|results?"
    r"|instances?|predictions?|annotations?|items?|entities|outputs?|responses?|regions?|ids?"
    r"|image|size|image_size|scores?|confidence|json|data|array|list|tuple|attributes?|propert(?:y|ies)"
    r"|details?|bndbox|geometry|shape)",
    re.IGNORECASE,
)
"""Keys that are no class names."""
_ATTRIBUTES = re.compile(r"attributes?|propert(?:y|ies)|details?", re.IGNORECASE)
_SEPARATOR = re.compile(r"[\n;,:{}\[\]()<>|]|\.\s")
_LIST_MARK = re.compile(r"\s*+(?:[-*•#]++|\(?[0-9]++[.)])\s++")


class Lead(NamedTuple):
    """What the text directly before a box says about it.

    ``rank`` is BBOX after a key bbox or bbox_2d, KEYED after another key of a box or a tag, and
    BARE otherwise. ``name`` is the name of the object, None without one. ``points`` is whether
    numbers are points here and no box, unless each has a name; ``no_box`` whether nothing is a box;
    ``attributes`` whether what follows are attributes of the object around it.
    """

    rank: int
    name: str | None = None
    points: bool = False
    no_box: bool = False
    attributes: bool = False


BBOX, KEYED, BARE, LOOSE = range(4)
"""How sure it is that four numbers are the box that was asked for, the surest first. LOOSE are bare
ones in another notation than [x1, y1, x2, y2]."""

NO_LEAD, NOTHING = Lead(BARE), Lead(LOOSE + 1)


def lead_of(before: str, adjoins: bool = True) -> Lead:
    """Return what the text between the part before and a box (or an opening brace) says about it.

    ``adjoins``: whether words that directly adjoin it are its name, as in ``dog(1, 2),(3, 4)``.
    """
    rest = before.rstrip(_OPENERS)
    if not rest:
        return NO_LEAD
    if rest.endswith((":", "=")) and _BBOX_KEY.search(rest):
        return Lead(BBOX)
    if rest.endswith(_OPEN_BOX_TAGS):
        return tagged_lead(rest[: rest.rindex("<")])
    if rest.endswith((":", "=")):
        key = _key(rest[:-1].rstrip())
        if BOX_KEY.fullmatch(key):
            return Lead(KEYED)
        if _NO_BOX_KEY.search(key):
            return Lead(BARE, no_box=True)
        return Lead(
            BARE,
            _class(key),
            points=_POINT_KEY.fullmatch(key) is not None,
            attributes=_ATTRIBUTES.fullmatch(key) is not None,
        )
    named = _reference(rest)
    if named is None and adjoins and not before[len(rest) :].strip("[("):
        named = _adjoining(rest)
    return Lead(BARE, named)


def tagged_lead(before: str) -> Lead:
    """Return the lead of a box whose tag stands directly after this text."""
    return Lead(KEYED, _reference(before.rstrip()) or _adjoining(before))


def box_of(text: str) -> Box | None:
    """Return the box of a text that holds its numbers; None when it is not finite or has no
    area."""
    x1, y1, x2, y2 = map(float, _OF_NUMBER.findall(text)[:4])
    return checked((x1, y1, x2, y2))


def checked(box: Box) -> Box | None:
    """Return the box, None when it is not finite or has no area."""
    x1, y1, x2, y2 = box
    ordered = -MAX_COORDINATE <= x1 < x2 <= MAX_COORDINATE  # false for NaN too
    return box if ordered and -MAX_COORDINATE <= y1 < y2 <= MAX_COORDINATE else None


def side_box(sides: dict[str, float]) -> Box | None:
    """Return the corners of a box whose coordinates have names, also of one with width and height;
    None as long as some are missing."""
    if not {"x1", "y1"} <= sides.keys():
        return None
    x1, y1 = sides["x1"], sides["y1"]
    if {"x2", "y2"} <= sides.keys():
        return x1, y1, sides["x2"], sides["y2"]
    if {"width", "height"} <= sides.keys():
        return x1, y1, x1 + sides["width"], y1 + sides["height"]
    return None


def is_two_points(text: str) -> bool:
    """Return whether the text of a match ``points`` holds two of them."""
    return len(_OF_NUMBER.findall(text)) == 4


def texts_of(quoted: str) -> Sequence[str]:
    """Return the texts between the quotes, with JSON's escapes resolved."""
    return [plain_text(match.group()[1:-1]) for match in _OF_TEXT.finditer(quoted)]


def is_key_of_label(key: str) -> bool:
    """Return whether the value of a key is the label of its object."""
    return _KEY_OF_LABEL.fullmatch(key) is not None


def label_rank(key: str) -> int:
    """Return how sure it is that a key holds the label of its object, 0 for the surest."""
    key = key.lower()
    if key.startswith(_LABELS) and "_" not in key:
        return 0
    if key in _KINDS:
        return WEAK_LABEL
    return 1 if key in (*_NAMES, "names") else 2


def plain_text(text: str) -> str:
    """Resolve JSON's escapes, if the result is a text that can be stored."""
    if "\\" not in text:
        return text
    try:
        value: str = json.loads(f'"{text}"')
        value.encode("utf-8")  # half a surrogate pair is no text
    except ValueError:
        return text
    return value


def _key(text: str) -> str:
    """Return the key at the end of a text, without its quotes."""
    quote = text[-1:]
    if quote not in ("'", '"'):
        return _name(text) or ""
    start = text.rfind(quote, 0, -1)
    while start > 0 and text[start - 1] == "\\":
        start = text.rfind(quote, 0, start)
    inside = text[start + 1 : -1]
    return plain_text(inside) if len(inside) <= LONGEST_NAME else ""


def _class(name: str) -> str | None:
    """Return the name, None if it is one of those that mean no class."""
    no_class = any(kind.fullmatch(name) for kind in (_NO_CLASS, BOX_KEY, _POINT_KEY))
    return None if no_class or not name.strip() else name


def _name(text: str) -> str | None:
    """Return the words at the end of a text that can be the name of an object; None without
    any."""
    words = _SEPARATOR.split(text[-2 * LONGEST_NAME :])[-1]
    words = _LIST_MARK.sub("", words, count=1).strip(" \t\r\n\"'`*_")
    return words if len(words) <= LONGEST_NAME and any(map(_is_of_name, words)) else None


def _is_of_name(sign: str) -> bool:
    """Return whether a sign is a letter, a mark that belongs to one, or a picture (an emoji)."""
    return sign.isalpha() or unicodedata.category(sign) in ("So", "Sk", "Mn", "Mc")


def _adjoining(text: str) -> str | None:
    """Return the name that a text ends with, None if a space or another mark follows it."""
    last = text[-1:]
    return _class(_name(text) or "") if last.isalnum() or (last and _is_of_name(last)) else None


def _reference(text: str) -> str | None:
    """Return the text between the tags of a name at the end of a text; None without any."""
    for close, begin in _REFERENCES.items():
        if text.endswith(close) and (start := text.rfind(begin)) >= 0:
            return text[start + len(begin) : -len(close)].strip() or None
    return None
