"""Checks whether the label of a synthetic sample is true, with the renderer that drew its seed
image.

The scene of a seed image is known exactly: its split and seed are columns of the sample, and the
samples painted from it inherit them. Therefore the check does not rely on stored labels: it
computes the things, their places and the answer to the question again from the scene, moves them by
the stored frame, and puts the stored light on what the renderer and the generator draw. ``fault``
is the entry point.

The seed image must have the size of the sample (``synthesis.frame.canvas`` is ``same``), and the
feather must be the default.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from syngrpo.boxes import Similarity, decode_mask
from syngrpo.data_server.pool_jobs import SYNTHESIS
from syngrpo.painting.compositing import composite, default_feather
from syngrpo.painting.frame import Frame, framed_pixels
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.light import Light, lit
from syngrpo.sample import Box, Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.closed_questions import reasoning_questions
from syngrpo_rooms.dataset import rooms_scene
from syngrpo_rooms.descriptions import ROOM_WORDS, parse_description
from syngrpo_rooms.generator import RoomsGenerator, decoys_of
from syngrpo_rooms.object_questions import instances_of, rec_questions
from syngrpo_rooms.room_renderer import Rendered
from syngrpo_rooms.scenes import LABELS, PLURALS, Scene

LEAST_SEEN = 0.5
"""Share of a fixture that must be visible, so that the room type can be recognised by it."""
TOLERANCE = 1e-6
"""Pixels by which computed coordinates may differ."""
SURE = 0.05
"""A pixel that a moved thing covers to less than this share is not in its mask; one that it covers
to all but this share is."""

_ROOM_WORD = re.compile(
    rf"\b(?:{'|'.join(w for words in ROOM_WORDS.values() for w in words)})\b",
    re.IGNORECASE,
)


def fault(sample: Sample) -> str | None:
    """Return what is wrong with the label of a synthetic sample, None if it is true.

    - "objects": the class, box or mask of a thing is not where the frame places what the renderer
      drew.
    - "answer": the answer differs from the one that follows from the scene.
    - "decoys": there is a further thing of a class that the labels or the question name, or one
      that touches a labelled thing.
    - "pixels": the pixels of a thing differ from the rendered ones in the stored light.
    - "surroundings": the picture around the things differs from the described room.
    - "room": the question asks for the room type, and the picture does not show it.
    """
    size = (sample.image.width, sample.image.height)
    split, seed = sample.columns["split"], sample.columns["scene_seed"]
    scene, drawn = rooms_scene(split, seed, size)
    there = Frame.of(sample.columns[SYNTHESIS]["frame"]).transform
    if not _same_objects(sample, scene, drawn, there):
        return "objects"
    boxes = [_placed(box, there) for box in drawn.boxes]
    if not _same_answer(answer(sample, scene, boxes), sample.answer):
        return "answer"
    keep = kept_pixels(sample)
    if not _decoys_fit(sample, scene, keep):
        return "decoys"
    right = _right_pixels(sample, drawn, keep)
    if not right[keep].all():
        return "pixels"
    if not right.all():
        return "surroundings"
    if sample.columns.get("kind") == "room_type" and not _shows_room(sample, keep):
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


def _placed(box: Box, there: Similarity) -> Box:
    """Return where the frame places a box of the seed image, without the code that moved it."""
    x1, y1, x2, y2 = box
    scale, right, down = there.scale, there.right, there.down
    return (scale * x1 + right, scale * y1 + down, scale * x2 + right, scale * y2 + down)


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and float(np.abs(np.subtract(one, other)).max()) <= TOLERANCE


def _same_objects(sample: Sample, scene: Scene, drawn: Rendered, there: Similarity) -> bool:
    """Return whether the sample's objects have the classes, boxes and masks of the scene, where the
    frame places them. The inverse transform must give the scene's boxes back."""
    if len(sample.objects) != len(scene.things):
        return False
    return all(
        labelled.label == thing.label
        and _close(labelled.box, _placed(box, there))
        and _close(there.inverse().box(labelled.box), box)
        and labelled.mask is not None
        and _same_mask(decode_mask(labelled.mask), mask, there)
        for labelled, thing, box, mask in zip(
            sample.objects, scene.things, drawn.boxes, drawn.masks, strict=True
        )
    )


def _same_mask(found: np.ndarray, drawn: np.ndarray, there: Similarity) -> bool:
    """Return whether a mask is the drawn one where the frame places it: it has every pixel that the
    moved thing surely covers and none that it does not touch."""
    height, width = drawn.shape
    summed = np.pad(drawn.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0))).astype(float)
    x = np.clip((np.arange(found.shape[1] + 1) - there.right) / there.scale, 0, width)
    y = np.clip((np.arange(found.shape[0] + 1) - there.down) / there.scale, 0, height)
    # Area of the thing above and to the left of each corner of a pixel, linear in between.
    rows = np.stack([np.interp(x, np.arange(width + 1), row) for row in summed])
    corners = np.stack([np.interp(y, np.arange(height + 1), column) for column in rows.T]).T
    cover = np.diff(np.diff(corners, axis=0), axis=1) * there.scale**2
    return bool(found[cover > 1 - SURE].all() and not found[cover < SURE].any())


