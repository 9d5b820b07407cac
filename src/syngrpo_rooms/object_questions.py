"""Makes questions whose answers are things of the scene: referring expressions and detection.

A referring expression ("the red chair left of the table") fits exactly one thing. Whether it fits
is computed from the boxes alone: the position of a thing is the centre of its box, and distances
are shares of the picture's size. Where an expression names an order or a relation, its target
satisfies it by a clear margin and every other candidate clearly fails, so that a careful reader
cannot choose another thing. ``rec_questions`` lists the expressions of a scene.

A detection question names two or three classes, and its answer is every thing of those classes.
``detection_question`` draws one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.scenes import LABELS, SIZES, TABLE_TOP_LABELS, Scene, Thing

Kind = Literal["attribute", "ordinal", "relation"]
KINDS: tuple[Kind, ...] = ("attribute", "ordinal", "relation")

MARGIN = 0.08
"""A thing is left (or right) of another if their centres are at least this far apart, as a share of
the picture's width. For above and below it is a share of the height."""
CLEAR_FAIL = 0.04
"""A thing is clearly not left of another if its centre is at least this far on the other side, as a
share like ``MARGIN``. In between the relation is in doubt."""
NEAR, NOT_NEAR = 0.12, 0.25
"""Two things are near each other if the gap between their boxes is at most the first value, and
clearly not near if it is at least the second. Both are shares of the picture's shorter side."""
CLEARLY_LARGER = 1.4
"""A thing is clearly larger than another if its box has at least this many times the area."""

ORDINALS = ("second", "third")
RELATIONS = ("left of", "right of", "above", "below", "near", "on")


MOST_CLASSES = 3
"""Largest number of classes in one detection question."""
MOST_INSTANCES = 4
"""Largest number of things in the answer of a detection question. With more things the answer would
be longer, but the question would not be harder."""
ALL_ABSENT = 0.1
"""Share of the detection questions that ask only for classes that the scene does not have."""


@dataclass(frozen=True)
class RecQuestion:
    """A referring expression. ``target`` is the index into ``scene.things`` of the one thing that
    it fits."""

    phrase: str
    target: int
    kind: Kind


def rec_questions(scene: Scene) -> list[RecQuestion]:
    """Return every expression of the grammar that fits exactly one thing of the scene.

    The list is empty if no expression does.
    """
    things = [PlacedThing(thing, scene) for thing in scene.things]
    return [*_attributes(things), *_ordinals(things), *_relations(things)]


def referring_words() -> set[str]:
    """Return every word that a referring expression can contain, in lower case."""
    fixed = "the from left right leftmost rightmost largest smallest"
    spoken = [fixed, *ORDINALS, *RELATIONS, *LABELS, *SIZES, *THING_COLOURS]
    return {word for text in spoken for word in text.split()}


class PlacedThing:
    """A thing with its position relative to the picture.

    ``x`` and ``y`` are the centre of its box as shares of the picture's width and height, ``area``
    is in square pixels, and ``box`` is xyxy in units of the picture's shorter side.
    """

    def __init__(self, thing: Thing, scene: Scene) -> None:
        self.label, self.colour, self.size = thing.label, thing.colour, thing.size
        x1, y1, x2, y2 = thing.box
        self.x, self.y = (x1 + x2) / 2 / scene.width, (y1 + y2) / 2 / scene.height
        self.area = (x2 - x1) * (y2 - y1)
        side = min(scene.width, scene.height)
        self.box = (x1 / side, y1 / side, x2 / side, y2 / side)


def _attributes(things: list[PlacedThing]) -> Iterator[RecQuestion]:
    """Yield expressions by class, colour and size: for each thing the shortest ones that fit it
    alone, and those that are one word longer."""
    for target, thing in enumerate(things):
        fitting = []
        for use_size, use_colour in ((False, False), (False, True), (True, False), (True, True)):
            others = (
                other.label == thing.label
                and (not use_colour or other.colour == thing.colour)
                and (not use_size or other.size == thing.size)
                for k, other in enumerate(things)
                if k != target
            )
            if not any(others):
                said = [thing.size] * use_size + [thing.colour] * use_colour + [thing.label]
                fitting.append(said)
        shortest = min((len(said) for said in fitting), default=0)
        for said in fitting:
            if len(said) <= shortest + 1:
                yield RecQuestion("the " + " ".join(said), target, "attribute")


def _classes(things: list[PlacedThing]) -> dict[str, list[int]]:
    """Return class → indices of its things, for the classes that have several things."""
    members: dict[str, list[int]] = {}
    for index, thing in enumerate(things):
        members.setdefault(thing.label, []).append(index)
    return {label: indices for label, indices in members.items() if len(indices) > 1}


def _ordinals(things: list[PlacedThing]) -> Iterator[RecQuestion]:
    """Yield expressions by rank ("the second chair from the left", "the largest chair") for each
    class that has several things."""
    for label, indices in _classes(things).items():
        order = sorted(indices, key=lambda index: things[index].x)
        for rank, index in enumerate(order):
            if any(abs(things[index].x - things[k].x) < MARGIN for k in order if k != index):
                continue
            for place, side in ((rank, "left"), (len(order) - 1 - rank, "right")):
                if place == 0:
                    yield RecQuestion(f"the {side}most {label}", index, "ordinal")
                elif place <= len(ORDINALS):
                    nth = ORDINALS[place - 1]
                    yield RecQuestion(f"the {nth} {label} from the {side}", index, "ordinal")
        by_area = sorted(indices, key=lambda index: things[index].area)
        if things[by_area[-1]].area >= CLEARLY_LARGER * things[by_area[-2]].area:
            yield RecQuestion(f"the largest {label}", by_area[-1], "ordinal")
        if things[by_area[1]].area >= CLEARLY_LARGER * things[by_area[0]].area:
            yield RecQuestion(f"the smallest {label}", by_area[0], "ordinal")


