"""Rollouts against ``generate`` and teacher-forced log-probabilities of plain transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_transformers import load_plain, model_inputs, plain_logprobs
from tiny_models import TinyShape, random_sample, save_tiny_qwen

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.policy.spans import decode
from syngrpo.rollout.base import NotFinite, Response, require_finite
from syngrpo.rollout.cuda_graphs import StepSchedule
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling, choose

SIZES = ((64, 48), (48, 112), (96, 80))
QUESTIONS = ("the lamp", "the big grün chair left of the sofa", "椅子")
SEEDS = [11, 22, 33]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    return save_tiny_qwen(directory, TinyShape(tie_word_embeddings=False))


@pytest.fixture(scope="module")
def policy(checkpoint: Path) -> Policy:
    return load_policy(checkpoint)


@pytest.fixture(scope="module")
def early(policy: Policy) -> Policy:
    """A policy that stops at every fifth token id, so that lengths of responses differ."""
    return replace(policy, stop_ids=tuple(range(0, 380, 5)))


@pytest.fixture(scope="module")
def prompts(policy: Policy) -> list[Prompt]:
    return [
        encode(policy, random_sample(*size, seed=i), text)
        for i, (size, text) in enumerate(zip(SIZES, QUESTIONS, strict=True))
    ]


def assert_same(a: Response, b: Response) -> None:
    assert a.token_ids.tolist() == b.token_ids.tolist()
    assert (a.text, a.finished) == (b.text, b.finished)
    torch.testing.assert_close(a.logprobs, b.logprobs, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(a.entropy, b.entropy, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("stopping", ["rarely", "early"])
def test_greedy_tokens_equal_generate(
    checkpoint: Path, policy: Policy, early: Policy, prompts: list[Prompt], stopping: str
) -> None:
    chosen = early if stopping == "early" else policy
    model = load_plain(checkpoint)
    groups = rollout(chosen, prompts, 2, Sampling(temperature=0, max_new_tokens=80), SEEDS)
    for prompt, group in zip(prompts, groups, strict=True):
        inputs = model_inputs(model, prompt, [torch.tensor([], dtype=torch.long)])
        tokens = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=80,
            suppress_tokens=policy.banned.tolist(),
            eos_token_id=list(chosen.stop_ids),
        )
        expected = tokens[0, len(prompt.input_ids) :].tolist()
        for response in group:
            assert response.token_ids.tolist() == expected
            assert response.finished == (expected[-1] in chosen.stop_ids)
    if stopping == "early":
        assert all(group[0].finished for group in groups)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampling_logprobs_equal_teacher_forced_ones(
    checkpoint: Path, early: Policy, prompts: list[Prompt], temperature: float
) -> None:
    sampling = Sampling(temperature=temperature, max_new_tokens=40)
    groups = rollout(early, prompts, 6, sampling, SEEDS)
    model = load_plain(checkpoint)
    lengths = {len(r.token_ids) for group in groups for r in group}
    assert len(lengths) > 3
    for prompt, group in zip(prompts, groups, strict=True):
        tokens = [r.token_ids for r in group]
        expected = plain_logprobs(model, prompt, tokens, early.banned, temperature)
        for response, logprobs in zip(group, expected, strict=True):
            torch.testing.assert_close(response.logprobs, logprobs, atol=1e-5, rtol=1e-6)


def test_importance_ratio_of_an_unchanged_policy_is_one(
    early: Policy, prompts: list[Prompt]
) -> None:
    groups = rollout(early, prompts, 4, Sampling(0.9, max_new_tokens=40), SEEDS)
    rows = [
        PackedRow(prompt, [Segment(r.token_ids) for r in group])
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    for group, scored in zip(
        groups, segment_logprobs(early, rows, 0.9, with_entropy=True), strict=True
    ):
        for response, segment in zip(group, scored, strict=True):
            ratio = (segment.logprobs - response.logprobs).exp()
            torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=2e-5, rtol=0)
            torch.testing.assert_close(segment.entropy, response.entropy, atol=2e-5, rtol=1e-5)


def test_result_does_not_depend_on_batching(early: Policy, prompts: list[Prompt]) -> None:
    sampling = Sampling(max_new_tokens=40)
    together = rollout(early, prompts, 5, sampling, SEEDS)
    order = [2, 0, 1]
    shuffled = rollout(early, [prompts[i] for i in order], 5, sampling, [SEEDS[i] for i in order])
    for place, i in enumerate(order):
        alone = rollout(early, [prompts[i]], 5, sampling, [SEEDS[i]])[0]
        for a, b, c in zip(together[i], shuffled[place], alone, strict=True):
            assert_same(a, b)
            assert_same(a, c)


def test_same_seed_same_responses_other_seed_others(early: Policy, prompts: list[Prompt]) -> None:
    sampling = Sampling(max_new_tokens=20)
    first, again, other = (rollout(early, prompts[:1], 4, sampling, [s])[0] for s in (1, 1, 2))
    texts = [[r.text for r in group] for group in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) > 1


def test_banned_tokens_never_appear(checkpoint: Path, prompts: list[Prompt]) -> None:
    policy = load_policy(checkpoint)
    pad = policy.base.config.image_token_id
    head = policy.base.get_output_embeddings()
    with torch.no_grad():  # a model that wants to write image placeholders
        head.weight[pad] = 0
        head.weight.mul_(0.1)
        head.weight[pad] = 4 * head.weight.abs().sum(0) * head.weight[7].sign()
    inputs = model_inputs(policy.base, prompts[0], [torch.tensor([7])])
    probabilities = policy.base(**inputs).logits[0].softmax(-1)
    assert probabilities[:, pad].max() > 0.5
    for temperature in (0.0, 1.0, 3.0):
        sampling = Sampling(temperature, max_new_tokens=30)
        for group in rollout(policy, prompts, 4, sampling, SEEDS):
            for response in group:
                assert not torch.isin(response.token_ids, policy.banned).any()
                assert response.logprobs.isfinite().all() and response.entropy.isfinite().all()


def test_responses_end_at_the_limit_and_at_once(policy: Policy, prompts: list[Prompt]) -> None:
    everything = replace(policy, stop_ids=tuple(range(400)))
    for response in rollout(everything, prompts, 3, Sampling(max_new_tokens=9), SEEDS)[1]:
        assert (len(response.token_ids), response.finished) == (1, True)
    endless = replace(policy, stop_ids=())
    for response in rollout(endless, prompts, 3, Sampling(max_new_tokens=70), SEEDS)[1]:
        assert (len(response.token_ids), response.finished) == (70, False)


@pytest.mark.parametrize("check_every", [1, 7])
def test_responses_end_with_the_token_that_completes_a_text(
    early: Policy, prompts: list[Prompt], check_every: int
) -> None:
    endless = replace(early, stop_ids=())
    whole = rollout(endless, prompts, 4, Sampling(max_new_tokens=60), SEEDS)
    text = whole[0][0].text
    stop = text[len(text) // 2 :][:2]
    schedule = StepSchedule(check_every=check_every, compact_at=0.1, block=16)
    sampling = Sampling(max_new_tokens=60, stop_at=stop)
    going_on = [replace(prompt, going_on=n % 2) for n, prompt in enumerate(prompts)]
    shorter = rollout(endless, going_on, 4, sampling, SEEDS, schedule)
    ended = 0
    for prompt, group, cut in zip(going_on, whole, shorter, strict=True):
        free = prompt.going_on
        for plain, response in zip(group[:free], cut[:free], strict=True):
            assert_same(plain, response)
        for plain, response in zip(group[free:], cut[free:], strict=True):
            lengths = range(1, len(plain.token_ids) + 1)
            texts = (decode(endless.tokenizer, plain.token_ids[:length]) for length in lengths)
            first = next((n for n, t in enumerate(texts, start=1) if stop in t), None)
            assert response.finished == (first is not None)
            assert torch.equal(response.token_ids, plain.token_ids[:first])
            torch.testing.assert_close(response.logprobs, plain.logprobs[:first])
            ended += response.finished
    assert ended


def test_a_rollout_keeps_the_training_mode_and_needs_no_gradients(
    policy: Policy, prompts: list[Prompt]
) -> None:
    assert policy.model.training
    groups = rollout(policy, prompts, 1, Sampling(max_new_tokens=3), SEEDS)
    assert policy.model.training
    assert not groups[0][0].logprobs.requires_grad


def test_choice_follows_the_distribution_exactly() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, -3.4e38, 0.5])
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    tokens, logprobs, _ = choose(logits.expand(10_000, -1), Sampling(), uniform)
    shares = torch.bincount(tokens, minlength=5) / 10_000
    torch.testing.assert_close(shares, logits.softmax(-1), atol=2e-4, rtol=0)
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[tokens])


def test_top_p_keeps_the_smallest_sufficient_set_and_the_full_logprobs() -> None:
    probabilities = torch.tensor([0.15, 0.4, 0.05, 0.3, 0.1])
    uniform = (torch.arange(1000) + 0.5) / 1000
    logits = probabilities.log().expand(1000, -1)
    tokens, logprobs, _ = choose(logits, Sampling(top_p=0.75), uniform)
    shares = torch.bincount(tokens, minlength=5) / 1000
    kept = torch.tensor([0.15, 0.4, 0.0, 0.3, 0.0])
    torch.testing.assert_close(shares, kept / kept.sum(), atol=2e-3, rtol=0)
    torch.testing.assert_close(logprobs, probabilities.log()[tokens])
    alone, _, _ = choose(logits, Sampling(top_p=0.01), uniform)
    assert alone.unique().tolist() == [1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_told_with_the_sample(
    checkpoint: Path, prompts: list[Prompt], temperature: float
) -> None:
    diverged = load_policy(checkpoint)
    with torch.no_grad():
        diverged.base.get_output_embeddings().weight.fill_(float("nan"))
    groups = rollout(diverged, prompts, 2, Sampling(temperature, max_new_tokens=3), SEEDS)
    with pytest.raises(NotFinite, match=f"logits for sample {prompts[0].sample_id} are not finite"):
        require_finite(prompts, groups)


def test_wrong_arguments_are_refused(policy: Policy, prompts: list[Prompt]) -> None:
    with pytest.raises(ValueError, match="as many seeds"):
        rollout(policy, prompts, 2, Sampling(), [1])
    with pytest.raises(ValueError, match="impossible sampling"):
        Sampling(top_p=0.0)
    assert rollout(policy, [], 2, Sampling(), []) == []
