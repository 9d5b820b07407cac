"""A run that learns nothing, or loses what it knew, says so in words while it trains, once."""

import logging
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quick_runs import quick_config

from syngrpo.data_server.painting_warnings import IDLE_STEPS, REFUSED, PaintingWarnings
from syngrpo.method.advantages import normalised_advantages
from syngrpo.rollout.base import Response
from syngrpo.tasks.rewards import Reward
from syngrpo.workflow.groups import Group, is_phantom
from syngrpo.workflow.run_warnings import WINDOW, RunWarnings
from syngrpo.workflow.step_metrics import METRICS, StepMetrics

GOOD = {
    "rollout/cut_share": 0.02,
    "reward/format": 0.97,
    "reward/other_scale": 0,
    "diversity/phantom_groups": 0.0,
    "diversity/zero_variance_groups": 0.4,
    "reward/accuracy": 0.6,
    "off_policy_fraction": 0.0,
    "synthesis/submitted": 4,
    "synthesis/admitted": 3,
    "synthesis/rejected": 1,
    "synthesis/dead": 0,
    "time/step_s": 1.0,
    "rollout/length_mean": 10.0,
}
assert GOOD.keys() <= METRICS.keys()
TOKENS = {"tokens_per_s": 160.0}  # 16 responses
NOTHING = {"synthesis/admitted": 0, "synthesis/rejected": 0}


def told(
    caplog: pytest.LogCaptureFixture,
    steps: Iterable[dict[str, Any]],
    waiting: int = 0,
    **changed: Any,
) -> list[str]:
    """The warnings about a run with these metrics; what a step does not name is as in GOOD."""
    caplog.clear()
    options = quick_config(**{"trainer__steps": 1000, **changed})
    warnings = RunWarnings(options, lambda: {"too_small": 7, "copy": 2}, waiting)
    for number, metrics in enumerate(steps, start=1):
        warnings.step({"step": number, **GOOD, **TOKENS, **metrics})
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


def test_a_run_that_learns_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, [{}] * 200) == []
    dips = [{"reward/format": 0.5 if n % 10 == 0 else 0.9} for n in range(200)]
    assert told(caplog, dips) == []


