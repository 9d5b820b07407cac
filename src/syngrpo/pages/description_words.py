"""Looks at descriptions word by word: which words come early and late in a run, and what the
descriptions that use a word have earned."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "behind", "beside", "but", "by", "for", "from", "has"}
    | {"have", "in", "is", "it", "its", "near", "no", "of", "off", "on", "or", "over", "some"}
    | {"that", "the", "their", "there", "this", "to", "under", "up", "very", "which", "with"}
)

FEWEST = 6
"""Smallest number of descriptions at each end for a comparison."""
EXAMPLES = 6
"""Largest number of descriptions that are shown of each end."""


@dataclass(frozen=True)
class WordShare:
    """A word, and the shares in [0, 1] of early and of late descriptions that use it."""

    word: str
    early: float
    late: float

    @property
    def points(self) -> int:
        """The change in percentage points."""
        return round(100 * (self.late - self.early))


@dataclass(frozen=True)
class End:
    """The descriptions at one end of the run: their number, the number of different ones, and
    examples at regular distances, so that they come from many steps."""

    count: int
    distinct: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class WordComparison:
    """The comparison of early and late descriptions that the report shows."""

    shares: tuple[WordShare, ...]
    early: End
    late: End


@dataclass(frozen=True)
class WordEarning:
    """A word, the number of descriptions that use it, and the mean of what these have earned with
    its 95 % interval."""

    word: str
    uses: int
    mean: float
    low: float
    high: float


def word_earnings(
    descriptions: Iterable[tuple[str, float]], fewest: int, level: float = 0.95
) -> list[WordEarning]:
    """Return the words that at least ``fewest`` (2 or more) of the descriptions use, each with the
    mean of the values of these descriptions, in the order from the highest mean to the lowest.

    The interval is Student's, as if the descriptions were independent. Words that occur together
    have similar means, so a word need not be the cause of its mean.
    """
    values: defaultdict[str, list[float]] = defaultdict(list)
    for text, value in descriptions:
        for word in _words(text):
            values[word].append(value)
    found = []
    for word, of_word in values.items():
        uses = len(of_word)
        if uses >= max(2, fewest):
            mean, error = float(np.mean(of_word)), float(np.std(of_word, ddof=1)) / uses**0.5
            reach = float(stdtrit(uses - 1, (1 + level) / 2)) * error
            found.append(WordEarning(word, uses, mean, mean - reach, mean + reach))
    return sorted(found, key=lambda one: (-one.mean, one.word))


def word_shares(early: Sequence[str], late: Sequence[str], count: int = 16) -> list[WordShare]:
    """Return the ``count`` most frequent words of both ends, ordered by the change of their share
    from the largest gain to the largest loss."""
    before, after = _shares(early), _shares(late)
    frequent = sorted(before.keys() | after.keys(), key=lambda w: (-(before[w] + after[w]), w))
    chosen = [WordShare(w, before[w], after[w]) for w in frequent[:count]]
    return sorted(chosen, key=lambda s: (s.early - s.late, s.word))


def compare_words(early: Sequence[str], late: Sequence[str]) -> WordComparison | None:
    """Compare the descriptions of both ends of a run; None when there are too few of them."""
    if min(len(early), len(late)) < FEWEST:
        return None
    return WordComparison(tuple(word_shares(early, late)), _end(early), _end(late))


def _end(texts: Sequence[str]) -> End:
    evenly = [texts[i * len(texts) // EXAMPLES] for i in range(EXAMPLES)]
    return End(len(texts), len(set(texts)), tuple(dict.fromkeys(evenly)))


def _shares(texts: Sequence[str]) -> defaultdict[str, float]:
    """Return word → share of the texts that use it, 0 for any other word."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_words(text))
    return defaultdict(float, {word: n / len(texts) for word, n in counts.items()})


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", text.lower())) - STOP_WORDS
