"""Simulates the annotators who write the responses that the starter is trained on.

Real models are trained on text that mixes good and bad answers. Such a model can give better
answers than its likeliest one, and reinforcement learning makes it do so. To make the starter such
a model, too, ``write_response`` draws one of three kinds of annotators for each question:

- A *careful* annotator answers exactly.
- A *loose* one errs a little: boxes have a margin on every side, and the answer to a closed
  question is the next one of its choices instead of the right one.
- A *wrong* one boxes a random thing, leaves one out, or guesses.

In responses to closed questions only the answer may be wrong: the ``<think>`` part is correct.
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
"""Takes the place of a thing's index for text that is about no thing, or about a wrong one."""

SceneQuestion = RecQuestion | DetectionQuestion | ReasoningQuestion
Pieces = list[tuple[str, int]]
"""A response in pieces of text, in order. Each piece has the index into ``scene.things`` of the
thing that it is about, or ``NOTHING``."""
Shares = tuple[float, float, float]
"""Shares of careful, loose and wrong annotators; they sum to 1."""
Annotator = Literal["careful", "loose", "wrong"]
ANNOTATORS: tuple[Annotator, ...] = ("careful", "loose", "wrong")

DOWN, ACROSS = ("top", "middle", "bottom"), ("left", "centre", "right")
"""Words for the thirds of the picture, from top to bottom and from left to right."""
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
EVIDENCE = {
    "kitchen": "hob",
    "bathroom": "bathtub",
    "office": "shelves",
    "workshop": "tools",
    "gym": "bars",
}
"""Room type → the part of its fixture that a response names as the reason for this answer."""
THINK_WORDS = [*DOWN, *ACROSS, *COUNTS, *EVIDENCE.values(), "None"]
"""Words that responses contain in addition to those of questions and descriptions."""


@dataclass(frozen=True)
class Care:
    """The shares of careful, loose and wrong annotators of one task, by the difficulty of the
    question.

    A question is hard if it is about a small thing (a detection question: if more than half of its
    things are small). A question about no thing of the scene (a count of 0, the room type) is hard
    if the scene has more than three things.

    In the starter's recipe hard questions get fewer careful annotators, as in real annotation, so
    that the likeliest answer is often not the best one that the model can give.
    """

    easy: Shares = (1.0, 0.0, 0.0)
    hard: Shares = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Mixture:
    """The annotators of all three tasks.

    ``margin`` is the range from which the margins of a loose box are drawn, as shares of the box's
    width (left and right) and height (above and below). With ``scenes`` every response ends with a
    description of a random room in ``<scene>`` tags; with ``whole_range`` the description also says
    how the scene is seen and lit and what else stands around.
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
    """Write the response of one randomly drawn annotator to a question about a scene.

    ``boxes`` are the boxes of the scene's things, xyxy in pixels of an image of ``IMAGE_SIZE`` x
    ``IMAGE_SIZE`` pixels, in the order of ``scene.things``.
    """
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
    """Write a box (xyxy in pixels of the picture that the model sees) as in an answer: four whole
    numbers from 0 to ``LARGEST_NUMBER``."""
    return ", ".join(str(min(max(round(v), 0), LARGEST_NUMBER)) for v in box)


def place(box: Box) -> str:
    """Return in which ninth of the picture the centre of a box is, such as "top left"."""
    third = IMAGE_SIZE / 3
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return f"{DOWN[min(int(y / third), 2)]} {ACROSS[min(int(x / third), 2)]}"


def _annotator(care: Care, hard: bool, rng: np.random.Generator) -> Annotator:
    """Draw the kind of annotator for a question."""
    return ANNOTATORS[int(rng.choice(3, p=care.hard if hard else care.easy))]


def _loosened(box: Box, margin: tuple[float, float], rng: np.random.Generator) -> Box:
    """Return the box with a random margin on every side, cut at the edges of the picture."""
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
    """Write a response to a referring expression."""
    annotator = _annotator(mixture.expression, _is_small(scene, question.target), rng)
    index = question.target if annotator != "wrong" else int(rng.integers(len(boxes)))
    thing, box = scene.things[index], boxes[index]
    thought = f"{thing.colour} {thing.label}, {place(box)}"
    if annotator == "loose":
        box = _loosened(box, mixture.margin, rng)
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
    """Write a response to a detection question."""
    small = sum(_is_small(scene, index) for index in question.targets)
    annotator = _annotator(mixture.detection, 2 * small > len(question.targets), rng)
    found = [(scene.things[i].label, boxes[i], i) for i in question.targets]
    if annotator == "loose":
        found = [(label, _loosened(box, mixture.margin, rng), i) for label, box, i in found]
    elif annotator == "wrong":
        found = _wrong_detection(found, boxes, question, rng)
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


def _wrong_detection(
    found: list[tuple[str, Box, int]],
    boxes: Sequence[Box],
    question: DetectionQuestion,
    rng: np.random.Generator,
) -> list[tuple[str, Box, int]]:
    """Return a wrong answer: leave one of the found things out, or give it the box of a random
    thing. If there is nothing to find, a random thing gets one of the classes asked for."""
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
    """Write a response to a closed question. Its ``<think>`` part is correct; only the answer may
    be wrong."""
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
    return [*pieces, (f"</think><answer>{answer}</answer>", _single(question.targets))]


def _thoughts(scene: Scene, boxes: Sequence[Box], question: ReasoningQuestion) -> Pieces:
    """Return the pieces of the ``<think>`` part: for each thing that the question is about, the
    property from which the answer follows."""
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


def _single(targets: Sequence[int]) -> int:
    """Return the target if there is exactly one, else ``NOTHING``."""
    return targets[0] if len(targets) == 1 else NOTHING
