"""A frozen vision tower sees every image once; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import save_tiny
from tiny_models import random_sample

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling

SIZES = ((64, 48), (130, 75))
NAMES = ["qwen2_5_vl", "qwen3_vl", "qwen3_5"]


@contextmanager
def counted_images(policy: Policy) -> Iterator[list[int]]:
    """How many images each call of the vision tower was given."""
    calls: list[int] = []

    def note(module: Any, positional: Any, named: dict[str, Any]) -> None:
        calls.append(len(named["grid_thw"]))

    tower = policy.family.vision_tower(policy.base)
    handle = tower.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def make_prompts(policy: Policy) -> list[Prompt]:
    return [
        encode(policy, random_sample(*size, seed=i), "the lamp") for i, size in enumerate(SIZES)
    ]


def learn(policy: Policy, prompts: list[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rolls out, scores under policy and reference, backward; both log-probabilities."""
    groups = rollout(policy, prompts, 3, Sampling(max_new_tokens=7), [1, 2])
    rows = [
        PackedRow(prompt, [Segment(r.token_ids) for r in group])
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    scores = []
    for reference in (False, True):
        scored = segment_logprobs(policy, rows, reference=reference)
        scores.append(torch.cat([s.logprobs for row in scored for s in row]))
    (scores[0] * torch.linspace(-1, 1.5, len(scores[0]))).mean().backward()
    return scores[0].detach(), scores[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_tower_runs_once_a_sample_and_changes_no_number(tmp_path: Path, name: str) -> None:
    directory = save_tiny(tmp_path, name)
    results = []
    for freeze in (True, False):
        policy = load_policy(directory, freeze_vision=freeze)
        policy.keep_reference()
        prompts = make_prompts(policy)
        with counted_images(policy) as calls:
            results.append(learn(policy, prompts))
            assert calls == ([2] if freeze else [2, 2])
            rollout(policy, [*prompts, *make_prompts(policy)[:1]], 2, Sampling(), [1, 2, 3])
            assert calls[1:] == ([1] if freeze else [2, 3])
        results.append(policy.model)
    for cached, free in zip(results[0], results[2], strict=True):
        torch.testing.assert_close(cached, free, atol=1e-6, rtol=1e-6)
    wanted = dict(results[3].named_parameters())
    for key, parameter in results[1].named_parameters():
        if "visual" in key:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, wanted[key].grad, atol=1e-6, rtol=1e-5)
    if name == "qwen3_vl":
        policy = load_policy(directory, freeze_vision=True)
        prompts = make_prompts(policy)
        rollout(policy, prompts, 1, Sampling(max_new_tokens=1), [1, 2])
        assert [len(p.features.deeper) for p in prompts if p.features] == [2, 2]


@pytest.mark.parametrize("freeze", [True, False])
def test_adapters_in_the_tower_are_no_frozen_tower(tmp_path: Path, freeze: bool) -> None:
    policy = load_policy(
        save_tiny(tmp_path, "qwen3_vl"), lora=LoraOptions(2, 4), freeze_vision=freeze
    )
    torch.manual_seed(0)
    for key, parameter in policy.model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.2)
    with counted_images(policy) as calls:
        learn(policy, make_prompts(policy))
    assert calls == ([2] if freeze else [2, 2, 2])
    # With adapters in a tower that nobody trains, the reference still sees without them.
    for parameter in policy.family.vision_tower(policy.base).parameters():
        parameter.requires_grad_(False)
    with counted_images(policy) as calls:
        learn(policy, make_prompts(policy))
    assert calls == ([2] if freeze else [2, 2, 2])
