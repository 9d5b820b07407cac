"""Random crops, rotations and changes of colour of a labelled picture, with exact labels.

``executable_transforms`` calls ``transformed``. Every labelled object stays whole in the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageEnhance

from syngrpo.boxes import Similarity, decode_mask, encode_mask, mask_box
from syngrpo.sample import Box, EncodedImage, LabelledObject, Sample
from syngrpo.tasks.asking import answer_with_boxes, constraints_of

LEAST_TURN = 0.5
"""Degrees. A smaller rotation is left out: it would blur the picture and change nothing."""


@dataclass(frozen=True)
class TransformBounds:
    """How far a picture may change.

    ``least_crop``: smallest width and height of a crop, as a share; ``most_rotation``: degrees;
    ``most_colour``: share by which brightness, contrast and saturation may change; ``most_hue``:
    share of the colour circle.
    """

    least_crop: float
    most_rotation: float
    most_colour: float
    most_hue: float


def transformed(sample: Sample, bounds: TransformBounds, rng: np.random.Generator) -> Sample:
    """Return the sample with its picture rotated, cropped and recoloured at random, and its labels
    where they are then. The picture keeps its size, the sample its id.

    A task with ``Constraints.view`` "fixed" gets a change of colour alone. So does one with a
    phrase, such as a type of room, because a crop could hide what shows it. The hue stays where a
    colour is named. A sample whose answer depends on the surroundings, such as the light, is
    returned as it is: it has objects and may keep none.
    """
    rules = constraints_of(sample)
    if sample.objects and not rules.keep:
        return sample
    pixels = sample.image.decode()
    if rules.view == "free" and rules.phrase is None:
        sample, pixels = _rotated(sample, pixels, bounds.most_rotation, rng)
        sample, pixels = _cropped(sample, pixels, bounds.least_crop, rng)
    hue = 0.0 if rules.names_colour else bounds.most_hue
    return replace(
        sample, image=EncodedImage.from_pixels(_recoloured(pixels, bounds.most_colour, hue, rng))
    )


def _cropped(
    sample: Sample, pixels: np.ndarray, least: float, rng: np.random.Generator
) -> tuple[Sample, np.ndarray]:
    """Cut out a part that holds every object, and enlarge it to the picture's size."""
    height, width = pixels.shape[:2]
    boxes = [thing.box for thing in sample.objects]
    x1, y1 = min((box[0] for box in boxes), default=0.0), min((b[1] for b in boxes), default=0.0)
    x2 = max((box[2] for box in boxes), default=float(width))
    y2 = max((box[3] for box in boxes), default=float(height))
    needed = max((x2 - x1) / width, (y2 - y1) / height, least)
    share = float(rng.uniform(min(needed, 1.0), 1.0))
    left = float(rng.uniform(max(0.0, x2 - share * width), min(x1, width - share * width) + 1e-9))
    top = float(rng.uniform(max(0.0, y2 - share * height), min(y1, height - share * height) + 1e-9))
    move = Similarity(1 / share, -left / share, -top / share)
    part = (left, top, min(left + share * width, width), min(top + share * height, height))

    def seen(plane: np.ndarray, resample: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((width, height), resample, box=part))

    objects = []
    for thing in sample.objects:
        mask = thing.mask
        if mask is not None:
            cover = seen(decode_mask(mask).astype(np.uint8) * 255, Image.Resampling.BILINEAR)
            mask = encode_mask(cover >= 128)
        objects.append(replace(thing, box=move.box(thing.box), mask=mask))
    answer = answer_with_boxes(sample, move.box)
    there = replace(sample, objects=tuple(objects), answer=answer)
    return there, seen(pixels, Image.Resampling.BICUBIC)


def _rotated(
    sample: Sample, pixels: np.ndarray, most: float, rng: np.random.Generator
) -> tuple[Sample, np.ndarray]:
    """Rotate about the picture's centre. The angle is halved until every object stays whole and the
    order of the objects from left to right and from top to bottom is as before.

    Boxes are taken from the rotated masks. A sample with an object without a mask is not rotated:
    the box of a rotated box would be too large.
    """
    angle = float(rng.uniform(-most, most))
    if not sample.objects or any(thing.mask is None for thing in sample.objects):
        return sample, pixels
    while abs(angle) >= LEAST_TURN:
        objects = _turned(sample.objects, angle)
        if objects is not None and _same_order(sample.objects, objects):
            boxes = dict(
                zip((t.box for t in sample.objects), (t.box for t in objects), strict=True)
            )
            answer = answer_with_boxes(sample, _nearest(boxes))
            there = replace(sample, objects=tuple(objects), answer=answer)
            return there, _turn(pixels, angle)
        angle /= 2
    return sample, pixels


def _turned(objects: Sequence[LabelledObject], angle: float) -> list[LabelledObject] | None:
    """Return the objects with their masks rotated and tight boxes; None if one is cut off."""
    turned = []
    for thing in objects:
        assert thing.mask is not None
        before = decode_mask(thing.mask)
        mask = _turn(before.astype(np.uint8) * 255, angle, edge=False) >= 128
        if mask.sum() < 0.97 * before.sum():
            return None
        turned.append(replace(thing, box=mask_box(mask), mask=encode_mask(mask)))
    return turned


def _turn(plane: np.ndarray, angle: float, edge: bool = True) -> np.ndarray:
    """Rotate (H, W) or (H, W, 3) counter-clockwise by ``angle`` degrees. With ``edge``, what comes
    in at the corners repeats the edge; without, it is 0."""
    height, width = plane.shape[:2]
    margin = max(height, width) // 2
    around = [(margin, margin), (margin, margin), (0, 0)][: plane.ndim]
    padded = np.pad(plane, around, mode="edge" if edge else "constant")
    turned = Image.fromarray(padded).rotate(angle, Image.Resampling.BILINEAR)
    return np.asarray(turned)[margin : margin + height, margin : margin + width]


def _same_order(before: Sequence[LabelledObject], after: Sequence[LabelledObject]) -> bool:
    """Return whether no two objects have changed places, from left to right or from top to
    bottom."""
    return all(
        np.array_equal(
            np.argsort([thing.box[side] + thing.box[side + 2] for thing in before], stable=True),
            np.argsort([thing.box[side] + thing.box[side + 2] for thing in after], stable=True),
        )
        for side in (0, 1)
    )


def _nearest(boxes: Mapping[Box, Box]) -> Callable[[Box], Box]:
    """Return a function that gives the new box of the object whose box is nearest to one."""

    def change(box: Box) -> Box:
        def distance(other: Box) -> float:
            return sum(abs(a - b) for a, b in zip(box, other, strict=True))

        return boxes[min(boxes, key=distance)]

    return change


def _recoloured(
    pixels: np.ndarray, most: float, most_hue: float, rng: np.random.Generator
) -> np.ndarray:
    """Change brightness, contrast, saturation and hue."""
    picture = Image.fromarray(pixels)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(float(rng.uniform(1 - most, 1 + most)))
    turn = round(float(rng.uniform(-most_hue, most_hue)) * 256)
    if turn:
        hsv = np.asarray(picture.convert("HSV")).copy()
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + turn) % 256
        picture = Image.fromarray(hsv, "HSV").convert("RGB")
    return np.asarray(picture)
