"""Reads a referring expression and finds the things that it fits, from the boxes alone.

It was written apart from the grammar that makes the expressions: it knows what the words mean, not
how expressions are chosen. It reads leniently (left means left by any distance), so an expression
whose lenient reading fits only one thing is beyond doubt; ``margin`` says by how much.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Box = tuple[float, float, float, float]
SIZE_WORDS = {"small", "large"}
ORDINAL = {"second": 1, "third": 2}


@dataclass(frozen=True)
class Seen:
    """A thing as the checker sees it, with its box in pixels."""

    label: str
    colour: str
    size: str
    box: Box

    @property
    def x(self) -> float:
        return (self.box[0] + self.box[2]) / 2

    @property
    def y(self) -> float:
        return (self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class Reading:
    """The indices of the things that fit leniently; where one had to be chosen, the margin of the
    choice as a share of the picture."""

    fits: list[int]
    margin: float


def read(phrase: str, things: list[Seen], width: int, height: int) -> Reading:
    """Find what the expression fits. Raises AssertionError for one that it cannot read."""
    if match := re.fullmatch(r"the (left|right)most (\w+)", phrase):
        return _rank(things, match[2], match[1], 0, width)
    if match := re.fullmatch(r"the (second|third) (\w+) from the (left|right)", phrase):
        return _rank(things, match[2], match[3], ORDINAL[match[1]], width)
    if match := re.fullmatch(r"the (largest|smallest) (\w+)", phrase):
        return _extreme(things, match[2], match[1])
    if match := re.fullmatch(r"the (\w+) (left of|right of|above|below|near|on) (the .+)", phrase):
        (anchor,) = _named(match[3], things)
        return _related(things, match[1], match[2], things[anchor], width, height)
    return Reading(_named(phrase, things), 1.0)


def _named(phrase: str, things: list[Seen]) -> list[int]:
    first, *adjectives, label = phrase.split()
    assert first == "the" and len(adjectives) <= 2, phrase
    return [
        k
        for k, thing in enumerate(things)
        if thing.label == label
        and all(word == (thing.size if word in SIZE_WORDS else thing.colour) for word in adjectives)
    ]


def _rank(things: list[Seen], label: str, side: str, place: int, width: int) -> Reading:
    members = [k for k, thing in enumerate(things) if thing.label == label]
    members.sort(key=lambda k: things[k].x, reverse=side == "right")
    assert len(members) > place
    chosen = members[place]
    gaps = [abs(things[chosen].x - things[k].x) / width for k in members if k != chosen]
    return Reading([chosen], min(gaps))


def _extreme(things: list[Seen], label: str, which: str) -> Reading:
    members = [k for k, thing in enumerate(things) if thing.label == label]
    members.sort(key=lambda k: things[k].area, reverse=which == "largest")
    areas = sorted((things[members[0]].area, things[members[1]].area))
    return Reading(members[:1], areas[1] / areas[0] - 1)


def _related(
    things: list[Seen], label: str, relation: str, anchor: Seen, width: int, height: int
) -> Reading:
    members = [k for k, thing in enumerate(things) if thing.label == label]
    assert len(members) > 1 and anchor.label != label
    sign = 1 if relation in ("right of", "below") else -1
    if relation in ("left of", "right of"):
        lead = {k: sign * (things[k].x - anchor.x) / width for k in members}
    elif relation in ("above", "below"):
        lead = {k: sign * (things[k].y - anchor.y) / height for k in members}
    elif relation == "near":
        lead = {
            k: 0.18 - _distance(things[k].box, anchor.box) / min(width, height) for k in members
        }
    else:
        lead = {k: 0.1 if _rests(things[k].box, anchor.box) else -0.1 for k in members}
    fits = [k for k in members if lead[k] > 0]
    return Reading(fits, max(lead.values()))


def _distance(a: Box, b: Box) -> float:
    dx, dy = max(a[0] - b[2], b[0] - a[2], 0), max(a[1] - b[3], b[1] - a[3], 0)
    return float((dx * dx + dy * dy) ** 0.5)


def _rests(thing: Box, table: Box) -> bool:
    """Lenient: the thing overlaps the table from above, and its foot ends on the table's upper
    half."""
    across = min(thing[2], table[2]) - max(thing[0], table[0])
    return across > 0 and table[1] - 2 <= thing[3] <= (table[1] + table[3]) / 2
