"""Closed questions about a room, each with one answer that the scene proves.

As with referring expressions, positions and sizes are asked about only where they differ by a
clear margin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.questions import CLEARLY_LARGER, MARGIN, View, anchors
from syngrpo_rooms.scenes import LABELS, Scene
from syngrpo_rooms.surroundings import ROOMS

ReasoningKind = Literal["count", "relative_position", "attribute", "relative_size", "room_type"]
REASONING_KINDS: tuple[ReasoningKind, ...] = (
    "count",
    "relative_position",
    "attribute",
    "relative_size",
    "room_type",
)
MOST_COUNTED = 4

PLURALS = {label: label + "s" for label in LABELS} | {"box": "boxes"}


@dataclass(frozen=True)
class ReasoningQuestion:
    """A question, its answer, and what else could be answered.

    ``targets`` are indices into ``scene.things`` of the things it is about, in the order in which
    it names them (counted things: from left to right); ``about`` the classes it names, which a
    count of zero has no thing of; ``choices`` all sensible answers, the right one among them.
    """

    text: str
    answer: str | int
    kind: ReasoningKind
    targets: tuple[int, ...]
    about: tuple[str, ...]
    choices: tuple[str | int, ...]


def reasoning_questions(scene: Scene) -> list[ReasoningQuestion]:
    """Every question of the grammar about the scene; there is at least one."""
    view = [View(thing, scene) for thing in scene.things]
    return [
        *_counts(scene, view),
        *_positions(view),
        *_attributes(view),
        *_sizes(view),
        *_room_type(scene),
    ]


def words() -> set[str]:
    """Every word that a question or an answer can contain."""
    fixed = (
        "how many are there is the left right of or above below what colour which larger smaller "
        "kind room this"
    )
    spoken = [fixed, *LABELS, *PLURALS.values(), *THING_COLOURS, *ROOMS]
    return {word for text in spoken for word in text.split()}


def _counts(scene: Scene, view: list[View]) -> Iterator[ReasoningQuestion]:
    """Every class that is there, and one that is not: else most answers would be zero."""
    present = {thing.label for thing in view}
    absent = [label for label in LABELS if label not in present]
    missed = absent[scene.detail_seed % len(absent)]
    for label in (*sorted(present), missed):
        members = [index for index, thing in enumerate(view) if thing.label == label]
        if len(members) <= MOST_COUNTED:
            yield ReasoningQuestion(
                f"how many {PLURALS[label]} are there?",
                len(members),
                "count",
                tuple(sorted(members, key=lambda index: view[index].x)),
                (label,),
                tuple(range(MOST_COUNTED + 1)),
            )


def _named(view: list[View]) -> list[tuple[str, int]]:
    """Things that a short name fits alone, with their indices."""
    return [(name, view.index(thing)) for name, thing in anchors(view)]


def _positions(view: list[View]) -> Iterator[ReasoningQuestion]:
    for (name, a), (other, b) in permutations(_named(view), 2):
        across, down = view[b].x - view[a].x, view[b].y - view[a].y
        about = (view[a].label, view[b].label)
        if abs(across) >= 2 * MARGIN:
            answer, choices = ("left" if across > 0 else "right"), ("left", "right")
            text = f"is {name} left or right of {other}?"
            yield ReasoningQuestion(text, answer, "relative_position", (a, b), about, choices)
        if abs(down) >= 2 * MARGIN:
            answer, choices = ("above" if down > 0 else "below"), ("above", "below")
            text = f"is {name} above or below {other}?"
            yield ReasoningQuestion(text, answer, "relative_position", (a, b), about, choices)


def _attributes(view: list[View]) -> Iterator[ReasoningQuestion]:
    for index, thing in enumerate(view):
        if sum(other.label == thing.label for other in view) == 1:
            yield ReasoningQuestion(
                f"what colour is the {thing.label}?",
                thing.colour,
                "attribute",
                (index,),
                (thing.label,),
                tuple(THING_COLOURS),
            )


def _sizes(view: list[View]) -> Iterator[ReasoningQuestion]:
    """Only between classes that are there once, so that a class alone is the answer."""
    single = [
        index
        for index, thing in enumerate(view)
        if sum(other.label == thing.label for other in view) == 1
    ]
    for a, b in permutations(single, 2):
        areas = view[a].area, view[b].area
        if max(areas) < CLEARLY_LARGER * min(areas):
            continue
        labels = view[a].label, view[b].label
        for word, answer in (
            ("larger", labels[areas[1] > areas[0]]),
            ("smaller", labels[areas[1] < areas[0]]),
        ):
            text = f"which is {word}, the {labels[0]} or the {labels[1]}?"
            yield ReasoningQuestion(text, answer, "relative_size", (a, b), labels, labels)


def _room_type(scene: Scene) -> Iterator[ReasoningQuestion]:
    room = scene.surroundings.room
    if room in ROOMS:
        yield ReasoningQuestion("what kind of room is this?", room, "room_type", (), (), ROOMS)
