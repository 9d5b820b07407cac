"""What the English words of a question or phrase say about its answer.

``Task.constraints`` asks these functions what a painted image must leave as it is: colours, the
view, the surroundings, or objects of any class. Questions in another language look as if they said
nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_COLOUR = re.compile(
    r"\b(?:colou?r\w*|red\w*|orange|yellow\w*|green\w*|blue\w*|purple|violet|pink|brown\w*|black|white"
    r"|gr[ae]y\w*|beige|cream|gold(?:en)?|silver|teal|turquoise|tan|blond[e]?|navy|maroon|crimson"
    r"|scarlet|magenta|cyan|lilac|khaki|ivory)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
# fmt: off
_NO_NAMES = frozenset((
    "a", "an", "the", "of", "on", "in", "at", "to", "by", "with", "and", "or", "is", "are", "that",
    "which", "who", "whose", "it", "its", "this", "these", "those", "left", "right", "leftmost",
    "rightmost", "middle", "top", "bottom", "front", "back", "side", "corner", "centre", "center",
    "near", "nearest", "far", "farthest", "next", "beside", "between", "behind", "above", "below",
    "under", "over", "from", "first", "second", "third", "fourth", "last", "most", "large",
    "larger", "largest", "big", "bigger", "biggest", "small", "smaller", "smallest", "little",
    "tall", "taller", "tallest", "one", "two", "three", "four", "not", "no", "only", "other",
    "another", "holding", "wearing", "standing", "sitting", "looking",
))
# fmt: on
"""Words of a phrase that name no object."""
_OF_ANY_CLASS = re.compile(
    r"\b(?:things?|objects?|items?|ones?|furniture|something|anything|everything|what's"
    r"|what (?:is|are|stands?|lies|lie|hangs?)(?! the colou?r))\b",
    re.IGNORECASE,
)
_ABOUT_VIEW = re.compile(
    r"\b(?:picture|image|photo\w*|frame|view|foreground|background|corner|middle|cent(?:re|er)"
    r"|camera|viewer|quadrant|(?:left|right|upper|lower|top|bottom)(?:\s+half|\s+side)"
    r"|(?:which|what)\s+(?:part|half|side|size)|near\s+or\s+far|centred|centered"
    r"|how (?:far|near|close|long|tall|wide|high|deep|big|large|small|much)|distance"
    r"|height|width|pixels?|percent\w*|fraction"
    r"|met(?:re|er)s?|centimet(?:re|er)s?|feet|foot|inch(?:es)?)\b",
    re.IGNORECASE,
)
"""What a question says whose answer may change when the camera moves."""
_PLACE_OR_SIZE = re.compile(
    r"\b(?:where|left|right|top|bottom|upper|lower|far|large|small|big)\b", re.IGNORECASE
)
_COMPARISON = re.compile(r"\b(?:of|from|than)\b(?!\s+the\s+(?:room|scene)\b)", re.IGNORECASE)
"""What follows a word for a place or a size that is meant relative to an object, as in "left of the
sofa"; "left" alone is a place in the picture."""
_SURROUNDINGS = re.compile(
    r"\b(?:day|night|daytime|night-?time|dawn|dusk|sunset|sunrise|morning|evening|dark|bright|dim"
    r"|lit|lighting|light(?! switch)|weather|sunny|rain\w*|snow\w*|cloud\w*|fog\w*|mist\w*|season"
    r"|summer|winter|autumn|indoors?|outdoors?|walls?|wallpaper|floors?|ceilings?|carpets?|windows?"
    r"|doors?|curtains?|surroundings)\b",
    re.IGNORECASE,
)
"""Light, weather and the parts of a room: what is painted anew, unless it is labelled."""
_SHADE = re.compile(
    r"\b(?:light|dark|bright)[\s-]+(?=" + _COLOUR.pattern.removeprefix(r"\b") + ")", re.IGNORECASE
)
"""A word for light that belongs to a colour, as in "dark red"."""
_ROOM = (
    r"(?:room|kitchen|bedroom|bathroom|office|hall(?:way)?|corridor|garage|classroom|library|cellar"
    r"|basement|attic|balcony|lobby|shop|store|restaurant|cafe|house|home|place)"
)
_IS_A_ROOM = re.compile(
    rf"\b(?:is|was) (?:this|that|it)(?: \w+)? (?:an? |the )?(?:\w+ )?{_ROOM}\b", re.IGNORECASE
)
_ROOM_TYPE = re.compile(
    rf"\b(?:kind|type|sort) of {_ROOM}\b|\b(?:what|which) room is (?:this|that|it|shown)\b",
    re.IGNORECASE,
)


def names_colour(text: str) -> bool:
    """Return whether an English text names a colour, or asks for one."""
    return _COLOUR.search(text) is not None


def may_mean_any_class(text: str) -> bool:
    """Return whether an English phrase or question may be about an object of any class, as "the
    leftmost object" and "what is on the table?" are."""
    return _OF_ANY_CLASS.search(text) is not None


def depends_on_view(question: str) -> bool:
    """Return whether the answer may change when the camera moves."""
    compared = max((found.end() for found in _COMPARISON.finditer(question)), default=0)
    absolute = _PLACE_OR_SIZE.search(question, compared)
    return absolute is not None or _ABOUT_VIEW.search(question) is not None


def asks_for_room_type(question: str) -> bool:
    """Return whether the answer is the kind of room, as in "what kind of room is this?"."""
    return _ROOM_TYPE.search(question) is not None


def depends_on_surroundings(question: str, labels: Iterable[str]) -> bool:
    """Return whether the answer may change when other surroundings are painted around the objects
    with these labels, as those of "is it day or night?", "is this a kitchen?" and "what hangs on
    the wall?" do. A word of a label names an object that stays: with an object "wall clock",
    "which wall clock is larger?" does not."""
    plain = _SHADE.sub("", question)
    stays = {_singular(word) for label in labels for word in _WORD.findall(label.lower())}
    named = {_singular(found.group().lower()) for found in _SURROUNDINGS.finditer(plain)}
    return not named <= stays or _IS_A_ROOM.search(plain) is not None


def _singular(word: str) -> str:
    return word.removesuffix("s")


def named_things(phrase: str) -> tuple[str, ...]:
    """Return the words of an English phrase that may name objects, each once: all but colours and
    words for places, numbers and sizes."""
    words = _WORD.findall(phrase.lower())
    kept = (word for word in words if word not in _NO_NAMES and not names_colour(word))
    return tuple(dict.fromkeys(kept))
