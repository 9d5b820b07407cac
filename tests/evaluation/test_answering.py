"""A policy that answers held-out samples: what is scored, sampled and rewarded."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_qwen
from torchvision.ops import box_iou

from syngrpo.evaluation import answering
from syngrpo.evaluation.answering import evaluate, is_answer_to
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.tasks.rewards import Reward
from syngrpo_rooms.dataset import rooms_samples


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def policy(model: Path) -> Policy:
    return load_policy(model)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return rooms_samples("test", 6, size=64)


def test_scores_equal_torchvision_iou_of_boxes_in_original_pixels(
    policy: Policy, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canned answers in model coordinates; everything behind the model is the real thing."""
    rng = np.random.default_rng(0)
    answered: dict[str, list[list[int]]] = {}

    def canned(policy, prompts, group_size, sampling, seeds):  # type: ignore[no-untyped-def]
        groups = []
        for prompt in prompts:
            texts = []
            for _ in range(group_size):
                x1, y1 = rng.integers(0, 40, 2)
                width, height = rng.integers(5, 24, 2)
                box = [int(x1), int(y1), int(x1 + width), int(y1 + height)]
                answered.setdefault(prompt.sample_id, []).append(box)
                text = f'<think>a</think><answer>{{"bbox_2d": {box}}}</answer><scene>b</scene>'
                texts.append(
                    answering.Response(torch.empty(0), torch.empty(0), torch.empty(0), text, True)
                )
            groups.append(texts)
        return groups

    monkeypatch.setattr(answering, "rollout", canned)
    result = evaluate(
        policy, samples, prompt_style="brief", max_new_tokens=4, samples_per_prompt=3, batch_size=4
    )
    best, mean, diversity = [], [], []
    for sample in samples:
        prompt = answering.encode(policy, sample, "")
        scale = torch.tensor([sample.image.width / prompt.frame.width] * 4)
        boxes = torch.tensor(answered[sample.id]) * scale
        ious = box_iou(boxes, torch.tensor([sample.answer]))[:, 0]
        best.append(float(ious[0]))
        mean.append(float(ious[1:].mean()))
        diversity.append(4 * float(ious[1:].var(correction=0)))
    assert result.metrics["greedy/accuracy"] == pytest.approx(np.mean(best), abs=1e-6)
    assert result.metrics["sampled/accuracy"] == pytest.approx(np.mean(mean), abs=1e-6)
    assert result.metrics["diversity/response"] == pytest.approx(np.mean(diversity), abs=1e-6)
    assert result.metrics["greedy/acc@0.5"] == np.mean(np.array(best) >= 0.5)
    assert result.metrics["greedy/format"] == 1 and result.metrics["greedy/unreadable"] == 0
    assert [p.greedy.accuracy for p in result.predictions] == pytest.approx(best, abs=1e-6)


def test_a_real_model_is_measured_the_same_in_any_batches_and_order(
    policy: Policy, samples: list[Sample]
) -> None:
    options = {"prompt_style": "brief", "max_new_tokens": 8, "samples_per_prompt": 2, "seed": 5}
    done: list[int] = []
    one = evaluate(policy, samples, batch_size=1, progress=done.append, **options)
    other = evaluate(policy, samples[::-1], batch_size=4, **options)
    assert done == [1] * len(samples)
    assert one.predictions == other.predictions[::-1]
    assert any(p.greedy.text for p in one.predictions)
    # Random weights write no answer: nothing is readable, and that is counted.
    assert one.metrics["greedy/unreadable"] == len(samples)
    assert one.metrics["greedy/acc@0.5"] == 0


def test_another_seed_samples_other_answers_but_the_same_greedy_ones(
    policy: Policy, samples: list[Sample]
) -> None:
    first, second = (
        evaluate(policy, samples[:2], prompt_style="brief", max_new_tokens=8, seed=seed)
        for seed in (0, 1)
    )
    texts = [[[a.text for a in p.sampled] for p in r.predictions] for r in (first, second)]
    assert texts[0] != texts[1]
    assert [p.greedy for p in first.predictions] == [p.greedy for p in second.predictions]


