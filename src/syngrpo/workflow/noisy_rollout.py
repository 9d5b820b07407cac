"""Half of each group answers a distorted image (NoisyRollout, arXiv 2504.13055), for comparison.

The update sees the original image with all responses: what was found in spite of the noise, or by
it, is learned for the image as it is. The noise wanes over the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from syngrpo.policy.encode import Prompt, change_pixels
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response, Rollout
from syngrpo.rollout.token_sampling import Sampling

STEEPNESS = 30.0
MIDDLE = 2 / 3
"""Share of the run after which half of the noise is gone."""
OTHER_STREAM = 2**62
"""Keeps the random numbers of distorted images apart from those of the originals."""


def waning(strength: float, done: int, steps: int) -> float:
    """The ``strength`` of the noise after ``done`` of ``steps`` steps, along a falling sigmoid."""
    return strength / (1 + math.exp(STEEPNESS * (done / steps - MIDDLE)))


def distorted(policy: Policy, prompt: Prompt, strength: float, seed: int) -> Prompt:
    """The prompt with noise in its image: √(1 − s²)·x + s·n for pixels x in [−1, 1] and standard
    normal n, as a diffusion process would add it."""

    def diffused(pixels: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(pixels.shape, generator=generator)
        return math.sqrt(1 - strength**2) * pixels + strength * noise

    return change_pixels(policy, prompt, diffused)


@dataclass(frozen=True)
class NoisyRollout:
    """A rollout function around another one; ``strength`` gives the noise of now, in [0, 1].

    Of an odd group the original image has one response more. Log-probabilities of the responses to
    distorted images are NaN: nobody has sampled them from what the update computes.
    """

    rollout: Rollout
    strength: Callable[[], float]

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        """See ``policy.rollout.rollout``."""
        noisy, originals = group_size // 2, group_size - group_size // 2
        strength, others = self.strength(), [seed + OTHER_STREAM for seed in seeds]
        distorted_prompts = [
            distorted(policy, prompt, strength, seed)
            for prompt, seed in zip(prompts, others, strict=True)
        ]
        groups = self.rollout(
            policy, [*prompts, *distorted_prompts], originals, sampling, [*seeds, *others]
        )
        return [
            clean + [_of_another_image(response) for response in disturbed[:noisy]]
            for clean, disturbed in zip(groups[: len(prompts)], groups[len(prompts) :], strict=True)
        ]


def _of_another_image(response: Response) -> Response:
    return replace(response, logprobs=torch.full_like(response.logprobs, torch.nan))
