"""Lists closed questions about a scene, each with the one answer that follows from the scene.

The questions ask for a count, a relative position, a colour, a relative size, or the type of the
room. Two things are compared only where their positions or sizes differ by a clear margin, so that
a careful reader cannot doubt the answer. ``reasoning_questions`` is the entry point.
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
"""Largest answer of a question for a count. Classes with more things are not asked for."""


@dataclass(frozen=True)
class ReasoningQuestion:
    """A closed question about a scene.

    - ``text``: the question, such as "how many chairs are there?".
    - ``answer``: the right answer, a whole number for a count and a word for all other kinds.
    - ``targets``: indices into ``scene.things`` of the things that the question is about, in the
      order in which it names them; counted things from left to right. Empty for a count of 0 and
      for a question for the room type.
    - ``about``: the classes that the question names, including one that is absent from the scene.
    - ``choices``: all answers that make sense for the question, including the right one.
    """

    text: str
    answer: str | int
    kind: ReasoningKind
    targets: tuple[int, ...]
    about: tuple[str, ...]
    choices: tuple[str | int, ...]


def reasoning_questions(scene: Scene) -> list[ReasoningQuestion]:
    """Return every closed question about the scene. The list is never empty, because the number of
    things of one absent class is always asked for."""
    things = [PlacedThing(thing, scene) for thing in scene.things]
    return [
        *_counts(scene, things),
        *_positions(things),
        *_attributes(things),
        *_sizes(things),
        *_room_type(scene),
    ]


def closed_question_words() -> set[str]:
    """Return every word that a question or an answer can contain, in lower case, without
    numbers."""
    fixed = (
        "how many are there is the left right of or above below what colour which larger smaller "
        "kind room this"
    )
    spoken = [fixed, *LABELS, *PLURALS.values(), *THING_COLOURS, *ROOMS]
    return {word for text in spoken for word in text.split()}


def _counts(scene: Scene, things: list[PlacedThing]) -> Iterator[ReasoningQuestion]:
    """Yield a question for the number of things of each class in the scene, and of one absent
    class. With a question for every absent class, most answers would be 0."""
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


def _unique_names(things: list[PlacedThing]) -> list[tuple[str, int]]:
    """Return the names that fit exactly one thing, each with the index of that thing."""
    return [(name, things.index(thing)) for name, thing in anchors(things)]


def _positions(things: list[PlacedThing]) -> Iterator[ReasoningQuestion]:
    """Yield questions whether one thing is left or right of another, or above or below it. The
    centres differ by at least twice ``MARGIN``."""
    for (name, a), (other, b) in permutations(_unique_names(things), 2):
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
    """Yield questions for the colour of each thing that is the only one of its class."""
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
    """Yield questions which of two things is larger or smaller. Each is the only one of its class,
    so that the class name is an unambiguous answer."""
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
    """Yield the question for the room type, if the room has one."""
    room = scene.surroundings.room
    if room in ROOMS:
        yield ReasoningQuestion("what kind of room is this?", room, "room_type", (), (), ROOMS)
