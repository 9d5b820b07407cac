"""vLLM against the native rollout: same distribution, same weights, one prefill a group.

Run in an environment of their own: ``make test-vllm``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from own_numbers import assert_ours, ids, other_weights

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout import RolloutOptions
from syngrpo.rollout.base import Response, SampledTokens, distinct_responses, to_responses
from syngrpo.rollout.compat_vllm import BLOCK
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.vllm_engine import VllmEngine
from syngrpo.sample import InputError
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

SEEDS = [11, 22, 33, 2**62]
GREEDY = Sampling(temperature=0, max_new_tokens=48)
OPTIONS = RolloutOptions(vllm_cache_gib=0.25)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(STARTER_DIR)


@pytest.fixture(scope="module")
def engine(policy: Policy) -> Iterator[VllmEngine]:
    engine = VllmEngine(policy, OPTIONS)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def prompts(policy: Policy) -> list[Prompt]:
    samples = [*rooms_samples("test", 3), *rooms_samples("ood", 1, task="isr")]
    return [encode(policy, s, get_task(s.task).prompt(s, "brief")) for s in samples]


def flat(groups: list[list[Response]]) -> list[Response]:
    return [response for group in groups for response in group]


def test_greedy_tokens_equal_the_native_ones(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    ours = rollout(policy, prompts, 2, GREEDY, SEEDS)
    theirs = engine(policy, prompts, 2, GREEDY, SEEDS)
    assert ids(theirs) == ids(ours)
    for a, b in zip(flat(theirs), flat(ours), strict=True):
        assert (a.text, a.finished) == (b.text, b.finished)
        torch.testing.assert_close(a.logprobs, b.logprobs, atol=1e-3, rtol=0)
        torch.testing.assert_close(a.entropy, b.entropy, atol=1e-3, rtol=0)


@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(0.7), Sampling(1.3, top_p=0.8)])
def test_sampled_logprobs_are_the_trained_models(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt], sampling: Sampling
) -> None:
    sampling = replace(sampling, max_new_tokens=48)
    groups = engine(policy, prompts, 8, sampling, SEEDS)
    assert [len(group) for group in groups] == [8] * len(prompts)
    assert len({tuple(r.token_ids.tolist()) for r in groups[0]}) > 1
    assert_ours(policy, prompts, groups, sampling.temperature)


def test_changed_weights_are_used_at_once_and_so_are_restored_ones(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    trained = load_policy(STARTER_DIR)
    before = ids(engine(trained, prompts, 1, GREEDY, SEEDS))
    for seed in (1, 2):
        other_weights(trained, seed)
        after = engine(trained, prompts, 1, GREEDY, SEEDS)
        assert ids(after) == ids(rollout(trained, prompts, 1, GREEDY, SEEDS)) != before
        assert_ours(trained, prompts, after, 1.0)
    assert ids(engine(policy, prompts, 1, GREEDY, SEEDS)) == before


def test_features_of_an_image_are_computed_anew_when_the_vision_tower_has_changed(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    trained = load_policy(STARTER_DIR)
    before = engine(trained, prompts, 1, GREEDY, SEEDS)
    other_weights(trained, 1, scale=0.5, part=".visual.")
    after = engine(trained, prompts, 1, GREEDY, SEEDS)
    assert ids(after) == ids(rollout(trained, prompts, 1, GREEDY, SEEDS)) != ids(before)
    assert_ours(trained, prompts, after, 1.0)
    assert ids(engine(policy, prompts, 1, GREEDY, SEEDS)) == ids(before)


@pytest.mark.parametrize("freeze_vision", [True, False])
def test_adapters_are_merged(
    engine: VllmEngine, prompts: list[Prompt], freeze_vision: bool
) -> None:
    policy = load_policy(STARTER_DIR, lora=LoraOptions(4, 8), freeze_vision=freeze_vision)
    plain = ids(engine(policy, prompts, 1, GREEDY, SEEDS))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    kept = {name: p.clone() for name, p in policy.model.named_parameters()}
    adapted = engine(policy, prompts, 1, GREEDY, SEEDS)
    assert ids(adapted) == ids(rollout(policy, prompts, 1, GREEDY, SEEDS)) != plain
    assert_ours(policy, prompts, adapted, 1.0)
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, kept[name]), name


def test_image_and_prompt_are_computed_once_a_group(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    images: list[int] = []
    tokens: list[int] = []

    def listen(model: Any) -> None:
        model.visual.register_forward_pre_hook(
            lambda _, args, kwargs: images.append(len(kwargs["grid_thw"])), with_kwargs=True
        )
        model.language_model.model.layers[0].register_forward_pre_hook(
            lambda _, args: tokens.append(args[0].shape[-1])  # positions
        )

    engine._engine.apply_model(listen)
    groups = engine(policy, prompts, 8, Sampling(max_new_tokens=16), SEEDS)
    assert sum(images) == len(prompts)
    lengths = [len(prompt.input_ids) for prompt in prompts]
    shared = [BLOCK * ((length - 1) // BLOCK) for length in lengths]
    once = sum(lengths) + 7 * sum(n - s for n, s in zip(lengths, shared, strict=True))
    # The last token of a response is not computed: it predicts nothing.
    answers = sum(len(r.token_ids) - 1 for group in groups for r in group)
    assert sum(tokens) == once + answers < 8 * sum(lengths) + answers


def test_seeds_determine_the_responses(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    sampling = Sampling(max_new_tokens=24)
    first = engine(policy, prompts, 4, sampling, SEEDS)
    order = [2, 0, 3, 1]
    shuffled = engine(policy, [prompts[i] for i in order], 4, sampling, [SEEDS[i] for i in order])
    other = engine(policy, prompts, 4, sampling, [seed - 7 for seed in SEEDS])
    assert [ids(first)[i] for i in order] == ids(shuffled)
    assert ids(first) != ids(other)


def test_top_p_samples_from_the_nucleus_alone(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    """With a tiny ``top_p`` sampling is greedy; log-probabilities stay those of the full
    distribution."""
    narrow = engine(policy, prompts, 2, Sampling(1.5, top_p=1e-4, max_new_tokens=24), SEEDS)
    greedy = engine(policy, prompts, 2, replace(GREEDY, max_new_tokens=24), SEEDS)
    assert ids(narrow) == ids(greedy)
    assert_ours(policy, prompts, narrow, 1.5)


def test_banned_tokens_never_appear(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    usual = {
        token for group in ids(engine(policy, prompts, 2, GREEDY, SEEDS)) for token in group[0]
    }
    banned = torch.tensor(sorted({*policy.banned.tolist(), *list(usual)[::2]}))
    strict = replace(policy, banned=banned)
    for sampling in (GREEDY, Sampling(1.0, max_new_tokens=48)):
        groups = engine(strict, prompts, 4, sampling, SEEDS)
        assert_ours(strict, prompts, groups, 1.0)
        for response in flat(groups):
            assert not torch.isin(response.token_ids, banned).any()


def test_responses_end_at_stop_tokens_and_nowhere_else(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    sampling = Sampling(max_new_tokens=9)
    everything = replace(policy, stop_ids=tuple(range(policy.base.config.text_config.vocab_size)))
    for response in engine(everything, prompts, 3, sampling, SEEDS)[1]:
        assert (len(response.token_ids), response.finished) == (1, True)
    endless = replace(policy, stop_ids=())
    for response in engine(endless, prompts, 3, Sampling(max_new_tokens=70), SEEDS)[1]:
        assert (len(response.token_ids), response.finished) == (70, False)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_responses_that_end_at_a_text_are_the_whole_ones_up_to_there(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt], temperature: float
) -> None:
    whole, size = Sampling(temperature, max_new_tokens=64), 4
    ending = replace(whole, stop_at="</answer>")
    asked = [replace(prompt, going_on=n) for n, prompt in enumerate(prompts)]
    groups = engine(policy, prompts, size, whole, SEEDS)
    cut = [to_responses(policy, *pair, size, ending) for pair in zip(asked, groups, strict=True)]
    ended = engine(policy, asked, size, ending, SEEDS)
    assert ids(ended) == ids(cut)
    for a, b in zip(flat(ended), flat(cut), strict=True):
        assert (a.text, a.finished) == (b.text, b.finished)
        torch.testing.assert_close(a.logprobs, b.logprobs, atol=1e-4, rtol=0)
        torch.testing.assert_close(a.entropy, b.entropy, atol=1e-4, rtol=0)
    assert sum(r.text.endswith("</answer>") for r in flat(ended)) > size
    # The engine itself has ended them, and has kept nothing of them.
    engine.begin(policy, temperature)
    count = distinct_responses(ending, size)
    pairs = zip(asked, SEEDS, strict=True)
    numbers = [engine.add(policy, prompt, ending, count, seed) for prompt, seed in pairs]
    sampled: dict[int, list[SampledTokens]] = {}
    while len(sampled) < len(numbers):
        sampled |= engine.step()
    if temperature:
        assert [[one.token_ids.tolist() for one in sampled[n]] for n in numbers] == ids(ended)
    else:
        assert [sampled[n][0].token_ids.tolist() for n in numbers] == [g[0] for g in ids(ended)]
    assert not engine._unfinished and not engine._entropies


def test_dropped_prompts_of_two_requests_are_sampled_no_further(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    ending = Sampling(1.0, max_new_tokens=400, stop_at="no such text")
    engine.begin(policy, 1.0)
    endless = replace(policy, stop_ids=())
    number = engine.add(endless, replace(prompts[0], going_on=2), ending, 4, 1)
    assert engine.step() == {}
    engine.drop([number])
    assert not engine._engine.has_unfinished_requests()
    engine(policy, prompts, 2, GREEDY, SEEDS)  # which replaces the weights: nothing is unfinished


def test_prompts_that_do_not_fit_are_errors(
    engine: VllmEngine, policy: Policy, prompts: list[Prompt]
) -> None:
    with pytest.raises(InputError, match=r"rollout.max_new_tokens 2000 that is more .* context"):
        engine(policy, prompts, 2, Sampling(max_new_tokens=2000), SEEDS)
    with pytest.raises(ValueError, match="as many seeds"):
        engine(policy, prompts, 2, GREEDY, SEEDS[:1])
    assert engine(policy, [], 2, GREEDY, []) == []


def test_the_length_limit_is_an_option(policy: Policy, prompts: list[Prompt]) -> None:
    engine = VllmEngine(policy, replace(OPTIONS, vllm_max_length=110))
    needed = len(prompts[0].input_ids) + GREEDY.max_new_tokens
    with pytest.raises(InputError, match=rf"rollout.vllm_max_length 110; set it to {needed}"):
        engine(policy, prompts[:1], 2, GREEDY, SEEDS[:1])
    short = Sampling(0, max_new_tokens=20)
    assert ids(engine(policy, prompts, 1, short, SEEDS)) == ids(
        rollout(policy, prompts, 1, short, SEEDS)
    )
    engine.close()
