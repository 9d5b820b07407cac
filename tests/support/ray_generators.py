"""Generators for actors, named "ray_generators:Name"; see synthesis_generators for the marks."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from synthesis_generators import MARKS, HangsAtFirst

from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator


class NamesItsGpu(NoopGenerator):
    """Leaves a mark with the GPUs that its process may use, and takes a while."""

    wants_gpu = True
    fingerprint = "names-its-gpu"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        (Path(os.environ[MARKS]) / f"gpu-{os.environ.get('CUDA_VISIBLE_DEVICES', 'any')}").touch()
        time.sleep(0.3)
        return super().generate(requests)


class HangsThenSlow(HangsAtFirst):
    """The first process that paints never returns; the others take a while."""

    fingerprint = "hangs-then-slow"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        time.sleep(0.3)
        return super().generate(requests)
