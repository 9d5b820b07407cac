"""The update: token budgets, running out of memory, losses that are not finite, TIS weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_options import run_options
from small_device import room_for
from tiny_families import save_tiny
from tiny_models import random_sample

from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.sample import InputError
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.micro_batches import count_tokens, micro_batches
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.size_check import check_sizes
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

SIZES = ((64, 48), (130, 75), (256, 200))
LENGTHS = ((5, 1, 9, 30), (4, 12), (7, 7, 7))
QUESTION = "the lamp"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), "qwen2_5_vl")


def make_config(**changed: Any) -> RunOptions:
    """``section__key=value``."""
    sections: dict[str, dict[str, Any]] = {
        "method": {"name": "grpo", "beta": 0.0},
        "trainer": {"learning_rate": 1e-6},
        "data": {"prompt_style": "brief"},
        "rollout": {},
    }
    for name, value in changed.items():
        section, _, key = name.partition("__")
        sections[section][key] = value
    return run_options(sections)


def make_rows(policy: Policy, gap: float = 0.0) -> list[UpdateRow]:
    """Rows of different lengths, one with a settled description. ``gap``: how far at most the
    stored log-probabilities are from those of training."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for i, (size, lengths) in enumerate(zip(SIZES, LENGTHS, strict=True)):
        prompt = encode(policy, random_sample(*size, seed=i), QUESTION)
        tokens = [torch.randint(0, 300, (n,), generator=generator) for n in lengths]
        with torch.no_grad():
            scored = segment_logprobs(policy, [PackedRow(prompt, list(map(Segment, tokens)))])[0]
        segments = [
            CreditedSegment(
                token_ids=ids,
                old_logprobs=score.logprobs
                + gap * (2 * torch.rand(len(ids), generator=generator) - 1),
                advantages=torch.randn(len(ids), generator=generator),
                mask=torch.arange(len(ids)) >= (i == 0 and place == 3) * 10,
                beta=torch.zeros(len(ids)),
                settled=i == 0 and place == 3,
            )
            for place, (ids, score) in enumerate(zip(tokens, scored, strict=True))
        ]
        rows.append(UpdateRow(prompt, segments))
    return rows


def updated(
    directory: Path,
    config: RunOptions,
    gap: float = 0.0,
    room: int | None = None,
    where: str = "forward",
) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[int]]:
    """Return clipped gradients, metrics, and the number of tokens of every pass."""
    policy = load_policy(directory)
    rows, metrics = make_rows(policy, gap), StepMetrics()
    learner = Learner(config, policy, Processes())
    with room_for(policy, room or 10**9, where) as passes:
        learner.update(rows, metrics)
    gradients = {n: p.grad for n, p in policy.model.named_parameters() if p.grad is not None}
    return gradients, metrics.record(1), passes


def shapes(batches: Sequence[Sequence[UpdateRow]]) -> list[list[tuple[str, list[int]]]]:
    return [
        [(r.prompt.sample_id, [len(s.token_ids) for s in r.segments]) for r in batch]
        for batch in batches
    ]


def test_micro_batches_hold_everything_once_and_keep_to_the_budget(directory: Path) -> None:
    rows = make_rows(load_policy(directory))
    sizes = [count_tokens(row) for row in rows]
    assert sizes == [
        len(row.prompt.input_ids) + sum(lengths) for row, lengths in zip(rows, LENGTHS, strict=True)
    ]
    everything = {id(s) for row in rows for s in row.segments}
    for shares in (True, False):
        for budget in (1, 40, 60, max(sizes), 150, 10_000):
            batches = micro_batches(rows, budget, shares)
            assert shapes(micro_batches(rows, budget, shares)) == shapes(batches)
            held = [id(s) for batch in batches for row in batch for s in row.segments]
            assert len(held) == len(everything) and set(held) == everything
            for batch in batches:
                alone = len(batch) == 1 and len(batch[0].segments) == 1
                assert sum(count_tokens(row, shares) for row in batch) <= budget or alone
    assert shapes(micro_batches(rows, 10_000)) == [
        [(f"sample-{i}", list(LENGTHS[i])) for i in (2, 0, 1)]
    ]
    first, second = sorted(sizes)[-1], sorted(sizes)[0] + sorted(sizes)[1]
    assert len(micro_batches(rows, max(first, second))) == 2
    assert micro_batches([], 10) == []


