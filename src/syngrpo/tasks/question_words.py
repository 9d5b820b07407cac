"""What the English words of a question or phrase say about its answer.

``Task.constraints`` asks these functions what a painted image must leave as it is: colours, the
view, the surroundings, or objects of any class. They rather say yes than no: a wrong yes costs a
picture or a part of what a description may ask for, a wrong no makes a label wrong. Questions in
another language look as if they said nothing of it.
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
    r"\b(?:things?|objects?|items?|ones?|furniture|animals?|people|something|anything|everything"
    r"|what's|what (?:is|are|do|can|stands?|lies|lie|sits?|rests?|hangs?)"
    r"(?! the (?:colou?r|(?:direct )?distance|length|height|width|size|number|material)\b))\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"\b(?:how many|number of|count|(?:is|are|was|were) there|(?:do|can) (?:you|we) see)"
    r"\s+([^?.,;:]*)",
    re.IGNORECASE,
)
_AFTER_NAMES = re.compile(
    r"\b(?:is|are|was|were|do|does|can|in|on|at|with|near|behind|under|above|next|to|that|which|who"
    r"|there)\b.*",
    re.IGNORECASE,
)
"""What follows the names of counted things in a question."""
_AMOUNTS = frozenset(("any", "some", "more", "fewer", "than", "both", "either", "also"))
_IN_THE_PICTURE = re.compile(
    r"\b(?:(?:in|of|on|at)\s+(?:(?:the|this)\s+)?(?:pic(?:ture)?|image|photo\w*|frame|screen|shot"
    r"|camera|viewer)"
    r"|foreground|background|quadrant"
    r"|(?:left|right|upper|lower|top|bottom)(?:\s+half|\s+side|\s+edge|\s+corner))\b",
    re.IGNORECASE,
)
"""What speaks of a place in the picture, and not of one beside another object."""
_ABOUT_VIEW = re.compile(
    r"\b(?:picture|image|photo\w*|frame|camera|viewer|view|corner|middle|cent(?:re|er)|edge|(?:which|what)\s+(?:part|half|side|size)"
    r"|near\s+or\s+far|centred|centered|close|long|tiny|huge|size|length"
    r"|how (?:far|near|close|long|tall|wide|high|deep|big|large|small|much)|distance"
    r"|height|width|pixels?|percent\w*|fraction"
    r"|met(?:re|er)s?|centimet(?:re|er)s?|feet|foot|inch(?:es)?)\b",
    re.IGNORECASE,
)
"""What else a question says whose answer may change when the camera moves."""
_PLACE_OR_SIZE = re.compile(
    r"\b(?:where|left|right|top|bottom|upper|lower|far|large|small|big)\b", re.IGNORECASE
)
_COMPARED = re.compile(
    r"\b(?:(?:left|right|top|bottom|upper|lower)"
    r"(?:\s+or\s+(?:(?:to|on)\s+)?(?:the\s+)?(?:left|right|bottom|lower))?\s+of|far\s+from"
    r"|(?:to\s+)?(?:my|your)(?:\s+(?:front-|back-)?(?:left|right|back),?(?:\s+or)?)+)\b"
    r"(?!\s+the\s+(?:room|scene|pic(?:ture)?|image|photo\w*|frame|screen|shot)\b)",
    re.IGNORECASE,
)
"""A word for a place that is meant relative to an object or a person, as in "left of the sofa" and
"to my left"; "left" alone is a place in the picture."""
_SURROUNDINGS = re.compile(
    r"\b(?:day|night|daytime|night-?time|dawn|dusk|sunset|sunrise|morning|afternoon|evening|noon"
    r"|midday|dark|bright|dim|lit|light|lighting|sun|sunny|sky|shadows?|weather|rain\w*|snow\w*|windy"
    r"|cloud\w*|fog\w*|mist\w*|wet|cold|season|spring|summer|winter|autumn|indoors?|outdoors?"
    r"|inside|outside|ground|grass|water|ocean|sea|sand|road|sidewalk|background|surroundings|taken"
    r"|walls?|wallpaper|floors?|ceilings?|carpets?|windows?|doors?|curtains?|building|street|beach"
    r"|park|city|country|zoo|airport|church|museum|time of year)\b",
    re.IGNORECASE,
)
"""Light, weather, place and the parts of a room: what is painted anew, unless it is labelled."""
_SHADE = re.compile(
    r"\b(?:light|dark|bright)[\s-]+(?=" + _COLOUR.pattern.removeprefix(r"\b") + ")", re.IGNORECASE
)
"""A word for light that belongs to a colour, as in "dark red"."""
_ROOM = (
    r"(?:rooms?|kitchen|bedroom|bathroom|office|hall(?:way)?|corridor|garage|classroom|library"
    r"|cellar|basement|attic|balcony|lobby|shop|store|restaurant|cafe|house|home|place|space|scene)"
)
_SPOKEN_ROOM = re.compile(rf"(\bin (?:the|this|that) (?:\w+ )?)?\b{_ROOM}\b", re.IGNORECASE)
"""A room, with the words before it in a group if it is only the place where something is, as in
"how many chairs are in the kitchen?"."""
_WHICH_PLACE = re.compile(
    r"^\W*(?:where|(?:is|was|are|were|does|do|could|can) (?:this|that|it|we|you)\b)", re.IGNORECASE
)
"""How a question begins in which "in the kitchen" is what it asks for."""
_ROOM_TYPE = re.compile(
    rf"\b(?:kind|type|sort) of (?:an? )?{_ROOM}\b"
    r"(?!\s+(?!is|was|are|does|do|can|shown|in|with|this|that|it|we)\w)"
    r"|\b(?:what|which) room\b",
    re.IGNORECASE,
)
"""Not "what kind of kitchen appliance"."""


def names_colour(text: str) -> bool:
    """Return whether an English text names a colour, or asks for one."""
    return _COLOUR.search(text) is not None


def may_mean_any_class(text: str) -> bool:
    """Return whether an English phrase or question may be about an object of any class, as "the
    leftmost object" and "what is on the table?" are."""
    return _OF_ANY_CLASS.search(text) is not None


