"""Paints one job: from a description to a picture that passed the gate, or to a rejection.

Inline synthesis, workers beside the pool and workers on other hosts all use ``Painter``.
``data_server`` takes the jobs from the pool and stores the results.
"""

from __future__ import annotations

import logging
import math
import traceback
from dataclasses import dataclass

import numpy as np

from syngrpo.painting.compositing import (
    composite,
    default_feather,
    erase_background,
    keep_mask,
)
from syngrpo.painting.frame import Frame, choose_frame, framed_pixels, framed_sample
from syngrpo.painting.gate import Gate
from syngrpo.painting.generators.base import (
    GenerationRequest,
    Generator,
    NothingKnown,
    OutOfMemory,
)
from syngrpo.painting.generators.sizes import shrunk
from syngrpo.painting.judges.base import Candidate
from syngrpo.painting.judges.object_extent import with_masks
from syngrpo.painting.judges.panel import Judges
from syngrpo.painting.light import Light, choose_light, lit
from syngrpo.painting.painting_request import (
    Painted,
    PaintingOptions,
    PaintingRequest,
    Result,
)
from syngrpo.painting.prompt import (
    build_prompt,
    clean_description,
    without_further_things,
)
from syngrpo.painting.refused_pictures import small_copy
from syngrpo.painting.wishes import read_wishes
from syngrpo.picture_decoding import MAX_PIXELS
from syngrpo.pool.jobs import Rejected
from syngrpo.sample import EncodedImage, InputError
from syngrpo.serving.timeline import span

log = logging.getLogger(__name__)

PLAIN = "plain surroundings"
"""The generator's prompt where a description speaks of the view and the light alone."""
LEAST_SIDE = 128
"""Pixels. When the device cannot hold a picture, sides are not limited to less than this: the job
fails instead."""


@dataclass(frozen=True)
class Failed:
    """An error while painting; it counts as a failed attempt of the job. ``error`` is the
    traceback."""

    error: str


class HandedBack:
    """The device could not hold the picture. This counts as no attempt: the job may be painted
    again, now in a smaller size."""


class Painter:
    """Paints jobs with one generator and lets one set of judges look at each picture."""

    def __init__(self, generator: Generator, judges: Judges | None = None) -> None:
        self.fingerprint = generator.fingerprint
        self._generator = generator
        self._judges = judges
        self._longest: int | None = None

    def load(self) -> None:
        """Load the generator's weights, if it has any. Raises InputError when that fails."""
        self._generator.load()

    def paint(self, request: PaintingRequest) -> Result | Failed | HandedBack:
        """Paint one job.

        Any error of the generator is returned as Failed. After OutOfMemory this job is handed back
        and all further pictures are painted smaller; when they cannot become smaller, the job
        fails.
        """
        with span("paint", job=request.job.id[:12]):
            return self._paint(request)

    def _paint(self, request: PaintingRequest) -> Result | Failed | HandedBack:
        try:
            return synthesize(request, self._generator, Gate(request.thresholds, self._judges))
        except OutOfMemory as error:
            return HandedBack() if self._smaller(error) else Failed(traceback.format_exc())
        except Exception:
            return Failed(traceback.format_exc())

    def _smaller(self, error: OutOfMemory) -> bool:
        """Limit the generator's sides to three quarters of the longer one that did not fit, or of
        the last limit if that is less. Return False when the generator has no such limit or the
        sides would become too small.

        So the limit falls each time, even with a generator that exceeds it, and no job is handed
        back for ever.
        """
        side = max(error.size) if self._longest is None else min(max(error.size), self._longest)
        side = side * 3 // 4
        if side < LEAST_SIDE or not self._generator.limit_side(side):
            return False
        self._longest = side
        log.warning("%s; from now on no side is longer than %d pixels", error, side)
        return True


