"""One job, from a description to an admitted sample or a named rejection.

The one function that inline mode and the workers share.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from syngrpo.pool.queue import Admitted, Job, Queue, Rejected
from syngrpo.pool.store import Pool
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.synthesis.compositing import composite, default_feather, erase_background, keep_mask
from syngrpo.synthesis.gate import Gate
from syngrpo.synthesis.generator import GenerationRequest, Generator
from syngrpo.synthesis.prompts import build_prompt
from syngrpo.tasks import get_task

SYNTHESIS = "synthesis"
"""The key in a synthetic sample's columns that holds how it was made."""


@dataclass(frozen=True)
class Canvas:
    """``feather`` in pixels, None for one that fits the image; ``max_side`` in pixels bounds the
    longer side of what the generator paints."""

    feather: int | None = None
    max_side: int = 1024


def synthesize(
    pool: Pool, job: Job, generator: Generator, gate: Gate, canvas: Canvas = Canvas()
) -> Admitted | Rejected:
    """Paints new surroundings for the job's parent.

    The same pool, job and generator give the same sample. Raises InputError when the parent is
    unknown or unreadable or the job is for another generator, and whatever the generator raises.
    """
    if job.generator != generator.fingerprint:
        raise InputError(
            f"job {job.id[:12]} is for generator {job.generator}, this one is "
            f"{generator.fingerprint}; start the server with the trainer's generator"
        )
    parent = pool.get(job.parent_id)
    constraints = get_task(parent.task).respects(parent)
    prompt = build_prompt(job.description, parent, constraints)
    if not prompt:
        return Rejected("empty_description", {})
    original = parent.image.decode()
    keep = keep_mask(parent, constraints.keep)
    request = _request(original, keep, prompt, job.seed, canvas.max_side)
    painted = _checked(generator.generate([request])[0], generator.fingerprint)
    feather = canvas.feather
    if feather is None:
        feather = default_feather(parent.image.width, parent.image.height)
    stored = EncodedImage.from_pixels(composite(original, painted, keep, feather))
    objects = tuple(parent.objects[index] for index in constraints.keep)
    boxes = [thing.box for thing in objects]
    siblings = _sibling_hashes(pool, parent)
    result = gate.check(original, stored.decode(), keep, siblings, boxes)
    if result.reason is not None:
        return Rejected(result.reason, result.scores)
    made = {
        "generator": generator.fingerprint,
        "seed": job.seed,
        "prompt": prompt,
        "hash": result.hash.hex(),
    }
    sample = replace(
        parent,
        id=f"syn-{job.id[:16]}",
        image=stored,
        objects=objects,
        parent=parent.id,
        description=job.description,
        depth=parent.depth + 1,
        columns=parent.columns | {SYNTHESIS: made},
    )
    return Admitted(sample, result.scores)


def run_job(
    pool: Pool,
    queue: Queue,
    job: Job,
    worker: str,
    generator: Generator,
    gate: Gate,
    canvas: Canvas = Canvas(),
) -> bool:
    """Synthesises a leased job and reports it; False when it failed or the lease was lost.

    Whatever a generator raises is the job's failure and is recorded with its traceback. A disk
    too full for the result is not: that raises InputError and leaves the job to its lease.
    """
    try:
        outcome = synthesize(pool, job, generator, gate, canvas)
    except Exception:
        queue.fail(job.id, worker, traceback.format_exc())
        return False
    return queue.complete(job.id, worker, outcome)


def _request(
    original: np.ndarray, keep: np.ndarray, prompt: str, seed: int, max_side: int
) -> GenerationRequest:
    """The request in the picture's own size, or shrunk so that its longer side is max_side."""
    height, width = keep.shape
    image = erase_background(original, keep)
    scale = min(1.0, max_side / max(width, height))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        shrunk = Image.fromarray(keep.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
        keep = np.asarray(shrunk) > 0
    return GenerationRequest(image, keep, prompt, seed, (keep.shape[1], keep.shape[0]))


def _checked(painted: np.ndarray, fingerprint: str) -> np.ndarray:
    if painted.dtype != np.uint8 or painted.ndim != 3 or painted.shape[2] != 3:
        raise ValueError(
            f"generator {fingerprint} returned {painted.dtype} {painted.shape}, not uint8 (H, W, 3)"
        )
    return painted


def _sibling_hashes(pool: Pool, parent: Sample) -> list[bytes]:
    """Perceptual hashes of the children the parent already has."""
    children = pool.children(parent.id)
    return [bytes.fromhex(child.sample.columns[SYNTHESIS]["hash"]) for child in children]
