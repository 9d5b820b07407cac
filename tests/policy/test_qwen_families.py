"""Every family's rollouts and log-probabilities against the unmodified transformers model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_cases import (
    QUESTIONS,
    SEEDS,
    assert_equal_gradients,
    make_prompts,
    make_rows,
    ours,
)
from plain_transformers import load_plain, model_inputs, plain_logprobs
from tiny_families import TINY, save_tiny

from syngrpo.policy.encode import Prompt
from syngrpo.policy.families import FAMILIES
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling


@dataclass
class Case:
    directory: Path
    policy: Policy
    plain: Any
    prompts: list[Prompt]


@pytest.fixture(scope="module", params=TINY)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    directory = save_tiny(tmp_path_factory.mktemp("tiny"), request.param)
    policy = load_policy(directory)
    return Case(directory, policy, load_plain(directory), make_prompts(policy))


def plain(case: Case, rows: list[PackedRow], temperature: float = 1.0) -> torch.Tensor:
    parts = [
        plain_logprobs(
            case.plain,
            row.prompt,
            [s.token_ids for s in row.segments],
            case.policy.banned,
            temperature,
        )
        for row in rows
    ]
    return torch.cat([logprobs for row in parts for logprobs in row])


def test_every_registered_model_type_is_tested() -> None:
    assert {name.split()[0] for name in TINY} == set(FAMILIES.names()) - {"generic"}
    assert not FAMILIES.get("qwen3_5").shares_prefix


def test_the_two_images_differ_in_size_and_the_template_ends_with_the_answer(case: Case) -> None:
    assert len({tuple(p.image["image_grid_thw"][0].tolist()) for p in case.prompts}) == 2
    for prompt, question in zip(case.prompts, QUESTIONS, strict=True):
        text = case.policy.tokenizer.decode(prompt.input_ids)
        # Thinking models' templates would open the thoughts that a response writes itself.
        assert text.endswith(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        merged = case.policy.processor.image_processor.merge_size**2
        assert text.count("<|image_pad|>") * merged == int(prompt.image["image_grid_thw"].prod())


def test_logprobs_and_every_gradient_equal_plain_padded_rows(case: Case) -> None:
    rows = make_rows(case.prompts)
    got, want = ours(case.policy, rows, 0.7), plain(case, rows, 0.7)
    assert_equal_gradients(case.policy, case.plain, got, want)


@pytest.mark.parametrize("stopping", ["rarely", "early"])
def test_greedy_tokens_equal_generate(case: Case, stopping: str) -> None:
    stop_ids = case.policy.stop_ids if stopping == "rarely" else tuple(range(0, 380, 5))
    policy = replace(case.policy, stop_ids=stop_ids)
    sampling = Sampling(temperature=0, max_new_tokens=24)
    for prompt, group in zip(
        case.prompts, rollout(policy, case.prompts, 2, sampling, SEEDS), strict=True
    ):
        tokens = case.plain.generate(
            **model_inputs(case.plain, prompt, [torch.tensor([], dtype=torch.long)]),
            do_sample=False,
            max_new_tokens=24,
            suppress_tokens=policy.banned.tolist(),
            eos_token_id=list(stop_ids),
        )
        expected = tokens[0, len(prompt.input_ids) :].tolist()
        assert [r.token_ids.tolist() for r in group] == [expected, expected]
        assert group[0].finished == (expected[-1] in stop_ids)


def test_sampled_logprobs_equal_plain_ones_and_those_of_the_update(case: Case) -> None:
    policy = replace(case.policy, stop_ids=tuple(range(0, 380, 8)))
    groups = rollout(policy, case.prompts, 4, Sampling(0.9, max_new_tokens=20), SEEDS)
    assert len({len(r.token_ids) for group in groups for r in group}) > 2
    rows = [
        PackedRow(prompt, [Segment(r.token_ids) for r in group])
        for prompt, group in zip(case.prompts, groups, strict=True)
    ]
    sampled = torch.cat([r.logprobs for group in groups for r in group])
    with torch.no_grad():
        torch.testing.assert_close(sampled, plain(case, rows, 0.9), atol=1e-5, rtol=1e-6)
        torch.testing.assert_close(sampled, ours(policy, rows, 0.9), atol=2e-5, rtol=0)


def test_a_group_does_not_depend_on_what_shares_the_call(case: Case) -> None:
    policy = replace(case.policy, stop_ids=tuple(range(0, 380, 8)))
    sampling = Sampling(max_new_tokens=16)
    together = rollout(policy, case.prompts, 3, sampling, SEEDS)
    alone = rollout(policy, case.prompts[1:], 3, sampling, SEEDS[1:])
    for a, b in zip(together[1], alone[0], strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()
        torch.testing.assert_close(a.logprobs, b.logprobs, atol=1e-5, rtol=1e-6)


def test_no_vision_token_is_ever_sampled(case: Case) -> None:
    policy, tokenizer = case.policy, case.policy.tokenizer
    names = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    wanted = torch.tensor(tokenizer.convert_tokens_to_ids(names))
    assert set(wanted.tolist()) <= set(policy.banned.tolist())
    assert set(range(len(tokenizer), len(tokenizer) + 5)) <= set(policy.banned.tolist())
    allowed = [tokenizer.eos_token_id, *tokenizer.encode("<think></think>\nlamp")]
    assert not set(allowed) & set(policy.banned.tolist())

    def long_for_images(head: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_add(-1, wanted, logits.new_full((*logits.shape[:-1], 4), 50.0))

    handle = policy.base.get_output_embeddings().register_forward_hook(long_for_images)
    try:
        for temperature in (0.0, 2.0):
            for group in rollout(policy, case.prompts, 3, Sampling(temperature, 1.0, 12), SEEDS):
                for response in group:
                    assert not torch.isin(response.token_ids, policy.banned).any()
                    assert response.logprobs.isfinite().all()
    finally:
        handle.remove()


@pytest.mark.parametrize("freeze_vision", [True, False])
def test_lora_reaches_every_layer_and_its_base_is_the_reference(
    case: Case, freeze_vision: bool
) -> None:
    policy = load_policy(case.directory, lora=LoraOptions(2, 4), freeze_vision=freeze_vision)
    torch.manual_seed(0)
    names = {n for n, p in policy.model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in names)
    assert any("visual" in name for name in names) == (not freeze_vision)
    for layer in range(2):
        assert any(f"language_model.layers.{layer}." in name for name in names)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    rows = make_rows(case.prompts)
    trained = ours(policy, rows)
    trained.sum().backward()
    grads = {n: p.grad for n, p in policy.model.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in grads.values())
    scored = segment_logprobs(policy, rows, reference=True)
    reference = torch.cat([s.logprobs for row in scored for s in row])
    torch.testing.assert_close(reference, plain(case, rows).detach(), atol=1e-5, rtol=1e-6)
    assert (reference - trained).abs().max() > 0.01


def test_gradient_checkpointing_changes_nothing(case: Case) -> None:
    rows = make_rows(case.prompts)
    policy = load_policy(case.directory, gradient_checkpointing=True)
    results = []
    for each in (policy, case.policy):
        each.model.zero_grad()
        logprobs = ours(each, rows)
        logprobs.mean().backward()
        gradient = each.family.text_model(each.base).layers[0].input_layernorm.weight.grad
        results.append((logprobs.detach(), gradient))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)
