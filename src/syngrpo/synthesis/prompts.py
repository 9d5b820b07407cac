"""From a description the model wrote to the prompt an image generator gets.

The description is untrusted text: it is cleaned, shortened, and loses every class that may not
appear anew, because naming a thing tends to paint one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from syngrpo.sample import Sample
from syngrpo.tasks import Constraints

DESCRIPTION_LIMIT = 400
"""Characters of a cleaned description; what is longer is cut at a word."""

NAMES_LIMIT = 8
"""Distinct kept classes that are named; a prompt that lists dozens says nothing."""

_TAG = re.compile(r"<[^<>]*>")
_SPACE = re.compile(r"\s+")
_DETERMINER = r"(?:an?|the|some|another|one|two|three|four|several|many|few)\b"
_JOINING = r"(?:with|without|of|in|on|at|by|near|behind|beside|under|over|above|and|or|to|from)\b"
_NOUN_PHRASE = rf"(?:\b{_DETERMINER}\s+(?:(?!{_DETERMINER}|{_JOINING})[\w-]+\s+){{0,3}})?"
"""A determiner and what stands between it and its noun: the "a big red" of "a big red chair"."""

_KEPT = ". Keep unchanged: "


def clean_description(text: str) -> str:
    """One line of at most DESCRIPTION_LIMIT characters, without tags and control characters."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in text)
    text = _SPACE.sub(" ", _TAG.sub(" ", text)).strip(" .,;:")
    if len(text) <= DESCRIPTION_LIMIT:
        return text
    return (
        text[: DESCRIPTION_LIMIT + 1].rpartition(" ")[0].rstrip(" .,;:")
        or (text[:DESCRIPTION_LIMIT])
    )


def strip_classes(text: str, labels: Iterable[str]) -> str:
    """``text`` without the given class names, singular or plural, and the adjectives between a
    determiner and such a name."""
    for label in sorted({label.strip().lower() for label in labels}, key=len, reverse=True):
        if label:
            words = r"\s+".join(re.escape(word) for word in label.split())
            pattern = rf"{_NOUN_PHRASE}(?<!\w){words}(?:s|es)?(?!\w)"
            text = re.sub(pattern, " ", text, flags=re.IGNORECASE)
    return re.sub(r"\s+([,.;:])", r"\1", _SPACE.sub(" ", text)).strip(" ,;:")


def build_prompt(description: str, sample: Sample, constraints: Constraints) -> str:
    """The generator's prompt; empty when nothing of the description is left.

    The kept classes are named exactly once, at the end, so that a generator does not paint them
    again; the constraint's phrase (say, the room type) comes first.
    """
    kept = list(dict.fromkeys(sample.objects[index].label for index in constraints.keep))
    forbidden = (*constraints.forbidden_labels, *kept)
    surroundings = strip_classes(clean_description(description), forbidden)
    if not any(character.isalnum() for character in surroundings):
        return ""
    if constraints.phrase:
        surroundings = f"{clean_description(constraints.phrase)}, {surroundings}"
    if not kept:
        return surroundings
    names = ", ".join(clean_description(label) for label in kept[:NAMES_LIMIT])
    return f"{surroundings}{_KEPT}{names}"


def without_names(prompt: str) -> str:
    """What ``build_prompt`` made, but for the names of the kept objects."""
    surroundings, _, names = prompt.rpartition(_KEPT)
    return surroundings or names
