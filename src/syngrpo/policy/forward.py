"""One forward pass over prompts and, after each of them, any number of continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from syngrpo.policy.attention import PackedLayout
from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import Policy
from syngrpo.policy.varlen import VarlenLayout
from syngrpo.policy.vision import see


@dataclass(frozen=True, eq=False)
class Rows:
    """``hidden`` (N, d): prompt, its continuations, next prompt, …; ``starts`` (B,): the rotary
    position each prompt's continuations begin at; ``layout`` keeps the prompts' keys and values
    where that was asked for.
    """

    hidden: torch.Tensor
    starts: list[int]
    layout: PackedLayout


def forward_rows(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    continuations: Sequence[Sequence[torch.Tensor]],
    keep_prefix: bool = False,
) -> Rows:
    """Runs ``model`` (the policy's or the reference) over B prompts, each one once.

    ``continuations[i]`` are int64 (L,) token ids after prompt i, L ≥ 0; they see their prompt and
    themselves, at the positions they would have alone.
    """
    family, device = policy.family, policy.device
    ids: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    starts: list[int] = []
    for prompt, tokens in zip(prompts, continuations, strict=True):
        own = family.positions(model, prompt.input_ids, prompt.image_grid_thw)
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
    return Rows(outputs.last_hidden_state[0], starts, layout)
