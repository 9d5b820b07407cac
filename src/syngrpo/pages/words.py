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

FEWEST = 6
"""Fewer descriptions than this at either end say nothing."""
EXAMPLES = 6


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
    """Table of words with their shares, beside examples; "" when there are too few."""
    if min(len(early), len(late)) < FEWEST:
        return ""
    rows = "".join(map(_row, word_shares(early, late)))
    distinct = "".join(f"<td>{len(set(part)):,} of {len(part):,}</td>" for part in (early, late))
    return (
        "<h2>How the descriptions changed</h2>"
        "<p class='lead'>Share of the submitted descriptions that use a word, at the start and "
        "at the end of the run.</p><div class='columns'>"
        "<table><tr><th>word</th><th>early</th><th>late</th><th class='n'>points</th></tr>"
        f"{rows}<tr><td>different ones</td>{distinct}<td></td></tr></table>"
        f"<div>{_examples('Early', early)}{_examples('Late', late)}</div></div>"
    )


def _row(share: WordShare) -> str:
    points = round(100 * (share.late - share.early))
    direction = "up" if points > 0 else "down" if points < 0 else ""
    return (
        f"<tr><td>{escape(share.word)}</td>{_meter(share.early)}{_meter(share.late)}"
        f"<td class='n {direction}'>{points:+d}</td></tr>"
    )


def _examples(title: str, texts: Sequence[str]) -> str:
    """Evenly spaced ones, so that no single step speaks for all."""
    chosen = dict.fromkeys(texts[i * len(texts) // EXAMPLES] for i in range(EXAMPLES))
    items = "".join(f"<li>{escape(text)}</li>" for text in chosen)
    return f"<h3>{title}, for example</h3><ul class='examples'>{items}</ul>"


def _shares(texts: Sequence[str]) -> defaultdict[str, float]:
    """Word → share of the texts with it; 0 for a word that none has."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(re.findall(r"[^\W\d_]+", text.lower())) - STOP_WORDS)
    return defaultdict(float, {word: n / len(texts) for word, n in counts.items()})


def _meter(share: float) -> str:
    width = round(90 * share)
    return f"<td><span class='meter' style='width:{width}px'></span> {share:.0%}</td>"