def _same_answer(one: Any, other: Any) -> bool:
    """Return whether two answers are equal; boxes may differ by the tolerance."""
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        if one and isinstance(one[0], dict):
            return all(
                a["label"] == b["label"] and _close(a["box"], b["box"])
                for a, b in zip(one, other, strict=True)
            )
        return one == other or _close(one, other)
    return bool(one == other)


def kept_pixels(sample: Sample) -> np.ndarray:
    """Return bool (H, W), true on the things. ``_same_objects`` has checked their masks."""
    height, width = sample.image.height, sample.image.width
    masks = [decode_mask(thing.mask) for thing in sample.objects if thing.mask is not None]
    return np.logical_or.reduce([np.zeros((height, width), bool), *masks])


def _decoys_fit(sample: Sample, scene: Scene, keep: np.ndarray) -> bool:
    """Return whether all further things are of other classes than those of the scene and of the
    question, and beside the things."""
    words = set(re.findall(r"[a-z]+", sample.question))
    named = {label for label in LABELS if {label, PLURALS[label]} & words}
    named |= {thing.label for thing in scene.things}
    for decoy in decoys_of(request_of(sample, keep)):
        x1, y1, x2, y2 = decoy.box
        if decoy.label in named or keep[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1].any():
            return False
    return True


def _right_pixels(sample: Sample, drawn: Rendered, keep: np.ndarray) -> np.ndarray:
    """Return bool (H, W): where the picture is what it must be. That is the rendered things in the
    room of the prompt, in the stored light.

    Light cannot be undone, and blur mixes things and surroundings. Therefore the whole picture is
    made again, from what the renderer and the generator draw, and must be equal.
    """
    made = sample.columns[SYNTHESIS]
    light, picture = Light.of(made["light"]), sample.image.decode()
    things = framed_pixels(drawn.image, Frame.of(made["frame"]))
    feather = default_feather(sample.image.width, sample.image.height)
    right = []
    for even in (True, False):
        room = _repainted(sample, keep, even=even)
        again = lit(composite(things, room, keep, feather), light, made["seed"])
        right.append((again == picture).all(axis=-1))
    # Without any light on the whole picture, the room may have a light of its own.
    own = light == Light() and right[1].all()
    return right[1] if own else right[0]


def _shows_room(sample: Sample, keep: np.ndarray) -> bool:
    """Return whether the prompt names the room type of the answer and enough of its fixture is
    visible. The fixture is where the painted room changes when the name is removed from the
    prompt; things and decoys may hide it."""
    prompt: str = sample.columns[SYNTHESIS]["prompt"]
    if parse_description(prompt).room != sample.answer:
        return False
    bare = _repainted(sample, keep, prompt, decoys=False)
    # "around" means nothing by itself, but it is known: a prompt must have a known word.
    without = _repainted(sample, keep, _ROOM_WORD.sub("around", prompt), decoys=False)
    fixture = (bare != without).any(axis=-1)
    hidden = keep | (bare != _repainted(sample, keep, prompt)).any(axis=-1)
    return bool((fixture & ~hidden).sum() >= LEAST_SEEN * fixture.sum() > 0)


def _repainted(
    sample: Sample,
    keep: np.ndarray,
    prompt: str | None = None,
    decoys: bool = True,
    even: bool = True,
) -> np.ndarray:
    """Return what the generator paints for the sample's prompt, or for another one: uint8
    (H, W, 3). ``keep`` is bool (H, W)."""
    request = request_of(sample, keep, prompt, even)
    if not decoys:
        request = replace(request, forbidden=LABELS)
    return RoomsGenerator().generate([request])[0]


def request_of(
    sample: Sample, keep: np.ndarray, prompt: str | None = None, even: bool = True
) -> GenerationRequest:
    """Return the request that the generator got for the sample, or one with another prompt. With
    ``even`` the room is painted in even light."""
    made = sample.columns[SYNTHESIS]
    frame, size = Frame.of(made["frame"]), (sample.image.width, sample.image.height)
    rules = get_task(sample.task).constraints(sample)
    return GenerationRequest(
        np.zeros((size[1], size[0], 3), np.uint8),
        keep,
        made["prompt"] if prompt is None else prompt,
        made["seed"],
        size,
        view=frame.transform,
        horizon=frame.horizon,
        lit=even,
        forbidden=(*rules.forbidden_labels, *rules.forbidden_words),
    )