def speaks_of_the_picture(text: str) -> bool:
    """Return whether an English phrase or question names a place in the picture, as "the chair in
    the lower half of the picture" does."""
    return _IN_THE_PICTURE.search(text) is not None


def depends_on_view(question: str) -> bool:
    """Return whether the answer may change when the camera moves."""
    absolute = _PLACE_OR_SIZE.search(_COMPARED.sub(" ", question))
    measured = _ABOUT_VIEW.search(question)
    return absolute is not None or measured is not None or speaks_of_the_picture(question)


def asks_for_room_type(question: str) -> bool:
    """Return whether the answer is the kind of room, as in "what kind of room is this?"."""
    return _ROOM_TYPE.search(question) is not None


def depends_on_surroundings(question: str, labels: Iterable[str]) -> bool:
    """Return whether the answer may change when other surroundings are painted around the objects
    with these labels, as those of "is it day or night?", "is this a kitchen?" and "what hangs on
    the wall?" do. A label is an object that stays: with a "wall clock", "which wall clock is
    larger?" is not about the wall, but "what colour is the wall?" is."""
    plain = _without_labels(_SHADE.sub("", question), labels)
    asked = _WHICH_PLACE.search(plain) is not None
    rooms = _SPOKEN_ROOM.finditer(plain)
    return _SURROUNDINGS.search(plain) is not None or any(
        asked or room.group(1) is None for room in rooms
    )


def names_surroundings(answer: str, labels: Iterable[str]) -> bool:
    """Return whether an answer is a part of the surroundings, as "on the grass" and "the kitchen"
    are, and not one of the labelled objects."""
    plain = _without_labels(_SHADE.sub("", answer), labels)
    return _SURROUNDINGS.search(plain) is not None or _SPOKEN_ROOM.search(plain) is not None


def _without_labels(text: str, labels: Iterable[str]) -> str:
    """Remove the labels from a text, in singular and plural."""
    for label in sorted(labels, key=len, reverse=True):
        name = re.escape(label.removesuffix("s"))
        text = re.sub(rf"\b{name}(?:e?s)?\b", " ", text, flags=re.IGNORECASE)
    return text


def counted_things(question: str) -> tuple[str, ...]:
    """Return the words that may name what a question counts or looks for, each once: those after
    "how many", "the number of", "are there any" and "do you see"."""
    parts = (_AFTER_NAMES.sub("", part) for part in _COUNTED.findall(question))
    words = (word for part in parts for word in named_things(part) if word not in _AMOUNTS)
    return tuple(dict.fromkeys(words))


def named_things(phrase: str) -> tuple[str, ...]:
    """Return the words of an English phrase that may name objects, each once: all but colours and
    words for places, numbers and sizes. An orange may be a fruit."""
    words = _WORD.findall(phrase.lower())
    kept = (w for w in words if w not in _NO_NAMES and (w == "orange" or not names_colour(w)))
    return tuple(dict.fromkeys(kept))