@pytest.mark.parametrize("loss", ["grpo", "dapo"])
def test_every_budget_gives_the_loss_of_one_group_at_a_time(directory: Path, loss: str) -> None:
    def config(budget: int) -> RunOptions:
        twice = {"trainer__updates_per_rollout": 2, "method__loss": loss}
        return make_config(trainer__token_budget=budget, **twice)

    rows = make_rows(load_policy(directory))
    shorter, short, longest = sorted(map(count_tokens, rows))
    wanted, record, passes = updated(directory, config(longest), gap=0.4)
    assert len(passes) == 6  # two rounds of three micro-batches
    for budget, number in ((16384, 1), (shorter + short, 2)):
        gradients, other, tried = updated(directory, config(budget), gap=0.4)
        assert len(tried) == 2 * number
        assert other["loss"] == pytest.approx(record["loss"], abs=1e-6)
        assert other["rollout/logp_diff"] == pytest.approx(record["rollout/logp_diff"])
        for name, gradient in wanted.items():
            torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_a_group_larger_than_the_budget_is_an_error(directory: Path) -> None:
    policy = load_policy(directory)
    rows = make_rows(policy)
    fresh = [replace(r, segments=[s for s in r.segments if not s.settled]) for r in rows]
    longest = max(map(count_tokens, fresh))
    before = {n: p.clone() for n, p in policy.model.named_parameters()}
    learner = Learner(make_config(trainer__token_budget=longest - 1), policy, Processes())
    message = f"{longest} tokens .* trainer.token_budget {longest - 1}; set .* to {longest} or more"
    with pytest.raises(InputError, match=message):
        learner.update(rows, StepMetrics())
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, before[name])
    # The settled description beside it may go to a row of its own.
    Learner(make_config(trainer__token_budget=longest), policy, Processes()).update(
        rows, StepMetrics()
    )


