"""Referring expressions that fit exactly one thing of a scene, with a margin.

A phrase is judged on the boxes alone (positions are box centres; distances are shares of the
picture). Where a phrase needs an order or a relation, the named thing satisfies it by ``MARGIN``
and every other candidate clearly fails, so that no careful reader could choose another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.scenes import LABELS, SIZES, TABLE_TOP_LABELS, Scene, Thing

Kind = Literal["attribute", "ordinal", "relation"]
KINDS: tuple[Kind, ...] = ("attribute", "ordinal", "relation")

MARGIN = 0.08
"""A thing left of another is so by this share of the width (above: of the height)."""
CLEAR_FAIL = 0.04
"""A thing not left of another is this far on the other side."""
NEAR, FAR = 0.12, 0.25
"""Gap between the boxes of near and of clearly not near things, in shares of the shorter side."""
CLEARLY_LARGER = 1.4
"""The largest thing has this many times the box area of the next."""

ORDINALS = ("second", "third")
RELATIONS = ("left of", "right of", "above", "below", "near", "on")


@dataclass(frozen=True)
class RecQuestion:
    """A phrase and the index of the one thing of ``scene.things`` that it fits."""

    phrase: str
    target: int
    kind: Kind


def rec_questions(scene: Scene) -> list[RecQuestion]:
    """Every phrase of the grammar that fits exactly one thing of the scene; may be empty."""
    view = [View(thing, scene) for thing in scene.things]
    return [*_attributes(view), *_ordinals(view), *_relations(view)]


def words() -> set[str]:
    """Every word that a phrase can contain."""
    fixed = "the from left right leftmost rightmost largest smallest"
    spoken = [fixed, *ORDINALS, *RELATIONS, *LABELS, *SIZES, *THING_COLOURS]
    return {word for text in spoken for word in text.split()}


class View:
    """A thing's box in shares of the picture."""

    def __init__(self, thing: Thing, scene: Scene) -> None:
        self.label, self.colour, self.size = thing.label, thing.colour, thing.size
        x1, y1, x2, y2 = thing.box
        self.x, self.y = (x1 + x2) / 2 / scene.width, (y1 + y2) / 2 / scene.height
        self.area = (x2 - x1) * (y2 - y1)
        side = min(scene.width, scene.height)
        self.box = (x1 / side, y1 / side, x2 / side, y2 / side)


def _attributes(view: list[View]) -> Iterator[RecQuestion]:
    """The shortest description by colour and size, and those with one word more."""
    for target, thing in enumerate(view):
        fitting = []
        for use_size, use_colour in ((False, False), (False, True), (True, False), (True, True)):
            others = (
                other.label == thing.label
                and (not use_colour or other.colour == thing.colour)
                and (not use_size or other.size == thing.size)
                for k, other in enumerate(view)
                if k != target
            )
            if not any(others):
                said = [thing.size] * use_size + [thing.colour] * use_colour + [thing.label]
                fitting.append(said)
        shortest = min((len(said) for said in fitting), default=0)
        for said in fitting:
            if len(said) <= shortest + 1:
                yield RecQuestion("the " + " ".join(said), target, "attribute")


def _classes(view: list[View]) -> dict[str, list[int]]:
    """Classes with several things → their indices."""
    members: dict[str, list[int]] = {}
    for index, thing in enumerate(view):
        members.setdefault(thing.label, []).append(index)
    return {label: indices for label, indices in members.items() if len(indices) > 1}


def _ordinals(view: list[View]) -> Iterator[RecQuestion]:
    for label, indices in _classes(view).items():
        order = sorted(indices, key=lambda index: view[index].x)
        for rank, index in enumerate(order):
            if any(abs(view[index].x - view[k].x) < MARGIN for k in order if k != index):
                continue
            for place, side in ((rank, "left"), (len(order) - 1 - rank, "right")):
                if place == 0:
                    yield RecQuestion(f"the {side}most {label}", index, "ordinal")
                elif place <= len(ORDINALS):
                    nth = ORDINALS[place - 1]
                    yield RecQuestion(f"the {nth} {label} from the {side}", index, "ordinal")
        by_area = sorted(indices, key=lambda index: view[index].area)
        if view[by_area[-1]].area >= CLEARLY_LARGER * view[by_area[-2]].area:
            yield RecQuestion(f"the largest {label}", by_area[-1], "ordinal")
        if view[by_area[1]].area >= CLEARLY_LARGER * view[by_area[0]].area:
            yield RecQuestion(f"the smallest {label}", by_area[0], "ordinal")


def _relations(view: list[View]) -> Iterator[RecQuestion]:
    """One of several things of a class, told by where it is from a thing of another class."""
    named = list(anchors(view))
    for label, indices in _classes(view).items():
        for name, anchor in named:
            if anchor.label == label:
                continue
            for relation in RELATIONS:
                verdicts = [holds(relation, view[index], anchor) for index in indices]
                if verdicts.count(True) == 1 and verdicts.count(False) == len(verdicts) - 1:
                    target = indices[verdicts.index(True)]
                    yield RecQuestion(f"the {label} {relation} {name}", target, "relation")


def anchors(view: list[View]) -> Iterator[tuple[str, View]]:
    """Things that their class, or their class and colour, names alone."""
    for thing in view:
        same = [other for other in view if other.label == thing.label]
        if len(same) == 1:
            yield f"the {thing.label}", thing
        elif sum(other.colour == thing.colour for other in same) == 1:
            yield f"the {thing.colour} {thing.label}", thing


def holds(relation: str, thing: View, anchor: View) -> bool | None:
    """Clearly yes, clearly no, or None where a reader could doubt."""
    if relation == "near":
        distance = _gap(thing, anchor)
        return True if distance <= NEAR else False if distance >= FAR else None
    if relation == "on":
        return _stands_on(thing, anchor)
    lead = {
        "left of": anchor.x - thing.x,
        "right of": thing.x - anchor.x,
        "above": anchor.y - thing.y,
        "below": thing.y - anchor.y,
    }[relation]
    return True if lead >= MARGIN else False if lead <= -CLEAR_FAIL else None


def _gap(a: View, b: View) -> float:
    """Distance between two boxes; 0 where they touch."""
    across = max(a.box[0] - b.box[2], b.box[0] - a.box[2], 0.0)
    down = max(a.box[1] - b.box[3], b.box[1] - a.box[3], 0.0)
    return float((across**2 + down**2) ** 0.5)


def _stands_on(thing: View, anchor: View) -> bool | None:
    """Whether a thing's foot rests on a table's top; only tables carry anything."""
    if anchor.label != "table" or thing.label not in TABLE_TOP_LABELS:
        return None
    x1, y1, x2, y2 = anchor.box
    depth = (thing.box[3] - y1) / (y2 - y1)
    over = min(thing.box[2], x2) - max(thing.box[0], x1)
    if 0.0 <= depth <= 0.26 and over >= 0.6 * (thing.box[2] - thing.box[0]):
        return True
    return False if over < 0 or depth < -0.5 or depth > 0.8 else None
