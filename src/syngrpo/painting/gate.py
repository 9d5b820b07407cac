"""The gate admits a painted picture to the pool only if its labels still hold. See docs/gate.md.

``painter`` calls ``Gate.judge`` for each picture. The checks of pixels are in this module, those
that need models in ``judges/``. Checks run cheapest first and stop at the first that fails; every
score that was computed is kept. Without models torch is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from syngrpo.boxes import box_mask, iou, mask_box
from syngrpo.options import option
from syngrpo.painting.judges.base import Candidate, Scores, object_mask
from syngrpo.painting.judges.panel import Judges, judges_of
from syngrpo.painting.light import glare_share, lit
from syngrpo.sample import Box

HASH_SIDE = 8
"""A perceptual hash has HASH_SIDE x HASH_SIDE cells."""


@dataclass(frozen=True)
class GateThresholds:
    """When a painted picture is rejected, and how many rejected ones are kept to be looked at.
    Differences are in grey levels, 0 to 255."""

    min_background: float = option(
        0.02, "smallest share of the image that must be background (not kept)", ge=0, lt=1
    )
    min_change: float = option(
        4.0, "smallest mean absolute difference to the parent outside the kept objects", ge=0
    )
    min_distance: float = option(
        5.0, "smallest perceptual distance to the parent and to each of its other children", ge=0
    )
    max_kept_difference: float = option(
        0.0,
        "grey levels by which a kept pixel may differ from the parent; raise it for round_trip",
        ge=0,
        le=255,
    )
    min_object_fit: float = option(
        0.7, "smallest IoU of a label's box with the box around its kept pixels", ge=0, le=1
    )
    min_object_side: float = option(
        6.0,
        "shorter side in pixels, as the model sees them, below which no kept object may be shrunk",
        ge=0,
    )
    model_pixels: int | None = option(
        None,
        "pixels to which the model shrinks a larger picture; null: those of the trained model",
        ge=1,
    )
    min_visibility: float = option(
        6.0,
        "smallest contrast of a kept object with itself and what is around it, in the finished "
        "picture: difference of the lightest and the darkest twentieth, in grey levels",
        ge=0,
        le=255,
    )
    keep_refused: int = option(
        20,
        "rejected pictures of each reason, the newest, of which a small copy is kept in refused/ "
        "beside the pool; 0: none",
        ge=0,
        le=1000,
    )


@dataclass(frozen=True)
class GateResult:
    """What the gate decided about one picture.

    ``reason`` names the first check that failed, None when the picture is admitted. ``hash`` is the
    child's perceptual hash, empty when it is rejected.
    """

    reason: str | None
    scores: Scores
    hash: bytes = b""

    @property
    def admitted(self) -> bool:
        return self.reason is None


def perceptual_hash(image: np.ndarray, keep: np.ndarray) -> bytes:
    """Return a hash of the surroundings alone, small enough to be compared with every sibling's.

    For each of HASH_SIDE x HASH_SIDE cells it holds the mean red, green and blue and the contrast
    (standard deviation of the grey level) of the pixels outside ``keep``: 4 bytes a cell, zeros for
    a cell whose pixels are all kept. This is a block-mean image hash (Yang, Gu, Niu 2006) that
    stores the means instead of one bit each, because surroundings may differ in colour alone.
    """
    background = ~keep
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32)
    planes = [image[..., 0], image[..., 1], image[..., 2], grey, grey**2]
    seen = _shrink(background.astype(np.float32))
    weight = np.where(seen > 0.02, seen, np.inf)
    red, green, blue, mean, square = (_shrink(plane * background) / weight for plane in planes)
    values = np.dstack([red, green, blue, np.sqrt(np.maximum(square - mean**2, 0))])
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()


def _shrink(plane: np.ndarray) -> np.ndarray:
    """Return the means of HASH_SIDE x HASH_SIDE cells of (H, W), float32."""
    shrunk = Image.fromarray(plane.astype(np.float32)).resize(
        (HASH_SIDE, HASH_SIDE), Image.Resampling.BOX
    )
    return np.asarray(shrunk)


def hash_distance(first: bytes, second: bytes) -> float:
    """Return the root mean square difference of two perceptual hashes, in grey levels. Cells whose
    pixels are all kept in both pictures do not count."""
    a = np.frombuffer(first, dtype=np.uint8).reshape(-1, 4).astype(np.float32)
    b = np.frombuffer(second, dtype=np.uint8).reshape(-1, 4).astype(np.float32)
    seen = a.any(axis=1) | b.any(axis=1)
    return float(np.sqrt(((a - b)[seen] ** 2).mean())) if seen.any() else 0.0


class Gate:
    """Decides whether a painted picture joins the pool."""

    def __init__(
        self, thresholds: GateThresholds | None = None, judges: Judges | None = None
    ) -> None:
        self.thresholds = thresholds or GateThresholds()
        self.judges = judges if judges is not None else judges_of()

    def judge(self, candidate: Candidate) -> GateResult:
        """Check the pixels, then whether each label still fits its object and can be seen, then ask
        the judges.

        The result's reason is one of, in this order: those of ``check``, ``too_small``,
        ``label_cropped``, ``unseen``, those of the judges.
        """
        boxes = [thing.box for thing in candidate.objects]
        pictures = (candidate.original, candidate.even, candidate.keep)
        result = self.check(*pictures, candidate.siblings, boxes, candidate.child)
        if not result.admitted:
            return result
        limits, scores = self.thresholds, dict(result.scores)
        scores["object_side"] = _smallest_side(candidate, limits.model_pixels)
        image = candidate.sample.image
        shrunk = candidate.frame.shrinks(image.width, image.height)
        if shrunk and scores["object_side"] < limits.min_object_side:
            return GateResult("too_small", scores)
        scores["object_fit"] = _object_fit(candidate)
        if scores["object_fit"] < limits.min_object_fit:
            return GateResult("label_cropped", scores)
        scores["visibility"] = _visibility(candidate)
        if candidate.child is not candidate.even and scores["visibility"] < limits.min_visibility:
            return GateResult("unseen", scores)
        reason, more = self.judges.inspect(candidate)
        return GateResult(reason, scores | more, result.hash if reason is None else b"")

    def check(
        self,
        original: np.ndarray,
        even: np.ndarray,
        keep: np.ndarray,
        siblings: Sequence[bytes] = (),
        boxes: Sequence[Box] = (),
        child: np.ndarray | None = None,
    ) -> GateResult:
        """Run the checks that need neither models nor masks of objects.

        Compares ``even``, uint8 (H, W, 3), the picture before light and camera, with ``original``,
        the source on the same canvas; and ``child``, the finished picture as decoded from what will
        be stored, with the source and the siblings. Without ``child`` no light falls on ``even``.
        ``keep`` is bool (H, W), true on the kept pixels, ``siblings`` are perceptual hashes of the
        parent's other children, ``boxes`` the child's labels in pixels of the child.

        The result's reason is one of, in this order: ``size``, ``box_bounds``, ``kept_pixels``,
        ``background_unchanged``, ``near_duplicate``.
        """
        child = even if child is None else child
        same = even.shape == original.shape == child.shape
        scores: Scores = {"same_size": float(same)}
        if not same:
            return GateResult("size", scores)
        height, width = keep.shape
        scores["boxes_outside"] = float(sum(not _inside(box, width, height) for box in boxes))
        if scores["boxes_outside"]:
            return GateResult("box_bounds", scores)
        difference = np.abs(original.astype(np.int16) - even)
        scores["kept_difference"] = float(difference[keep].max(initial=0))
        if scores["kept_difference"] > self.thresholds.max_kept_difference:
            return GateResult("kept_pixels", scores)
        background = ~keep
        scores["background"] = float(background.mean())
        scores["change"] = float(difference[background].mean()) if background.any() else 0.0
        limits = self.thresholds
        if scores["background"] < limits.min_background or scores["change"] < limits.min_change:
            return GateResult("background_unchanged", scores)
        own = perceptual_hash(child, keep)
        scores["distance_parent"] = hash_distance(own, perceptual_hash(original, keep))
        if siblings:
            scores["distance_sibling"] = min(hash_distance(own, other) for other in siblings)
        nearest = min(scores["distance_parent"], scores.get("distance_sibling", np.inf))
        reason = "near_duplicate" if nearest < limits.min_distance else None
        return GateResult(reason, scores, own)


def _inside(box: Box, width: int, height: int) -> bool:
    """Return whether a box has an area and lies within the image; False if it has a NaN."""
    x1, y1, x2, y2 = box
    return 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height


def _smallest_side(candidate: Candidate, model_pixels: int | None) -> float:
    """Return the shorter side of the smallest kept object in pixels, after the model has shrunk the
    picture to ``model_pixels``; the picture's shorter side without objects."""
    height, width = candidate.keep.shape
    shrink = min(1.0, (model_pixels / (width * height)) ** 0.5) if model_pixels else 1.0
    boxes = [thing.box for thing in candidate.objects] or [(0.0, 0.0, width, height)]
    return shrink * min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes)


