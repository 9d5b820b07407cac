"""Small samples for the pool's tests."""

from __future__ import annotations

import numpy as np

from syngrpo.pool.jobs import Admitted, Job
from syngrpo.sample import EncodedImage, LabelledObject, Sample


def picture(number: int) -> EncodedImage:
    """An image of its own for every number."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return EncodedImage.from_pixels(pixels)


def seed(number: int) -> Sample:
    box = (1.0, 2.0, 3.5, 4.0)
    return Sample(
        id=f"seed-{number}",
        task="rec",
        image=picture(number),
        question="the lamp",
        answer=box,
        objects=(LabelledObject("lamp", box),),
    )


def child(job: Job, depth: int = 1) -> Admitted:
    """What a worker hands in for a job; same job, same sample."""
    box = (1.0, 2.0, 3.5, 4.0)
    sample = Sample(
        id=f"child-{job.id}",
        task="rec",
        image=picture(int(job.id[:12], 16)),
        question="the lamp",
        answer=box,
        objects=(LabelledObject("lamp", box),),
        parent=job.parent_id,
        description=job.description,
        depth=depth,
    )
    return Admitted(sample, {"background_changed": 0.75})
