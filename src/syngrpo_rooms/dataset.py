"""Rooms scenes as samples of every task, for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from syngrpo.boxes import encode_mask
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo_rooms.detection import detection_question
from syngrpo_rooms.questions import Kind, rec_questions
from syngrpo_rooms.reasoning import REASONING_KINDS, reasoning_questions
from syngrpo_rooms.render import Rendered, render
from syngrpo_rooms.scenes import Scene, sample_scene
from syngrpo_rooms.surroundings import SPLITS, Split

KIND_SHARES: dict[Kind, float] = {"attribute": 0.6, "ordinal": 0.2, "relation": 0.2}
Asked = TypeVar("Asked")

_DATASET_STREAM = 7
"""Keeps the dataset's random stream apart from those of single scenes."""


@dataclass(frozen=True)
class _Asked:
    """A question about a scene. ``answer`` gets the boxes of the scene's things, as drawn."""

    scene: Scene
    scene_seed: int
    text: str
    answer: Callable[[Sequence[Box]], Any]
    columns: dict[str, Any]


def rooms_scene(
    split: Split, seed: int, size: int | tuple[int, int] = 128
) -> tuple[Scene, Rendered]:
    """The scene of a split and seed with its picture: no encoding, for fast training."""
    scene = sample_scene(split, seed, size)
    return scene, render(scene)


def rooms_samples(
    split: Split, count: int, seed: int = 0, task: str = "rec", size: int = 128
) -> list[Sample]:
    """``count`` samples of a task, one scene and question each.

    "rec": phrase kinds by ``KIND_SHARES``, the answer a box; "ovd": two or three classes, each
    asked-for instance in the answer; "isr": the five kinds alike. Boxes are xyxy in pixels of the
    size x size image. Columns: ``split``, ``scene_seed``, ``kind`` of the question (rec, isr),
    ``about``, the classes it names (isr). Raises InputError for an unknown split or task.
    """
    if split not in SPLITS:
        raise InputError(f"unknown rooms split {split!r}; use one of {', '.join(SPLITS)}")
    if task not in _ASK:
        raise InputError(f"rooms has no samples of task {task!r}; use one of {', '.join(_ASK)}")
    return [_sample(split, seed, index, task, size) for index in range(count)]


def _sample(split: Split, seed: int, index: int, task: str, size: int) -> Sample:
    stream = [_DATASET_STREAM, list(_ASK).index(task), SPLITS.index(split), seed, index]
    rng = np.random.default_rng(stream)
    asked = _ASK[task](split, size, rng)
    rendered = render(asked.scene)
    objects = tuple(
        LabelledObject(thing.label, box, encode_mask(mask))
        for thing, box, mask in zip(asked.scene.things, rendered.boxes, rendered.masks, strict=True)
    )
    return Sample(
        id=f"rooms-{task}-{split}-{size}-{seed}-{index}",
        task=task,
        image=EncodedImage.from_pixels(rendered.image),
        question=asked.text,
        answer=asked.answer(rendered.boxes),
        objects=objects,
        columns={**asked.columns, "split": split, "scene_seed": asked.scene_seed},
    )


def _scenes(split: Split, size: int, rng: np.random.Generator) -> Iterator[tuple[Scene, int]]:
    while True:
        scene_seed = int(rng.integers(2**53))
        yield sample_scene(split, scene_seed, size), scene_seed


def _ask_expression(split: Split, size: int, rng: np.random.Generator) -> _Asked:
    """Of a drawn kind, in the first scene that allows it."""
    kind = list(KIND_SHARES)[int(rng.choice(len(KIND_SHARES), p=tuple(KIND_SHARES.values())))]
    fitting, scene, scene_seed = _first(
        _scenes(split, size, rng),
        lambda scene: [question for question in rec_questions(scene) if question.kind == kind],
    )
    question = fitting[int(rng.integers(len(fitting)))]
    return _Asked(
        scene, scene_seed, question.phrase, lambda boxes: boxes[question.target], {"kind": kind}
    )


def _ask_detection(split: Split, size: int, rng: np.random.Generator) -> _Asked:
    scene, scene_seed = next(_scenes(split, size, rng))
    question = detection_question(scene, rng)

    def answer(boxes: Sequence[Box]) -> tuple[dict[str, Any], ...]:
        return tuple(
            {"label": scene.things[index].label, "box": boxes[index]} for index in question.targets
        )

    return _Asked(scene, scene_seed, question.text, answer, {})


def _ask_reasoning(split: Split, size: int, rng: np.random.Generator) -> _Asked:
    """Of a drawn kind, in the first scene that allows it."""
    kind = REASONING_KINDS[int(rng.integers(len(REASONING_KINDS)))]
    fitting, scene, scene_seed = _first(
        _scenes(split, size, rng),
        lambda scene: [q for q in reasoning_questions(scene) if q.kind == kind],
    )
    question = fitting[int(rng.integers(len(fitting)))]
    columns = {"kind": kind, "about": list(question.about)}
    return _Asked(scene, scene_seed, question.text, lambda _: question.answer, columns)


def _first(
    scenes: Iterator[tuple[Scene, int]], questions: Callable[[Scene], list[Asked]]
) -> tuple[list[Asked], Scene, int]:
    """The first scene with such questions: those, the scene and its seed."""
    for scene, scene_seed in scenes:
        if fitting := questions(scene):
            return fitting, scene, scene_seed
    raise AssertionError("scenes never end")


_ASK: dict[str, Callable[[Split, int, np.random.Generator], _Asked]] = {
    "rec": _ask_expression,
    "ovd": _ask_detection,
    "isr": _ask_reasoning,
}
