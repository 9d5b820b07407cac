"""The validity gate: a painted picture joins the pool only if its labels still hold.

Checks run cheapest first and stop at the first that fails; every score computed is kept. What
models have to say is in ``judges/``; without them nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from syngrpo.boxes import iou, mask_box
from syngrpo.painting.judges.judge import Candidate, Scores, object_mask
from syngrpo.painting.judges.panel import Judges
from syngrpo.sample import Box

HASH_SIDE = 8
"""A perceptual hash has HASH_SIDE x HASH_SIDE cells."""


@dataclass(frozen=True)
class GateThresholds:
    """When a picture is refused. Differences are in grey levels, 0 to 255.

    ``min_background``: share of the picture that is not kept, at least. ``min_change``: mean
    absolute difference to the parent outside the kept objects, at least. ``min_distance``:
    perceptual distance to the parent and to every sibling, at least. ``max_kept_difference``: of
    any pixel of a kept object to the parent; 0 unless the foreground goes through a round trip (see
    ``compositing.composite``). ``min_object_fit``: IoU of a label's box with the box around the
    kept pixels of its object, at least.
    """

    min_background: float = 0.02
    min_change: float = 4.0
    min_distance: float = 5.0
    max_kept_difference: float = 0.0
    min_object_fit: float = 0.7


@dataclass(frozen=True)
class GateResult:
    """``reason`` names the first check that failed, None when admitted; ``hash`` is the child's
    perceptual hash, empty when an earlier check failed."""

    reason: str | None
    scores: Scores
    hash: bytes = b""

    @property
    def admitted(self) -> bool:
        return self.reason is None


def perceptual_hash(image: np.ndarray, keep: np.ndarray) -> bytes:
    """A picture of the surroundings alone, small enough to be compared with every sibling.

    For each of HASH_SIDE x HASH_SIDE cells the mean red, green and blue and the contrast (standard
    deviation of the grey level) of its pixels outside ``keep``; 4 bytes a cell, zeros for a cell
    that is all kept. A block-mean image hash (Yang, Gu, Niu 2006) that keeps the values instead of
    one bit each: surroundings may differ in nothing but colour.
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
    """(H, W) → float32 (HASH_SIDE, HASH_SIDE) means."""
    shrunk = Image.fromarray(plane.astype(np.float32)).resize(
        (HASH_SIDE, HASH_SIDE), Image.Resampling.BOX
    )
    return np.asarray(shrunk)


def hash_distance(first: bytes, second: bytes) -> float:
    """Root mean square difference of two perceptual hashes of the same layout, in grey levels."""
    a = np.frombuffer(first, dtype=np.uint8).reshape(-1, 4).astype(np.float32)
    b = np.frombuffer(second, dtype=np.uint8).reshape(-1, 4).astype(np.float32)
    seen = a.any(axis=1) | b.any(axis=1)
    return float(np.sqrt(((a - b)[seen] ** 2).mean())) if seen.any() else 0.0


class Gate:
    """Decides whether a synthetic picture may be trained on."""

    def __init__(
        self, thresholds: GateThresholds | None = None, judges: Judges | None = None
    ) -> None:
        self.thresholds = thresholds or GateThresholds()
        self.judges = judges or Judges()

    def judge(self, candidate: Candidate) -> GateResult:
        """Everything: ``check``, then whether each label still has its object, then the judges.

        Reasons, in this order: those of ``check``, ``label_cropped``, ``object_expansion``,
        ``phantom_instance``, ``recall``.
        """
        boxes = [thing.box for thing in candidate.objects]
        pictures = (candidate.original, candidate.child, candidate.keep)
        result = self.check(*pictures, candidate.siblings, boxes)
        if not result.admitted:
            return result
        scores = result.scores | {"object_fit": _object_fit(candidate)}
        if scores["object_fit"] < self.thresholds.min_object_fit:
            return GateResult("label_cropped", scores)
        reason, more = self.judges.inspect(candidate)
        return GateResult(reason, scores | more, result.hash if reason is None else b"")

    def check(
        self,
        parent: np.ndarray,
        child: np.ndarray,
        keep: np.ndarray,
        siblings: Sequence[bytes] = (),
        boxes: Sequence[Box] = (),
    ) -> GateResult:
        """What needs no model and no masks.

        Compares uint8 (H, W, 3) ``child``, as decoded from what will be stored, with ``parent``.
        ``keep`` is bool (H, W) over the parent, ``siblings`` are perceptual hashes of the parent's
        other children, ``boxes`` the child's labels in its pixels.

        Reasons, in this order: ``size``, ``box_bounds``, ``kept_pixels``, ``background_unchanged``,
        ``near_duplicate``.
        """
        scores: Scores = {"same_size": float(child.shape == parent.shape)}
        if child.shape != parent.shape:
            return GateResult("size", scores)
        height, width = keep.shape
        scores["boxes_outside"] = float(sum(not _inside(box, width, height) for box in boxes))
        if scores["boxes_outside"]:
            return GateResult("box_bounds", scores)
        difference = np.abs(parent.astype(np.int16) - child)
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
        scores["distance_parent"] = hash_distance(own, perceptual_hash(parent, keep))
        if siblings:
            scores["distance_sibling"] = min(hash_distance(own, other) for other in siblings)
        nearest = min(scores["distance_parent"], scores.get("distance_sibling", np.inf))
        reason = "near_duplicate" if nearest < limits.min_distance else None
        return GateResult(reason, scores, own)


def _inside(box: Box, width: int, height: int) -> bool:
    """Positive area, within the image. False for a NaN, which compares with nothing."""
    x1, y1, x2, y2 = box
    return 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height


def _object_fit(candidate: Candidate) -> float:
    """The worst IoU of a label's box with the tight box around what is kept of its object; 1
    without objects."""
    height, width = candidate.keep.shape
    fits = [1.0]
    for thing in candidate.objects:
        kept = object_mask(thing, width, height) & candidate.keep
        fits.append(iou(mask_box(kept), thing.box) if kept.any() else 0.0)
    return min(fits)
