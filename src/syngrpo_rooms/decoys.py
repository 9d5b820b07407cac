"""Decoys: further things of the labelled classes that stand around and have no label.

They make a picture harder to read and no answer wrong, because they are never of a class that the
labels or the question name. A description can ask for them ("a lamp and two balls stand around").
``read_decoys`` finds them in a text, ``write_decoys`` writes such a text, ``draw_kinds`` draws
some at random, and ``place_decoys`` finds free places for them in a picture. ``room_renderer``
paints them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from syngrpo.painting.prompt import ALONE, strip_classes
from syngrpo.sample import Box
from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.scenes import (
    FLOOR_HEAD,
    LABELS,
    PLURALS,
    SCALES,
    SIZES,
    SMALL_SIZES,
    WALL_FOOT,
    WALL_LABELS,
    RoomView,
    Thing,
)

Kind = tuple[str, str | None, str | None]
"""Class, colour and size of a decoy; None where the text leaves it open."""

MOST = 6
"""Decoys in one picture, at most."""
UNSAID = (0, 2, 5)
"""Numbers of decoys, equally likely, where a description says nothing about them."""
STREAM = 13
"""Makes the random numbers for decoys independent of all others that start from the same seed."""
ATTEMPTS = 40
"""Places that are tried for a decoy. Without a free one it is left out."""

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_COUNTS = {
    **dict.fromkeys(("a", "an", "the", "one", "another"), 1),
    **NUMBERS,
    **dict.fromkeys(("a few", "few", "some", "several"), 3),
    "no": 0,
    "many": MOST,
}
_SIZE_WORDS = {"small": "small", "little": "small", "large": "large", "big": "large"}
_COLOUR_WORDS = {
    **{name: name for name in THING_COLOURS},
    "crimson": "red",
    "scarlet": "red",
    "navy": "blue",
    "violet": "purple",
    "lilac": "purple",
    "charcoal": "black",
}
_CLASSES = {form: label for label in LABELS for form in (label, PLURALS[label])}


def _any(words: Sequence[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_COUNT = rf"(?:{_any(list(_COUNTS))}|\d{{1,3}})"
_JOINING = (
    "with|without|of|in|on|at|by|near|behind|beside|under|over|above|below|and|or|to|from|is|are"
)
_THING = re.compile(
    rf"(?:\b(?P<count>{_COUNT})\s+(?P<between>(?:(?!(?:{_COUNT}|{_JOINING})\b)[\w-]+\s+){{0,4}}?)"
    rf"|(?P<before>(?:\b(?:{_any([*_SIZE_WORDS, *_COLOUR_WORDS])})\s+)*))"
    rf"\b(?P<name>{_any(list(_CLASSES))})\b"
)
_NOTHING = re.compile(
    r"\b(?:nothing (?:else|more)|no (?:other|further|more) (?:things?|objects?))\b"
)
_STANDING = re.compile(r"\b(?:and\s+)?stands?\s+around\b")


def decoy_words() -> set[str]:
    """Return every word that ``write_decoys`` writes."""
    named = [*LABELS, *PLURALS.values(), *NUMBERS, *THING_COLOURS]
    return {*named, *ALONE.split(), "a", "an", "and", "stand", "stands", "around"}


def read_decoys(text: str) -> tuple[list[Kind] | None, str]:
    """Return the decoys that a lower-case text asks for, and the text without them.

    None if it says nothing about them, an empty list if it says that there are none. A name counts
    in singular and plural. "Some" are three, and a plural without a number is two.
    """
    found: list[Kind] = []

    def taken(match: re.Match[str]) -> str:
        words = (match["between"] or match["before"] or "").split()
        colour = next((_COLOUR_WORDS[word] for word in words if word in _COLOUR_WORDS), None)
        size = next((_SIZE_WORDS[word] for word in words if word in _SIZE_WORDS), None)
        number = min(_number(match["count"], match["name"]), MOST)
        found.extend([(_CLASSES[match["name"]], colour, size)] * number)
        return " "

    nothing, standing = _NOTHING.search(text), _STANDING.search(text)
    rest, things = _THING.subn(taken, text)
    rest = _STANDING.sub(" ", _NOTHING.sub(" ", rest))
    if not (nothing or standing or things):
        return None, text
    return ([] if nothing else found[:MOST]), rest


def _number(count: str | None, name: str) -> int:
    if count is None:
        return 1 if name in LABELS else 2
    return int(count) if count.isdigit() else _COUNTS[count]


def allowed_classes(forbidden: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of which things may be painted: those that none of these names means."""
    return tuple(label for label in LABELS if strip_classes(label, forbidden) == label)


