"""Generators that break their promise, each for one word of the description; other descriptions
are painted as they should be. Named "fault_generators:Faulty" for worker processes."""

import time
from collections.abc import Sequence

import numpy as np

from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator


class Faulty(NoopGenerator):
    """One generator for all faults, as they come in between good pictures."""

    fingerprint = "faulty"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        (request,) = requests
        (good,) = super().generate(requests)
        words = set(request.prompt.split()) & set(FAULTS)
        if "nothing" in request.prompt.split():
            return []
        return [FAULTS[word](good) for word in words] or [good]


def hang(good: np.ndarray) -> np.ndarray:
    while True:
        time.sleep(3600)


def fail(good: np.ndarray) -> np.ndarray:
    raise RuntimeError("the model choked")


def nan(good: np.ndarray) -> np.ndarray:
    """As a pipeline in float16 returns that overflowed, before anybody rounds it."""
    return np.full(good.shape, np.nan, dtype=np.float32)


FAULTS = {
    "hang": hang,
    "fail": fail,
    "nan": nan,
    "floats": lambda good: good / np.float32(255),
    "grey": lambda good: good[..., 0],
    "alpha": lambda good: np.dstack([good, good[..., :1]]),
    "empty": lambda good: good[:0],
    "smaller": lambda good: good[: good.shape[0] // 3, : good.shape[1] // 2],
    "larger": lambda good: good.repeat(2, axis=0).repeat(3, axis=1),
    "black": np.zeros_like,
}
