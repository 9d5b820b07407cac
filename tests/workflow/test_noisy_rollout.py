"""Half of each group answers a distorted image; the update sees the original one."""

import math

import pytest
import torch
from run_options import run_options

from syngrpo.method.base import Distortion
from syngrpo.method.noisy_rollout import NoisyRollout
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.pool.stored_samples import PoolSample
from syngrpo.rollout.base import Response
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.workflow.distorted_rollout import distorted, distorted_rollout
from syngrpo.workflow.groups import score_group
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.response_credit import group_credits
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import fresh_row
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

SAMPLES = rooms_samples("train", 2)
SAMPLING = Sampling(max_new_tokens=24)


@pytest.fixture
def policy() -> Policy:
    return load_policy(STARTER_DIR)


def prompts_of(policy: Policy) -> list[Prompt]:
    return [encode(policy, sample, sample.question) for sample in SAMPLES]


def texts(group: list[Response]) -> list[str]:
    return [response.text for response in group]


def test_the_clean_half_is_a_plain_rollout_and_the_other_half_is_not(policy: Policy) -> None:
    prompts = prompts_of(policy)
    plain = rollout(policy, prompts, 3, SAMPLING, [1, 2])
    mixed = distorted_rollout(rollout, Distortion(0.5, 0.9), policy, prompts, 5, SAMPLING, [1, 2])
    for clean, group in zip(plain, mixed, strict=True):
        assert len(group) == 5 and texts(group[:3]) == texts(clean)
        assert all(response.logprobs.isfinite().all() for response in group[:3])
        assert all(response.logprobs.isnan().all() for response in group[3:])
    again = distorted_rollout(rollout, Distortion(0.5, 0.9), policy, prompts, 5, SAMPLING, [1, 2])
    assert [texts(group) for group in again] == [texts(group) for group in mixed]


def test_the_distorted_responses_are_those_to_the_distorted_image(policy: Policy) -> None:
    asked: list[list[Prompt]] = []

    def watched(policy: Policy, prompts: list[Prompt], *others: object) -> list[list[Response]]:
        asked.append(list(prompts))
        return rollout(policy, prompts, *others)

    prompts = prompts_of(policy)
    groups = distorted_rollout(watched, Distortion(0.5, 0.6), policy, prompts, 4, SAMPLING, [1, 2])
    ((*clean, first, _),) = asked
    assert clean == prompts
    row = PackedRow(first, [Segment(r.token_ids) for r in groups[0][2:]])
    (scored,) = segment_logprobs(policy, [row], with_entropy=True)
    original = PackedRow(prompts[0], row.segments)
    (elsewhere,) = segment_logprobs(policy, [original], with_entropy=True)
    entropy = groups[0][2].entropy
    assert torch.allclose(scored[0].entropy, entropy, atol=1e-4)
    assert not torch.allclose(elsewhere[0].entropy, entropy, atol=1e-2)


def test_noise_is_what_a_diffusion_process_adds(policy: Policy) -> None:
    prompt = prompts_of(policy)[0]
    grey = torch.full_like(prompt.image["patches"], 140)  # 0.098 in [-1, 1]: nothing is cut off
    prompt.image["patches"] = grey
    noisy = distorted(policy, prompt, 0.3, 7).image["patches"].float() / 127.5 - 1
    assert noisy.mean().item() == pytest.approx(0.098 * math.sqrt(0.91), abs=0.005)
    assert noisy.std().item() == pytest.approx(0.3, abs=0.005)
    assert torch.equal(distorted(policy, prompt, 0.0, 7).image["patches"], grey)
    one, other = (distorted(policy, prompt, 0.3, seed).image["patches"] for seed in (7, 8))
    assert not torch.equal(one, other)


def test_the_update_is_that_of_the_original_image_without_a_correction(policy: Policy) -> None:
    """As if all responses had been sampled from the original: the ratio to training's own
    log-probabilities is 1, and those of the distorted image weigh nothing."""
    groups = distorted_rollout(
        rollout, Distortion(0.5, 0.6), policy, prompts_of(policy), 4, SAMPLING, [1, 2]
    )
    prompts = prompts_of(policy)
    weights = []
    for known in (False, True):
        own = load_policy(STARTER_DIR)
        config = run_options(
            {"method": {"name": "noisy-rollout", "beta": 0.0}, "trainer": {"learning_rate": 1e-3}}
        )
        method = NoisyRollout(config.method, 60)
        rows = []
        for i, (sample, prompt, responses) in enumerate(zip(SAMPLES, prompts, groups, strict=True)):
            drawn = PoolSample(sample, visits=0, job_id=None, diversity_mean=None)
            group = score_group(i, drawn, prompt, responses)
            group.accuracy[:] = torch.tensor([0.0, 0.2, 0.7, 1.0])
            row = fresh_row(group, group_credits(group, method, ()), own.tokenizer, method)
            if known:
                segments = [Segment(s.token_ids) for s in row.segments]
                (scored,) = segment_logprobs(own, [PackedRow(prompt, segments)])
                for segment, score in zip(row.segments, scored, strict=True):
                    object.__setattr__(segment, "old_logprobs", score.logprobs.detach())
            rows.append(row)
        metrics = StepMetrics(("rec",))
        Learner(config, own, Processes()).update(rows, metrics)
        weights.append(own.trainable_parameters())
        assert metrics.state() is not None
    for ours, theirs in zip(*weights, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
