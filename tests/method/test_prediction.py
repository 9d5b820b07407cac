"""The reward of a description, predicted from its words."""

import json

import numpy as np
import pytest

from syngrpo.method.base import MethodOptions
from syngrpo.method.baseline import Measured
from syngrpo.method.prediction import LEAST, PENALTIES, RewardPrediction, fit
from syngrpo.method.syn_grpo import SynGrpo

COLOURS = ("red", "green", "blue", "white", "black", "yellow")
ROOMS = ("kitchen", "office", "gym", "bathroom", "workshop")
VIEWS = ("close up", "midway", "far away")


def _described(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        f"A {rng.choice(ROOMS)} with {rng.choice(COLOURS)} walls, seen {rng.choice(VIEWS)}."
        for _ in range(count)
    ]


def _rewards(texts: list[str], seed: int) -> list[float]:
    """Far away is worse, red is better, and luck is as large as both."""
    luck = np.random.default_rng(seed).normal(size=len(texts))
    return [("red" in t) - ("far" in t) + 0.5 * one for t, one in zip(texts, luck, strict=True)]


def test_planted_words_are_found_in_descriptions_that_were_never_seen() -> None:
    prediction = RewardPrediction()
    texts = _described(200, seed=0)
    for text, reward in zip(texts, _rewards(texts, seed=1), strict=True):
        prediction.update("rec", text, reward)
    other = _described(100, seed=2)
    truth = [("red" in text) - ("far" in text) for text in other]
    found = prediction.predict("rec", other)
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert 0.3 < prediction.explained("rec") < 0.8
    unknown = prediction.predict("rec", ["Nothing like it."])[0]
    assert min(found) < unknown < max(found)


def test_luck_is_not_predicted() -> None:
    texts = _described(200, seed=0)
    told = []
    for seed in range(20):
        luck = np.random.default_rng(seed).normal(size=200)
        fitted = fit(list(zip(texts, luck.tolist(), strict=True)))
        told.append(0.0 if fitted is None else fitted.explained)
    assert np.mean(told) < 0.02
    assert fit([(text, 0.5) for text in texts]) is None


def test_the_explained_share_is_that_of_descriptions_left_out_one_by_one() -> None:
    texts = _described(40, seed=3)
    rewards = np.array(_rewards(texts, seed=4))
    words = sorted({w for t in texts for w in _features(t)})
    features = np.array([[float(w in _features(t)) for w in words] for t in texts])
    features /= np.sqrt(features.sum(axis=1, keepdims=True))
    features -= features.mean(axis=0)
    centred = rewards - rewards.mean()
    errors = []
    for penalty in PENALTIES:
        of_penalty = []
        for one in range(len(texts)):
            rest = np.delete(np.arange(len(texts)), one)
            x, y = features[rest], centred[rest]
            weights = np.linalg.solve(x.T @ x + penalty * np.eye(len(words)), x.T @ y)
            of_penalty.append((centred[one] - features[one] @ weights) ** 2)
        errors.append(np.mean(of_penalty))
    fitted = fit(list(zip(texts, rewards.tolist(), strict=True)))
    assert fitted is not None
    assert fitted.explained == pytest.approx(1 - min(errors) / rewards.var())


def test_a_few_descriptions_and_those_of_another_task_predict_nothing() -> None:
    prediction = RewardPrediction()
    texts = _described(LEAST, seed=0)
    for text in texts[:-1]:
        prediction.update("rec", text, float("red" in text))
    assert prediction.predict("rec", texts) == [0.0] * LEAST
    prediction.update("rec", texts[-1], float("red" in texts[-1]))
    assert len(set(prediction.predict("rec", texts))) > 2
    assert prediction.predict("ovd", texts) == [0.0] * LEAST


def test_only_the_descriptions_measured_last_count() -> None:
    prediction = RewardPrediction(kept=100)
    for text in _described(300, seed=0):
        prediction.update("rec", text, float("red" in text))
    for text in _described(100, seed=1):
        prediction.update("rec", text, -float("red" in text))
    red, blue = prediction.predict("rec", ["red walls", "blue walls"])
    assert red < blue


@pytest.mark.parametrize("credit", ["baseline", "parent", "siblings"])
def test_a_method_that_was_stored_and_loaded_predicts_the_same(credit: str) -> None:
    options = MethodOptions(name="syn-grpo", choice="predicted", credit=credit)
    method, loaded = (SynGrpo(options, steps=10) for _ in range(2))
    texts = _described(90, seed=5)
    measured = [
        Measured("rec", float("red" in text), 0.5, bundle=str(place // 3), text=text)
        for place, text in enumerate(texts)
    ]
    method.description_rewards(measured)
    loaded.load_state_dict(json.loads(json.dumps(method.state_dict())))
    assert loaded.predicted_rewards("rec", texts) == method.predicted_rewards("rec", texts)
    assert loaded.explained_by_words() == method.explained_by_words() != {}


def test_without_a_choice_nothing_is_predicted() -> None:
    method = SynGrpo(MethodOptions(name="syn-grpo"), steps=10)
    for text in _described(90, seed=5):
        method.description_rewards([Measured("rec", float("red" in text), 0.5, text=text)])
    assert method.predicted_rewards("rec", ["red walls", "blue walls"]) == [0.0, 0.0]
    assert method.explained_by_words() == {}
    assert method.considered_descriptions == method.written_descriptions


def _features(text: str) -> set[str]:
    words = text.lower().replace(",", "").replace(".", "").split()
    return {*words, *(" ".join(words[i : i + 2]) for i in range(len(words) - 1))}
