"""Closed questions about a room, each with one answer that follows from the scene.

Questions compare positions and sizes only where they differ by a clear margin, as referring
expressions do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from syngrpo_rooms.object_questions import CLEARLY_LARGER, MARGIN, PlacedThing, anchors
from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.scenes import LABELS, PLURALS, Scene
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
"""Largest number that is asked for."""


@dataclass(frozen=True)
class ReasoningQuestion:
    """A question, its answer, and the other answers that would make sense.

    ``targets``: indices into ``scene.things`` of the things the question is about, in the order in
    which it names them; counted things from left to right. ``about``: the classes it names, also
    one that is counted and absent. ``choices``: all sensible answers, including the right one.
    """

    text: str
    answer: str | int
    kind: ReasoningKind
    targets: tuple[int, ...]
    about: tuple[str, ...]
    choices: tuple[str | int, ...]


def reasoning_questions(scene: Scene) -> list[ReasoningQuestion]:
    """Return every question of the grammar about the scene; there is at least one."""
    things = [PlacedThing(thing, scene) for thing in scene.things]
    return [
        *_counts(scene, things),
        *_positions(things),
        *_attributes(things),
        *_sizes(things),
        *_room_type(scene),
    ]


def closed_question_words() -> set[str]:
    """Return every word that a question or an answer can contain."""
    fixed = (
        "how many are there is the left right of or above below what colour which larger smaller "
        "kind room this"
    )
    spoken = [fixed, *LABELS, *PLURALS.values(), *THING_COLOURS, *ROOMS]
    return {word for text in spoken for word in text.split()}


def _counts(scene: Scene, things: list[PlacedThing]) -> Iterator[ReasoningQuestion]:
    """Ask for the number of every class that is there, and of one that is not. Asking for all
    absent classes would make most answers zero."""
    present = {thing.label for thing in things}
    absent = [label for label in LABELS if label not in present]
    missed = absent[scene.detail_seed % len(absent)]
    for label in (*sorted(present), missed):
        members = [index for index, thing in enumerate(things) if thing.label == label]
        if len(members) <= MOST_COUNTED:
            yield ReasoningQuestion(
                f"how many {PLURALS[label]} are there?",
                len(members),
                "count",
                tuple(sorted(members, key=lambda index: things[index].x)),
                (label,),
                tuple(range(MOST_COUNTED + 1)),
            )


def _named(things: list[PlacedThing]) -> list[tuple[str, int]]:
    """The names that fit one thing alone, with the indices of those things."""
    return [(name, things.index(thing)) for name, thing in anchors(things)]


def _positions(things: list[PlacedThing]) -> Iterator[ReasoningQuestion]:
    for (name, a), (other, b) in permutations(_named(things), 2):
        across, down = things[b].x - things[a].x, things[b].y - things[a].y
        about = (things[a].label, things[b].label)
        if abs(across) >= 2 * MARGIN:
            answer, choices = ("left" if across > 0 else "right"), ("left", "right")
            text = f"is {name} left or right of {other}?"
            yield ReasoningQuestion(text, answer, "relative_position", (a, b), about, choices)
        if abs(down) >= 2 * MARGIN:
            answer, choices = ("above" if down > 0 else "below"), ("above", "below")
            text = f"is {name} above or below {other}?"
            yield ReasoningQuestion(text, answer, "relative_position", (a, b), about, choices)


def _attributes(things: list[PlacedThing]) -> Iterator[ReasoningQuestion]:
    for index, thing in enumerate(things):
        if sum(other.label == thing.label for other in things) == 1:
            yield ReasoningQuestion(
                f"what colour is the {thing.label}?",
                thing.colour,
                "attribute",
                (index,),
                (thing.label,),
                tuple(THING_COLOURS),
            )


def _sizes(things: list[PlacedThing]) -> Iterator[ReasoningQuestion]:
    """Compare classes that are there once each, so that the name of a class is the answer."""
    single = [
        index
        for index, thing in enumerate(things)
        if sum(other.label == thing.label for other in things) == 1
    ]
    for a, b in permutations(single, 2):
        areas = things[a].area, things[b].area
        if max(areas) < CLEARLY_LARGER * min(areas):
            continue
        labels = things[a].label, things[b].label
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
