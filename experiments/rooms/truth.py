"""Checks whether the label of a synthetic sample is true, with the renderer that drew its seed
image.

The scene of a seed image is known exactly: its split and seed are columns of the sample, and the
samples painted from it inherit them. Therefore the check does not rely on stored labels: it
computes the things, their places and the answer to the question again from the scene. ``fault`` is
the entry point.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from syngrpo.boxes import decode_mask
from syngrpo.data_server.pool_jobs import SYNTHESIS
from syngrpo.painting.compositing import default_feather, keep_mask
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.sample import Box, Sample
from syngrpo_rooms.closed_questions import reasoning_questions
from syngrpo_rooms.dataset import rooms_scene
from syngrpo_rooms.descriptions import ROOM_WORDS, parse_description
from syngrpo_rooms.generator import RoomsGenerator
from syngrpo_rooms.object_questions import instances_of, rec_questions
from syngrpo_rooms.room_renderer import Rendered
from syngrpo_rooms.scenes import Scene

LEAST_SEEN = 0.5
"""Share of a fixture that must be visible, so that the room type can be recognised by it."""

_ROOM_WORD = re.compile(rf"\b(?:{'|'.join(w for words in ROOM_WORDS.values() for w in words)})\b")


def fault(sample: Sample) -> str | None:
    """Return what is wrong with the label of a synthetic sample, None if it is true.

    - "objects": the class, box or mask of a thing differs from what the renderer drew.
    - "pixels": the pixels of a thing differ from the rendered ones.
    - "answer": the answer differs from the one that follows from the scene.
    - "surroundings": the picture around the things differs from the described empty room.
    - "room": the question asks for the room type, and the picture does not show it.
    """
    size = (sample.image.width, sample.image.height)
    split, seed = sample.columns["split"], sample.columns["scene_seed"]
    scene, drawn = rooms_scene(split, seed, size)
    if sample.objects and drawn.boxes:  # synthesis may have moved all things sideways together
        drawn = _moved(drawn, round(sample.objects[0].box[0] - drawn.boxes[0][0]))
    picture = sample.image.decode()
    if not _same_objects(sample, scene, drawn):
        return "objects"
    things = np.logical_or.reduce(drawn.masks)
    if (picture[things] != drawn.image[things]).any():
        return "pixels"
    if answer(sample, scene, drawn.boxes) != sample.answer:
        return "answer"
    if not _only_the_described_room(sample, picture):
        return "surroundings"
    if sample.columns.get("kind") == "room_type" and not _shows_room(sample):
        return "room"
    return None


def answer(sample: Sample, scene: Scene, boxes: Sequence[Box]) -> Any:
    """Return the answer to the sample's question that follows from the scene, None if there is not
    exactly one.

    ``boxes`` are those of the scene's things (xyxy in pixels), in the order of ``scene.things``.
    """
    if sample.task == "ovd":
        found = instances_of(scene, tuple(sample.question.split(", ")))
        return tuple({"label": scene.things[i].label, "box": boxes[i]} for i in found)
    if sample.task == "rec":
        targets = {q.target for q in rec_questions(scene) if q.phrase == sample.question}
        return boxes[targets.pop()] if len(targets) == 1 else None
    answers = {q.answer for q in reasoning_questions(scene) if q.text == sample.question}
    return answers.pop() if len(answers) == 1 else None


def _moved(drawn: Rendered, right: int) -> Rendered:
    """Return the rendered scene moved to the right by ``right`` pixels. What leaves the picture on
    one side enters it on the other."""
    return Rendered(
        np.roll(drawn.image, right, axis=1),
        tuple((x1 + right, y1, x2 + right, y2) for x1, y1, x2, y2 in drawn.boxes),
        tuple(np.roll(mask, right, axis=1) for mask in drawn.masks),
    )


def _same_objects(sample: Sample, scene: Scene, drawn: Rendered) -> bool:
    """Return whether the sample's objects have the classes, boxes and masks of the scene."""
    if len(sample.objects) != len(scene.things):
        return False
    return all(
        (labelled.label, labelled.box) == (thing.label, box)
        and labelled.mask is not None
        and bool((decode_mask(labelled.mask) == mask).all())
        for labelled, thing, box, mask in zip(
            sample.objects, scene.things, drawn.boxes, drawn.masks, strict=True
        )
    )


def _only_the_described_room(sample: Sample, picture: np.ndarray) -> bool:
    """Return whether the picture shows the empty room of the prompt everywhere except on the things
    and in the transition (feather) around them."""
    height, width = picture.shape[:2]
    keep = keep_mask(sample)
    reach = 2 * default_feather(width, height) + 1
    near = Image.fromarray(keep.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(reach))
    beyond = np.asarray(near) == 0
    return bool((picture[beyond] == _repainted(sample, keep)[beyond]).all())


def _shows_room(sample: Sample) -> bool:
    """Return whether the prompt names the room type of the answer and enough of its fixture is
    visible. The fixture is where the painted room changes when the name is removed from the
    prompt."""
    prompt: str = sample.columns[SYNTHESIS]["prompt"]
    if parse_description(prompt).room != sample.answer:
        return False
    keep = keep_mask(sample)
    with_room = _repainted(sample, keep)
    without = _repainted(sample, keep, _ROOM_WORD.sub("", prompt))
    fixture = (with_room != without).any(axis=-1)
    return bool((fixture & ~keep).sum() >= LEAST_SEEN * fixture.sum() > 0)


def _repainted(sample: Sample, keep: np.ndarray, prompt: str | None = None) -> np.ndarray:
    """Return what the generator paints for the sample's prompt, or for another one: uint8
    (H, W, 3). ``keep`` is bool (H, W)."""
    made = sample.columns[SYNTHESIS]
    size = (sample.image.width, sample.image.height)
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    said = made["prompt"] if prompt is None else prompt
    return RoomsGenerator().generate([GenerationRequest(blank, keep, said, made["seed"], size)])[0]
