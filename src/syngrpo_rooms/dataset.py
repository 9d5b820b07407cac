"""The format ``rooms``: generates samples of a task from scenes of the embedded world.

It serves every task, including a user's own. The attribute ``asks_for`` of the task decides which
questions it gets: a phrase for one object, a list of classes, or a closed question. The task turns
the answer into its ground truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from syngrpo.boxes import encode_mask
from syngrpo.formats import Format, Problems, ReadRequest
from syngrpo.options import REQUIRED, option
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import AsksFor, Task, default_task, get_task
from syngrpo.tasks.question_words import names_colour
from syngrpo_rooms.closed_questions import REASONING_KINDS, reasoning_questions
from syngrpo_rooms.object_questions import Kind, detection_question, rec_questions
from syngrpo_rooms.room_renderer import Rendered, render
from syngrpo_rooms.scenes import Scene, sample_scene
from syngrpo_rooms.surroundings import HARD, SPLITS, Split
from syngrpo_rooms.views import seen

KIND_SHARES: dict[Kind, float] = {"attribute": 0.6, "ordinal": 0.2, "relation": 0.2}
"""Share of each kind among the referring expressions."""
Asked = TypeVar("Asked")

_DATASET_STREAM = 7
"""First number of the seed of a sample's random generator. The seed of a scene's random generator
begins with the index of its split (0-4) instead, so the two draw different numbers."""


@dataclass(frozen=True)
class _DrawnQuestion:
    """A scene and one question about it, before the scene is rendered.

    ``answer`` takes the boxes of the rendered things (xyxy in pixels, in the order of
    ``scene.things``) and returns the answer in the form that a row of a user's data has.
    ``columns`` are extra columns of the sample. ``about`` are the classes that the question names,
    also those of which the scene has no thing.
    """

    scene: Scene
    scene_seed: int
    text: str
    answer: Callable[[Sequence[Box]], Any]
    columns: dict[str, Any]
    about: tuple[str, ...] = ()


def rooms_scene(
    split: Split, seed: int, size: int | tuple[int, int] = 128
) -> tuple[Scene, Rendered]:
    """Return the scene of a split and seed, and its rendered picture with boxes and masks.

    ``size`` is the side of a square picture or (width, height), in pixels. This is faster than
    ``rooms_samples``, because the picture is not encoded as PNG. Raises InputError for an unknown
    split or a side below 64 pixels.

    The decoys of a sample of a hard split may differ from those here, because they depend on its
    question.
    """
    scene = sample_scene(split, seed, size)
    if split in HARD:
        scene = seen(scene, seed)
    return scene, render(scene)


def rooms_samples(
    split: Split, count: int, seed: int = 0, task: str = "rec", size: int = 128
) -> list[Sample]:
    """Return ``count`` samples of a task, each with a scene of its own and one question.

    - A task that asks for an object, such as "rec", gets a referring expression, whose kind is
      drawn by ``KIND_SHARES``. The answer is the box of the object.
    - A task that asks for classes, such as "ovd", gets two or three classes. The answer is every
      instance of them.
    - A task that asks a closed question, such as "isr", gets one. Its five kinds are equally
      likely.

    Images are ``size`` x ``size`` pixels, and boxes are xyxy in pixels of the image. Every sample
    has the columns ``split`` and ``scene_seed``. Referring expressions and closed questions also
    have ``kind``; closed questions have ``about``, the list of the classes that they name, and
    ``choices``, the list of the answers that make sense. Hard splits have ``seen``: scale, light
    and decoys. The same arguments always give the same samples.

    Raises InputError for an unknown split or task, or a ``size`` below 64.
    """
    if split not in SPLITS:
        raise InputError(f"unknown rooms split {split!r}; use one of {', '.join(SPLITS)}")
    return [_sample(split, seed, index, get_task(task), size) for index in range(count)]


def _sample(split: Split, seed: int, index: int, task: Task, size: int) -> Sample:
    kind = list(_DRAW_QUESTION).index(task.asks_for)
    rng = np.random.default_rng([_DATASET_STREAM, kind, SPLITS.index(split), seed, index])
    asked = _DRAW_QUESTION[task.asks_for](split, size, rng)
    scene = asked.scene
    columns = {**asked.columns, "split": split, "scene_seed": asked.scene_seed}
    if split in HARD:
        scene = seen(scene, asked.scene_seed, asked.about, names_colour(asked.text))
        columns["seen"] = _seen_columns(scene)
    rendered = render(scene)
    objects = tuple(
        LabelledObject(thing.label, box, encode_mask(mask))
        for thing, box, mask in zip(scene.things, rendered.boxes, rendered.masks, strict=True)
    )
    image = EncodedImage.from_pixels(rendered.image)
    answer = asked.answer(rendered.boxes)
    return Sample(
        id=f"rooms-{task.name}-{split}-{size}-{seed}-{index}",
        task=task.name,
        image=image,
        question=asked.text,
        answer=task.ground_truth(answer, image, objects, asked.text, columns),
        objects=objects,
        columns=columns,
    )


def _seen_columns(scene: Scene) -> dict[str, Any]:
    """Return as plain data how a hard scene is seen."""
    decoys = [thing.label for thing in scene.decoys]
    return {"scale": scene.view.scale, "light": scene.light.lineage(), "decoys": decoys}


def _scenes(split: Split, size: int, rng: np.random.Generator) -> Iterator[tuple[Scene, int]]:
    """Yield random scenes of a split without end, each with its seed."""
    while True:
        scene_seed = int(rng.integers(2**53))
        yield sample_scene(split, scene_seed, size), scene_seed


def _draw_expression(split: Split, size: int, rng: np.random.Generator) -> _DrawnQuestion:
    """Draw a kind of referring expression, then scenes until one has an expression of this
    kind."""
    kind = list(KIND_SHARES)[int(rng.choice(len(KIND_SHARES), p=tuple(KIND_SHARES.values())))]
    fitting, scene, scene_seed = _first_scene_with(
        _scenes(split, size, rng),
        lambda scene: [question for question in rec_questions(scene) if question.kind == kind],
    )
    question = fitting[int(rng.integers(len(fitting)))]
    return _DrawnQuestion(
        scene, scene_seed, question.phrase, lambda boxes: boxes[question.target], {"kind": kind}
    )


def _draw_detection(split: Split, size: int, rng: np.random.Generator) -> _DrawnQuestion:
    """Draw a scene and a detection question about it."""
    scene, scene_seed = next(_scenes(split, size, rng))
    question = detection_question(scene, rng)

    def answer(boxes: Sequence[Box]) -> tuple[dict[str, Any], ...]:
        return tuple(
            {"label": scene.things[index].label, "box": boxes[index]} for index in question.targets
        )

    return _DrawnQuestion(scene, scene_seed, question.text, answer, {}, question.classes)


def _draw_reasoning(split: Split, size: int, rng: np.random.Generator) -> _DrawnQuestion:
    """Draw a kind of closed question, then scenes until one has a question of this kind."""
    kind = REASONING_KINDS[int(rng.integers(len(REASONING_KINDS)))]
    fitting, scene, scene_seed = _first_scene_with(
        _scenes(split, size, rng),
        lambda scene: [q for q in reasoning_questions(scene) if q.kind == kind],
    )
    question = fitting[int(rng.integers(len(fitting)))]
    columns = {
        "kind": kind,
        "about": list(question.about),
        "choices": list(question.choices),
    }
    answer = question.answer
    return _DrawnQuestion(
        scene, scene_seed, question.text, lambda _: answer, columns, question.about
    )


def _first_scene_with(
    scenes: Iterator[tuple[Scene, int]], questions: Callable[[Scene], list[Asked]]
) -> tuple[list[Asked], Scene, int]:
    """Return the first scene for which ``questions`` finds any: the questions, the scene and its
    seed."""
    for scene, scene_seed in scenes:
        if fitting := questions(scene):
            return fitting, scene, scene_seed
    raise AssertionError("scenes never end")


_DRAW_QUESTION: dict[AsksFor, Callable[[Split, int, np.random.Generator], _DrawnQuestion]] = {
    "object": _draw_expression,
    "classes": _draw_detection,
    "question": _draw_reasoning,
}


@dataclass(frozen=True)
class RoomsOptions:
    """The keys that a data source of this format has, in addition to those of every source."""

    split: Split = option(
        REQUIRED,
        "which layouts and surroundings: train, test, ood, dev or broad; hard, ood-hard and "
        "dev-hard are those of test, ood and dev, seen from anywhere and in any light",
    )
    count: int = option(500, "number of samples", ge=1)
    seed: int = option(0, "another seed gives other scenes", ge=0)
    size: int = option(128, "side of the image in pixels", ge=64, le=512)


class RoomsFormat(Format):
    """The format ``rooms``. It renders the samples when they are read, so it needs no files."""

    name = "rooms"
    options = RoomsOptions
    reads_files = False
    default_task = default_task("object")

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        options: RoomsOptions = request.options
        task = request.task.name if request.task is not None else self.default_task
        count = options.count if request.limit is None else min(options.count, request.limit)
        samples = rooms_samples(options.split, count, options.seed, task, options.size)
        place = f"rooms {options.split}"
        return [one for one in samples if problems.claim(one.id, f"{place} {one.id}")]
