"""Rooms scenes as samples, for training and evaluation."""

from __future__ import annotations

import numpy as np

from syngrpo.boxes import encode_mask
from syngrpo.rooms.questions import Kind, RecQuestion, rec_questions
from syngrpo.rooms.render import Rendered, render
from syngrpo.rooms.scenes import Scene, sample_scene
from syngrpo.rooms.surroundings import SPLITS, Split
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample

KIND_SHARES: dict[Kind, float] = {"attribute": 0.6, "ordinal": 0.2, "relation": 0.2}
_DATASET_STREAM = 7
"""Keeps the dataset's random stream apart from those of single scenes."""


def rooms_scene(
    split: Split, seed: int, size: int | tuple[int, int] = 128
) -> tuple[Scene, Rendered]:
    """The scene of a split and seed with its picture: no encoding, for fast training."""
    scene = sample_scene(split, seed, size)
    return scene, render(scene)


def rooms_samples(
    split: Split, count: int, seed: int = 0, task: str = "rec", size: int = 128
) -> list[Sample]:
    """``count`` samples, one scene and question each; question kinds by ``KIND_SHARES``.

    ``answer`` is the box of the thing that the phrase fits (xyxy, pixels of the size x size
    image). Columns: ``kind`` of the question, ``split``, ``scene_seed``. Raises InputError for an
    unknown split or task.
    """
    if split not in SPLITS:
        raise InputError(f"unknown rooms split {split!r}; use one of {', '.join(SPLITS)}")
    if task != "rec":
        raise InputError(f"rooms cannot make samples for task {task!r}; use rec")
    return [_sample(split, seed, index, size) for index in range(count)]


def _sample(split: Split, seed: int, index: int, size: int) -> Sample:
    rng = np.random.default_rng([_DATASET_STREAM, SPLITS.index(split), seed, index])
    kinds = tuple(KIND_SHARES)
    kind = kinds[int(rng.choice(len(kinds), p=tuple(KIND_SHARES.values())))]
    scene, scene_seed, question = _scene_with(kind, split, size, rng)
    rendered = render(scene)
    objects = tuple(
        LabelledObject(thing.label, box, encode_mask(mask))
        for thing, box, mask in zip(scene.things, rendered.boxes, rendered.masks, strict=True)
    )
    return Sample(
        id=f"rooms-{split}-{size}-{seed}-{index}",
        task="rec",
        image=EncodedImage.from_pixels(rendered.image),
        question=question.phrase,
        answer=rendered.boxes[question.target],
        objects=objects,
        columns={"kind": kind, "split": split, "scene_seed": scene_seed},
    )


def _scene_with(
    kind: Kind, split: Split, size: int, rng: np.random.Generator
) -> tuple[Scene, int, RecQuestion]:
    """The first scene that allows a question of the kind, its seed, and one such question."""
    while True:
        scene_seed = int(rng.integers(2**53))
        scene = sample_scene(split, scene_seed, size)
        questions = [question for question in rec_questions(scene) if question.kind == kind]
        if questions:
            return scene, scene_seed, questions[int(rng.integers(len(questions)))]
