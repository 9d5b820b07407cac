"""Generators that misbehave, for worker processes: each is named "synthesis_generators:Name".

They leave marks in the folder named by the environment variable SYNGRPO_TEST_MARKS, so that a test
in another process knows when, and in which process, a job is being painted.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator

MARKS = "SYNGRPO_TEST_MARKS"


def started(folder: Path) -> list[int]:
    """Process ids that began to paint, oldest first."""
    marks = sorted(folder.glob("began-*"), key=os.path.getmtime)
    return [int(path.name.removeprefix("began-")) for path in marks]


class HangsAtFirst(NoopGenerator):
    """The first process that paints never returns; the others do."""

    fingerprint = "hangs-at-first"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        folder = Path(os.environ[MARKS])
        try:
            os.close(os.open(folder / "first", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().generate(requests)
        (folder / f"began-{os.getpid()}").touch()
        while True:
            time.sleep(3600)


class Slow(NoopGenerator):
    """Marks its process and takes a while, but returns."""

    fingerprint = "slow"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        (Path(os.environ[MARKS]) / f"began-{os.getpid()}").touch()
        time.sleep(0.8)
        return super().generate(requests)


class Poisonous(NoopGenerator):
    """Fails on prompts with the word "poison"."""

    fingerprint = "poisonous"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        (Path(os.environ[MARKS]) / f"began-{os.getpid()}").touch()
        if any("poison" in request.prompt for request in requests):
            raise RuntimeError("the model choked on poison")
        return super().generate(requests)


class LosesDevice(NoopGenerator):
    """Its first process fails on every picture after two, as after an error of CUDA that stays."""

    fingerprint = "loses-device"

    def __init__(self) -> None:
        super().__init__()
        self._painted = 0

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        folder = Path(os.environ[MARKS])
        (folder / f"began-{os.getpid()}").touch()
        self._painted += 1
        if started(folder)[0] == os.getpid() and self._painted > 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().generate(requests)


class Smaller(NoopGenerator):
    """Paints in sides that are multiples of 16, as real pipelines do."""

    fingerprint = "smaller"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        return [
            image[: image.shape[0] // 16 * 16, : image.shape[1] // 16 * 16]
            for image in super().generate(requests)
        ]


class SaysWhere(NoopGenerator):
    """Marks the accelerators its process may see."""

    fingerprint = "says-where"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        (Path(os.environ[MARKS]) / f"device-{os.environ['CUDA_VISIBLE_DEVICES']}").touch()
        time.sleep(0.1)
        return super().generate(requests)
