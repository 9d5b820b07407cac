"""How the descriptions changed: the words of the early ones against those of the late ones."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "behind", "beside", "but", "by", "for", "from", "has"}
    | {"have", "in", "is", "it", "its", "near", "no", "of", "off", "on", "or", "over", "some"}
    | {"that", "the", "their", "there", "this", "to", "under", "up", "very", "which", "with"}
)


@dataclass(frozen=True)
class WordShare:
    """Shares of the descriptions, early and late, that use the word."""

    word: str
    early: float
    late: float


def word_shares(early: Sequence[str], late: Sequence[str], count: int = 16) -> list[WordShare]:
    """The most frequent words of both parts, ordered from most gained to most lost."""
    before, after = _shares(early), _shares(late)
    frequent = sorted(before.keys() | after.keys(), key=lambda w: (-(before[w] + after[w]), w))
    chosen = [WordShare(w, before[w], after[w]) for w in frequent[:count]]
    return sorted(chosen, key=lambda s: (s.early - s.late, s.word))


def words_section(early: Sequence[str], late: Sequence[str]) -> str:
    """Table of words with their shares, and how many descriptions were different; "" if none."""
    if not early or not late:
        return ""
    rows = "".join(
        f"<tr><td>{escape(s.word)}</td>{_meter(s.early)}{_meter(s.late)}"
        f"<td class='n {'up' if s.late > s.early else 'down'}'>{100 * (s.late - s.early):+.0f}</td>"
        "</tr>"
        for s in word_shares(early, late)
    )
    distinct = (f"{len(set(part)):,} of {len(part):,}" for part in (early, late))
    return (
        "<h2>How the descriptions changed</h2>"
        "<p class='lead'>Share of the submitted descriptions that use a word, at the start and "
        "at the end of the run.</p>"
        "<table><tr><th>word</th><th>early</th><th>late</th><th class='n'>points</th></tr>"
        f"{rows}<tr><td>different ones</td>"
        f"{''.join(f'<td>{text}</td>' for text in distinct)}<td></td></tr></table>"
    )


def _shares(texts: Sequence[str]) -> defaultdict[str, float]:
    """Word → share of the texts with it; 0 for a word that none has."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(re.findall(r"[^\W\d_]+", text.lower())) - STOP_WORDS)
    return defaultdict(float, {word: n / len(texts) for word, n in counts.items()})


def _meter(share: float) -> str:
    width = round(90 * share)
    return f"<td><span class='meter' style='width:{width}px'></span> {share:.0%}</td>"
