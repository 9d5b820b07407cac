"""The language of descriptions: their words, and the limits beyond which a text is no language.

Nothing but the KL term and these limits keeps a description readable: it costs the answer no
accuracy to write too much, the same words again, or stray bytes. ``response.parse_response`` calls
``WordingLimits.fault`` for every response of a training step. A description with a fault is not
well formed, so it is not painted and its response gets the format reward 0.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Fault = Literal["too_long", "repetitive", "garbled"]

FAULTS: tuple[Fault, ...] = ("too_long", "repetitive", "garbled")

SEQUENCE = 3
"""Number of words in a sequence that counts as repeated."""

_WORD = re.compile(r"\w+")
_LAYOUT = "\n\r\t"


@dataclass(frozen=True)
class WordingLimits:
    """The section ``method`` has these as options. None switches a limit off.

    ``max_words``: number of words. ``max_repetition``: share of words that are repeats.
    ``max_garbled``: share of characters that belong to no written language.
    """

    max_words: int | None = None
    max_repetition: float | None = None
    max_garbled: float | None = None

    def fault(self, description: str) -> Fault | None:
        """Return the first limit that a description is beyond, None if it keeps to all."""
        words = words_of(description)
        if self.max_garbled is not None and garbled(description) > self.max_garbled:
            return "garbled"
        if self.max_words is not None and len(words) > self.max_words:
            return "too_long"
        if self.max_repetition is not None and repetition(words) > self.max_repetition:
            return "repetitive"
        return None


NO_LIMITS = WordingLimits()


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters and digits."""
    return _WORD.findall(text.casefold())


def repetition(words: Sequence[str]) -> float:
    """Return the share of words that are repeats, in [0, 1].

    A word is a repeat if it and the two words before it occurred in this order earlier in the text.
    "A red chair, a red table, a red lamp" has none.
    """
    seen: set[tuple[str, ...]] = set()
    repeats = 0
    for end in range(SEQUENCE, len(words) + 1):
        sequence = tuple(words[end - SEQUENCE : end])
        repeats += sequence in seen
        seen.add(sequence)
    return repeats / len(words) if words else 0.0


def distinct_words(texts: Iterable[str]) -> float | None:
    """Return the share of different words among all words of the texts; None without words."""
    words = [word for text in texts for word in words_of(text)]
    return len(set(words)) / len(words) if words else None


def garbled(text: str) -> float:
    """Return the share of characters that are no letters, digits, punctuation or spaces, in [0, 1].

    Letters are those of any script, with their accents; signs of money and of arithmetic count as
    punctuation. What is left are control characters, pictures such as emoji, and the replacement
    character that stands for bytes which are no text.
    """
    return sum(map(_is_garbled, text)) / len(text) if text else 0.0


def _is_garbled(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind == "So" or (kind.startswith("C") and character not in _LAYOUT)