def _relations(things: list[PlacedThing]) -> Iterator[RecQuestion]:
    """Yield expressions that single out one of several things of a class by its position relative
    to a thing of another class."""
    named = list(anchors(things))
    for label, indices in _classes(things).items():
        for name, anchor in named:
            if anchor.label == label:
                continue
            for relation in RELATIONS:
                verdicts = [holds(relation, things[index], anchor) for index in indices]
                if verdicts.count(True) == 1 and verdicts.count(False) == len(verdicts) - 1:
                    target = indices[verdicts.index(True)]
                    yield RecQuestion(f"the {label} {relation} {name}", target, "relation")


def anchors(things: list[PlacedThing]) -> Iterator[tuple[str, PlacedThing]]:
    """Yield (name, thing) for each thing that its class, or its colour and class, identifies, such
    as "the table" or "the red chair"."""
    for thing in things:
        same = [other for other in things if other.label == thing.label]
        if len(same) == 1:
            yield f"the {thing.label}", thing
        elif sum(other.colour == thing.colour for other in same) == 1:
            yield f"the {thing.colour} {thing.label}", thing


def holds(relation: str, thing: PlacedThing, anchor: PlacedThing) -> bool | None:
    """Return whether ``thing`` has the relation to ``anchor``. None where a reader could doubt it.

    ``relation`` is one of ``RELATIONS``. Raises KeyError for any other.
    """
    if relation == "near":
        distance = _gap(thing, anchor)
        return True if distance <= NEAR else False if distance >= NOT_NEAR else None
    if relation == "on":
        return _stands_on(thing, anchor)
    lead = {
        "left of": anchor.x - thing.x,
        "right of": thing.x - anchor.x,
        "above": anchor.y - thing.y,
        "below": thing.y - anchor.y,
    }[relation]
    return True if lead >= MARGIN else False if lead <= -CLEAR_FAIL else None


def _gap(a: PlacedThing, b: PlacedThing) -> float:
    """Return the distance between two boxes as a share of the picture's shorter side; 0 if they
    touch or overlap."""
    across = max(a.box[0] - b.box[2], b.box[0] - a.box[2], 0.0)
    down = max(a.box[1] - b.box[3], b.box[1] - a.box[3], 0.0)
    return float((across**2 + down**2) ** 0.5)


def _stands_on(thing: PlacedThing, anchor: PlacedThing) -> bool | None:
    """Return whether the lower edge of a thing rests on the top of a table.

    None where a reader could doubt it, where the anchor is no table, and for classes that never
    stand on a table.
    """
    if anchor.label != "table" or thing.label not in TABLE_TOP_LABELS:
        return None
    x1, y1, x2, y2 = anchor.box
    depth = (thing.box[3] - y1) / (y2 - y1)
    over = min(thing.box[2], x2) - max(thing.box[0], x1)
    if 0.0 <= depth <= 0.26 and over >= 0.6 * (thing.box[2] - thing.box[0]):
        return True
    return False if over < 0 or depth < -0.5 or depth > 0.8 else None


@dataclass(frozen=True)
class DetectionQuestion:
    """A question for every thing of some classes.

    ``targets`` are the indices into ``scene.things`` of the things to be found, in the order of the
    classes, and within a class from left to right.
    """

    classes: tuple[str, ...]
    targets: tuple[int, ...]

    @property
    def text(self) -> str:
        """The classes, separated by a comma and a space."""
        return ", ".join(self.classes)


def detection_question(scene: Scene, rng: np.random.Generator) -> DetectionQuestion:
    """Draw a question for two or three classes.

    One question in ten asks only for absent classes. The others ask for one or more classes of the
    scene, as far as their things are at most ``MOST_INSTANCES`` together, and fill up with absent
    classes.
    """
    present = list(dict.fromkeys(thing.label for thing in scene.things))
    absent = [label for label in LABELS if label not in present]
    count = int(rng.integers(2, MOST_CLASSES + 1))
    wanted = 0 if rng.random() < ALL_ABSENT else int(rng.integers(1, count + 1))
    chosen: list[str] = []
    left = MOST_INSTANCES
    for k in rng.permutation(len(present)).tolist():
        members = sum(thing.label == present[k] for thing in scene.things)
        if len(chosen) < wanted and members <= left:
            chosen.append(present[k])
            left -= members
    chosen += [absent[k] for k in rng.permutation(len(absent))[: count - len(chosen)].tolist()]
    classes = tuple(chosen[k] for k in rng.permutation(len(chosen)).tolist())
    return DetectionQuestion(classes, instances_of(scene, classes))


def instances_of(scene: Scene, classes: tuple[str, ...]) -> tuple[int, ...]:
    """Return the indices into ``scene.things`` of the things of these classes: class by class, and
    within a class from left to right."""
    found = [
        (classes.index(thing.label), thing.box[0] + thing.box[2], index)
        for index, thing in enumerate(scene.things)
        if thing.label in classes
    ]
    return tuple(index for _, _, index in sorted(found))
