"""Credit between siblings: rewards within a bundle."""

import json

import numpy as np
import pytest

from syngrpo.method.baseline import DiversityBaseline, Measured
from syngrpo.method.siblings import SiblingComparison

RNG = np.random.default_rng(5)


def comparison(**changed) -> SiblingComparison:
    return SiblingComparison(**({"decay": 0.95, "clip": 2.0} | changed))


def bundle(name: str, values: list[float], task: str = "rec") -> list[Measured]:
    return [Measured(task, value, 0.9, name) for value in values]


def test_the_rewards_of_a_bundle_add_up_to_zero_before_clipping() -> None:
    siblings = comparison(clip=1e9)
    for step in range(30):
        one, other = (bundle(f"{step} {n}", RNG.random(4).tolist()) for n in range(2))
        mixed = [member for pair in zip(one, other, strict=True) for member in pair]
        rewards = siblings.rewards(mixed)
        assert sum(rewards[0::2]) == pytest.approx(0, abs=1e-9)
        assert sum(rewards[1::2]) == pytest.approx(0, abs=1e-9)
        order = np.argsort([member.diversity for member in one])
        assert np.argsort(rewards[0::2]).tolist() == order.tolist()


def test_descriptions_from_before_a_change_of_credit_are_not_compared() -> None:
    siblings, plain = comparison(), comparison()
    pair = bundle("b", [0.2, 0.6])
    old = [Measured("rec", 0.9, 0.5, None), Measured("isr", 0.1, 0.5, None)]
    assert siblings.rewards([old[0], *pair, old[1]]) == [0.0, *plain.rewards(pair), 0.0]
    assert siblings.state_dict() == plain.state_dict()


def test_the_spread_is_the_weighted_mean_difference_from_the_first_value_on() -> None:
    siblings, differences = comparison(decay=0.9), []
    for step in range(20):
        values = RNG.random(3)
        rewards = siblings.rewards(bundle(str(step), values.tolist()))
        differences += np.abs(values - values.mean()).tolist()
        weights = 0.9 ** np.arange(len(differences))[::-1]
        spread = float(np.average(differences, weights=weights))
        assert siblings.spread("rec") == pytest.approx(spread)
        wanted = np.clip((values - values.mean()) / (spread + 0.05), -2, 2)
        assert rewards == pytest.approx(wanted.tolist())


def test_the_level_of_a_bundle_and_of_its_parent_does_not_matter() -> None:
    low, high = comparison(), comparison()
    assert low.rewards(bundle("a", [0.0, 0.1])) == pytest.approx(
        high.rewards(bundle("a", [0.8, 0.9]))
    )
    assert comparison().rewards(bundle("a", [0.4] * 3)) == pytest.approx([0.0] * 3)


def test_tasks_have_spreads_of_their_own() -> None:
    siblings = comparison()
    siblings.rewards(bundle("a", [0.0, 1.0]) + bundle("b", [0.4, 0.5], "isr"))
    assert siblings.spread("rec") == pytest.approx(0.5)
    assert siblings.spread("isr") == pytest.approx(0.05)
    assert siblings.baselines() == {}


def test_without_smoothing_the_reward_is_the_difference_itself() -> None:
    raw = comparison(smoothing=False)
    assert raw.rewards(bundle("a", [0.2, 0.6])) == pytest.approx([-0.2, 0.2])


def test_state_survives_json_exactly() -> None:
    siblings, restored = comparison(), comparison()
    siblings.rewards(bundle("a", RNG.random(4).tolist()))
    restored.load_state_dict(json.loads(json.dumps(siblings.state_dict())))
    further = bundle("b", RNG.random(4).tolist())
    assert restored.rewards(further) == siblings.rewards(further)


def test_a_resumed_run_with_another_credit_begins_its_moments_anew() -> None:
    siblings, baseline = comparison(), DiversityBaseline()
    first = bundle("a", [0.2, 0.6])
    siblings.rewards(first)
    baseline.rewards(first)
    for one, other in ((comparison(), baseline), (DiversityBaseline(), siblings)):
        one.load_state_dict(other.state_dict())
        assert one.state_dict() == {}
