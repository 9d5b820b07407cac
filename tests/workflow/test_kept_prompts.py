"""The update that goes on from the rollout's pass over the prompts, against one that computes them
again. ``test_learner_against_plain`` compares it with plain transformers."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import quick_runs
import torch
from rich.console import Console
from run_options import run_options
from small_device import room_for
from tiny_models import random_sample, save_tiny_qwen

from syngrpo.cli.train import run_training
from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout.base import Response
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

SIZES = ((64, 48), (96, 60), (70, 70))
GROUP = 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"))


def options(beta: float = 0.04, **trainer: Any) -> RunOptions:
    method = {"name": "grpo", "beta": beta}
    return run_options({"method": method, "trainer": {"learning_rate": 1e-3, **trainer}})


def sampled(policy: Policy, keep: bool) -> list[UpdateRow]:
    """Rows of one response of one token and longer ones, sampled from three pictures."""
    prompts = [
        encode(policy, random_sample(*size, seed=i), "the lamp") for i, size in enumerate(SIZES)
    ]
    for prompt in prompts:
        prompt.will_train = keep
    groups = rollout(policy, prompts, GROUP, Sampling(max_new_tokens=9), [5, 6, 7])
    generator = torch.Generator().manual_seed(0)

    def segment(response: Response, length: int) -> CreditedSegment:
        return CreditedSegment(
            token_ids=response.token_ids[:length],
            old_logprobs=response.logprobs[:length],
            advantages=torch.randn(length, generator=generator),
            mask=torch.ones(length, dtype=torch.bool),
            beta=torch.full((length,), 0.04),
            settled=False,
        )

    return [
        UpdateRow(
            prompt,
            [segment(r, 1 if i == 0 else len(r.token_ids)) for i, r in enumerate(group)],
        )
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def updated(
    policy: Policy, rows: list[UpdateRow], settings: RunOptions, budget: int = 10_000
) -> tuple[dict[str, Any], dict[str, torch.Tensor], Learner]:
    """The metrics, gradients and learner after one update."""
    policy.keep_reference()
    learner, metrics = Learner(settings, policy, Processes()), StepMetrics()
    learner.update(rows, metrics)
    gradients = {
        name: weight.grad
        for name, weight in policy.model.named_parameters()
        if weight.requires_grad
    }
    return metrics.record(1), gradients, learner


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and len(one) > 10
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "activations again"])
@pytest.mark.parametrize("lora", [None, LoraOptions(2, 4)], ids=["full", "lora"])
@pytest.mark.parametrize(
    "budget", [10_000, 85], ids=["one micro-batch", "groups split over several"]
)
def test_gradients_are_those_of_prompts_computed_again(
    checkpoint: Path, lora: LoraOptions | None, budget: int, checkpointing: bool
) -> None:
    found = []
    for keep in (False, True):
        policy = load_policy(checkpoint, lora=lora, gradient_checkpointing=checkpointing)
        if lora is not None:  # adapters that do something, unlike new ones
            noise = torch.Generator().manual_seed(1)
            for weight in policy.trainable_parameters():
                weight.data = torch.randn(weight.shape, generator=noise) / 9
        rows = sampled(policy, keep)
        assert all((row.prompt.kept is not None) is keep for row in rows)
        found.append(updated(policy, rows, options(), budget))
    (again, wanted, _), (kept, got, _) = found
    assert (again["rollout/kept_prompts"], kept["rollout/kept_prompts"]) == (0, 1)
    for name in ("loss", "kl", "grad_norm"):
        assert kept[name] == pytest.approx(again[name], abs=1e-5), name
    assert_equal(got, wanted)


def test_a_pass_from_which_little_is_learned_is_let_go(checkpoint: Path) -> None:
    """One of three prompts has a signal: going on from all three would cost more."""
    found = []
    for keep in (False, True):
        policy = load_policy(checkpoint)
        rows = sampled(policy, keep)
        silent = [
            replace(s, advantages=0 * s.advantages, beta=0 * s.beta) for s in rows[1].segments
        ]
        rows = [rows[0], *(UpdateRow(row.prompt, silent) for row in rows[1:])]
        found.append(updated(policy, rows, options()))
        assert all(row.prompt.kept is None for row in rows)
    assert found[1][0]["rollout/kept_prompts"] == 0
    assert_equal(found[1][1], found[0][1])


def test_later_updates_of_a_rollout_compute_the_prompts_with_the_new_weights(
    checkpoint: Path,
) -> None:
    found = []
    for keep in (False, True):
        policy = load_policy(checkpoint)
        found.append(updated(policy, sampled(policy, keep), options(updates_per_rollout=3)))
    assert found[1][0]["rollout/kept_prompts"] == 1
    assert found[1][0]["loss"] == pytest.approx(found[0][0]["loss"], abs=1e-5)
    assert found[1][0]["grad_norm"] == pytest.approx(found[0][0]["grad_norm"], rel=1e-3)


def test_a_device_without_room_for_it_goes_on_without(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    plain = load_policy(checkpoint)
    rows = sampled(plain, False)
    texts = [[s.token_ids.tolist() for s in row.segments] for row in rows]
    _, wanted, _ = updated(plain, rows, options())

    policy = load_policy(checkpoint)
    hook = policy.family.text_model(policy.base).register_forward_pre_hook(
        lambda *_: fail() if torch.is_grad_enabled() else None
    )
    with caplog.at_level(logging.WARNING):
        rows = sampled(policy, True)
    hook.remove()
    assert [[s.token_ids.tolist() for s in row.segments] for row in rows] == texts
    assert not any(row.prompt.will_train or row.prompt.kept for row in rows)
    assert "set trainer.keep_prompts to false" in caplog.text

    caplog.clear()
    policy = load_policy(checkpoint)
    rows = sampled(policy, True)
    assert rows[0].prompt.kept is not None
    rows[0].prompt.kept.outputs[-1].register_hook(fail)
    _, got, learner = updated(policy, rows, options())
    assert "an update from kept prompts" in caplog.text and not learner.keeps_prompts
    assert learner.budget == options().trainer.token_budget
    assert_equal(got, wanted)


@pytest.mark.parametrize("wanted", [None, True, False])
def test_who_keeps_prompts(checkpoint: Path, wanted: bool | None) -> None:
    """Unless it is asked for, a model that computes its activations again does not."""
    for checkpointing in (False, True):
        policy = load_policy(checkpoint, gradient_checkpointing=checkpointing)
        learner = Learner(options(keep_prompts=wanted), policy, Processes())
        assert learner.keeps_prompts is (wanted if wanted is not None else not checkpointing)


def test_kept_prompts_and_a_micro_batch_fit_into_the_token_budget_together(
    checkpoint: Path,
) -> None:
    policy = load_policy(checkpoint)
    rows = sampled(policy, True)
    prompts = [row.prompt for row in rows]
    tokens = sum(len(prompt.input_ids) for prompt in prompts)
    for wanted, budget, keeps in (
        (None, 2 * tokens, True),
        (None, 2 * tokens - 1, False),
        (True, tokens, True),
        (False, 9 * tokens, False),
    ):
        settings = options(keep_prompts=wanted, token_budget=budget)
        assert Learner(settings, policy, Processes()).may_keep(prompts) is keeps

    for row in rows:
        row.segments = [replace(segment) for segment in 8 * row.segments]
    policy.keep_reference()
    # Without a KL, because for the reference the prompts are computed.
    learner = Learner(options(beta=0, token_budget=2 * tokens), policy, Processes())
    with room_for(policy, tokens) as passes:
        learner.update(rows, StepMetrics())
    assert len(passes) >= 3 and learner.keeps_prompts


def test_a_run_keeps_its_prompts_and_ends_as_one_that_does_not(tmp_path: Path) -> None:
    lines = []
    for keep in ("null", "false"):
        settings = quick_runs.quick_config(trainer__keep_prompts=keep)
        run_training(settings, tmp_path / keep, resume=False, console=Console(quiet=True))
        lines.append(quick_runs.metrics(tmp_path / keep))
    kept, again = lines
    assert max(line["rollout/kept_prompts"] for line in kept) == 1
    assert {line["rollout/kept_prompts"] for line in again} == {0}
    for name in ("loss", "grad_norm", "reward/accuracy"):
        assert kept[0][name] == pytest.approx(again[0][name], rel=1e-3), name