def synthesize(request: PaintingRequest, generator: Generator, gate: Gate) -> Result:
    """Paint new surroundings for the job's source.

    The same request and generator give the same picture. Raises InputError when the source's image
    is unreadable or the job is for another generator, and any error of the generator.
    """
    job, constraints, options = request.job, request.constraints, request.painting
    if job.generator != generator.fingerprint:
        raise InputError(
            f"job {job.id[:12]} is for generator {job.generator}, this one is "
            f"{generator.fingerprint}; start the server with the trainer's generator"
        )
    if not constraints.keep:
        return Rejected("nothing_kept", {})
    plan = plan_picture(request)
    if plan is None:
        return Rejected("empty_description", {})
    area = plan.frame.size[0] * plan.frame.size[1]
    if area > MAX_PIXELS:
        return Rejected("canvas_too_large", {"canvas_pixels": float(area)})
    pixels, source = request.source.image.decode(), request.source
    if gate.judges.segmenter is not None:
        source = with_masks(source, pixels, gate.judges.segmenter)
    placed, original = framed_sample(source, plan.frame), framed_pixels(pixels, plan.frame)
    keep = keep_mask(placed, constraints.keep, plan.frame.size)
    asked = _generation_request(original, keep, plan, request)
    try:
        painted = _checked(generator.generate([asked])[0], generator.fingerprint)
    except NothingKnown:
        return Rejected("nothing_known", {})
    even = _put_together(original, painted, keep, generator, options)
    child = lit(even, plan.light, job.seed)
    candidate = Candidate(
        sample=placed,
        constraints=constraints,
        original=original,
        painted=painted,
        even=even,
        child=child,  # stored as PNG, which is lossless: the decoded picture is the same
        keep=keep,
        description=job.description,
        frame=plan.frame,
        siblings=request.siblings,
        light=plan.light,
        seed=job.seed,
    )
    result = gate.judge(candidate)
    if not all(math.isfinite(score) for score in result.scores.values()):
        raise ValueError(f"a judge returned a score that is not finite: {result.scores}")
    if result.reason is not None:
        kept = request.thresholds.keep_refused
        copy = small_copy(child, plan.frame, plan.light) if kept else None
        return Rejected(result.reason, result.scores, copy)
    stored = EncodedImage.from_pixels(child)
    return Painted(stored, plan.prompt, result.hash, result.scores, plan.frame, plan.light)


@dataclass(frozen=True)
class Plan:
    """What a description becomes: the prompt of the generator, the frame and the light."""

    prompt: str
    frame: Frame
    light: Light


def plan_picture(request: PaintingRequest) -> Plan | None:
    """Return how the job's description is carried out; None if it says nothing.

    What it says about the view and the light is carried out by ``frame`` and ``light``, as far as
    the options allow them, and is then left out of the prompt.
    """
    options, constraints = request.painting, request.constraints
    axes = options.frame.axes + options.light.axes
    wishes = read_wishes(clean_description(request.job.description), axes)
    rest = wishes.rest if wishes.rest or not wishes.levels else PLAIN
    if constraints.alone or not options.decoys:
        rest = without_further_things(rest)
    prompt = build_prompt(rest, request.source, constraints)
    if not prompt:
        return None
    levels = wishes.drawn(request.job.seed)
    frame = choose_frame(request.source, constraints, levels, options.frame)
    return Plan(prompt, frame, choose_light(constraints, levels, options.light))


def _put_together(
    original: np.ndarray,
    painted: np.ndarray,
    keep: np.ndarray,
    generator: Generator,
    options: PaintingOptions,
) -> np.ndarray:
    height, width = keep.shape
    feather = options.feather if options.feather is not None else default_feather(width, height)
    returned = None
    if options.round_trip > 0:
        returned = generator.round_trip(shrunk(original, options.max_side))
    return composite(original, painted, keep, feather, returned, options.round_trip)


def _generation_request(
    original: np.ndarray, keep: np.ndarray, plan: Plan, request: PaintingRequest
) -> GenerationRequest:
    """Return the generator's request in the picture's size. A picture whose longer side is more
    than ``max_side`` pixels is shrunk to that."""
    height, width = keep.shape
    longest = request.painting.max_side
    scale = min(1.0, longest / max(width, height))
    keep = shrunk(keep.astype(np.uint8) * 255, longest) > 0
    # Shrunk first: otherwise pixels at the rim of an object would be mixed with the erased grey.
    image = erase_background(shrunk(original, longest), keep)
    constraints = request.constraints
    return GenerationRequest(
        image,
        keep,
        plan.prompt,
        request.job.seed,
        (keep.shape[1], keep.shape[0]),
        view=plan.frame.transform.enlarged(scale),
        horizon=plan.frame.horizon * scale,
        lit=request.painting.light.changes,
        forbidden=(*constraints.forbidden_labels, *constraints.forbidden_words),
    )


def _checked(painted: np.ndarray, fingerprint: str) -> np.ndarray:
    if painted.dtype != np.uint8 or painted.shape[2:] != (3,) or painted.size == 0:
        raise ValueError(
            f"generator {fingerprint} returned {painted.dtype} {painted.shape}, not uint8 (H, W, 3)"
        )
    return painted
