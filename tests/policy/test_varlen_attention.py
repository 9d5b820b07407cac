"""The variable-length layout: its sequences are right for a kernel that does what PyTorch says of
its own, and it is used only where a kernel does. The kernel itself needs a GPU."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scored_rows import gradients, make_rows, ours, plain, weighted_loss
from tiny_families import TINY, save_tiny
from torch.nn import functional as F

from syngrpo.policy import kept_prompts, shared_prefix
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import Segment
from syngrpo.policy.shared_prefix import has_varlen
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling

SHARING = [name for name in TINY if not name.startswith("qwen3_5") and "sliding" not in name]


def sequence_by_sequence(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends_q: torch.Tensor,
    ends_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
    last_at_last: bool = True,
) -> torch.Tensor:
    """What the documentation of ``varlen_attn`` says, one sequence after the other."""
    assert window_size == (-1, 0) and ends_q.dtype == ends_k.dtype == torch.int32
    assert query.is_contiguous() and key.is_contiguous() and value.is_contiguous()
    outputs = []
    sizes_q, sizes_k = ends_q.diff().tolist(), ends_k.diff().tolist()
    assert (max(sizes_q), max(sizes_k)) == (max_q, max_k) and min(sizes_q) > 0
    parts = (query.split(sizes_q), key.split(sizes_k), value.split(sizes_k))
    for q, k, v in zip(*parts, strict=True):
        shift = len(k) - len(q) if last_at_last else 0
        visible = torch.ones(len(q), len(k), dtype=torch.bool).tril(shift)
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=visible, scale=scale, enable_gqa=enable_gqa
        )
        outputs.append(out[0].transpose(0, 1))
    return torch.cat(outputs)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", sequence_by_sequence)


def with_varlen(directory: Path) -> Policy:
    policy = load_policy(directory)
    assert policy.shares_prefix and not policy.varlen
    policy.varlen = True
    return policy


@pytest.mark.parametrize(
    ("name", "keep"), [*((name, False) for name in SHARING), ("qwen3_vl", True)]
)
def test_logprobs_and_every_gradient_equal_plain_padded_rows(
    tmp_path: Path, kernel: None, name: str, keep: bool
) -> None:
    """Also for a row that is computed whole between two that go on from a kept prompt."""
    directory = save_tiny(tmp_path, name)
    policy = with_varlen(directory)
    rows = make_rows(policy)
    prompts = [row.prompt for row in rows]
    if keep:
        for prompt in prompts:
            prompt.will_train = True
        rollout(policy, prompts, 2, Sampling(max_new_tokens=2), [1, 2, 3])
        prompts[1].kept = None
    found = ours(policy, rows)
    model, expected = plain(directory, policy, rows)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    weighted_loss(found).backward()
    kept_prompts.backward(prompt.kept for prompt in prompts if prompt.kept is not None)
    weighted_loss(expected).backward()
    theirs = gradients(model)
    for key, gradient in gradients(policy.base).items():
        if theirs[key] is not None:
            torch.testing.assert_close(gradient, theirs[key], atol=1e-5, rtol=1e-4)


def test_kept_prompts_with_responses_of_one_token(tmp_path: Path, kernel: None) -> None:
    """Nothing attends then: what follows the prompt is scored from the prompt's last token."""
    directory = save_tiny(tmp_path, "qwen2_5_vl")
    policy = with_varlen(directory)
    rows = make_rows(policy)
    for row in rows:
        row.prompt.will_train = True
    rollout(policy, [row.prompt for row in rows], 2, Sampling(max_new_tokens=2), [1, 2, 3])
    short = [replace(r, segments=[Segment(s.token_ids[:1]) for s in r.segments]) for r in rows]
    _, expected = plain(directory, policy, short)
    for a, b in zip(ours(policy, short), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_a_rollout_starts_from_the_prompts_that_it_kept(tmp_path: Path, kernel: None) -> None:
    directory = save_tiny(tmp_path, "qwen2_5_vl")
    responses = []
    for policy in (load_policy(directory), with_varlen(directory)):
        prompts = [row.prompt for row in make_rows(policy)]
        groups = rollout(policy, prompts, 2, Sampling(max_new_tokens=6), [1, 2, 3])
        responses.append([r.token_ids.tolist() for group in groups for r in group])
    assert responses[0] == responses[1]


HEADS = (8, 2, 16, torch.device("cpu"), torch.bfloat16)


def test_a_kernel_is_tried_out_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch, kernel: None
) -> None:
    assert shared_prefix._agrees(*HEADS)

    def first_at_first(*inputs: Any, enable_gqa: bool, **options: Any) -> torch.Tensor:
        options |= {"enable_gqa": enable_gqa, "last_at_last": False}
        return sequence_by_sequence(*inputs, **options)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", first_at_first)
    assert not shared_prefix._agrees(*HEADS)


def test_a_kernel_without_the_flag_for_fewer_key_heads_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of torch 2.11."""

    def of_torch_2_11(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seq_q: torch.Tensor,
        cu_seq_k: torch.Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float,
        window_size: tuple[int, int],
    ) -> torch.Tensor:
        ends = cu_seq_q, cu_seq_k, max_q, max_k
        options: dict[str, Any] = {"scale": scale, "window_size": window_size}
        return sequence_by_sequence(query, key, value, *ends, **options, enable_gqa=True)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", of_torch_2_11)
    assert shared_prefix._agrees(*HEADS)


def test_what_no_device_can_do_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Text:
        num_attention_heads, num_key_value_heads, hidden_size = 8, 2, 128

    assert not has_varlen(Text, torch.device("cpu"), torch.bfloat16)
    assert not has_varlen(Text, torch.device("cuda"), torch.float32)
    assert not caplog.records

    def fails(*_: Any) -> bool:
        raise RuntimeError("FlashAttention only supports\nAmpere GPUs")

    monkeypatch.setattr(shared_prefix, "_agrees", fails)
    with caplog.at_level(logging.WARNING):
        assert not has_varlen(Text, torch.device("cuda"), torch.bfloat16)
    (record,) = caplog.records
    assert "only supports Ampere GPUs" in record.message and "SDPA" in record.message


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch's kernel needs a GPU")
def test_the_kernel_of_a_gpu_computes_what_sdpa_does(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path, "qwen2_5_vl")
    policy = load_policy(directory, dtype="bfloat16", device="cuda")
    assert policy.varlen
    rows = make_rows(policy)
    found = ours(policy, rows)
    policy.varlen = False
    for a, b in zip(found, ours(policy, rows), strict=True):
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)