def write_decoys(count: int, classes: Sequence[str], rng: np.random.Generator) -> str:
    """Write a text that asks for ``count`` (at most 6) decoys of one or two of the classes: 4 to 8
    words."""
    if count == 0 or not classes:
        return ALONE
    first = int(rng.integers(1, count + 1))
    counts = [first, count - first] if first < count and len(classes) > 1 else [count]
    chosen = rng.permutation(len(classes))[: len(counts)].tolist()
    coloured = int(rng.integers(len(counts))) if rng.random() < 0.5 else -1
    said = []
    for k, (number, index) in enumerate(zip(counts, chosen, strict=True)):
        colour = list(THING_COLOURS)[int(rng.integers(len(THING_COLOURS)))] + " "
        label = classes[index]
        name = f"{colour if k == coloured else ''}{label if number == 1 else PLURALS[label]}"
        article = "an" if name[0] in "aeiou" else "a"
        said.append(f"{article if number == 1 else list(NUMBERS)[number - 2]} {name}")
    return f"{' and '.join(said)} {'stands' if count == 1 else 'stand'} around"


def draw_kinds(count: int, classes: Sequence[str], rng: np.random.Generator) -> list[Kind]:
    """Draw ``count`` decoys of the classes; none if there is no class."""
    if not classes:
        return []
    return [(classes[int(rng.integers(len(classes)))], None, None) for _ in range(count)]


def place_decoys(
    kinds: Sequence[Kind], taken: np.ndarray, view: RoomView, rng: np.random.Generator
) -> tuple[Thing, ...]:
    """Return decoys at free places, back to front. A colour or size that is left open is drawn.

    ``taken`` is bool (H, W): true where no decoy may be. Clocks and mirrors hang on the wall, all
    others stand on the floor. Decoys keep a little apart from taken pixels and from each other.
    """
    height, width = taken.shape
    taken, apart = taken.copy(), max(2, round(min(height, width) / 64))
    placed: list[Thing] = []
    for label, colour, size in sorted(kinds, key=lambda kind: -SMALL_SIZES[kind[0]][0]):
        colour = colour or tuple(THING_COLOURS)[int(rng.integers(len(THING_COLOURS)))]
        size = size or SIZES[int(rng.random() < 0.45)]
        factor, flip = float(rng.uniform(*SCALES[size])), bool(rng.random() < 0.5)
        tone = float(rng.uniform(0.94, 1.06))
        for _ in range(ATTEMPTS):
            box = _spot(label, factor, width, height, view, rng)
            x1, y1, x2, y2 = (int(box[0]), int(box[1]), int(box[2]) + 1, int(box[3]) + 1)
            around = taken[max(0, y1 - apart) : y2 + apart, max(0, x1 - apart) : x2 + apart]
            if box[0] >= 0 and box[1] >= 0 and not around.any():
                placed.append(Thing(label, colour, size, box, flip, tone))
                taken[y1:y2, x1:x2] = True
                break
    return tuple(sorted(placed, key=lambda thing: (thing.label not in WALL_LABELS, thing.box[3])))


def _spot(
    label: str, factor: float, width: int, height: int, view: RoomView, rng: np.random.Generator
) -> Box:
    """Draw a box on the wall or on the floor. What stands nearer than the labelled things looks
    larger than they do, up to its size seen close up."""
    foot = float(rng.uniform(view.down(FLOOR_HEAD), 0.98))
    nearness = max(view.scale, (foot - view.horizon) / (0.98 - view.horizon))
    if label in WALL_LABELS:
        nearness = view.scale
    unit = factor * nearness * min(width, height) / 128
    w, h = SMALL_SIZES[label][0] * unit, SMALL_SIZES[label][1] * unit
    if label in WALL_LABELS:
        highest = 0.03 + h / height
        foot = float(rng.uniform(highest, max(highest, view.down(WALL_FOOT))))
    margin = 0.015 * width
    x = float(rng.uniform(margin, max(margin, width - w - margin)))
    return (x, foot * height - h, x + w, foot * height)
