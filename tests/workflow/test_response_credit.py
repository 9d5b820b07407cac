"""Advantages of a step: REINFORCE++'s baseline as in verl, and wrong answers that only their format
tells apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import build_tokenizer

from syngrpo.method import METHODS
from syngrpo.method.base import Method
from syngrpo.method.response import format_reward, parse_response
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.response_credit import group_credits, step_credits
from syngrpo.workflow.update_rows import fresh_row


def make(name: str = "grpo", **options: object) -> Method:
    method = METHODS.load(name)
    return method(method.Options(name=name, **options), steps=1)  # type: ignore[arg-type]


def group(accuracies: list[float], form: list[float], **custom: list[float | None]) -> Any:
    return SimpleNamespace(
        accuracies=accuracies,
        accuracy=torch.tensor(accuracies),
        format=torch.tensor(form),
        custom=custom,
    )


def reward(name: str, on: str) -> Any:
    return SimpleNamespace(name=name, on=on, weight=0.5, replaces_accuracy=False)


def test_reinforce_plus_plus_baseline_is_verls() -> None:
    """verl 0.8.0.dev, ``compute_reinforce_plus_plus_baseline_outcome_advantage`` for responses of
    one token: centred in the group, then whitened over the batch with the sample variance."""
    scores = np.random.default_rng(0).random((5, 4))
    groups = [group(row.tolist(), [1.0] * 4) for row in scores]
    centred = scores - scores.mean(1, keepdims=True)
    whitened = centred / np.sqrt(centred.var(ddof=1) + 1e-8)
    credits = step_credits(groups, make(advantage="batch"), (), Processes())
    found = np.stack([accuracy.advantages for accuracy, _ in credits])
    np.testing.assert_allclose(found, whitened, rtol=1e-5)
    assert not any(form.advantages.any() for _, form in credits)


def test_each_reward_is_divided_by_its_own_deviation_over_the_step() -> None:
    length = reward("length", "answer")
    groups = [
        group([0.0, 1.0], [1.0, 0.0], length=[10.0, None]),
        group([0.5, 0.5], [1.0, 1.0], length=[4.0, 8.0]),
    ]
    credits = step_credits(groups, make(advantage="batch"), (length,), Processes())
    accuracy = np.concatenate([each[0].values for each in credits])
    assert accuracy.std(ddof=1) == pytest.approx(1.0)
    lengths = np.array([0.0, -2.0, 2.0])  # centred; the response without a value does not count
    assert credits[1][2].advantages == pytest.approx(0.5 * lengths[1:] / lengths.std(ddof=1))
    assert credits[0][2].advantages.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_what_tells_wrong_answers_apart_can_be_scaled_down(weight: float) -> None:
    rewards = reward("length", "answer"), reward("style", "scene")
    custom: dict[str, list[float | None]] = {"length": [3.0, 9.0], "style": [1.0, 2.0]}
    wrong = group([0.0, 0.0], [1.0, 0.0], **custom)
    right = group([0.0, 0.4], [1.0, 0.0], **custom)
    method = make(phantom_weight=weight)
    (phantom, other) = step_credits([wrong, right], method, rewards, Processes())
    (_, plain) = step_credits([wrong, right], make(), rewards, Processes())
    for found, wanted in zip(other, plain, strict=True):
        assert found.advantages.tolist() == wanted.advantages.tolist()
    for found, wanted, scale in zip(phantom[1:], plain[1:], (weight, weight, 1.0), strict=True):
        np.testing.assert_allclose(found.advantages, scale * wanted.advantages, rtol=1e-6)


def test_what_follows_the_answer_gets_no_advantage_from_it() -> None:
    """The description, whatever is written after it, and the token that ends the response."""
    tokenizer = build_tokenizer()
    answer = "<think>red</think><answer>[1, 2, 3, 4]</answer>"
    ends = ["<scene>a greenhouse</scene>", "<scene>a hall</scene></scene>", ""]
    ids = [[*tokenizer.encode(answer + end), tokenizer.eos_token_id] for end in ends]
    texts = [answer + end for end in ends]
    parsed = [
        parse_response(text, describes=bool(end)) for text, end in zip(texts, ends, strict=True)
    ]
    written = group([0.0, 1.0, 1.0], [format_reward(one) for one in parsed])
    written.prompt, written.parsed = None, parsed
    written.responses = [
        SimpleNamespace(token_ids=torch.tensor(one), logprobs=torch.zeros(len(one))) for one in ids
    ]
    method = make("syn-grpo", beta=0.0, scene_beta=0.04, format_weight=0.1)
    credits = group_credits(written, method, ())
    accuracy, form = (credit.advantages for credit in credits)
    segments = fresh_row(written, credits, tokenizer, method).segments
    count = len(tokenizer.encode(answer))
    for place, (segment, end) in enumerate(zip(segments, ends, strict=True)):
        whole = np.full(len(ids[place]), accuracy[place] + form[place])
        if end:
            whole[count:] = form[place]
        assert segment.advantages.numpy() == pytest.approx(whole, abs=1e-6)
        held = [0.0] * count + [0.04 if end else 0.0] * (len(whole) - count)
        assert segment.beta.tolist() == pytest.approx(held)
    assert segments[1].advantages[-1] < 0 < segments[1].advantages[0]
