"""Forward passes of a split family: ``forward_packed`` runs the text model over prompts with any
number of continuations each, ``image_features`` the vision tower once for each image.

The scoring of responses (``packed``, ``padded``) and the rollout call these.
"""

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
    """The result of ``forward_packed``.

    ``hidden`` (N, d): states of the first prompt, its continuations, the next prompt, …, and at the
    end the last states of the kept prompts; ``last`` (B,): the place of the last state of each
    prompt, ``first`` (B,): that of the first state of its continuations; ``starts`` (B,): the
    rotary position at which these begin; ``layout`` holds the prompts' keys and values if
    ``keep_prefix`` was set.
    """

    hidden: torch.Tensor
    last: list[int]
    first: list[int]
    starts: list[int]
    layout: PackedLayout


def forward_packed(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    continuations: Sequence[Sequence[torch.Tensor]],
    keep_prefix: bool = False,
    from_kept: bool = False,
) -> PackedStates:
    """Run ``model`` (the policy's or the reference) over B prompts, each of them once.

    ``continuations[i]`` are int64 (L,) token ids after prompt i, L ≥ 0. Each continuation attends
    to its prompt and itself, at the positions that it would have alone. With ``from_kept`` prompts
    that are kept are not computed again: ``model`` must have the weights that computed them.
    """
    family, device = split_family(policy), policy.device
    kept = [prompt.kept if from_kept else None for prompt in prompts]
    ids: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    starts: list[int] = []
    last: list[int] = []
    first: list[int] = []
    total = 0
    for prompt, before, tokens in zip(prompts, kept, continuations, strict=True):
        if before is None:
            own = family.positions(model, prompt.input_ids, prompt.image["image_grid_thw"])
            ids.append(prompt.input_ids)
            positions.append(own)
            total += len(prompt.input_ids)
        start = int(own.max()) + 1 if before is None else before.start
        ids += tokens
        positions += [torch.arange(start, start + len(t)).expand(3, -1) for t in tokens]
        starts.append(start)
        last.append(total - 1)
        first.append(total)
        total += sum(map(len, tokens))
    layout = (VarlenLayout if policy.varlen else PackedLayout)(
        [len(prompt.input_ids) for prompt in prompts],
        [[len(t) for t in tokens] for tokens in continuations],
        device,
        keep_prefix,
        kept,
    )
    fresh = [prompt for prompt, before in zip(prompts, kept, strict=True) if before is None]
    hidden = _hidden(policy, model, fresh, ids, positions, layout)
    states = [before.state for before in kept if before is not None]
    places = iter(range(total, total + len(states)))
    last = [end if before is None else next(places) for end, before in zip(last, kept, strict=True)]
    if states:
        hidden = torch.cat([hidden, torch.stack(states)])
    return PackedStates(hidden, last, first, starts, layout)


def _hidden(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    ids: Sequence[torch.Tensor],
    positions: Sequence[torch.Tensor],
    layout: PackedLayout,
) -> torch.Tensor:
    """Return the states (N, d) of these tokens, in which the images are those of ``prompts``."""
    family, device = split_family(policy), policy.device
    tokens = torch.cat(list(ids))[None].to(device)
    if prompts:
        inputs = family.embed(model, tokens, image_features(policy, model, prompts))
    else:
        inputs = {"inputs_embeds": model.get_input_embeddings()(tokens)}
    if not tokens.numel():  # kept prompts with responses of one token
        return inputs["inputs_embeds"][0]
    outputs = family.text_model(model)(
        **inputs,
        position_ids=torch.cat(list(positions), dim=1)[:, None].to(device),
        use_cache=False,
        layout=layout,
    )
    hidden: torch.Tensor = outputs.last_hidden_state[0]
    return hidden


def split_family(policy: Policy) -> SplitFamily:
    """Return the policy's family, for callers that need vision tower and text model apart.

    Raises InputError for a family whose models can only be called whole.
    """
    if not isinstance(policy.family, SplitFamily):
        raise InputError(
            f"model {policy.base.name_or_path} (type {policy.base.config.model_type}) can only be "
            "called whole, so only the native rollout can sample from it; set rollout.engine to "
            "native and leave out rollout.server"
        )
    return policy.family


def image_features(policy: Policy, model: Any, prompts: Sequence[Prompt]) -> list[ImageFeatures]:
    """Return features of each prompt's image under ``model`` (the policy's or the reference).

    The features of a frozen vision tower are kept in the prompt and have no gradients: rollout,
    update and reference of a step use the same ones.
    """
    if not _is_frozen(policy):
        return _run(policy, model, prompts)
    missing = [prompt for prompt in prompts if prompt.features is None]
    if missing:
        with torch.no_grad():
            for prompt, features in zip(missing, _run(policy, model, missing), strict=True):
                prompt.features = features
    return [prompt.features for prompt in prompts if prompt.features is not None]


def pixel_values(policy: Policy, prompts: Sequence[Prompt]) -> torch.Tensor:
    """Return the processor's values for the prompts' images: float32 (patches, d), on the policy's
    device."""
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
    """Return whether the vision tower's output for an image is always the same, for the policy and
    for the reference: none of its weights is trained, and none of its layers has an adapter."""
    tower = split_family(policy).vision_tower(policy.base)
    if any(parameter.requires_grad for parameter in tower.parameters()):
        return False
    return not any(isinstance(module, BaseTunerLayer) for module in tower.modules())
