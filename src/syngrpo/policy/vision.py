"""What the vision tower says about the images of some prompts; once an image if it is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from syngrpo.policy.encode import Prompt
from syngrpo.policy.families.base import ImageFeatures
from syngrpo.policy.loading import Policy


def see(policy: Policy, model: Any, prompts: Sequence[Prompt]) -> list[ImageFeatures]:
    """Features of each prompt's image under ``model`` (the policy's or the reference).

    A frozen tower's features are kept on the prompt: rollout, update and reference of a step read
    the same ones, without gradients.
    """
    if not _is_frozen(policy):
        return _run(policy, model, prompts)
    unseen = [prompt for prompt in prompts if prompt.features is None]
    if unseen:
        with torch.no_grad():
            for prompt, features in zip(unseen, _run(policy, model, unseen), strict=True):
                prompt.features = features
    return [prompt.features for prompt in prompts if prompt.features is not None]


def pixel_values(policy: Policy, prompts: Sequence[Prompt]) -> torch.Tensor:
    """What the processor makes of the prompts' images: float32 (patches, d), on the policy's
    device. They travel there as bytes, and are rescaled and normalised by the processor's own
    arithmetic, so that the values are exactly its.
    """
    processor = policy.processor.image_processor
    patches = torch.cat([prompt.patches for prompt in prompts]).to(policy.device)
    values = processor.rescale_and_normalize(
        patches,
        processor.do_rescale,
        processor.rescale_factor,
        processor.do_normalize,
        tuple(processor.image_mean),
        tuple(processor.image_std),
    )
    repeated = values[:, :, None].expand(-1, -1, processor.temporal_patch_size, -1, -1)
    return repeated.flatten(1)


def _run(policy: Policy, model: Any, prompts: Sequence[Prompt]) -> list[ImageFeatures]:
    return policy.family.image_features(
        model,
        pixel_values(policy, prompts),
        torch.cat([prompt.image_grid_thw for prompt in prompts]).to(policy.device),
    )


def _is_frozen(policy: Policy) -> bool:
    """Whether policy and reference see every image alike, now and later: nothing in the tower is
    trained, and no adapter in it can be switched off.
    """
    tower = policy.family.vision_tower(policy.base)
    if any(parameter.requires_grad for parameter in tower.parameters()):
        return False
    return not any(isinstance(module, BaseTunerLayer) for module in tower.modules())
