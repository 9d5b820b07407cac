"""Computes one padded row a response, for models whose layers cannot share a prompt.

The model gets a padded batch, as transformers makes it. With a split family the vision tower runs
once for each image; any other model is called whole and computes the image once for each row. A
rollout computes a prompt once in either case, and copies its cache for each response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from syngrpo.policy.compat_transformers import row_positions
from syngrpo.policy.encode import Prompt
from syngrpo.policy.families.base import SplitFamily
from syngrpo.policy.families.generic import joined_images, token_kinds
from syngrpo.policy.forward import image_features
from syngrpo.policy.model import Policy

Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class _Batch:
    """Padded rows, ready for the model.

    ``model`` is to be called with ``inputs``; ``mask`` int64 (R, L) is 0 for padding; ``starts``
    is the position at which each row's continuation begins: (R,), or (3, R) with three-part
    positions.
    """

    model: Any
    inputs: dict[str, Any]
    mask: torch.Tensor
    starts: torch.Tensor


def padded_states(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[torch.Tensor]],
) -> torch.Tensor:
    """Return the hidden states (N, d) that predict each token of each response, in order.
    Differentiable.

    ``responses[i]`` are int64 (L,) token ids after prompt i, L ≥ 1.
    """
    # The last token of a response predicts no other, so the model does not compute it.
    batch = _batch(policy, model, prompts, [[r[:-1] for r in own] for own in responses], "right")
    outputs = batch.model(**batch.inputs, attention_mask=batch.mask, use_cache=False)
    owners = [prompt for prompt, own in zip(prompts, responses, strict=True) for _ in own]
    flat = [response for own in responses for response in own]
    states = [
        row[len(prompt.input_ids) - 1 :][: len(response)]
        for row, prompt, response in zip(outputs.last_hidden_state, owners, flat, strict=True)
    ]
    return torch.cat(states)


class PaddedDecoder:
    """Decodes R rows, each with a cache of its own, by one token a call.

    The cache grows with each step, so the shapes change and steps cannot be recorded as a CUDA
    graph.
    """

    recordable = False

    def __init__(
        self, policy: Policy, prompts: Sequence[Prompt], group_size: int, room: int
    ) -> None:
        nothing = torch.zeros(0, dtype=torch.long)
        batch = _batch(policy, policy.base, prompts, [[nothing] for _ in prompts], "left")
        self._model = batch.model
        outputs = self._model(**batch.inputs, attention_mask=batch.mask, use_cache=True)
        rows = torch.arange(len(prompts), device=policy.device).repeat_interleave(group_size)
        self.states = outputs.last_hidden_state[:, -1][rows]
        self._cache = outputs.past_key_values
        self._cache.reorder_cache(rows)
        self._mask, self._positions = batch.mask[rows], batch.starts[..., rows]

    def append(self, tokens: torch.Tensor) -> torch.Tensor:
        """Continue each row by one token (R,); return the states (R, d) that predict the next."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        outputs = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._positions[..., None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._positions = self._positions + 1
        states: torch.Tensor = outputs.last_hidden_state[:, 0]
        return states

    def reserve(self, length: int, block: int) -> bool:
        """Do nothing and return False: the cache grows by itself."""
        return False

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these (ascending indices into the current rows)."""
        self._cache.reorder_cache(rows)
        self._mask, self._positions = self._mask[rows], self._positions[..., rows]


def _batch(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    continuations: Sequence[Sequence[torch.Tensor]],
    side: Side,
) -> _Batch:
    """Make one row for each continuation, behind its prompt, with padding on the given side."""
    ids = [
        torch.cat([prompt.input_ids, tokens])
        for prompt, own in zip(prompts, continuations, strict=True)
        for tokens in own
    ]
    owners = [image for image, own in enumerate(continuations) for _ in own]
    mask = _pad([torch.ones_like(row) for row in ids], side, 0).to(policy.device)
    padded = _pad(ids, side, _padding_token(policy)).to(policy.device)
    fill = _split_batch if isinstance(policy.family, SplitFamily) else _whole_batch
    return fill(policy, model, prompts, owners, padded, mask, side)


def _split_batch(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    owners: list[int],
    ids: torch.Tensor,
    mask: torch.Tensor,
    side: Side,
) -> _Batch:
    """Return a batch for the text model, with the features of each image filled in. The vision
    tower computes each image once."""
    family = policy.family
    assert isinstance(family, SplitFamily)
    places = [family.positions(model, p.input_ids, p.image["image_grid_thw"]) for p in prompts]
    following = [int(own.max()) + 1 for own in places]
    rows = []
    for owner, length in zip(owners, mask.sum(1).tolist(), strict=True):
        start, own = following[owner], places[owner]
        after = torch.arange(start, start + length - own.shape[1]).expand(3, -1)
        rows.append(torch.cat([own, after], dim=1).T)
    features = image_features(policy, model, prompts)
    inputs = family.embed(model, ids, [features[owner] for owner in owners])
    positions = _pad(rows, side, 0).permute(2, 0, 1).to(policy.device)
    starts = torch.tensor([following[owner] for owner in owners], device=policy.device)
    return _Batch(
        family.text_model(model),
        {**inputs, "position_ids": positions},
        mask,
        starts.expand(3, -1),
    )


def _whole_batch(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    owners: list[int],
    ids: torch.Tensor,
    mask: torch.Tensor,
    side: Side,
) -> _Batch:
    """Return a batch for the whole model. Each row has a copy of its prompt's image."""
    images = [prompts[owner].image for owner in owners]
    kinds = token_kinds(prompts[0].image, len(prompts[0].input_ids))
    inputs = joined_images([{k: v for k, v in i.items() if k not in kinds} for i in images])
    lengths = mask.sum(1).tolist()
    for name in kinds:
        values = [image[name][0] for image in images]
        rows = [
            torch.cat([own, own.new_zeros(length - len(own))])
            for own, length in zip(values, lengths, strict=True)
        ]
        inputs[name] = _pad(rows, side, 0)
    inputs = {name: value.to(policy.device) for name, value in inputs.items()}
    positions = row_positions(model, ids, mask, inputs)
    last = positions.masked_fill(mask == 0, -1).amax(-1)
    starts = last.amax(0).expand(3, -1) + 1 if positions.ndim == 3 else last + 1
    # The vision towers of some models need inputs in the type of the weights.
    inputs = {
        name: value.to(policy.base.dtype) if value.is_floating_point() else value
        for name, value in inputs.items()
    }
    return _Batch(
        model.base_model, {"input_ids": ids, **inputs, "position_ids": positions}, mask, starts
    )


def _padding_token(policy: Policy) -> int:
    """Return the token that pads rows. It is masked, so any token would do."""
    tokenizer = policy.tokenizer
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def _pad(rows: list[torch.Tensor], side: Side, value: int) -> torch.Tensor:
    """Join sequences (L_i, …) to (R, longest, …)."""
    return torch.nn.utils.rnn.pad_sequence(
        rows, batch_first=True, padding_value=float(value), padding_side=side
    )
