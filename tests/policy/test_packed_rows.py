"""Packed, prefix-shared scoring against plain padded rows of plain transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_transformers import load_plain, plain_logprobs
from scored_rows import LENGTHS, gradients, make_rows, ours, plain, weighted_loss
from tiny_models import TinyShape, save_tiny_qwen

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"))


def assert_equal_with_gradients(
    policy: Policy, model: torch.nn.Module, got: list[torch.Tensor], want: list[torch.Tensor]
) -> None:
    """Check our log-probabilities, and what they give every parameter of the policy, against those
    of the plain model."""
    for ours_of_one, plain_of_one in zip(got, want, strict=True):
        torch.testing.assert_close(ours_of_one, plain_of_one, atol=1e-5, rtol=1e-6)
    weighted_loss(got).backward()
    weighted_loss(want).backward()
    wanted = gradients(model)
    for name, gradient in gradients(policy.model).items():
        assert gradient is not None and gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(
    "lengths",
    [LENGTHS, ((8, 8, 8), (8, 8, 8)), ((11,), (9, 9), (1,))],
    ids=["ragged", "equal", "single"],
)
def test_logprobs_and_every_gradient_equal_plain_padded_rows(
    checkpoint: Path, lengths: tuple[tuple[int, ...], ...], temperature: float
) -> None:
    policy = load_policy(checkpoint)
    rows = make_rows(policy, lengths)
    packed = ours(policy, rows, temperature)
    model, expected = plain(checkpoint, policy, rows, temperature)
    assert_equal_with_gradients(policy, model, packed, expected)


@pytest.mark.parametrize("shares_prefix", [True, False], ids=["packed", "padded"])
def test_tokens_that_are_not_scored_are_left_out_of_the_vocabulary(
    checkpoint: Path, shares_prefix: bool
) -> None:
    policy = replace(load_policy(checkpoint), shares_prefix=shares_prefix)
    rows = make_rows(policy, ((7, 12), (9,)))
    scored = [torch.arange(7) >= 3, None, torch.arange(9) == 4]
    marks = iter(scored)
    marked = [
        PackedRow(row.prompt, [Segment(s.token_ids, next(marks)) for s in row.segments])
        for row in rows
    ]
    computed: list[int] = []
    policy.base.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: computed.append(len(output))
    )
    found = ours(policy, marked)
    assert sum(computed) == 4 + 12 + 1
    model, expected = plain(checkpoint, policy, rows)
    wanted = [
        logprobs if mark is None else logprobs.where(mark, 0.0)
        for logprobs, mark in zip(expected, scored, strict=True)
    ]
    assert_equal_with_gradients(policy, model, found, wanted)


def test_rows_without_a_token_to_score_take_part_in_the_backward_pass(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    row = make_rows(policy, ((5, 3),))[0]
    nothing = [Segment(s.token_ids, torch.zeros(len(s.token_ids)).bool()) for s in row.segments]
    found = segment_logprobs(policy, [PackedRow(row.prompt, nothing)], with_entropy=True)
    for scores, length in zip(found[0], (5, 3), strict=True):
        assert scores.entropy is not None
        assert scores.logprobs.tolist() == scores.entropy.tolist() == [0.0] * length
    found[0][0].logprobs.sum().backward()
    assert all(not gradient.any() for gradient in gradients(policy.model).values())


def test_untied_head_window_attention_and_grouped_heads(tmp_path: Path) -> None:
    shape = TinyShape(patch=14, window=56, kv_heads=1, tie_word_embeddings=False)
    save_tiny_qwen(tmp_path, shape, seed=5)
    policy = load_policy(tmp_path)
    rows = make_rows(policy)
    _, expected = plain(tmp_path, policy, rows)
    torch.testing.assert_close(
        torch.cat(ours(policy, rows)), torch.cat(expected), atol=1e-5, rtol=1e-6
    )


def test_entropy_is_that_of_the_plain_distribution(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    row = make_rows(policy)[0]
    model = load_plain(checkpoint)
    response = row.segments[2].token_ids
    every = torch.arange(len(policy.tokenizer))
    allowed = every[~torch.isin(every, policy.banned)]
    firsts = plain_logprobs(model, row.prompt, list(allowed[:, None]), policy.banned)
    logprobs = torch.cat(firsts)
    rows = [PackedRow(row.prompt, [Segment(response)])]
    scored = segment_logprobs(policy, rows, with_entropy=True)[0][0]
    assert segment_logprobs(policy, rows)[0][0].entropy is None
    expected = -(logprobs.exp() * logprobs).sum()
    torch.testing.assert_close(scored.entropy[0], expected, atol=1e-5, rtol=1e-5)


def test_one_segment_does_not_see_another(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    rows = make_rows(policy)
    together = segment_logprobs(policy, rows)
    alone = segment_logprobs(policy, [PackedRow(rows[1].prompt, rows[1].segments[1:])])
    torch.testing.assert_close(together[1][1].logprobs, alone[0][0].logprobs, atol=1e-5, rtol=1e-6)


def test_chunks_and_recomputation_change_nothing(checkpoint: Path) -> None:
    results = []
    for size, checkpointing in ((2**28, False), (16000, True)):
        policy = load_policy(checkpoint, gradient_checkpointing=checkpointing)
        scored = segment_logprobs(policy, make_rows(policy), logits_bytes=size)
        packed = [s.logprobs for row in scored for s in row]
        weighted_loss(packed).backward()
        results.append((torch.cat(packed), gradients(policy.model)))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6, rtol=1e-6)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], atol=1e-6, rtol=1e-5, msg=name)


def test_gradients_do_not_depend_on_the_order_of_threads(checkpoint: Path) -> None:
    """All responses of a group share the last place of their prompt."""
    policy = load_policy(checkpoint)
    rows = make_rows(policy, ((60,) * 20,))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for _ in range(8):
            policy.model.zero_grad()
            weighted_loss(ours(policy, rows)).backward()
            found.append({name: g.clone() for name, g in gradients(policy.model).items()})
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(g, found[0][name]) for one in found for name, g in one.items())


def test_an_image_placeholder_never_reaches_the_forward_pass(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    prompt = make_rows(policy)[0].prompt
    pad = policy.base.config.image_token_id
    with pytest.raises(ValueError, match=f"sample-0 holds the banned token {pad}"):
        segment_logprobs(policy, [PackedRow(prompt, [Segment(torch.tensor([5, pad]))])])
    with pytest.raises(ValueError, match="sample-0 is empty"):
        segment_logprobs(policy, [PackedRow(prompt, [Segment(torch.tensor([]).long())])])


def test_prompt_with_too_few_placeholders_is_refused(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    row = make_rows(policy)[0]
    ids = row.prompt.input_ids
    last = int((ids == policy.base.config.image_token_id).nonzero()[-1])
    broken: Prompt = replace(row.prompt, input_ids=torch.cat([ids[:last], ids[last + 1 :]]))
    with pytest.raises((ValueError, RuntimeError)):
        segment_logprobs(policy, [PackedRow(broken, row.segments)])


def test_frozen_vision_gets_no_gradient_and_the_rest_keeps_its_own(checkpoint: Path) -> None:
    free, frozen = load_policy(checkpoint), load_policy(checkpoint, freeze_vision=True)
    for policy in (free, frozen):
        weighted_loss(ours(policy, make_rows(policy))).backward()
    wanted = gradients(free.model)
    for name, gradient in gradients(frozen.model).items():
        if ".visual." in name:
            assert gradient is None and wanted[name].abs().max() > 0, name
        else:
            torch.testing.assert_close(gradient, wanted[name], msg=name)


@pytest.mark.parametrize("freeze_vision", [True, False])
def test_lora_trains_adapters_only_and_its_base_is_the_reference(
    checkpoint: Path, freeze_vision: bool
) -> None:
    policy = load_policy(checkpoint, lora=LoraOptions(4, 8), freeze_vision=freeze_vision)
    torch.manual_seed(0)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    rows = make_rows(policy)
    trained = ours(policy, rows)
    weighted_loss(trained).backward()
    touched = {name for name, gradient in gradients(policy.model).items() if gradient is not None}
    assert touched and all("lora_" in name for name in touched)
    assert any("visual" in name for name in touched) == (not freeze_vision)
    reference = [s.logprobs for row in segment_logprobs(policy, rows, reference=True) for s in row]
    _, expected = plain(checkpoint, policy, rows)
    assert not any(r.requires_grad for r in reference)
    torch.testing.assert_close(torch.cat(reference), torch.cat(expected), atol=1e-5, rtol=1e-6)
    assert (torch.cat(reference) - torch.cat(trained)).abs().max() > 0.01
    torch.testing.assert_close(torch.cat(ours(policy, rows)), torch.cat(trained))


def test_reference_of_full_training_is_the_policy_of_before(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    rows = make_rows(policy)
    with pytest.raises(RuntimeError, match="keep_reference"):
        segment_logprobs(policy, rows, reference=True)
    before = torch.cat(ours(policy, rows)).detach()
    policy.keep_reference()
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.mul_(1.1)
    scored = segment_logprobs(policy, rows, reference=True)
    reference = torch.cat([s.logprobs for row in scored for s in row])
    torch.testing.assert_close(reference, before)
    assert (torch.cat(ours(policy, rows)) - before).abs().max() > 0.01


def test_bfloat16_differs_by_no_more_than_its_rounding(checkpoint: Path) -> None:
    policy = load_policy(checkpoint, dtype="bfloat16")
    rows = make_rows(policy)
    _, exact = plain(checkpoint, policy, rows)
    rounded = load_plain(checkpoint).to(torch.bfloat16)
    theirs = [
        plain_logprobs(rounded, row.prompt, [s.token_ids for s in row.segments], policy.banned)
        for row in rows
    ]
    error = torch.cat([logp for row in theirs for logp in row]).float() - torch.cat(exact)
    difference = torch.cat(ours(policy, rows)) - torch.cat(exact)
    assert 0 < difference.abs().mean() < 1.5 * error.abs().mean()
    assert difference.abs().max() < 2 * error.abs().max()
