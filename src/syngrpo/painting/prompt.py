"""Turns a description that the policy wrote into the prompt of an image generator.

The description is untrusted text: it is cleaned and shortened, and every class that may not appear
anew is removed from it, because generators tend to paint what a prompt names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from syngrpo.sample import Sample
from syngrpo.tasks import Constraints

DESCRIPTION_LIMIT = 400
"""Characters of a cleaned description; a longer one is cut at a word."""

NAMES_LIMIT = 8
"""Kept classes that a prompt names, at most."""

_TAG = re.compile(r"<[^<>]*>")
_SPACE = re.compile(r"\s+")

ROOM_TYPES = (
    *("kitchen", "bedroom", "bathroom", "living room", "dining room", "children's room", "nursery"),
    *("study", "office", "home office", "library", "hallway", "corridor", "entrance hall", "attic"),
    *("basement", "cellar", "garage", "workshop", "laundry room", "storage room", "gym", "lounge"),
    *("classroom", "meeting room", "waiting room", "hotel room", "restaurant", "conservatory"),
)
"""Room types. When the constraints' phrase names one, all others are removed from a description."""

ALONE = "nothing else stands around"
"""What a prompt says where no further things may be painted."""

_NAMELESS = re.compile(r"(?:^|[,.;:])\s*(?:(?:and|or)\s+)*stands?\s+around\b", re.IGNORECASE)
"""Matches "stand around" where every class before it was removed."""
_KEPT = ". Keep unchanged: "

_DETERMINER = r"(?:an?|the|some|another|one|two|three|four|several|many|few)\b"
_JOINING = r"(?:with|without|of|in|on|at|by|near|behind|beside|under|over|above|and|or|to|from)\b"
_COUNTING = r"(?:an?|another|one|two|three|four|several|many|few)\b"
_FURTHER_THINGS = re.compile(
    rf"(?:(?<=[,.;:])\s*(?:and\s+)?{_COUNTING}[^,.;:]*,)*[^,.;:]*"
    r"\bst(?:ands?|anding|ood)\s+around\b[,.;:]?",
    re.IGNORECASE,
)
"""Matches what stands around, also a list: "two stools, a lamp and a vase stand around"."""
_NOUN_PHRASE = rf"(?:\b{_DETERMINER}\s+(?:(?!{_DETERMINER}|{_JOINING})[\w-]+\s+){{0,3}})?"
"""Matches a determiner and the adjectives up to its noun: the "a big red" of "a big red chair"."""

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
    ("calf", "calves"),
    ("hoof", "hooves"),
    ("cactus", "cacti"),
)


def clean_description(text: str) -> str:
    """Return one line of at most DESCRIPTION_LIMIT characters, without tags and control
    characters."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in text)
    text = _SPACE.sub(" ", _TAG.sub(" ", text)).strip(" .,;:")
    if len(text) <= DESCRIPTION_LIMIT:
        return text
    return (
        text[: DESCRIPTION_LIMIT + 1].rpartition(" ")[0].rstrip(" .,;:")
        or (text[:DESCRIPTION_LIMIT])
    )


def build_prompt(description: str, sample: Sample, constraints: Constraints) -> str:
    """Return the generator's prompt; "" when nothing of the description is left.

    The kept classes are named once, at the end, so that a generator does not paint them again. The
    constraints' phrase, such as "kitchen", comes first; other room types are removed.
    """
    kept = list(dict.fromkeys(sample.objects[index].label for index in constraints.keep))
    forbidden = (*constraints.forbidden_labels, *constraints.forbidden_words, *kept)
    surroundings = strip_classes(clean_description(description), forbidden)
    surroundings = _NAMELESS.sub("", surroundings).strip(" ,.;:")
    if constraints.phrase:
        surroundings = strip_classes(surroundings, _other_room_types(constraints.phrase))
    if not any(character.isalnum() for character in surroundings):
        return ""
    if constraints.phrase:
        surroundings = f"{clean_description(constraints.phrase)}, {surroundings}"
    if not kept:
        return surroundings
    names = ", ".join(clean_description(label) for label in kept[:NAMES_LIMIT])
    return f"{surroundings}{_KEPT}{names}"


def without_further_things(description: str) -> str:
    """Return a description that asks for no further things: its parts that end in "stand around"
    are left out, and ALONE is added. "" if nothing else is left."""
    rest = _SPACE.sub(" ", _FURTHER_THINGS.sub("", description)).strip(" .,;:")
    return f"{rest}, {ALONE}" if rest else ""


def _other_room_types(phrase: str) -> list[str]:
    whole = strip_classes(phrase, ())
    return [name for name in ROOM_TYPES if strip_classes(phrase, (name,)) == whole]


def without_names(prompt: str) -> str:
    """Return a prompt of ``build_prompt`` without the names of the kept objects, for a generator
    that reads every word as a description of the surroundings."""
    surroundings, _, names = prompt.rpartition(_KEPT)
    return surroundings or names


def strip_classes(text: str, labels: Iterable[str]) -> str:
    """Remove class names from a text, in singular or plural, hyphenated or written together,
    and the adjectives between a determiner and such a name."""
    names = {tuple(re.split(r"[\s_-]+", label.strip(" _-").lower())) for label in labels}
    for words in sorted(names - {("",)}, key=lambda words: len("".join(words)), reverse=True):
        start = "".join(re.escape(word) + r"[\s_-]*" for word in words[:-1])
        nouns = "|".join(map(re.escape, sorted(_forms(words[-1]), key=len, reverse=True)))
        pattern = rf"{_NOUN_PHRASE}(?<!\w){start}(?:{nouns})(?!\w)"
        text = re.sub(pattern, " ", text, flags=re.IGNORECASE)
    return re.sub(r"\s+([,.;:])", r"\1", _SPACE.sub(" ", text)).strip(" ,;:")


def _forms(noun: str) -> set[str]:
    """Return the noun, what may be its plurals and, if it looks like a plural, its singulars.

    A form that is no word does no harm. A form that is missing leaves a name in the prompt, and the
    generator may then paint an object that makes a label wrong.
    """
    forms = {noun, noun + "s", noun + "es"}
    for singular, plural in _IRREGULAR:
        for one, other in ((singular, plural), (plural, singular)):
            if noun.endswith(one):  # also bookshelf, snowmen
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
