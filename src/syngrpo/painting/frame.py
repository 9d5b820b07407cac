"""The frame: from where the kept objects are seen in the new picture (outpainting).

The kept part of the source picture is placed on a canvas, smaller and further to one side, as the
description asks. All of it goes through one similarity transform: pixels, labels, masks and
answers. So objects keep their order and their relative sizes and distances. The transform scales
about the horizon, as a camera that moves backwards does, so that objects that stand on the floor
still stand on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from syngrpo.boxes import (
    Similarity,
    decode_mask_part,
    encode_mask_part,
    mask_runs,
    runs_box,
)
from syngrpo.options import option
from syngrpo.painting.wishes import VIEW_AXES, AxisName
from syngrpo.sample import Box, InputError, LabelledObject, RunLength, Sample
from syngrpo.tasks import Constraints
from syngrpo.tasks.asking import answer_with_boxes

EDGE, EDGE_SHARE = 1.0, 0.004
"""An object this close to an edge of its picture may be cut off by it: so many pixels, or this
share of the picture's width or height, if that is more. Boxes drawn by hand rarely end exactly at
the edge."""
MARGIN = 1.0
"""Pixels between the kept objects and the left or right edge of the canvas, at least."""
LEAST_SCALE = 0.001
"""The kept objects are never smaller than this share of their size in the source."""
LARGE_PLANE = 1 << 24
"""Where the canvas shows a larger plane than this, in pixels of the source, only the part around
the source is computed: a photograph seen from ten times as far away is a hundredth of the plane."""


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """From where new pictures are seen."""

    scale: tuple[float, float] = option(
        (1.0, 1.0),
        "smallest and largest size of the kept objects, as a share of their size in the seed "
        'image; "far away" asks for the first, "close up" for the second; [1, 1]: unchanged',
    )
    shift: float = option(
        0.0,
        "share of the free space beside the kept objects by which they may move sideways, all "
        "together; 0: they stay where they are",
        ge=0,
        le=1,
    )
    horizon: float = option(
        0.5, "height of the horizon, as a share of the picture's height from its top", ge=0, le=1
    )
    canvas: Literal["same", "grown"] = option(
        "same",
        "same: a new picture has the size of the seed image, and kept objects are resampled to "
        "their smaller size; grown: they keep their pixels, and the picture grows around them",
    )

    def __post_init__(self) -> None:
        least, most = self.scale
        if not LEAST_SCALE <= least <= most <= 1:
            raise InputError(
                f"scale [{least:g}, {most:g}] leaves no place for the kept objects; give two "
                f"numbers from {LEAST_SCALE:g} to 1, the smaller first"
            )

    @property
    def axes(self) -> tuple[AxisName, ...]:
        """The axes that a description can ask for; without any, every picture is seen as before."""
        on: dict[AxisName, bool] = {"distance": self.scale != (1.0, 1.0), "place": self.shift > 0}
        return tuple(name for name in VIEW_AXES if on[name])


@dataclass(frozen=True)
class Frame:
    """Where the source picture lies on the canvas of the new one.

    ``transform`` maps pixels of the source to pixels of the canvas, which is ``size`` (width,
    height) large. ``horizon`` is the height of the horizon on the canvas, in pixels from its top.
    """

    transform: Similarity
    size: tuple[int, int]
    horizon: float

    def shrinks(self, width: int, height: int) -> bool:
        """Return whether the objects of a source of this size take a smaller share of the new
        picture."""
        return self.transform.scale**2 * width * height < self.size[0] * self.size[1]

    def shown_pixels(self, width: int, height: int) -> float:
        """Return the number of pixels, each as large as one of a source of this size, of the plane
        that holds the source and all that the canvas shows. It may be infinite."""
        canvas = (0.0, 0.0, float(self.size[0]), float(self.size[1]))
        x1, y1, x2, y2 = self.transform.inverse().box(canvas)
        return (max(x2, width) - min(x1, 0.0)) * (max(y2, height) - min(y1, 0.0))

    def lineage(self) -> dict[str, Any]:
        """Return the frame as plain data, for the columns of a sample and for the network."""
        it = self.transform
        return {
            "scale": it.scale,
            "right": it.right,
            "down": it.down,
            "size": list(self.size),
            "horizon": self.horizon,
        }

    @classmethod
    def of(cls, lineage: Mapping[str, Any]) -> Frame:
        """Return the frame that ``lineage`` wrote."""
        scale, right, down = (float(lineage[name]) for name in ("scale", "right", "down"))
        transform = Similarity(scale, right, down)
        width, height = lineage["size"]
        return cls(transform, (int(width), int(height)), float(lineage["horizon"]))


def unmoved(width: int, height: int, horizon: float = 0.5) -> Frame:
    """Return the frame of a picture that is seen as before."""
    return Frame(Similarity(), (width, height), horizon * height)


def choose_frame(
    source: Sample,
    constraints: Constraints,
    levels: Mapping[AxisName, float],
    options: FrameOptions,
) -> Frame:
    """Return the frame for these levels of the axes ``distance`` and ``place``, within bounds.

    The size of the kept objects lies between ``options.scale``, on a logarithmic scale. They never
    leave the canvas. An object that touches an edge may be cut off by it and goes on touching it;
    with two opposite edges touched, nothing is scaled. A task may fix the view
    (``Constraints.view``) and choose the canvas.
    """
    width, height = source.image.width, source.image.height
    boxes = [source.objects[index].box for index in constraints.keep]
    canvas = constraints.canvas or (width, height)
    if constraints.view == "fixed" or not options.axes or not boxes:
        if canvas == (width, height):
            return unmoved(width, height, options.horizon)
        options = replace(options, scale=(1.0, 1.0), shift=0.0)
        boxes = boxes or [(0.0, 0.0, float(width), float(height))]
    x1, y1 = min(box[0] for box in boxes), min(box[1] for box in boxes)
    x2, y2 = max(box[2] for box in boxes), max(box[3] for box in boxes)
    near_x, near_y = (max(EDGE, EDGE_SHARE * side) for side in (width, height))
    cut = (x1 < near_x, y1 < near_y, x2 > width - near_x, y2 > height - near_y)
    least, most = options.scale
    scale = most * (least / most) ** levels["distance"]
    if (cut[0] and cut[2]) or (cut[1] and cut[3]):
        scale = 1.0
    grown = options.canvas == "grown" and constraints.canvas is None
    if grown:
        canvas = (round(width / scale), round(height / scale))
    fitted = min(canvas[0] / width, canvas[1] / height)
    scale = 1.0 if grown else scale * min(1.0, fitted)
    widths, heights = (width, canvas[0]), (height, canvas[1])
    across = _across(scale, (x1, x2), widths, levels["place"], options.shift)
    right = _beginning(across, scale, (x1, x2), (cut[0], cut[2]), widths, MARGIN)
    horizon = options.horizon * canvas[1]
    above = horizon - scale * options.horizon * height  # the two horizons coincide
    down = _beginning(above, scale, (y1, y2), (cut[1], cut[3]), heights)
    if scale == 1:
        right, down = round(right), round(down)
    return Frame(Similarity(scale, right, down), canvas, horizon)


def _across(
    scale: float, kept: tuple[float, float], widths: tuple[int, int], place: float, shift: float
) -> float:
    """Return how far to the right the scaled source shall begin on the canvas: between the middle
    and ``place``, as ``shift`` says. ``widths`` are those of the source and of the canvas."""
    width, canvas = widths
    natural = (canvas - scale * width) / 2
    leftmost, rightmost = MARGIN - scale * kept[0], canvas - MARGIN - scale * kept[1]
    wanted = leftmost + place * (rightmost - leftmost)
    return natural + shift * (wanted - natural)


def _beginning(
    wanted: float,
    scale: float,
    kept: tuple[float, float],
    cut: tuple[bool, bool],
    lengths: tuple[int, int],
    margin: float = 0.0,
) -> float:
    """Return where the scaled source begins along one side of the canvas.

    What an edge cuts off goes on touching this edge. Otherwise the source begins as near to
    ``wanted`` as the kept part stays on the canvas, ``margin`` pixels inside. ``lengths`` are those
    of the source and of the canvas along this side, ``kept`` are the ends of the kept part.
    """
    length, canvas = lengths
    if cut[0]:
        return 0.0
    if cut[1]:
        return canvas - scale * length
    return min(max(wanted, margin - scale * kept[0]), canvas - margin - scale * kept[1])


def framed_sample(sample: Sample, frame: Frame) -> Sample:
    """Return the sample with its objects and its answer where they lie on the canvas; its image
    stays the same."""
    if frame.transform == Similarity() and frame.size == (sample.image.width, sample.image.height):
        return sample
    objects = tuple(_framed(thing, frame) for thing in sample.objects)
    answer = answer_with_boxes(sample, frame.transform.box)
    return replace(sample, objects=objects, answer=answer)


def framed_pixels(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """Place uint8 (H, W, 3) on the canvas: uint8 (canvas H, canvas W, 3).

    Around the source its edge pixels are repeated, so that a feather that reaches them blends with
    the old background instead of black. A source that is moved by whole pixels keeps every pixel; a
    smaller one is averaged over the area of each new pixel.
    """
    return _placed(pixels, frame, "edge")


def _framed(thing: LabelledObject, frame: Frame) -> LabelledObject:
    mask = _framed_mask(thing.mask, frame) if thing.mask is not None else None
    return replace(thing, box=frame.transform.box(thing.box), mask=mask)


def _framed_mask(mask: RunLength, frame: Frame) -> RunLength:
    """Return where a mask lies on the canvas. Only the part around its set pixels is computed: a
    photograph may have a hundred masks."""
    extent = runs_box(mask_runs(mask), mask["size"][0])
    nothing = np.zeros((0, 0), dtype=bool)
    if extent is None:
        return encode_mask_part(nothing, 0, 0, frame.size)
    x1, y1, x2, y2 = _whole(frame.transform.box(extent), frame.size, 1)
    if x1 >= x2 or y1 >= y2:
        return encode_mask_part(nothing, 0, 0, frame.size)
    shown = (float(x1), float(y1), float(x2), float(y2))
    height, width = mask["size"]
    part = _whole(frame.transform.inverse().box(shown), (width, height), 2)
    left, top = part[:2]
    it = frame.transform
    moved = Similarity(it.scale, it.scale * left + it.right - x1, it.scale * top + it.down - y1)
    pixels = decode_mask_part(mask, part).astype(np.uint8) * 255
    cover = _placed(pixels, Frame(moved, (x2 - x1, y2 - y1), 0.0), "constant")
    return encode_mask_part(cover >= 128, x1, y1, frame.size)


def _whole(box: Box, size: tuple[int, int], margin: int) -> tuple[int, int, int, int]:
    """Return the whole pixels of a picture of this size that a box touches, with a margin."""
    (x1, y1, x2, y2), (width, height) = box, size
    x1, x2 = max(x1 - margin, 0), min(x2 + margin, width)
    y1, y2 = max(y1 - margin, 0), min(y2 + margin, height)
    return math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)


def _part(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the whole pixels of a canvas that a box touches and those next to them; at least one
    pixel, the nearest, if the box is outside of the canvas."""
    x1, y1, x2, y2 = _whole(box, size, 1)
    x1, y1 = min(x1, size[0] - 1), min(y1, size[1] - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _placed(pixels: np.ndarray, frame: Frame, beyond: Literal["edge", "constant"]) -> np.ndarray:
    """Place an array (H, W) or (H, W, 3) on the canvas. ``beyond`` says what is around it: its
    edge pixels, or 0."""
    height, width = pixels.shape[:2]
    canvas_width, canvas_height = frame.size
    if frame.transform == Similarity() and (width, height) == frame.size:
        return pixels
    part = _part(frame.transform.box((0.0, 0.0, float(width), float(height))), frame.size)
    large = frame.shown_pixels(width, height) > LARGE_PLANE
    if large and part != (0, 0, canvas_width, canvas_height):
        begin, end, it = part[:2], part[2:], frame.transform
        there = Similarity(it.scale, it.right - begin[0], it.down - begin[1])
        size = (end[0] - begin[0], end[1] - begin[1])
        beside = [(begin[1], canvas_height - end[1]), (begin[0], canvas_width - end[0]), (0, 0)]
        nearby = _placed(pixels, Frame(there, size, 0.0), beyond)
        return np.pad(nearby, beside[: pixels.ndim], mode=beyond)
    # The part of the source plane that the canvas shows; it may reach beyond the source.
    x1, y1, x2, y2 = frame.transform.inverse().box(
        (0.0, 0.0, float(canvas_width), float(canvas_height))
    )
    left, top = max(0, math.ceil(-x1)), max(0, math.ceil(-y1))
    right, bottom = max(0, math.ceil(x2 - width)), max(0, math.ceil(y2 - height))
    around = [(top, bottom), (left, right), (0, 0)][: pixels.ndim]
    plane = np.pad(pixels, around, mode=beyond)
    if frame.transform.scale == 1:
        column, row = left + round(x1), top + round(y1)
        return plane[row : row + canvas_height, column : column + canvas_width]
    shown = (x1 + left, y1 + top, min(x2 + left, plane.shape[1]), min(y2 + top, plane.shape[0]))
    resized = Image.fromarray(plane).resize(frame.size, Image.Resampling.BOX, box=shown)
    return np.asarray(resized)
