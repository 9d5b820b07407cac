"""One update equals that of plain transformers, autograd and AdamW on padded rows; bfloat16 weights
are updated through float32 master weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from plain_transformers import plain_logprobs
from run_options import run_options
from tiny_families import save_tiny
from tiny_models import random_sample
from transformers import AutoModelForImageTextToText

from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

TINY_NAMES = ("qwen2_5_vl", "qwen3_vl", "qwen3_5")
SIZES = ((64, 48), (130, 75))
LENGTHS = ((5, 1, 9), (4, 12))
RATE, BETA, CAP = 1e-3, 0.04, 2.0


def make_config(**trainer: Any) -> RunOptions:
    return run_options(
        {
            "method": {"name": "grpo", "beta": BETA},
            "rollout": {"temperature": 0.8, "tis_cap": CAP},
            "trainer": {
                "learning_rate": RATE,
                "token_budget": 110,
                "logits_bytes": 4000,
                **trainer,
            },
        }
    )


def make_rows(policy: Policy) -> list[UpdateRow]:
    """Make responses whose log-probabilities in sampling differ clearly from those in training."""
    generator = torch.Generator().manual_seed(0)
    return [
        UpdateRow(
            encode(policy, random_sample(*size, seed=i), "the lamp"),
            [
                CreditedSegment(
                    token_ids=torch.randint(0, 300, (n,), generator=generator),
                    old_logprobs=-6 + torch.randn(n, generator=generator),
                    advantages=torch.randn(n, generator=generator),
                    mask=torch.ones(n, dtype=torch.bool),
                    beta=torch.full((n,), BETA),
                    settled=False,
                )
                for n in lengths
            ],
        )
        for i, (size, lengths) in enumerate(zip(SIZES, LENGTHS, strict=True))
    ]


def plain_update(model: Any, reference: Any, rows: list[UpdateRow], banned: torch.Tensor) -> float:
    """Compute the gradients of GRPO as in its paper, one padded row a response; return the loss."""
    loss = torch.zeros(())
    for row in rows:
        responses = [s.token_ids for s in row.segments]
        logprobs = plain_logprobs(model, row.prompt, responses, banned, 0.8)
        with torch.no_grad():
            frozen = plain_logprobs(reference, row.prompt, responses, banned, 0.8)
        for segment, logp, ref in zip(row.segments, logprobs, frozen, strict=True):
            weight = (logp.detach() - segment.old_logprobs).exp().clamp(max=CAP)
            gain = weight * (logp - logp.detach()).exp() * segment.advantages
            kl = (ref - logp).exp() - (ref - logp) - 1
            loss = loss + (BETA * kl - gain).mean() / sum(map(len, LENGTHS))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], RATE, weight_decay=0
    ).step()
    return float(loss.detach())


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "trained"])
@pytest.mark.parametrize(
    ("name", "attention", "keep"),
    [
        *((name, way, False) for name in TINY_NAMES for way in ("sdpa", "eager")),
        *((name, "sdpa", True) for name in TINY_NAMES[:2]),
    ],
)
def test_weights_after_one_update(
    tmp_path: Path, name: str, attention: str, freeze: bool, keep: bool
) -> None:
    """Also when the update goes on from the pass over the prompts that sampled from them."""
    directory = save_tiny(tmp_path, name)

    def load() -> Any:
        return AutoModelForImageTextToText.from_pretrained(
            directory, dtype=torch.float32, attn_implementation=attention
        )

    policy = load_policy(directory, freeze_vision=freeze)
    policy.keep_reference()
    rows, metrics = make_rows(policy), StepMetrics()
    prompts = [row.prompt for row in rows]
    for prompt in prompts:
        prompt.will_train = keep
    rollout(policy, prompts, 2, Sampling(max_new_tokens=3), [1, 2])
    assert [prompt.kept is not None for prompt in prompts] == [keep, keep]
    model, reference = load(), load()
    if freeze:
        model.model.visual.requires_grad_(False)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    Learner(make_config(), policy, Processes()).update(rows, metrics)
    loss = plain_update(model, reference, rows, policy.banned)
    record = metrics.record(1)
    assert record["loss"] == pytest.approx(loss, abs=1e-5)
    assert record["rollout/kept_prompts"] == keep
    assert all(prompt.kept is None for prompt in prompts)
    wanted, moved = dict(model.named_parameters()), 0
    for key, weight in policy.model.named_parameters():
        other = wanted[key]
        assert (weight.grad is None) == (other.grad is None), key
        if other.grad is None:
            assert torch.equal(weight, before[key]), key
            continue
        torch.testing.assert_close(weight.grad, other.grad, atol=1e-5, rtol=1e-4, msg=key)
        # AdamW's first step is the gradient's sign: of no meaning where that is rounding.
        clear = other.grad.abs() > 1e-6
        torch.testing.assert_close(weight[clear], other[clear], atol=1e-5, rtol=0, msg=key)
        moved += int(((weight - before[key]).abs() > 0.9 * RATE).sum())
    assert moved > 10_000


def test_bfloat16_weights_are_the_rounding_of_float32_masters(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path, "qwen2_5_vl")
    moved = {}
    for masters in (True, False):
        policy = load_policy(directory, dtype="bfloat16")
        policy.keep_reference()
        config = make_config(learning_rate=1e-5, master_weights=masters)
        learner, rows = Learner(config, policy, Processes()), make_rows(policy)
        copies = {
            n: p.detach().float().clone().requires_grad_()
            for n, p in policy.model.named_parameters()
        }
        plain = torch.optim.AdamW(copies.values(), 1e-5, weight_decay=0)
        before = {n: p.detach().clone() for n, p in policy.model.named_parameters()}
        for _ in range(4):
            learner.update(rows, StepMetrics())
            for name, weight in policy.model.named_parameters():
                copies[name].grad = weight.grad.float() if weight.grad is not None else None
            plain.step()
            if masters:
                for name, weight in policy.model.named_parameters():
                    assert weight.dtype == torch.bfloat16
                    assert torch.equal(weight, copies[name].bfloat16()), name
        moved[masters] = sum(
            int((p != before[n]).sum()) for n, p in policy.model.named_parameters()
        )
    assert moved[False] < 0.7 * moved[True]


def test_a_checkpoint_keeps_master_weights(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "model", "qwen2_5_vl")
    config = make_config(learning_rate=1e-5)
    weights = []
    for resumed in (False, True):
        policy = load_policy(directory, dtype="bfloat16")
        policy.keep_reference()
        learner, rows = Learner(config, policy, Processes()), make_rows(policy)
        if resumed:
            learner.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        for step in range(resumed * 2, 4):
            if step == 2 and not resumed:
                torch.save(learner.state_dict(), tmp_path / "state.pt")
            learner.update(rows, StepMetrics())
        weights.append(learner.state_dict()["weights"])
        assert learner.optimizer.steps == 4
    assert all(w.dtype == torch.float32 for w in weights[0].values())
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name


def test_adapters_of_a_bfloat16_model_are_float32(tmp_path: Path) -> None:
    policy = load_policy(
        save_tiny(tmp_path, "qwen2_5_vl"), dtype="bfloat16", lora=LoraOptions(2, 4)
    )
    learner = Learner(make_config(), policy, Processes())
    assert {p.dtype for p in policy.trainable_parameters()} == {torch.float32}
    assert policy.base.dtype == torch.bfloat16 and not learner.optimizer.masters
    before = [p.detach().clone() for p in policy.trainable_parameters()]
    learner.update(make_rows(policy), StepMetrics())
    after = policy.trainable_parameters()
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