def test_responses_that_are_mostly_cut(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = told(caplog, [{}] * 20 + [{"rollout/cut_share": 0.9}] * 40)
    assert text.startswith("step 26: 55% of the responses of the last 10 steps are cut at rollout.")
    assert "max_new_tokens 64" in text and "\n" not in text


def test_a_short_run_is_told_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    cut = {"rollout/cut_share": 1.0, "diversity/phantom_groups": 0.5}
    (text,) = told(caplog, [cut] * 3, trainer__steps=3)
    assert text.startswith("step 3: 100% of the responses of the last 3 steps are cut at rollout.")
    (text,) = told(caplog, [cut], trainer__steps=1)
    assert "responses of the last step are cut" in text


def test_a_format_that_the_limits_of_wording_refuse(caplog: pytest.LogCaptureFixture) -> None:
    size = {"trainer__groups_per_step": 4, "rollout__group_size": 4}
    steps = [{"reward/format": 0.0, "description/too_long": 14, "description/garbled": 2}] * WINDOW
    (text,) = told(caplog, steps, method__max_description_words=8, **size)
    assert "88% of the responses of the last 10 steps" in text and "\n" not in text
    assert "has more words than method.max_description_words 8 allows" in text
    worn = [{"reward/format": 0.2, "description/repetitive": 10}] * WINDOW
    (text,) = told(caplog, [{}] * WINDOW + worn, **size)
    assert "method.max_repetition 0.3 allows" in text
    few = [{"reward/format": 0.0, "description/too_long": 3}] * WINDOW
    (text,) = told(caplog, few, **size)
    assert "use data.prompt_style full" in text


def test_answers_on_another_scale(caplog: pytest.LogCaptureFixture) -> None:
    steps = [{"reward/other_scale": 12}] * WINDOW
    (text,) = told(caplog, steps, trainer__groups_per_step=4, rollout__group_size=4)
    assert "75% of the answers of the last 10 steps have boxes between 0 and 1" in text
    assert "model.coordinates" in text and "\n" not in text


def test_answers_of_refilled_groups_count(caplog: pytest.LogCaptureFixture) -> None:
    metrics, tokens = StepMetrics(), torch.zeros(5)
    for _ in range(8):  # 4 of a step and 4 drawn again
        metrics.observe_responses([Response(tokens, tokens, tokens, "", True)] * 4)
        accuracies = [0.0, 0.0, 0.5, 0.5]
        metrics.observe_group(
            task="rec",
            diversity=0.25,
            accuracies=accuracies,
            format_rewards=[1.0] * 4,
            entropy_sum=0.0,
            tokens=20,
            synthetic=False,
        )
        metrics.observe("reward/other_scale", 3)
    metrics.observe("time/step_s", 0.5)
    (text,) = told(caplog, [metrics.record(1)] * WINDOW, trainer__groups_per_step=4)
    assert "75% of the answers of the last 10 steps have boxes" in text


def test_a_format_that_is_lost_and_one_that_was_never_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = [{"reward/format": max(0.0, 1.0 - n / 40)} for n in range(80)]
    (text,) = told(caplog, lost)
    assert "the policy loses the response format: " in text and "89% at best" in text
    (text,) = told(caplog, [{"reward/format": 0.01}] * 30)
    assert "1% of the responses of the last 10 steps have the response format" in text


def test_wrong_answers_that_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = told(caplog, [{"diversity/phantom_groups": 0.4}] * WINDOW)
    assert "in 40% of the groups of the last 10 steps all answers are wrong" in text


def test_answers_that_all_score_the_same(caplog: pytest.LogCaptureFixture) -> None:
    alike = {"diversity/zero_variance_groups": 1.0, "reward/accuracy": 0.98}
    assert told(caplog, [alike] * 9 + [{}]) == []
    (text,) = told(caplog, [{}] * 5 + [alike] * 40)
    assert text.startswith("step 15: in 100% of the groups of the last 10 steps all answers score")
    assert "(reward/accuracy 0.98)" in text and "\n" not in text


def test_tokens_that_are_mostly_left_out(caplog: pytest.LogCaptureFixture) -> None:
    out = [{"off_policy_fraction": 0.9}] * 20
    (text,) = told(caplog, out, method__off_policy_threshold=0.01)
    assert "90% of the tokens of the last 10 steps are left out of the update by method." in text
    assert "method.off_policy_threshold 0.01; raise the limit" in text and "\n" not in text
    (text,) = told(caplog, out, rollout__importance="response-mask")
    assert "by rollout.importance response-mask with tis_cap 2; raise" in text


def test_workers_that_do_not_paint(caplog: pytest.LogCaptureFixture) -> None:
    idle = NOTHING | {"time/step_s": 10.0}
    (text,) = told(caplog, [{}] * 5 + [idle] * 40)
    assert f"no worker has painted anything for {IDLE_STEPS} steps (200 s), and 80 desc" in text
    assert "the workers beside this run" in text
    server = {"server__url": "http://host:1234", "synthesis__mode": "async"}
    (text,) = told(caplog, [idle] * 40, **server)
    assert "syngrpo worker --server http://host:1234" in text
    assert told(caplog, [idle | {"synthesis/submitted": 0}] * 90) == []  # nothing to paint
    assert told(caplog, [NOTHING | {"time/step_s": 0.1}] * 90) == []  # not long yet


def test_workers_that_do_not_paint_after_the_run_went_on(caplog: pytest.LogCaptureFixture) -> None:
    ended = {"synthesis/submitted": 0, "synthesis/admitted": 60}
    idle = NOTHING | {"time/step_s": 10.0}
    (text,) = told(caplog, [ended] + [idle] * 40)
    assert "and 80 descriptions wait" in text
    full = idle | {"synthesis/submitted": 0}
    (text,) = told(caplog, [full] * 40, waiting=64)
    assert "and 64 descriptions wait" in text


def test_the_reasons_of_rejected_images_are_asked_for_once() -> None:
    asked: list[int] = []

    def reasons() -> dict[str, int]:
        asked.append(1)
        return {"copy": 1}

    warnings = PaintingWarnings("the workers", reasons)
    for _ in range(100):
        warnings.step({"synthesis/submitted": 1, "synthesis/rejected": 1}, 1.0)
    assert len(asked) == 1


def test_a_gate_that_rejects_everything(caplog: pytest.LogCaptureFixture) -> None:
    refused = {"synthesis/admitted": 0, "synthesis/rejected": 4}
    (text,) = told(caplog, [refused] * 20)
    assert f"the gate has rejected the last {REFUSED} images, most often as too small" in text
    assert told(caplog, [refused, refused, {}] * 20) == []


@given(
    answers=st.lists(st.sampled_from([0.0, 0.0, 0.5]), min_size=2, max_size=8),
    data=st.data(),
)
def test_a_group_is_phantom_if_wrong_answers_get_advantages(
    answers: list[float], data: st.DataObject
) -> None:
    size = len(answers)
    flags = st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size)
    form, own = data.draw(flags), data.draw(flags)
    reward = Reward("own", 1.0, data.draw(st.sampled_from(["answer", "scene"])), False, print)
    group = Group(0, None, None, [], [], answers, torch.tensor(form), 0.0, {"own": own})
    for rewards, weight in (([], 0.1), ([], 0.0), ([reward], 0.1)):
        advantages = weight * normalised_advantages(form)
        counts = rewards and reward.on == "answer"
        others = normalised_advantages(own) if counts else 0.0
        expected = not any(answers) and (abs(advantages) + abs(others)).max() > 0
        assert is_phantom(group, rewards, weight) == expected


def test_lengths_of_responses_are_recorded() -> None:
    metrics = StepMetrics()
    for length, finished in ((3, True), (9, False)):
        tokens = torch.zeros(length)
        metrics.observe_responses([Response(tokens, tokens, tokens, "", finished)])
    record = metrics.record(1)
    assert (record["rollout/length_mean"], record["rollout/cut_share"]) == (6.0, 0.5)
