"""Simulated annotators, who write the responses that the starter is trained on.

The text that real models are trained on mixes good and bad answers, so that a model knows more than
its likeliest answer shows. Here a *careful* annotator answers exactly. A *loose* one errs a little:
boxes with a margin on every side, or the next choice instead of the right one. A *wrong* one boxes
a random thing, or guesses. In closed questions only the answer may be wrong: the ``<think>`` part
is always right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from syngrpo.boxes import clip
from syngrpo.sample import Box
from syngrpo_rooms.closed_questions import ReasoningQuestion
from syngrpo_rooms.decoys import allowed_classes
from syngrpo_rooms.descriptions import describe, random_description
from syngrpo_rooms.object_questions import DetectionQuestion, RecQuestion
from syngrpo_rooms.scenes import Scene
from syngrpo_rooms.starter.architecture import IMAGE_SIZE, LARGEST_NUMBER
from syngrpo_rooms.surroundings import sample_surroundings

NOTHING = -100
"""Stands for the index of a thing where words are about none, or about the wrong one."""

SceneQuestion = RecQuestion | DetectionQuestion | ReasoningQuestion
Pieces = list[tuple[str, int]]
"""A text in pieces. Each has the index of the thing that it is about, or ``NOTHING``."""
Shares = tuple[float, float, float]
"""Shares of careful, loose and wrong annotators; they sum to 1."""
Annotator = Literal["careful", "loose", "wrong"]
ANNOTATORS: tuple[Annotator, ...] = ("careful", "loose", "wrong")

DOWN, ACROSS = ("top", "middle", "bottom"), ("left", "centre", "right")
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
EVIDENCE = {
    "kitchen": "hob",
    "bathroom": "bathtub",
    "office": "shelves",
    "workshop": "tools",
    "gym": "bars",
}
"""What shows the room type."""
THINK_WORDS = [*DOWN, *ACROSS, *COUNTS, *EVIDENCE.values(), "None"]


@dataclass(frozen=True)
class Care:
    """How careful the annotators of one task are, by the difficulty of the question.

    Hard questions are about small things; questions for the room type are hard in crowded rooms. As
    in real annotation they get the less careful annotators, so that the likeliest answer is often
    not the best one that a model knows.
    """

    easy: Shares = (1.0, 0.0, 0.0)
    hard: Shares = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Mixture:
    """The annotators of all three tasks.

    A loose box has a margin on every side; its size is drawn from ``margin``, as a share of the
    box's width or height. ``scenes``: whether responses end with a scene description;
    ``whole_range``: whether that also says how the scene is seen and lit and what else stands
    around (``descriptions.random_description``), or only describes the room.
    """

    expression: Care = Care()
    detection: Care = Care()
    reasoning: Care = Care()
    margin: tuple[float, float] = (0.30, 0.36)
    scenes: bool = False
    whole_range: bool = True


def write_response(
    scene: Scene,
    boxes: Sequence[Box],
    question: SceneQuestion,
    mixture: Mixture,
    rng: np.random.Generator,
) -> Pieces:
    """Write one annotator's response to a question about a scene. ``boxes`` are those of its
    things."""
    if isinstance(question, RecQuestion):
        pieces = _expression(scene, boxes, question, mixture, rng)
    elif isinstance(question, DetectionQuestion):
        pieces = _detection(scene, boxes, question, mixture, rng)
    else:
        pieces = _reasoning(scene, boxes, question, mixture, rng)
    if mixture.scenes:
        text = _description(scene, question, mixture.whole_range, rng)
        pieces.append((f"<scene>{text}</scene>", NOTHING))
    return pieces


def named_classes(question: SceneQuestion) -> tuple[str, ...]:
    """Return the classes that a question names beside those of the scene's things, such as one that
    is counted and absent."""
    if isinstance(question, DetectionQuestion):
        return question.classes
    return question.about if isinstance(question, ReasoningQuestion) else ()


def _description(
    scene: Scene, question: SceneQuestion, whole_range: bool, rng: np.random.Generator
) -> str:
    """Describe random surroundings. Further things are of classes that no label and no question
    names."""
    if not whole_range:
        return describe(sample_surroundings("broad", rng), rng)
    labels = [thing.label for thing in scene.things]
    classes = allowed_classes((*labels, *named_classes(question)))
    return random_description(rng, classes=classes)


def write_box(box: Box) -> str:
    """Write a box as in an answer: four whole numbers, in pixels of the picture the model sees."""
    return ", ".join(str(min(max(round(v), 0), LARGEST_NUMBER)) for v in box)


def place(box: Box) -> str:
    """Return roughly where in the picture a box is, such as "top left"."""
    third = IMAGE_SIZE / 3
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return f"{DOWN[min(int(y / third), 2)]} {ACROSS[min(int(x / third), 2)]}"


def _annotator(care: Care, hard: bool, rng: np.random.Generator) -> Annotator:
    return ANNOTATORS[int(rng.choice(3, p=care.hard if hard else care.easy))]


def _loose(box: Box, margin: tuple[float, float], rng: np.random.Generator) -> Box:
    x1, y1, x2, y2 = box
    across, down = rng.uniform(*margin, 2) * (x2 - x1, y2 - y1)
    return clip((x1 - across, y1 - down, x2 + across, y2 + down), IMAGE_SIZE, IMAGE_SIZE)


def _is_small(scene: Scene, index: int) -> bool:
    return scene.things[index].size == "small"


def _expression(
    scene: Scene,
    boxes: Sequence[Box],
    question: RecQuestion,
    mixture: Mixture,
    rng: np.random.Generator,
) -> Pieces:
    annotator = _annotator(mixture.expression, _is_small(scene, question.target), rng)
    index = question.target if annotator != "wrong" else int(rng.integers(len(boxes)))
    thing, box = scene.things[index], boxes[index]
    thought = f"{thing.colour} {thing.label}, {place(box)}"
    if annotator == "loose":
        box = _loose(box, mixture.margin, rng)
    answer = '{"bbox_2d": [' + write_box(box) + "]}"
    text = f"<think>{thought}</think><answer>{answer}</answer>"
    return [(text, question.target if annotator != "wrong" else NOTHING)]


def _detection(
    scene: Scene,
    boxes: Sequence[Box],
    question: DetectionQuestion,
    mixture: Mixture,
    rng: np.random.Generator,
) -> Pieces:
    small = sum(_is_small(scene, index) for index in question.targets)
    annotator = _annotator(mixture.detection, 2 * small > len(question.targets), rng)
    found = [(scene.things[i].label, boxes[i], i) for i in question.targets]
    if annotator == "loose":
        found = [(label, _loose(box, mixture.margin, rng), i) for label, box, i in found]
    elif annotator == "wrong":
        found = _mistaken(found, boxes, question, rng)
    labels = [label for label, _, _ in found]
    counts = ", ".join(f"{COUNTS[labels.count(label)]} {label}" for label in question.classes)
    head = f"<think>{counts}</think><answer>"
    if not found:
        return [(f"{head}None</answer>", NOTHING)]
    pieces: Pieces = [(head, NOTHING)]
    opening = "[{"
    for label, box, index in found:
        pieces.append((f'{opening}"bbox_2d": [{write_box(box)}], "label": "{label}', index))
        opening = '"}, {'
    return [*pieces, ('"}]</answer>', NOTHING)]


def _mistaken(
    found: list[tuple[str, Box, int]],
    boxes: Sequence[Box],
    question: DetectionQuestion,
    rng: np.random.Generator,
) -> list[tuple[str, Box, int]]:
    """Make a wrong answer: one instance left out, or with the box of some thing. If there is
    nothing to find, some thing is given as an instance of an asked class."""
    other = boxes[int(rng.integers(len(boxes)))]
    if not found:
        return [(question.classes[int(rng.integers(len(question.classes)))], other, NOTHING)]
    k = int(rng.integers(len(found)))
    replaced = [] if len(found) > 1 and rng.random() < 0.5 else [(found[k][0], other, NOTHING)]
    return [*found[:k], *replaced, *found[k + 1 :]]


def _reasoning(
    scene: Scene,
    boxes: Sequence[Box],
    question: ReasoningQuestion,
    mixture: Mixture,
    rng: np.random.Generator,
) -> Pieces:
    """Write a response whose ``<think>`` part is right; only the answer may be wrong."""
    crowded = not question.targets and len(scene.things) > 3
    hard = crowded or any(_is_small(scene, index) for index in question.targets)
    annotator = _annotator(mixture.reasoning, hard, rng)
    choices, answer = question.choices, question.answer
    if annotator == "loose":
        answer = choices[(choices.index(answer) + 1) % len(choices)]
    elif annotator == "wrong":
        answer = choices[int(rng.integers(len(choices)))]
    thoughts = _thoughts(scene, boxes, question)
    between = [("<think>", NOTHING)] + [(", ", NOTHING)] * (len(thoughts) - 1)
    pieces = [piece for pair in zip(between, thoughts, strict=True) for piece in pair]
    return [*pieces, (f"</think><answer>{answer}</answer>", _only(question.targets))]


def _thoughts(scene: Scene, boxes: Sequence[Box], question: ReasoningQuestion) -> Pieces:
    """The ``<think>`` part: what the answer follows from, thing by thing."""
    if question.kind == "room_type":
        return [(EVIDENCE[str(question.answer)], NOTHING)]
    if not question.targets:
        return [(f"no {question.about[0]}", NOTHING)]
    thoughts = []
    for index in question.targets:
        thing = scene.things[index]
        if question.kind == "attribute":
            about = thing.colour
        elif question.kind == "relative_size":
            about = thing.size
        else:
            about = place(boxes[index])
        thoughts.append((f"{about} {thing.label}", index))
    return thoughts


def _only(targets: Sequence[int]) -> int:
    return targets[0] if len(targets) == 1 else NOTHING
