"""The plain way, for models whose layers cannot share a prompt: one padded row a response.

Only the vision tower runs once an image, and a rollout once a prompt, whose cache is then copied
for each response. Everything else is what transformers does with a padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import Policy
from syngrpo.policy.vision import see


@dataclass(frozen=True, eq=False)
class _Batch:
    """``inputs`` for the text model, ``mask`` int64 (R, L) and ``starts`` (R,): the rotary position
    at which each row's continuation begins.
    """

    inputs: dict[str, Any]
    mask: torch.Tensor
    starts: torch.Tensor


def padded_states(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[torch.Tensor]],
) -> torch.Tensor:
    """Hidden states (N, d) that predict each token of each response, one after the other.

    ``responses[i]`` are int64 (L,) token ids after prompt i, L ≥ 1. Differentiable.
    """
    # A response's last token predicts nothing: it stays out.
    batch = _batch(policy, model, prompts, [[r[:-1] for r in own] for own in responses], "right")
    outputs = policy.family.text_model(model)(
        **batch.inputs, attention_mask=batch.mask, use_cache=False
    )
    owners = [prompt for prompt, own in zip(prompts, responses, strict=True) for _ in own]
    flat = [response for own in responses for response in own]
    states = [
        row[len(prompt.input_ids) - 1 :][: len(response)]
        for row, prompt, response in zip(outputs.last_hidden_state, owners, flat, strict=True)
    ]
    return torch.cat(states)


class PaddedDecoder:
    """R rows that continue their prompts one token a call, each with a cache of its own, which
    grows: no two steps have the same shapes.
    """

    recordable = False

    def __init__(
        self, policy: Policy, prompts: Sequence[Prompt], group_size: int, room: int
    ) -> None:
        nothing = torch.zeros(0, dtype=torch.long)
        batch = _batch(policy, policy.base, prompts, [[nothing] for _ in prompts], "left")
        self._text_model = policy.family.text_model(policy.base)
        outputs = self._text_model(**batch.inputs, attention_mask=batch.mask, use_cache=True)
        rows = torch.arange(len(prompts), device=policy.device).repeat_interleave(group_size)
        self.states = outputs.last_hidden_state[:, -1][rows]
        self._cache = outputs.past_key_values
        self._cache.reorder_cache(rows)
        self._mask, self._positions = batch.mask[rows], batch.starts[rows]

    def append(self, tokens: torch.Tensor) -> torch.Tensor:
        """Continues each row by one token (R,); returns the states (R, d) that predict the next."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        outputs = self._text_model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._positions.expand(3, -1)[..., None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._positions += 1
        states: torch.Tensor = outputs.last_hidden_state[:, 0]
        return states

    def reserve(self, length: int, block: int) -> bool:
        """Nothing to do: the cache grows by itself."""
        return False

    def keep(self, rows: torch.Tensor) -> None:
        """Drops all rows but these (ascending indices into the rows of now)."""
        self._cache.reorder_cache(rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]


def _batch(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    continuations: Sequence[Sequence[torch.Tensor]],
    side: Literal["left", "right"],
) -> _Batch:
    """One row for each continuation, behind its prompt; padding on the given side."""
    family, device = policy.family, policy.device
    ids: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    starts: list[int] = []
    images: list[int] = []
    for image, (prompt, own) in enumerate(zip(prompts, continuations, strict=True)):
        places = family.positions(model, prompt.input_ids, prompt.image_grid_thw)
        start = int(places.max()) + 1
        for tokens in own:
            ids.append(torch.cat([prompt.input_ids, tokens]))
            following = torch.arange(start, start + len(tokens)).expand(3, -1)
            positions.append(torch.cat([places, following], dim=1))
            starts.append(start)
            images.append(image)
    mask = _pad([torch.ones_like(row) for row in ids], side, 0).to(device)
    features = see(policy, model, prompts)
    inputs = family.embed(
        model,
        _pad(ids, side, policy.tokenizer.pad_token_id).to(device),
        [features[image] for image in images],
    )
    places = _pad([row.T for row in positions], side, 0).permute(2, 0, 1).to(device)
    return _Batch({**inputs, "position_ids": places}, mask, torch.tensor(starts, device=device))


def _pad(rows: list[torch.Tensor], side: Literal["left", "right"], value: int) -> torch.Tensor:
    """Sequences (L_i, …) → (R, longest, …)."""
    return torch.nn.utils.rnn.pad_sequence(
        rows, batch_first=True, padding_value=float(value), padding_side=side
    )
