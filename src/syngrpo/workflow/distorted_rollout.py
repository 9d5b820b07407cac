"""Samples groups in which some responses answer a distorted image, for methods such as
NoisyRollout. The trainer calls ``distorted_rollout`` when the method asks for a distortion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from syngrpo.method.base import Distortion
from syngrpo.policy.encode import Prompt, change_pixels
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response, Rollout
from syngrpo.rollout.token_sampling import Sampling

OTHER_STREAM = 2**62
"""Added to a group's seed to get the seed of its distorted image, so that both draw different
random numbers."""


def distorted(policy: Policy, prompt: Prompt, strength: float, seed: int) -> Prompt:
    """Return the prompt with noise in its image: √(1 − s²)·x + s·n for pixels x in [−1, 1] and
    standard normal n, as a diffusion process would add it. No response to it describes new
    surroundings, because descriptions are those of the group's first responses."""

    def diffused(pixels: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(pixels.shape, generator=generator)
        return math.sqrt(1 - strength**2) * pixels + strength * noise

    return replace(change_pixels(policy, prompt, diffused), going_on=0)


def distorted_rollout(
    rollout: Rollout,
    distortion: Distortion,
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: Sequence[int],
) -> list[list[Response]]:
    """Sample a group for each prompt. The last responses of each group answer a distorted image.

    All arguments but ``distortion`` are those of ``rollout``. The log-probabilities of responses to
    distorted images are NaN, because the update uses the original image, from which they were not
    sampled.
    """
    noisy = int(group_size * distortion.share)
    others = [seed + OTHER_STREAM for seed in seeds]
    distorted_prompts = [
        distorted(policy, prompt, distortion.strength, seed)
        for prompt, seed in zip(prompts, others, strict=True)
    ]
    groups = rollout(
        policy, [*prompts, *distorted_prompts], group_size - noisy, sampling, [*seeds, *others]
    )
    return [
        clean + [_of_another_image(one) for one in disturbed[:noisy]]
        for clean, disturbed in zip(groups[: len(prompts)], groups[len(prompts) :], strict=True)
    ]


def _of_another_image(response: Response) -> Response:
    return replace(response, logprobs=torch.full_like(response.logprobs, torch.nan))
