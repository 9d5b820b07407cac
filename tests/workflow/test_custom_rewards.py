"""Rewards of a user's own in training: metrics, advantages on their tokens, D from one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched_trainer import watched_trainer

from syngrpo.method.diversity import response_diversity
from syngrpo.policy.spans import scene_token_mask
from syngrpo.sample import InputError
from syngrpo.workflow.groups import Group
from syngrpo.workflow.response_credit import group_credits
from syngrpo.workflow.update_rows import fresh_row

HERE = Path(__file__).stem
FLOOR = 0.15


def length(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    assert len(prompts) == len(completions) == len(columns["ground_truth"])
    return [min(1.0, len(completion) / 200) for completion in completions]


async def every_other(completions: list[str], **columns: Any) -> list[float | None]:
    """Nothing to say of every other response."""
    return [None if place % 2 else float(place) for place in range(len(completions))]


def graded(completions: list[str], **columns: Any) -> list[float]:
    return [place / (len(completions) - 1) for place in range(len(completions))]


def wrong(completions: list[str], **columns: Any) -> list[float]:
    raise KeyError("solution")


def normalised(values: list[float]) -> np.ndarray:
    centred = np.array(values) - np.mean(values)
    return centred / max(float(np.std(values, ddof=1)), FLOOR)


def advantages(group: Group, trainer: Any, place: int) -> np.ndarray:
    """What the tokens of one response carry without custom rewards, subtracted."""
    tokenizer = trainer.policy.tokenizer
    method = trainer.method
    plain = fresh_row(group, group_credits(group, method, ()), tokenizer, method)
    credits = group_credits(group, method, trainer.rewards)
    credited = fresh_row(group, credits, tokenizer, method)
    difference = credited.segments[place].advantages - plain.segments[place].advantages
    return difference.numpy()


def test_each_reward_is_normalised_alone_and_credited_to_its_tokens(tmp_path: Path) -> None:
    rewards = f"[{{use: '{HERE}:length', weight: 0.5, on: scene}}]"
    with watched_trainer(tmp_path, data__rewards=rewards) as trainer:
        step = trainer.watched_step()
        values = [value for group in step.scored for value in group.custom["length"]]
        assert step.record["reward/length"] == pytest.approx(np.mean(values))
        group = max(step.scored, key=lambda one: np.std(one.custom["length"]))
        wanted = 0.5 * normalised([float(value or 0) for value in group.custom["length"]])
        for place, (response, parsed) in enumerate(zip(group.responses, group.parsed, strict=True)):
            scene = scene_token_mask(
                trainer.policy.tokenizer, response.token_ids, parsed.scene_span or (0, 0)
            ).numpy()
            found = advantages(group, trainer, place)
            np.testing.assert_allclose(found[scene], wanted[place], atol=1e-5)
            np.testing.assert_allclose(found[~scene], 0, atol=1e-6)


def test_responses_without_a_value_get_no_advantage_from_it(tmp_path: Path) -> None:
    rewards = f"[{{use: '{HERE}:every_other', on: response}}]"
    with watched_trainer(tmp_path, data__rewards=rewards) as trainer:
        step = trainer.watched_step()
        assert step.record["reward/every_other"] == pytest.approx(1.0)  # the mean of 0 and 2
        group = step.scored[0]
        wanted = normalised([0.0, 2.0])
        for place in range(4):
            own = wanted[place // 2] if place % 2 == 0 else 0.0
            np.testing.assert_allclose(advantages(group, trainer, place), own, atol=1e-5)


def test_diversity_is_that_of_the_reward_in_place_of_the_accuracy(tmp_path: Path) -> None:
    rewards = f"[{{use: '{HERE}:graded', replaces_accuracy: true}}]"
    with watched_trainer(tmp_path, data__rewards=rewards) as trainer:
        step = trainer.watched_step()
        values = [0, 1 / 3, 2 / 3, 1]
        for group in step.scored:
            assert group.accuracy.tolist() == pytest.approx(values)
            assert group.diversity == pytest.approx(response_diversity(values))
        assert step.record["reward/accuracy"] == pytest.approx(0.5)
        assert step.record["reward/graded"] == pytest.approx(0.5)
        assert not advantages(step.scored[0], trainer, 0).any()  # it is the accuracy already


def test_a_reward_that_raises_ends_the_run_with_its_name_and_the_sample(tmp_path: Path) -> None:
    with watched_trainer(tmp_path, data__rewards=f"[{{use: '{HERE}:wrong'}}]") as trainer:
        with pytest.raises(InputError, match=r"wrong.*solution") as caught:
            trainer.watched_step()
        assert "\n" not in str(caught.value)
