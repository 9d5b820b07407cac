"""Checks whether the label of a synthetic sample is true, with the renderer that drew its seed
image.

The scene of a seed image is known exactly: its split and number are columns of the sample, and the
samples painted from it inherit them. So the check does not rely on anything that is stored: the
things, their places and the answer to the question are computed again from the scene.
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
"""Share of a fixture that must be visible for the room type to be told by it."""

_ROOM_WORD = re.compile(rf"\b(?:{'|'.join(w for words in ROOM_WORDS.values() for w in words)})\b")


def fault(sample: Sample) -> str | None:
    """Return what is wrong with the label of a synthetic sample; None if it is true.

    - "objects": class, box or mask of a thing differ from what the renderer drew.
    - "pixels": the pixels of a thing differ from the rendered ones.
    - "answer": the scene has another answer.
    - "surroundings": around the things there is something else than the described empty room.
    - "room": the question asks for the room type, and the picture does not show it.
    """
    size = (sample.image.width, sample.image.height)
    split, seed = sample.columns["split"], sample.columns["scene_seed"]
    scene, drawn = rooms_scene(split, seed, size)
    if sample.objects and drawn.boxes:  # all things may have moved sideways together
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
    """Return the answer of the scene to the sample's question; None if the scene has no single
    one."""
    if sample.task == "ovd":
        found = instances_of(scene, tuple(sample.question.split(", ")))
        return tuple({"label": scene.things[i].label, "box": boxes[i]} for i in found)
    if sample.task == "rec":
        targets = {q.target for q in rec_questions(scene) if q.phrase == sample.question}
        return boxes[targets.pop()] if len(targets) == 1 else None
    answers = {q.answer for q in reasoning_questions(scene) if q.text == sample.question}
    return answers.pop() if len(answers) == 1 else None


def _moved(drawn: Rendered, right: int) -> Rendered:
    """Move the picture sideways; what leaves it on one side comes in on the other."""
    return Rendered(
        np.roll(drawn.image, right, axis=1),
        tuple((x1 + right, y1, x2 + right, y2) for x1, y1, x2, y2 in drawn.boxes),
        tuple(np.roll(mask, right, axis=1) for mask in drawn.masks),
    )


def _same_objects(sample: Sample, scene: Scene, drawn: Rendered) -> bool:
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
    """Whether the picture, beyond the feather around the things, is the empty room of the
    prompt."""
    height, width = picture.shape[:2]
    keep = keep_mask(sample)
    reach = 2 * default_feather(width, height) + 1
    near = Image.fromarray(keep.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(reach))
    beyond = np.asarray(near) == 0
    return bool((picture[beyond] == _repainted(sample, keep)[beyond]).all())


def _shows_room(sample: Sample) -> bool:
    """Whether the prompt names the room type of the answer, and enough of its fixture is visible:
    of the pixels that these words change."""
    prompt: str = sample.columns[SYNTHESIS]["prompt"]
    if parse_description(prompt).room != sample.answer:
        return False
    keep = keep_mask(sample)
    with_room = _repainted(sample, keep)
    without = _repainted(sample, keep, _ROOM_WORD.sub("", prompt))
    fixture = (with_room != without).any(axis=-1)
    return bool((fixture & ~keep).sum() >= LEAST_SEEN * fixture.sum() > 0)


def _repainted(sample: Sample, keep: np.ndarray, prompt: str | None = None) -> np.ndarray:
    """Return what the generator paints for the sample's prompt, or for another one."""
    made = sample.columns[SYNTHESIS]
    size = (sample.image.width, sample.image.height)
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    said = made["prompt"] if prompt is None else prompt
    return RoomsGenerator().generate([GenerationRequest(blank, keep, said, made["seed"], size)])[0]
