"""Responses without a signal are not computed, and the update is the same. Groups without one can
be left out of the divisor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_device import room_for
from test_learner import LENGTHS, make_config, make_rows
from tiny_families import save_tiny

from syngrpo.policy import distribution
from syngrpo.policy.loading import load_policy
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.signal import drop_silent_groups, with_signal
from syngrpo.workflow.step_metrics import StepMetrics, merged
from syngrpo.workflow.update_rows import UpdateRow

Silent = dict[int, tuple[int, ...]]
"""The places of the responses without an advantage, by row."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), "qwen2_5_vl")


def silenced(rows: list[UpdateRow], silent: Silent) -> list[UpdateRow]:
    for row, places in silent.items():
        for place in places:
            rows[row].segments[place].advantages.zero_()
    return rows


def updated(
    directory: Path, config: RunOptions, silent: Silent, drop: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[int]]:
    """Return clipped gradients, metrics, and the number of tokens of every pass."""
    policy = load_policy(directory)
    rows = used = silenced(make_rows(policy, 0.3), silent)
    if drop:
        groups: list[Any] = [SimpleNamespace(index=i) for i in range(len(rows))]
        _, used = drop_silent_groups(groups, rows)
    learner, metrics = Learner(config, policy, Processes()), StepMetrics()
    with room_for(policy, 10**9) as passes:
        learner.update(used, metrics, rows)
    gradients = {n: p.grad for n, p in policy.model.named_parameters() if p.grad is not None}
    return gradients, metrics.record(1), passes


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo"])
def test_without_silent_responses_the_update_is_the_same(
    directory: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent: Silent = {0: (0, 2), 1: (0, 1)}
    config = make_config(method__loss=loss, trainer__max_grad_norm=1e9)
    gradients, record, passes = updated(directory, config, silent)
    monkeypatch.setattr("syngrpo.workflow.learner.with_signal", lambda rows, chosen: rows)
    wanted, other, before = updated(directory, config, silent)
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-7, rtol=1e-5, msg=name)
    assert record["loss"] == pytest.approx(other["loss"], abs=1e-6)
    left = LENGTHS[0][0] + LENGTHS[0][2] + sum(LENGTHS[1])
    assert sum(before) - sum(passes) > left  # the prompt of the second row, too


def test_a_step_without_any_signal_gives_gradients_of_zero(directory: Path) -> None:
    silent: Silent = {i: tuple(range(len(lengths))) for i, lengths in enumerate(LENGTHS)}
    gradients, record, passes = updated(directory, make_config(), silent)
    assert gradients and not any(gradient.any() for gradient in gradients.values())
    assert record["loss"] == 0 and record["grad_norm"] == 0
    assert len(passes) == 1


def test_kl_and_the_entropy_bonus_are_signals(directory: Path) -> None:
    silent: Silent = {i: tuple(range(len(lengths))) for i, lengths in enumerate(LENGTHS)}
    config = make_config(method__entropy_weight=0.1)
    _, record, passes = updated(directory, config, silent)
    assert record["grad_norm"] > 0 and record["entropy_weight"] == 0.1
    assert sum(passes) > sum(map(sum, LENGTHS))
    rows = silenced(make_rows(load_policy(directory)), silent)
    assert with_signal(rows, {}) == []
    rows[1].segments[0].beta[0] = 0.1
    (row,) = with_signal(rows, {})
    assert row.segments == rows[1].segments[:1]
    first = rows[0].segments[0]
    (row, _) = with_signal(rows, {first: first.mask})
    assert row.segments == [first]


def test_a_step_of_which_every_group_is_left_out_does_not_move_the_entropy_weight(
    directory: Path,
) -> None:
    config = make_config(method__entropy_target=1e-6, method__entropy_weight=0.01)
    policy = load_policy(directory)
    learner, rows = Learner(config, policy, Processes()), make_rows(policy)
    learner.update(rows, StepMetrics())
    known = learner.bonus.state_dict()
    assert known["last"] > 1e-6 and known["weight"] == pytest.approx(0.005)
    learner.update([], StepMetrics(), rows)
    assert learner.bonus.state_dict() == known