def test_sizes_are_checked_before_the_first_step(directory: Path) -> None:
    policy = load_policy(directory)
    samples = [random_sample(*size, seed=i) for i, size in enumerate(SIZES)]
    needed = max(len(encode(policy, sample, QUESTION).input_ids) for sample in samples) + 4 * 20

    def check(**changed: Any) -> None:
        options = {"rollout__group_size": 4, "rollout__max_new_tokens": 20} | changed
        check_sizes(make_config(**options), policy, samples)

    check(trainer__token_budget=needed)
    message = f"sample-2 may have {needed} tokens.*set trainer.token_budget to {needed}"
    with pytest.raises(InputError, match=message):
        check(trainer__token_budget=needed - 1)
    with pytest.raises(
        InputError, match=r"sample-0 .* context of 4096; set rollout.max_new_tokens"
    ):
        check(rollout__max_new_tokens=4096)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_out_of_memory_halves_the_budget_and_starts_over(
    directory: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    wanted, record, (whole,) = updated(directory, make_config(), gap=0.4)
    with caplog.at_level(logging.WARNING):
        gradients, other, passes = updated(directory, make_config(), 0.4, whole * 3 // 5, where)
    assert passes[0] == whole and len(passes) > 2 and max(passes[1:]) <= whole * 3 // 5
    assert "instead of trainer.token_budget 16384" in caplog.text
    assert other["loss"] == pytest.approx(record["loss"], abs=1e-6)
    assert other["rollout/logp_diff"] == pytest.approx(record["rollout/logp_diff"])
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_out_of_memory_twice_is_an_error_that_names_a_budget(directory: Path) -> None:
    policy = load_policy(directory)
    before = {n: p.clone() for n, p in policy.model.named_parameters()}
    learner = Learner(make_config(), policy, Processes())
    with room_for(policy, 60), pytest.raises(InputError, match="and again with") as error:
        learner.update(make_rows(load_policy(directory)), StepMetrics())
    again = int(str(error.value).split("again with ")[1].split(";")[0])
    assert f"set trainer.token_budget to {again // 2}, or" in str(error.value)
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(
    directory: Path, tmp_path: Path, value: float
) -> None:
    policy = load_policy(directory)
    rows = make_rows(policy)
    learner = Learner(make_config(), policy, Processes(), tmp_path)
    learner.update(rows, StepMetrics())
    before = {n: p.clone() for n, p in policy.model.named_parameters()}
    rows[1].segments[0].advantages[2] = value
    with pytest.raises(
        InputError, match=r"step 2: the loss is .* lower trainer.learning_rate"
    ) as e:
        learner.update(rows, StepMetrics())
    assert "\n" not in str(e.value) and str(tmp_path / "failed-step-2") in str(e.value)
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, before[name])
    saved = torch.load(tmp_path / "failed-step-2" / "batch.pt", weights_only=True)
    assert [row["sample_id"] for row in saved["rows"]] == ["sample-0", "sample-1", "sample-2"]
    for row, kept in zip(rows, saved["rows"], strict=True):
        assert torch.equal(row.prompt.input_ids, kept["input_ids"])
        for segment, same in zip(row.segments, kept["segments"], strict=True):
            assert segment.settled == same["settled"]
            for name in ("token_ids", "old_logprobs", "advantages", "mask"):
                torch.testing.assert_close(getattr(segment, name), same[name], equal_nan=True)
    assert len(saved["losses"]) == 1 and not torch.tensor(saved["losses"]).isfinite().all()


@pytest.mark.parametrize(("gap", "cap"), [(2e-4, 2.0), (1.0, 2.0), (1.0, 1.2)])
def test_fresh_tokens_are_weighted_by_training_against_sampling(
    directory: Path, gap: float, cap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(directory)
    rows, seen = make_rows(policy, gap), []
    original = segment_logprobs

    def watched(*arguments: Any, **options: Any) -> Any:
        scored = original(*arguments, **options)
        for row, scores in zip(arguments[1], scored, strict=True):
            for segment, score in zip(row.segments, scores, strict=True):
                score.logprobs.retain_grad()
                seen.append((segment.token_ids, score.logprobs))
        return scored

    monkeypatch.setattr("syngrpo.workflow.row_scores.segment_logprobs", watched)
    config = make_config(rollout__tis_cap=cap)
    metrics = StepMetrics()
    Learner(config, policy, Processes()).update(rows, metrics)
    segments = {id(s.token_ids): s for row in rows for s in row.segments}
    fresh = [s for s in segments.values() if not s.settled]
    gaps, capped = [], 0
    for ids, logprobs in seen:
        segment = segments[id(ids)]
        log_ratio = logprobs.detach() - segment.old_logprobs
        if segment.settled:
            weight = log_ratio.exp().clamp(max=config.method.max_ratio)
        else:
            weight = log_ratio.exp().clamp(max=cap) if gap > 1e-3 else torch.ones(len(ids))
            gaps.append(log_ratio.abs())
            capped += int((log_ratio.exp() > cap).sum())
        share = segment.mask / segment.mask.sum() / len(fresh)
        # Tokens whose gap is next to nothing keep weight 1.
        wanted = -weight * segment.advantages * share
        torch.testing.assert_close(logprobs.grad, wanted, atol=2e-5, rtol=2e-3)
    assert metrics.record(1)["rollout/logp_diff"] == pytest.approx(float(torch.cat(gaps).mean()))
    assert metrics.record(1)["clip_fraction"] == 0
    assert (capped > 0) == (gap > 0.5)


@pytest.mark.parametrize(("mode", "wanted"), [("token-truncate", 1.0), ("response-truncate", 1.5)])
def test_small_differences_of_a_whole_response_add_up(
    directory: Path, mode: str, wanted: float
) -> None:
    """600 tokens, each 0.0009 nats less likely in sampling: a ratio of 1.7, cut to 1.5."""
    policy = load_policy(directory)
    prompt = encode(policy, random_sample(64, 48, seed=0), QUESTION)
    tokens = torch.randint(0, 300, (600,), generator=torch.Generator().manual_seed(1))
    gradients = []
    for gap in (0.0, 0.0009):
        policy = load_policy(directory)
        with torch.no_grad():
            ((score,),) = segment_logprobs(policy, [PackedRow(prompt, [Segment(tokens)])])
        count = len(tokens)
        segment = CreditedSegment(
            token_ids=tokens,
            old_logprobs=score.logprobs - gap,
            advantages=torch.ones(count),
            mask=torch.ones(count, dtype=torch.bool),
            beta=torch.zeros(count),
            settled=False,
        )
        config = make_config(
            rollout__importance=mode, rollout__tis_cap=1.5, trainer__max_grad_norm=1e9
        )
        Learner(config, policy, Processes()).update([UpdateRow(prompt, [segment])], StepMetrics())
        found = [p.grad for p in policy.model.parameters() if p.grad is not None]
        gradients.append(torch.cat([one.flatten() for one in found]).norm())
    assert float(gradients[1] / gradients[0]) == pytest.approx(wanted, rel=1e-3)


def test_a_step_without_rows_moves_weights_by_their_momentum_as_in_several_processes(
    directory: Path,
) -> None:
    policy = load_policy(directory)
    learner = Learner(make_config(trainer__learning_rate=1e-3), policy, Processes())
    learner.update(make_rows(policy), StepMetrics())
    before = [weight.detach().clone() for weight in policy.trainable_parameters()]
    learner.update([], StepMetrics())
    moved = zip(before, policy.trainable_parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in moved)
    assert all(not weight.grad.any() for weight in policy.trainable_parameters())
