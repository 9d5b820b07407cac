"""Rewards of a user's own: what they get, what they may give, and how they fail."""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import user_extensions

from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.tasks.rewards import REWARDS, Reward, RewardOptions, load_reward, score_rewards

IMAGE = EncodedImage(10, 10, data=b"")
SAMPLES = [
    Sample("a", "rec", IMAGE, "the cup", (1.0, 2.0, 3.0, 4.0), (), columns={"level": 3}),
    Sample("b", "isr", IMAGE, "how many?", 2, (), columns={"level": 5, "task": "mine"}),
    Sample("c", "isr", IMAGE, "how many?", 2, (), columns={"prompts": "no"}),
]
PROMPTS, COMPLETIONS = ["p", "pp", "ppp"], ["long enough text", "short", ""]


def reward(function: Any, name: str = "mine") -> Reward:
    return Reward(name, 1.0, "answer", False, function)


def score(*functions: Any) -> dict[str, list[float | None]]:
    rewards = [reward(function, function.__name__) for function in functions]
    return score_rewards(rewards, PROMPTS, COMPLETIONS, SAMPLES)


def test_a_reward_gets_texts_columns_and_ground_truth_by_keyword() -> None:
    seen: dict[str, Any] = {}

    def look(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        seen.update(columns, prompts=prompts, completions=completions)
        return [0, 1, 2]

    assert score(look) == {"look": [0.0, 1.0, 2.0]}
    assert seen == {
        "prompts": PROMPTS,
        "completions": COMPLETIONS,
        "level": [3, 5, None],
        "ground_truth": [(1.0, 2.0, 3.0, 4.0), 2, 2],
        "question": ["the cup", "how many?", "how many?"],
        "task": ["rec", "isr", "isr"],
        "sample_id": ["a", "b", "c"],
    }


def test_plain_and_async_rewards_may_give_none() -> None:
    def some(completions: list[str], **columns: Any) -> list[float | None]:
        return [None if level is None else level / 10 for level in columns["level"]]

    found = score(some, user_extensions.brevity, user_extensions.patience)
    assert found == {"some": [0.3, 0.5, None], "brevity": [0.0, 0.5, 0.5], "patience": [1, 2, 3]}
    assert score_rewards([], PROMPTS, COMPLETIONS, SAMPLES) == {}


def test_async_rewards_wait_at_the_same_time() -> None:
    async def slow(completions: list[str], **columns: Any) -> list[float]:
        await asyncio.sleep(0.3)
        return [1.0] * len(completions)

    rewards = [reward(slow, f"slow{number}") for number in range(5)]
    start = time.monotonic()
    assert len(score_rewards(rewards, PROMPTS, COMPLETIONS, SAMPLES)) == 5
    assert time.monotonic() - start < 1.2


def broken(completions: list[str], **columns: Any) -> list[float]:
    return [1 / len(text) for text in completions]


async def broken_later(completions: list[str], **columns: Any) -> list[float]:
    raise KeyError("solution")


@pytest.mark.parametrize("function", [broken, broken_later])
def test_an_exception_names_reward_and_sample_and_line(function: Any) -> None:
    with pytest.raises(InputError) as caught:
        score_rewards([reward(function, "mine")], ["p"], [""], SAMPLES[:1])
    text = str(caught.value)
    assert text.startswith("reward mine failed on sample a (") and "test_rewards.py line" in text
    assert "ZeroDivisionError" in text or "KeyError: 'solution'" in text
    with pytest.raises(InputError, match="failed on samples a, b, c "):
        score(function)


def leaving(completions: list[str], **columns: Any) -> list[float]:
    sys.exit("enough")


async def leaving_later(completions: list[str], **columns: Any) -> list[float]:
    sys.exit("enough")


def leaving_last(completions: list[str], **columns: Any) -> Iterator[float]:
    yield 1.0
    sys.exit("enough")


@pytest.mark.parametrize("function", [leaving, leaving_later, leaving_last])
def test_a_reward_that_exits_has_failed(function: Any) -> None:
    with pytest.raises(InputError, match=r"^reward mine failed on sample a \(SystemExit: enough"):
        score_rewards([reward(function, "mine")], ["p"], [""], SAMPLES[:1])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0], "gave 1 values for 3 responses to samples a, b, c; it must return one"),
        (1.0, "gave 1.0 for samples a, b, c; it must return a list"),
        ("abc", "gave 'abc' for samples a, b, c; it must return a list"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "gave .* for samples a, b, c; it must return a list"),
        ((1 / n for n in (1, 0, 1)), r"failed on samples a, b, c \(ZeroDivisionError"),
        ([0, "1", 0], "gave '1' for sample b; it must return finite numbers or None"),
        ([0, 0, float("nan")], "gave nan for sample c"),
        ([0, 0, 10**400], "gave 1000.* for sample c; it must return finite numbers"),
        ([0, [1], 0], r"gave \[1\] for sample b"),
    ],
)
def test_values_that_are_no_rewards_are_one_line(values: Any, told: str) -> None:
    with pytest.raises(InputError, match=f"reward mine {told}") as caught:
        score_rewards([reward(lambda **given: values)], PROMPTS, COMPLETIONS, SAMPLES)
    assert "\n" not in str(caught.value)