def test_a_process_with_responses_to_distorted_images_alone_leaves_the_others_their_metrics(
    directory: Path,
) -> None:
    policy = load_policy(directory)
    rows = make_rows(policy)
    for row in rows:
        row.segments = [
            replace(one, old_logprobs=torch.full_like(one.old_logprobs, torch.nan))
            for one in row.segments
            if not one.settled
        ]
    metrics = StepMetrics()
    Learner(make_config(), policy, Processes()).update(rows, metrics)
    other = StepMetrics()
    other.observe("rollout/logp_diff", 0.25, 8)
    record = merged([metrics.state(), other.state()]).record(1)
    assert record["rollout/logp_diff"] == 0.25 and record["grad_norm"] > 0


def test_the_entropy_bonus_makes_the_entropy_grow(directory: Path) -> None:
    def entropy_after(weight: float) -> float:
        config = make_config(method__entropy_weight=weight, trainer__learning_rate=1e-3)
        policy = load_policy(directory)
        rows = make_rows(policy)
        learner = Learner(config, policy, Processes())
        for _ in range(3):
            learner.update(rows, StepMetrics())
        with torch.no_grad():
            _, entropies = learner.scores.of_policy(rows)
        return float(torch.cat(entropies).mean()) if entropies is not None else float("nan")

    assert entropy_after(10.0) > entropy_after(1e-9)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({}, False), ({"method__entropy_weight": 0.1}, True), ({"method__entropy_target": 1.0}, True)],
)
def test_the_entropy_over_the_vocabulary_is_computed_for_a_bonus_alone(
    directory: Path, options: dict[str, Any], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    whole = distribution.entropy

    def counted(logits: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        computed.append(len(logits))
        return whole(logits, *more)

    monkeypatch.setattr(distribution, "entropy", counted)
    _, _, passes = updated(directory, make_config(**options), {})
    assert passes and bool(computed) == wanted


@pytest.mark.parametrize("loss", ["grpo", "dapo"])
def test_groups_without_a_signal_can_be_left_out_of_the_divisor(directory: Path, loss: str) -> None:
    """Settled descriptions keep their divisor."""
    silent: Silent = {1: (0, 1)}
    config = make_config(method__loss=loss, trainer__max_grad_norm=1e9)
    gradients, _, _ = updated(directory, config, silent, drop=True)
    kept, _, _ = updated(directory, config, silent)
    of_fresh, _, _ = updated(directory, config, silent | {0: (3,)})
    lengths = [[1] * len(one) for one in LENGTHS] if loss == "grpo" else LENGTHS
    fresh = sum(map(sum, lengths)) - lengths[0][3]
    more = fresh / (fresh - sum(lengths[1])) - 1
    for name, gradient in kept.items():
        larger = gradient + more * of_fresh[name]
        torch.testing.assert_close(gradients[name], larger, atol=1e-6, rtol=1e-4, msg=name)


def test_settled_descriptions_keep_their_weight_where_every_group_is_left_out(
    directory: Path,
) -> None:
    silent: Silent = {0: (0, 1, 2), 1: (0, 1), 2: (0, 1, 2)}
    config = make_config(trainer__max_grad_norm=1e9)
    gradients, record, _ = updated(directory, config, silent, drop=True)
    kept, _, _ = updated(directory, config, silent)
    assert record["grad_norm"] > 0
    for name, gradient in kept.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_dropped_groups_leave_their_settled_descriptions(directory: Path) -> None:
    rows = silenced(make_rows(load_policy(directory)), {0: (0, 1, 2), 1: (0, 1)})
    groups: list[Any] = [SimpleNamespace(index=i) for i in range(3)]
    apart = replace(rows[2], segments=rows[0].segments[3:])
    left, found = drop_silent_groups(groups, [*rows, apart])
    assert left == groups[2:] and found[0] is rows[2] and found[1] is apart
    assert [segment.settled for segment in found[2].segments] == [True] and len(found) == 3
