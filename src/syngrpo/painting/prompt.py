"""From a description the model wrote to the prompt an image generator gets.

The description is untrusted text: it is cleaned, shortened, and loses every class that may not
appear anew, because naming a thing tends to paint one.
"""

from __future__ import annotations

import re
import unicodedata

from syngrpo.painting.class_names import strip_classes
from syngrpo.sample import Sample
from syngrpo.tasks import Constraints

DESCRIPTION_LIMIT = 400
"""Characters of a cleaned description; what is longer is cut at a word."""

NAMES_LIMIT = 8
"""Distinct kept classes that are named; a prompt that lists dozens says nothing."""

_TAG = re.compile(r"<[^<>]*>")
_SPACE = re.compile(r"\s+")

ROOM_TYPES = (
    *("kitchen", "bedroom", "bathroom", "living room", "dining room", "children's room", "nursery"),
    *("study", "office", "home office", "library", "hallway", "corridor", "entrance hall", "attic"),
    *("basement", "cellar", "garage", "workshop", "laundry room", "storage room", "gym", "lounge"),
    *("classroom", "meeting room", "waiting room", "hotel room", "restaurant", "conservatory"),
)
"""A description loses these names where a phrase, such as another of them, has to stay true."""

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


def build_prompt(description: str, sample: Sample, constraints: Constraints) -> str:
    """The generator's prompt; empty when nothing of the description is left.

    The kept classes are named exactly once, at the end, so that a generator does not paint them
    again. The constraint's phrase (say, the room type) comes first, and no other room type is left
    beside it.
    """
    kept = list(dict.fromkeys(sample.objects[index].label for index in constraints.keep))
    forbidden = (*constraints.forbidden_labels, *kept)
    surroundings = strip_classes(clean_description(description), forbidden)
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


def _other_room_types(phrase: str) -> list[str]:
    whole = strip_classes(phrase, ())
    return [name for name in ROOM_TYPES if strip_classes(phrase, (name,)) == whole]


def without_names(prompt: str) -> str:
    """What ``build_prompt`` made, but for the names of the kept objects."""
    surroundings, _, names = prompt.rpartition(_KEPT)
    return surroundings or names
