"""Finding class names in free text, however they are written: singular, plural, hyphenated."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPACE = re.compile(r"\s+")
_DETERMINER = r"(?:an?|the|some|another|one|two|three|four|several|many|few)\b"
_JOINING = r"(?:with|without|of|in|on|at|by|near|behind|beside|under|over|above|and|or|to|from)\b"
_NOUN_PHRASE = rf"(?:\b{_DETERMINER}\s+(?:(?!{_DETERMINER}|{_JOINING})[\w-]+\s+){{0,3}})?"
"""A determiner and what stands between it and its noun: the "a big red" of "a big red chair"."""

_IRREGULAR = (
    ("person", "people"),
    ("child", "children"),
    ("mouse", "mice"),
    ("goose", "geese"),
    ("tooth", "teeth"),
    ("foot", "feet"),
    ("woman", "women"),
    ("man", "men"),
    ("leaf", "leaves"),
    ("loaf", "loaves"),
    ("shelf", "shelves"),
    ("knife", "knives"),
    ("scarf", "scarves"),
    ("wolf", "wolves"),
)


def strip_classes(text: str, labels: Iterable[str]) -> str:
    """``text`` without the given class names, singular or plural, and the adjectives between a
    determiner and such a name."""
    names = {tuple(re.split(r"[\s_-]+", label.strip(" _-").lower())) for label in labels}
    for words in sorted(names - {("",)}, key=lambda words: len("".join(words)), reverse=True):
        start = "".join(re.escape(word) + r"[\s_-]+" for word in words[:-1])
        nouns = "|".join(map(re.escape, sorted(_forms(words[-1]), key=len, reverse=True)))
        pattern = rf"{_NOUN_PHRASE}(?<!\w){start}(?:{nouns})(?!\w)"
        text = re.sub(pattern, " ", text, flags=re.IGNORECASE)
    return re.sub(r"\s+([,.;:])", r"\1", _SPACE.sub(" ", text)).strip(" ,;:")


def _forms(noun: str) -> set[str]:
    """The noun, what may be its plurals, and where it looks like one, what may be its singular.

    Rather a form too many: a name that stays may paint a thing that makes a label false.
    """
    forms = {noun, noun + "s", noun + "es"}
    for singular, plural in _IRREGULAR:
        for one, other in ((singular, plural), (plural, singular)):
            if noun.endswith(one):  # bookshelf, snowmen
                forms.add(noun.removesuffix(one) + other)
    if re.search(r"[^aeiou]y$", noun):
        forms.add(noun[:-1] + "ies")
    if noun.endswith("ies"):
        forms.add(noun[:-3] + "y")
    if re.search(r"(?:s|x|z|ch|sh|o)es$", noun):
        forms.add(noun[:-2])
    if re.search(r"[^su]s$", noun):
        forms.add(noun[:-1])
    return forms
