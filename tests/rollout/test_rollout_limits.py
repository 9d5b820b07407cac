"""Prompts beyond the context, images beyond max_pixels, rollouts beyond the device's memory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from small_device import room_for
from tiny_families import save_tiny
from tiny_models import random_sample

from syngrpo.policy.encode import encode, prompt_size, size_of
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError

QUESTION = "the big grün chair left of the sofa"


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_5"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), request.param)


@pytest.fixture(scope="module")
def policy(directory: Path) -> Policy:
    return load_policy(directory)


@pytest.mark.parametrize("size", [(64, 48), (130, 75), (300, 20), (9, 400), (2000, 1500)])
def test_the_size_of_a_prompt_is_known_before_its_image_is_decoded(
    policy: Policy, size: tuple[int, int]
) -> None:
    sample = random_sample(*size)
    assert prompt_size(policy, sample, QUESTION) == size_of(
        policy, encode(policy, sample, QUESTION)
    )


@pytest.mark.parametrize("size", [(640, 480), (3000, 20)])
def test_an_image_of_more_tokens_than_allowed(directory: Path, size: tuple[int, int]) -> None:
    tight = load_policy(directory, max_pixels=300)
    with pytest.raises(InputError, match=r"needs \d+ tokens where model.max_pixels 300") as error:
        encode(tight, random_sample(*size), QUESTION)
    fitting = int(str(error.value).split("set model.max_pixels to ")[1].split()[0])
    assert encode(load_policy(directory, max_pixels=fitting), random_sample(*size), QUESTION)


def test_a_prompt_and_response_longer_than_the_context(policy: Policy) -> None:
    prompt = encode(policy, random_sample(256, 256), QUESTION)
    context, length = 4096, len(prompt.input_ids)
    text_config = policy.base.config.text_config
    room = context - length
    with pytest.raises(
        InputError, match=rf"set rollout.max_new_tokens to {room} or set model.max_"
    ):
        rollout(policy, [prompt], 2, Sampling(max_new_tokens=room + 1), [1])
    text_config.max_position_embeddings = length - 20
    try:
        with pytest.raises(InputError, match=r"context of \d+; set model.max_pixels to \d+$") as e:
            rollout(policy, [prompt], 2, Sampling(max_new_tokens=4), [1])
        processor = policy.processor.image_processor
        known = processor.size["longest_edge"]
        processor.size["longest_edge"] = int(str(e.value).rpartition(" ")[2])
        smaller = encode(policy, random_sample(256, 256), QUESTION)
        processor.size["longest_edge"] = known
        assert rollout(policy, [smaller], 2, Sampling(max_new_tokens=4), [1])
        text_config.max_position_embeddings = 8
        with pytest.raises(InputError, match="context of 8; shorten its question"):
            rollout(policy, [prompt], 2, Sampling(max_new_tokens=4), [1])
    finally:
        text_config.max_position_embeddings = context


def test_out_of_memory_rolls_out_half_of_the_prompts_at_a_time(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = [encode(policy, random_sample(64, 48, seed=i), QUESTION) for i in range(3)]
    length, sampling, seeds = len(prompts[0].input_ids), Sampling(max_new_tokens=6), [1, 2, 3]
    expected = rollout(policy, prompts, 2, sampling, seeds)
    with room_for(policy, 2 * length), caplog.at_level(logging.WARNING):
        groups = rollout(policy, prompts, 2, sampling, seeds)
    assert "sampling 2 groups at a time: set trainer.groups_per_step" in caplog.text
    for group, wanted in zip(groups, expected, strict=True):
        assert [r.token_ids.tolist() for r in group] == [r.token_ids.tolist() for r in wanted]
    with (
        room_for(policy, length - 1),
        pytest.raises(InputError, match="2 responses to sample sample-0; set rollout"),
    ):
        rollout(policy, prompts, 2, sampling, seeds)
    assert policy.model.training
