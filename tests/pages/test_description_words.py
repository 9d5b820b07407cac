"""What the descriptions with a word have earned."""

import numpy as np
import pytest
from scipy import stats

from syngrpo.pages.description_words import word_earnings


def test_means_and_intervals_are_those_of_a_t_test() -> None:
    rng = np.random.default_rng(0)
    words = ["red", "wall", "fog", "lamp"]
    texts = [" the ".join(rng.choice(words, 2, replace=False)) + ", a RUG" for _ in range(60)]
    earned = rng.normal(0.3, 1.0, 60)
    found = {one.word: one for one in word_earnings(zip(texts, earned, strict=True), fewest=2)}
    assert set(found) == {*words, "rug"}
    for word, one in found.items():
        values = [v for text, v in zip(texts, earned, strict=True) if word in text.lower()]
        test = stats.ttest_1samp(values, 0)
        interval = test.confidence_interval(0.95)
        assert one.uses == len(values)
        assert (one.mean, one.low, one.high) == pytest.approx(
            (np.mean(values), interval.low, interval.high)
        )
    means = [one.mean for one in word_earnings(zip(texts, earned, strict=True), 2)]
    assert means == sorted(means, reverse=True)


def test_rare_words_are_left_out_and_repeated_ones_count_once() -> None:
    texts = [("fog fog wall", 1.0), ("fog", 0.0), ("wall lamp", 0.5), ("fog", 2.0)]
    assert [(one.word, one.uses) for one in word_earnings(texts, 3)] == [("fog", 3)]
    assert {one.word for one in word_earnings(texts, 0)} == {"fog", "wall"}
    assert word_earnings([], 2) == []
    (same,) = word_earnings([("fog", 0.5)] * 4, 2)
    assert (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
