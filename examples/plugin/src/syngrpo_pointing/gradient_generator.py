"""The generator ``gradients``: paints colours that flow into each other, without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syngrpo.options import option
from syngrpo.painting.generators.base import GenerationRequest, Generator

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (196, 84, 76),
    "orange": (226, 156, 92),
    "yellow": (234, 208, 124),
    "green": (122, 166, 116),
    "blue": (108, 146, 196),
    "grey": (170, 172, 176),
    "white": (238, 236, 230),
}


@dataclass(frozen=True)
class GradientOptions:
    """The section ``synthesis.options`` of a configuration that paints with this generator."""

    grain: float = option(6.0, "standard deviation of the noise on every pixel, of 255", ge=0)


class Gradients(Generator):
    """Paints from the first colour of the description to its second, top to bottom.

    Colours that the description does not name are drawn from the seed of the request.
    """

    Options = GradientOptions
    wants_gpu = False

    def __init__(self, grain: float = 6.0) -> None:
        self.grain = grain
        self.fingerprint = f"gradients-1-{grain}"
        """Changes whenever the same request would be painted differently."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """Return one uint8 (H, W, 3) RGB picture for each request."""
        return [self._paint(request) for request in requests]

    def _paint(self, request: GenerationRequest) -> np.ndarray:
        width, height = request.size
        rng = np.random.default_rng(request.seed)
        drawn = rng.choice(list(COLOURS), size=2, replace=False)
        named = [word for word in re.findall("[a-z]+", request.prompt.lower()) if word in COLOURS]
        above, below = (np.array(COLOURS[name]) for name in [*named, *drawn][:2])
        share = np.linspace(0, 1, height)[:, None, None]
        picture = (
            above * (1 - share) + below * share + rng.normal(0, self.grain, (height, width, 1))
        )
        return picture.clip(0, 255).astype(np.uint8)