def _visibility(candidate: Candidate) -> float:
    """Return the smallest contrast of a kept object: the difference of the 95th and the 5th
    percentile of the grey levels in its box and an eighth of the box around it; 255 without
    objects.

    Neither grain nor the gradient of glare counts as contrast: the levels are those without the
    two, as means of 3 x 3 pixels, and glare takes its share of their difference.
    """
    height, width = candidate.keep.shape
    light, seen = candidate.light, candidate.child
    if light.grain or light.glare:
        seen = lit(candidate.even, replace(light, grain=0.0, glare=0.0), candidate.seed)
    grey = np.asarray(Image.fromarray(seen).convert("L").filter(ImageFilter.BoxBlur(1)))
    lost = glare_share((height, width), light, candidate.seed)
    contrasts = [255.0]
    for thing in candidate.objects:
        x1, y1, x2, y2 = thing.box
        across, down = (x2 - x1) / 8, (y2 - y1) / 8
        around = box_mask((x1 - across, y1 - down, x2 + across, y2 + down), width, height)
        if around.any():
            low, high = np.percentile(grey[around], (5, 95))
            contrasts.append(float((high - low) * (1 - lost[around].mean())))
        else:
            contrasts.append(0.0)
    return min(contrasts)


def _object_fit(candidate: Candidate) -> float:
    """Return the smallest IoU of a label's box with the box around what is kept of its object, 1
    without objects."""
    height, width = candidate.keep.shape
    fits = [1.0]
    for thing in candidate.objects:
        kept = object_mask(thing, width, height) & candidate.keep
        fits.append(iou(mask_box(kept), thing.box) if kept.any() else 0.0)
    return min(fits)