def test_a_reward_in_place_of_the_accuracy_stays_in_its_range() -> None:
    replacing = Reward("mine", 1.0, "answer", True, lambda **given: [0.5, None, 1.0000001])
    assert score_rewards([replacing], PROMPTS, COMPLETIONS, SAMPLES)["mine"][:2] == [0.5, None]
    too_large = replace(replacing, function=lambda **given: [0.5, 1.5, 1])
    with pytest.raises(InputError, match=r"gave 1.5 for sample b; it replaces .* from 0 to 1"):
        score_rewards([too_large], PROMPTS, COMPLETIONS, SAMPLES)


@pytest.mark.parametrize("option", [{"weight": 3.0}, {"on": "scene"}])
def test_a_weight_or_place_of_a_reward_that_replaces_the_accuracy_is_refused(option: Any) -> None:
    RewardOptions(use="vlm-r1-iou", **option)
    RewardOptions(use="vlm-r1-iou", weight=1, on="answer", replaces_accuracy=True)
    with pytest.raises(ValueError, match=r"replaces the accuracy.*remove weight and on") as caught:
        RewardOptions(use="vlm-r1-iou", replaces_accuracy=True, **option)
    assert "\n" not in str(caught.value)


def test_rewards_are_found_by_name_and_in_modules() -> None:
    mine = load_reward(RewardOptions(use="user_extensions:brevity", weight=0.2, on="response"))
    assert (mine.name, mine.weight, mine.on, mine.replaces_accuracy) == (
        *("brevity", 0.2, "response", False),
    )
    assert mine.function(completions=["x"]) == [0.5]
    counting = load_reward(RewardOptions(use="user_extensions:Counting", name="calls"))
    for calls in (1, 2):
        found = score_rewards([counting], PROMPTS, COMPLETIONS, SAMPLES)
        assert found == {"calls": [calls] * 3}
    with pytest.raises(InputError, match="reward 'brevit' is unknown; use one of vlm-r1-format"):
        load_reward(RewardOptions(use="brevit"))
    with pytest.raises(InputError, match="reward 'user_extensions:gone' cannot be imported"):
        load_reward(RewardOptions(use="user_extensions:gone"))
    with pytest.raises(InputError, match="is no class or function: it is 3"):
        load_reward(RewardOptions(use="user_extensions:NO_REWARD"))


def test_the_rewards_of_vlm_r1_are_built_in() -> None:
    box = "<think>t</think><answer>{'bbox_2d': [0, 0, 10, 5]}</answer>"
    sample = Sample(
        "a", "rec", IMAGE, "x", (0, 0, 10, 10), (),
        columns={"solution": "<answer> [0, 0, 10, 10] </answer>"},
    )  # fmt: skip
    assert all(name.startswith("vlm-r1-") for name in REWARDS.names())
    rewards = [load_reward(RewardOptions(use=name)) for name in ("vlm-r1-iou", "vlm-r1-format")]
    found = score_rewards(rewards, ["p"], [box], [sample])
    assert found == {"vlm-r1-iou": [0.5], "vlm-r1-format": [1.0]}
    with pytest.raises(InputError, match=r"vlm-r1-iou failed on sample b .*'solution'"):
        score_rewards(rewards[:1], ["p"], [box], SAMPLES[1:2])


@pytest.mark.parametrize("name", ["accuracy", "format"])
def test_names_of_our_own_rewards_are_taken(name: str) -> None:
    with pytest.raises(ValueError, match=f"name '{name}' is taken"):
        RewardOptions(use="my.rewards:f", name=name)
    with pytest.raises(ValueError, match="is taken"):
        RewardOptions(use=f"my.rewards:{name}")
