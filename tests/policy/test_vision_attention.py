"""The vision tower's attention against SDPA called for each sequence, and against transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_transformers import load_plain
from tiny_families import save_tiny
from tiny_models import random_sample
from torch.nn import functional as F

from syngrpo.policy.encode import encode
from syngrpo.policy.forward import pixel_values
from syngrpo.policy.loading import load_policy
from syngrpo.policy.vision_attention import VisionLayout, attention_by_length

HEADS, DIM = 3, 8


@contextmanager
def counted_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the queries of every call of SDPA."""
    calls: list[tuple[int, ...]] = []
    whole = F.scaled_dot_product_attention

    def note(query: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        calls.append(tuple(query.shape))
        return whole(query, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", note)
        yield calls


@pytest.mark.parametrize(
    ("lengths", "calls"),
    [
        ([5], 1),
        ([4, 4, 4], 1),
        ([4, 4, 7], 2),
        ([7, 4, 4], 2),
        ([4, 2, 4, 2, 6, 3, 6, 3, 1, 4, 2], 5),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_it_equals_one_call_for_each_sequence(
    monkeypatch: pytest.MonkeyPatch, lengths: Sequence[int], calls: int, kept: bool
) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    leaves = [
        torch.randn(1, HEADS, sum(lengths), DIM, generator=generator, requires_grad=True)
        for _ in range(3)
    ]
    weights = torch.randn(1, sum(lengths), HEADS, DIM, generator=generator)
    ends = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)
    layout = VisionLayout() if kept else None
    for _ in range(2):  # the second time the layout knows the sequences
        with counted_calls(monkeypatch) as made:
            got, _ = attention_by_length(
                None, *leaves, None, scaling=0.3, cu_seq_lens_q=ends, layout=layout, is_causal=False
            )
        assert len(made) == calls
    parts = zip(*(x.split(list(lengths), dim=2) for x in leaves), strict=True)
    want = torch.cat([F.scaled_dot_product_attention(*p, scale=0.3) for p in parts], dim=2)
    want = want.transpose(1, 2)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
    gradients = [torch.autograd.grad((x * weights).sum(), leaves) for x in (got, want)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_a_layout_tells_windows_from_whole_images() -> None:
    x = torch.randn(1, HEADS, 6, DIM)
    layout = VisionLayout()
    windows, whole = torch.tensor([0, 3, 6]), torch.tensor([0, 6])
    for ends in (windows, whole, windows):
        got, _ = attention_by_length(None, x, x, x, None, 1.0, ends, layout=layout)
        alone, _ = attention_by_length(None, x, x, x, None, 1.0, ends)
        assert torch.equal(got, alone)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_tower_computes_what_transformers_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, checkpointing: bool
) -> None:
    directory = save_tiny(tmp_path, name)
    policy = load_policy(directory, gradient_checkpointing=checkpointing)
    plain = load_plain(directory)
    sizes = [(420, 190), (130, 275), (420, 190)]
    prompts = [encode(policy, random_sample(*size, seed=i), "?") for i, size in enumerate(sizes)]
    pixels = pixel_values(policy, prompts)
    grid = torch.cat([prompt.image["image_grid_thw"] for prompt in prompts])
    found = []
    for model in (policy.base, plain):
        with counted_calls(monkeypatch) as calls:
            if model is plain:
                features = list(model.model.get_image_features(pixels, grid).pooler_output)
            else:
                features = [i.states for i in policy.family.image_features(model, pixels, grid)]
        # One layer attends within 57 windows of two sizes, or two layers within three images.
        sequences = 57 + 3 if name == "qwen2_5_vl" else 3 + 3
        assert len(calls) == (sequences if model is plain else 4)
        tower = [p for key, p in model.named_parameters() if "visual" in key]
        weights = torch.linspace(-1, 2, len(features[0]))[:, None]
        total = (features[0] * weights).sum() + features[1].square().sum()
        gradients = torch.autograd.grad(total, tower, allow_unused=True)
        found.append([*features, *gradients])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            scale = float(theirs.abs().max().detach()) or 1.0
            torch.testing.assert_close(ours / scale, theirs / scale, atol=1e-5, rtol=1e-5)
