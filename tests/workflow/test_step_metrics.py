import json

import pytest
import torch
from quick_runs import CONTRACT

from syngrpo.workflow.loss import LossRule, Normaliser, policy_loss
from syngrpo.workflow.step_metrics import METRICS, StepMetrics, merged


def _group(
    metrics: StepMetrics, diversity: float, tokens: int, synthetic: bool, task: str = "rec"
) -> None:
    metrics.observe_group(
        task=task,
        diversity=diversity,
        accuracies=[0.0, diversity],
        format_rewards=[1.0, 0.0],
        entropy_sum=2.0 * tokens,
        tokens=tokens,
        synthetic=synthetic,
    )


def test_a_record_has_every_metric_and_is_json():
    record = StepMetrics().record(step=3)
    assert set(CONTRACT) <= set(record) and record["step"] == 3
    assert record["diversity/response_synthetic"] is None and record["synthesis/submitted"] == 0
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_groups_are_averaged_apart_by_origin():
    metrics = StepMetrics()
    _group(metrics, 0.5, tokens=10, synthetic=False)
    _group(metrics, 0.0, tokens=30, synthetic=True)
    metrics.observe("time/step_s", 2.0)
    record = metrics.record(1)
    assert record["diversity/response"] == 0.25
    assert record["diversity/response_seed"] == 0.5
    assert record["diversity/response_synthetic"] == 0.0
    assert record["diversity/zero_variance_groups"] == 0.5
    assert record["reward/accuracy"] == 0.125 and record["reward/format"] == 0.5
    assert record["entropy/token"] == 2.0 and record["tokens_per_s"] == 20.0


def test_merged_processes_equal_one_process():
    parts = [StepMetrics(), StepMetrics()]
    whole = StepMetrics()
    for index, (diversity, synthetic) in enumerate([(0.5, False), (0.25, True), (1.0, False)]):
        for metrics in (parts[index % 2], whole):
            _group(metrics, diversity, tokens=8 << index, synthetic=synthetic)
            metrics.observe("synthesis/submitted", 2)
            metrics.observe("pool/seed", 100)
    expected, record = whole.record(1), merged([part.state() for part in parts]).record(1)
    assert record == expected and record["pool/seed"] == 100 and record["synthesis/submitted"] == 6


def test_the_slowest_process_counts():
    parts = [StepMetrics(), StepMetrics()]
    parts[0].observe("time/step_s", 1.0)
    parts[1].observe("time/step_s", 1.5)
    parts[1].observe("time/step_s", 0.5)
    assert merged([part.state() for part in parts]).record(1)["time/step_s"] == 2.0


def test_losses_of_micro_batches_add_up():
    logp = torch.zeros(4, 3, requires_grad=True)
    advantages = torch.arange(12.0).reshape(4, 3)
    mask = torch.ones(4, 3, dtype=torch.bool)
    normaliser = Normaliser(rows=4, tokens=12)
    metrics = StepMetrics()
    for part in (slice(0, 1), slice(1, 4)):
        output = policy_loss(
            logp[part],
            None,
            advantages[part],
            mask[part],
            rule=LossRule(),
            normaliser=normaliser,
        )
        metrics.observe_loss(output, divisor=2)
    record = metrics.record(1)
    assert record["loss"] == pytest.approx(-5.5 / 2)
    assert record["kl"] is None and record["truncated_fraction"] is None


def test_blocks_are_timed_and_unknown_names_are_errors():
    metrics = StepMetrics()
    with metrics.timed("time/rollout_s"):
        pass
    assert metrics.record(1)["time/rollout_s"] >= 0.0
    assert METRICS["time/rollout_s"] == "max"
    with pytest.raises(KeyError):
        metrics.observe("reward/acuracy", 1.0)
