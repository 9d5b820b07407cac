"""One forward pass of a split family over prompts and, after each of them, any number of
continuations; and what its vision tower says about the images, once an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from syngrpo.policy.encode import Prompt
from syngrpo.policy.families.base import ImageFeatures, SplitFamily
from syngrpo.policy.model import Policy
from syngrpo.policy.shared_prefix import PackedLayout, VarlenLayout
from syngrpo.sample import InputError


@dataclass(frozen=True, eq=False)
class PackedStates:
    """``hidden`` (N, d): prompt, its continuations, next prompt, …; ``starts`` (B,): the rotary
    position each prompt's continuations begin at; ``layout`` keeps the prompts' keys and values
    where that was asked for.
    """

    hidden: torch.Tensor
    starts: list[int]
    layout: PackedLayout


def forward_packed(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    continuations: Sequence[Sequence[torch.Tensor]],
    keep_prefix: bool = False,
) -> PackedStates:
    """Run ``model`` (the policy's or the reference) over B prompts, each one once.

    ``continuations[i]`` are int64 (L,) token ids after prompt i, L ≥ 0; they see their prompt and
    themselves, at the positions they would have alone.
    """
    family, device = split_family(policy), policy.device
    ids: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    starts: list[int] = []
    for prompt, tokens in zip(prompts, continuations, strict=True):
        own = family.positions(model, prompt.input_ids, prompt.image["image_grid_thw"])
        start = int(own.max()) + 1
        ids += [prompt.input_ids, *tokens]
        positions += [own, *(torch.arange(start, start + len(t)).expand(3, -1) for t in tokens)]
        starts.append(start)
    layout = (VarlenLayout if policy.varlen else PackedLayout)(
        [len(prompt.input_ids) for prompt in prompts],
        [[len(t) for t in tokens] for tokens in continuations],
        device,
        keep_prefix,
    )
    inputs = family.embed(model, torch.cat(ids)[None].to(device), see(policy, model, prompts))
    outputs = family.text_model(model)(
        **inputs,
        position_ids=torch.cat(positions, dim=1)[:, None].to(device),
        use_cache=False,
        layout=layout,
    )
    return PackedStates(outputs.last_hidden_state[0], starts, layout)


def split_family(policy: Policy) -> SplitFamily:
    """Return the policy's family where its vision tower has to be called apart.

    Raises InputError for a model that is called whole.
    """
    if not isinstance(policy.family, SplitFamily):
        raise InputError(
            f"model {policy.base.name_or_path} (type {policy.base.config.model_type}) is called "
            "whole, so only our own decoder samples from it; set rollout.engine to native and "
            "leave out rollout.server"
        )
    return policy.family


def see(policy: Policy, model: Any, prompts: Sequence[Prompt]) -> list[ImageFeatures]:
    """Return features of each prompt's image under ``model`` (the policy's or the reference).

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
    """Return what the processor makes of the prompts' images: float32 (patches, d), on the
    policy's device."""
    return split_family(policy).pixel_values(
        [prompt.image for prompt in prompts], policy.processor.image_processor, policy.device
    )


def _run(policy: Policy, model: Any, prompts: Sequence[Prompt]) -> list[ImageFeatures]:
    return split_family(policy).image_features(
        model,
        pixel_values(policy, prompts),
        torch.cat([prompt.image["image_grid_thw"] for prompt in prompts]).to(policy.device),
    )


def _is_frozen(policy: Policy) -> bool:
    """Return whether policy and reference see every image alike, now and later: nothing in the
    tower is trained, and no adapter in it can be switched off."""
    tower = split_family(policy).vision_tower(policy.base)
    if any(parameter.requires_grad for parameter in tower.parameters()):
        return False
    return not any(isinstance(module, BaseTunerLayer) for module in tower.modules())