def test_own_rewards_are_measured_and_may_replace_the_accuracy(
    policy: Policy, samples: list[Sample]
) -> None:
    asked: list[dict[str, list[Any]]] = []

    async def length(**given: list[Any]) -> list[float | None]:
        asked.append(given)
        return [len(text) / 100 if text else None for text in given["completions"]]

    def half(completions: list[str], **columns: list[Any]) -> list[float]:
        return [0.5 if place else 1.0 for place, _ in enumerate(completions)]

    rewards = [
        Reward("length", 1.0, "answer", False, length),
        Reward("half", 1.0, "answer", True, half),
    ]
    options = {"prompt_style": "brief", "max_new_tokens": 8, "samples_per_prompt": 2}
    plain = evaluate(policy, samples, **options)
    result = evaluate(policy, samples, **options, rewards=rewards)
    texts = [[p.greedy.text, *(a.text for a in p.sampled)] for p in result.predictions]
    assert [p.greedy.text for p in plain.predictions] == [group[0] for group in texts]
    assert result.metrics["greedy/reward/length"] == pytest.approx(
        np.mean([len(group[0]) / 100 for group in texts if group[0]])
    )
    for name in ("accuracy", "reward/half"):
        assert result.metrics[f"greedy/{name}"] == 1 and result.metrics[f"sampled/{name}"] == 0.5
    assert result.metrics["greedy/acc@0.9"] == 1 and result.metrics["diversity/response"] == 0
    assert {given["sample_id"][0]: given["completions"] for given in asked} == {
        sample.id: group for sample, group in zip(samples, texts, strict=True)
    }
    assert asked[0]["prompts"] == asked[0]["question"] and len(asked[0]["ground_truth"]) == 3

    def broken(**given: list[Any]) -> list[float]:
        raise KeyError("width")

    with pytest.raises(InputError, match=rf"reward broken failed on sample {samples[0].id[:9]}"):
        evaluate(policy, samples, **options, rewards=[Reward("broken", 1, "answer", False, broken)])


def test_a_column_kind_may_hold_anything(policy: Policy, samples: list[Sample]) -> None:
    """It is the user's; texts and numbers group the metrics."""
    kinds = ["far", 3, True, [1], {"a": 1}, None]
    mixed = [replace(s, columns={"kind": k}) for s, k in zip(samples, kinds, strict=True)]
    found = evaluate(
        policy, mixed, prompt_style="brief", max_new_tokens=4, samples_per_prompt=0, batch_size=6
    )
    assert sorted(found.kinds) == ["3", "True", "far"]
    assert all(map(partial(is_answer_to, style="brief"), found.predictions, mixed))


def test_no_samples_are_said_in_one_line(policy: Policy) -> None:
    with pytest.raises(InputError, match="no samples"):
        evaluate(policy, [], prompt_style="brief", max_new_tokens=4)


def test_a_run_leaves_out_samples_whose_image_cannot_be_read(
    policy: Policy, samples: list[Sample], caplog: pytest.LogCaptureFixture
) -> None:
    gone = replace(samples[1], image=EncodedImage(64, 64, path=Path("gone.png")))
    asking: dict[str, Any] = {"prompt_style": "brief", "max_new_tokens": 4, "batch_size": 1}
    asking["samples_per_prompt"] = 0
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        evaluate(policy, [samples[0], gone], **asking)
    found = evaluate(policy, [samples[0], gone, samples[2]], skip_unreadable=True, **asking)
    whole = evaluate(policy, [samples[0], samples[2]], **asking)
    assert found.predictions == whole.predictions
    assert f"leaves out sample {gone.id}: image gone.png does not exist" in caplog.text
    with pytest.raises(InputError, match="no image of the samples to evaluate on can be read"):
        evaluate(policy, [gone], skip_unreadable=True, **asking)


def test_a_long_evaluation_is_seen_in_the_log(
    policy: Policy,
    samples: list[Sample],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answering, "LOG_EVERY_S", 0.0)
    caplog.set_level("INFO", answering.__name__)
    answered: list[int] = []
    evaluate(
        policy,
        samples[:3],
        prompt_style="brief",
        max_new_tokens=2,
        batch_size=2,
        samples_per_prompt=0,
        progress=answered.append,
    )
    assert answered == [2, 1]
    assert caplog.messages == [
        f"the evaluation has answered {number} of 3 samples" for number in (2, 3)
    ]
