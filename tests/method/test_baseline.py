import json

import numpy as np
import pytest

from syngrpo.method.baseline import DiversityBaseline, Measured

VALUES = np.random.default_rng(1).random(300).tolist()


def _weighted_mean(values: list[float], decay: float) -> float:
    weights = decay ** np.arange(len(values))[::-1]
    return float(np.average(values, weights=weights))


def test_mean_and_spread_are_the_exponentially_weighted_ones_from_the_first_value_on():
    baseline = DiversityBaseline(decay=0.9)
    deviations = []
    for count, value in enumerate(VALUES, start=1):
        if count > 1:
            deviations.append(abs(value - _weighted_mean(VALUES[: count - 1], 0.9)))
        baseline.update("rec", [value])
        assert baseline.baseline("rec") == pytest.approx(_weighted_mean(VALUES[:count], 0.9))
        expected = _weighted_mean(deviations, 0.9) if deviations else 0.0
        assert baseline.spread("rec") == pytest.approx(expected)


def test_default_decay_and_batches_of_values():
    one_by_one, at_once = DiversityBaseline(), DiversityBaseline()
    for value in VALUES:
        one_by_one.update("rec", [value])
    at_once.update("rec", VALUES)
    assert at_once.state_dict() == one_by_one.state_dict()
    assert at_once.baseline("rec") == pytest.approx(_weighted_mean(VALUES, 0.95))


def test_reward_is_the_clipped_distance_from_now_in_spreads():
    baseline = DiversityBaseline(epsilon=0.01)
    baseline.update("rec", VALUES)
    centre, spread = baseline.baseline("rec"), baseline.spread("rec")
    assert baseline.reward(centre, "rec") == 0.0
    assert baseline.reward(centre + spread + 0.01, "rec") == pytest.approx(1.0)
    assert baseline.reward(0.0, "rec") == pytest.approx(max(-centre / (spread + 0.01), -2.0))
    assert baseline.reward(50.0, "rec") == 2.0
    assert baseline.reward(-50.0, "rec") == -2.0


def test_the_same_value_is_worth_more_once_the_policy_has_improved():
    baseline = DiversityBaseline()
    baseline.update("rec", [0.4, 0.5, 0.6] * 30)
    early = baseline.reward(0.3, "rec")
    baseline.update("rec", [0.1, 0.2] * 200)
    assert early < 0 < baseline.reward(0.3, "rec")


def test_a_step_is_compared_with_itself_too():
    """Without that the first step, and every step that D falls in, would be off centre."""
    baseline, expected = DiversityBaseline(), DiversityBaseline()
    values = [0.1, 0.2, 0.6]
    expected.update("rec", values)
    rewards = baseline.rewards([Measured("rec", value, 0.9) for value in values])
    assert rewards == [expected.reward(value, "rec") for value in values]
    assert baseline.rewards([]) == []
    assert baseline.state_dict() == expected.state_dict()


def test_rewards_neither_rise_nor_fall_while_diversity_does():
    """Mean 0: no description is made more likely for having been written."""
    baseline = DiversityBaseline()
    rng = np.random.default_rng(2)
    rewards = []
    for step in range(400):
        drawn = rng.beta(2, 8, size=4) * (1.0 - step / 500)
        rewards += baseline.rewards([Measured("rec", value, 0.5) for value in drawn])
    assert abs(np.mean(rewards)) < 0.1
    assert abs(np.mean(rewards[:800]) - np.mean(rewards[800:])) < 0.1


def test_relative_to_the_parent():
    absolute, relative = DiversityBaseline(), DiversityBaseline(relative_to_parent=True)
    parents = np.random.default_rng(3).random(len(VALUES)).tolist()
    pairs = list(zip(VALUES, parents, strict=True))
    found = relative.rewards([Measured("rec", value, parent) for value, parent in pairs])
    absolute.update("rec", [value - parent for value, parent in pairs])
    assert found == [absolute.reward(value - parent, "rec") for value, parent in pairs]


def test_without_smoothing_the_reward_is_raw_diversity():
    raw = DiversityBaseline(smoothing=False)
    assert raw.reward(0.3, "rec") == 0.3
    raw.update("rec", VALUES)
    assert raw.reward(0.3, "rec") == 0.3
    relative = DiversityBaseline(smoothing=False, relative_to_parent=True)
    assert relative.rewards([Measured("rec", 0.3, 0.4)]) == [pytest.approx(-0.1)]


def test_tasks_do_not_share_a_baseline():
    baseline = DiversityBaseline()
    baseline.update("rec", [0.8, 0.9])
    baseline.update("ovd", [0.1])
    assert baseline.baseline("ovd") == pytest.approx(0.1)
    assert baseline.spread("ovd") == 0.0
    with pytest.raises(ValueError, match="'isr'"):
        baseline.reward(0.5, "isr")


def test_state_survives_json_exactly():
    baseline, restored = DiversityBaseline(), DiversityBaseline()
    baseline.update("rec", VALUES)
    restored.load_state_dict(json.loads(json.dumps(baseline.state_dict())))
    baseline.update("rec", [0.123])
    restored.update("rec", [0.123])
    assert restored.state_dict() == baseline.state_dict()
    assert restored.reward(0.2, "rec") == baseline.reward(0.2, "rec")


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"clip": 0.0}, {"epsilon": 0.0}])
def test_refuses_options_that_cannot_work(options):
    with pytest.raises(ValueError, match="diversity baseline needs"):
        DiversityBaseline(**options)
