"""Drawing samples whose images are already decoded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import PoolSample
from syngrpo.sample import EncodedImage, InputError


@dataclass(frozen=True)
class DecodedImage(EncodedImage):
    """An image that costs nothing to decode. ``pixels`` is uint8 (H, W, 3) RGB, read-only."""

    pixels: np.ndarray = field(
        default_factory=lambda: np.zeros((0, 0, 3), np.uint8), repr=False, compare=False
    )

    def decode(self) -> np.ndarray:
        """See ``EncodedImage.decode``."""
        return self.pixels

    def __reduce__(self) -> tuple[type[EncodedImage], tuple[int, int, bytes]]:
        """To another process it travels as encoded bytes, several times smaller than its pixels;
        the file may be out of reach there."""
        return EncodedImage, (self.width, self.height, self.read())


def draw_decoded(
    pool: Pool,
    count: int,
    policy: SamplingPolicy,
    rng: np.random.Generator,
    avoid: Collection[str] = (),
    weights: Mapping[str, float] | None = None,
) -> list[PoolSample]:
    """Like ``Pool.draw``, with DecodedImage images.

    A sample whose image does not decode is quarantined (which is logged) and all are drawn again.
    Raises InputError when the pool has fewer than ``count`` samples left.
    """
    while True:
        decoded = [_decoded(pool, drawn) for drawn in pool.draw(count, policy, rng, avoid, weights)]
        readable = [drawn for drawn in decoded if drawn is not None]
        if len(readable) == count:
            return readable


def _decoded(pool: Pool, drawn: PoolSample) -> PoolSample | None:
    image = drawn.sample.image
    try:
        pixels = image.decode()
    except InputError as error:
        pool.quarantine(drawn.sample.id, str(error))
        return None
    pixels.setflags(write=False)
    warm = DecodedImage(image.width, image.height, image.data, image.path, pixels)
    return replace(drawn, sample=replace(drawn.sample, image=warm))
