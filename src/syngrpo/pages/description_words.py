"""How the descriptions changed: words that the early ones use against those of the late ones."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "behind", "beside", "but", "by", "for", "from", "has"}
    | {"have", "in", "is", "it", "its", "near", "no", "of", "off", "on", "or", "over", "some"}
    | {"that", "the", "their", "there", "this", "to", "under", "up", "very", "which", "with"}
)

FEWEST = 6
"""Least number of descriptions at either end that is worth a comparison."""
EXAMPLES = 6
"""Most descriptions shown of either end."""


@dataclass(frozen=True)
class WordShare:
    """Shares in [0, 1] of the early and of the late descriptions that use the word."""

    word: str
    early: float
    late: float

    @property
    def points(self) -> int:
        """The change in percentage points."""
        return round(100 * (self.late - self.early))


@dataclass(frozen=True)
class End:
    """The descriptions of one end of the run: how many, how many different ones, and examples that
    are evenly spaced, so that they come from many steps."""

    count: int
    distinct: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class WordComparison:
    """What the report shows of early and late descriptions."""

    shares: tuple[WordShare, ...]
    early: End
    late: End


def word_shares(early: Sequence[str], late: Sequence[str], count: int = 16) -> list[WordShare]:
    """Return the ``count`` most frequent words of both parts, from most gained to most lost."""
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
    """Word → share of the texts that use it; 0 for any other word."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(re.findall(r"[^\W\d_]+", text.lower())) - STOP_WORDS)
    return defaultdict(float, {word: n / len(texts) for word, n in counts.items()})
