import json

import numpy as np
import pytest

from syngrpo.diversity.smoothing import DiversityBaseline, ParentDiversity

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
        baseline.update("rec", value)
        assert baseline.baseline("rec") == pytest.approx(_weighted_mean(VALUES[:count], 0.9))
        expected = _weighted_mean(deviations, 0.9) if deviations else 0.0
        assert baseline.spread("rec") == pytest.approx(expected)


def test_default_decay_and_batches_of_values():
    one_by_one, at_once = DiversityBaseline(), DiversityBaseline()
    for value in VALUES:
        one_by_one.update("rec", value)
    at_once.update("rec", VALUES)
    assert at_once.state_dict() == one_by_one.state_dict()
    assert at_once.baseline("rec") == pytest.approx(_weighted_mean(VALUES, 0.99))


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


def test_relative_to_the_parent():
    baseline = DiversityBaseline(relative_to_parent=True, epsilon=0.1)
    baseline.update("rec", VALUES)
    parent = ParentDiversity(diversity=0.7, baseline=0.6)
    expected = (0.55 - baseline.baseline("rec") - 0.1) / (baseline.spread("rec") + 0.1)
    assert baseline.reward(0.55, "rec", parent) == pytest.approx(expected)
    with pytest.raises(ValueError, match="parent"):
        baseline.reward(0.55, "rec")


def test_without_smoothing_the_reward_is_raw_diversity():
    raw = DiversityBaseline(smoothing=False)
    assert raw.reward(0.3, "rec") == 0.3
    raw.update("rec", VALUES)
    assert raw.reward(0.3, "rec") == 0.3
    relative = DiversityBaseline(smoothing=False, relative_to_parent=True)
    assert relative.reward(0.3, "rec", ParentDiversity(0.4, 9.0)) == pytest.approx(-0.1)


def test_tasks_do_not_share_a_baseline():
    baseline = DiversityBaseline()
    baseline.update("rec", [0.8, 0.9])
    baseline.update("ovd", 0.1)
    assert baseline.baseline("ovd") == pytest.approx(0.1)
    assert baseline.spread("ovd") == 0.0
    with pytest.raises(ValueError, match="'isr'"):
        baseline.reward(0.5, "isr")


def test_state_survives_json_exactly():
    baseline, restored = DiversityBaseline(), DiversityBaseline()
    baseline.update("rec", VALUES)
    restored.load_state_dict(json.loads(json.dumps(baseline.state_dict())))
    baseline.update("rec", 0.123)
    restored.update("rec", 0.123)
    assert restored.state_dict() == baseline.state_dict()
    assert restored.reward(0.2, "rec") == baseline.reward(0.2, "rec")


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"clip": 0.0}, {"epsilon": 0.0}])
def test_refuses_options_that_cannot_work(options):
    with pytest.raises(ValueError, match="diversity baseline needs"):
        DiversityBaseline(**options)
