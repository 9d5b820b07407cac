"""Random descriptions of surroundings: where they come from, and what they may say."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.describers import photographs as vocabulary
from syngrpo.painting.describers.photographs import PhotographDescriber, PlaceKind, place_kinds
from syngrpo.painting.prompt import build_prompt, clean_description, strip_classes
from syngrpo.sample import InputError, LabelledObject, Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples

(SAMPLE,) = rooms_samples("train", 1)
COCO_NOUNS = """person bicycle car motorcycle airplane bus train truck boat light hydrant sign meter
    bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie
    suitcase frisbee skis snowboard ball kite bat glove skateboard surfboard racket bottle glass cup
    fork knife spoon bowl banana apple sandwich orange broccoli carrot pizza donut cake chair couch
    plant bed table toilet tv laptop mouse remote keyboard phone microwave oven toaster sink
    refrigerator book clock vase scissors drier toothbrush"""
AXES = {
    name: getattr(vocabulary, name)
    for name in ("DISTANCES", "POSITIONS", "BRIGHTNESSES", "AIRS", "RARER")
}
WISH_WORDS = """close midway far distance distant doorway left middle centre right bright brightly
    lit dark dim sunlit dusk night clear haze hazy mist fog glare glaring warm cold cool focus
    blurred grainy grain"""
"""Words of the axes and their relatives that no other part of a description may use."""


def described(count: int, seed: int = 0) -> list[str]:
    describer, rng = PhotographDescriber(), np.random.default_rng(seed)
    return [describer.describe(SAMPLE, rng) for _ in range(count)]


def surroundings(kind: PlaceKind) -> list[str]:
    """All phrases of a kind of places, its further things left out."""
    return [*kind.places, *(phrase for part in kind.parts for phrase in part)]


def said(text: str, axis: str) -> int | None:
    """The number of the value of an axis that a description says."""
    found = [
        number
        for number, phrases in enumerate(AXES[axis])
        if any(re.search(rf"\b{phrase}\b", text) for phrase in phrases)
    ]
    assert len(found) <= 1, text
    return found[0] if found else None


def test_the_same_seed_writes_the_same_and_texts_differ() -> None:
    assert described(20) == described(20)
    assert described(20) != described(20, seed=1)
    assert len(set(described(500))) > 490


def test_there_are_many_places_and_none_is_listed_twice() -> None:
    places = [place for kind in place_kinds() for place in kind.places]
    assert len(places) == len(set(places)) >= 300
    assert all(re.match("an? [A-Za-z]", place) for place in places)
    assert len({thing for kind in place_kinds() for thing in kind.things}) >= 80
    for kind in place_kinds():
        for phrases in (*kind.parts, kind.things):
            assert len(phrases) == len(set(phrases)) >= 7


def test_every_place_and_every_phrase_is_used() -> None:
    texts = described(8000)
    assert {text.split(",")[0] for text in texts} == {
        place for kind in place_kinds() for place in kind.places
    }
    everything = ", ".join(texts)
    assert all(phrase in everything for kind in place_kinds() for phrase in surroundings(kind))
    assert all(phrase in everything for axis in AXES.values() for value in axis for phrase in value)
    assert all(f" {noun}" in everything for kind in place_kinds() for noun in kind.things)


def test_axes_are_said_in_four_of_five_descriptions_independently_and_all_values_equally() -> None:
    texts = described(8000)
    values = {axis: np.array([said(text, axis) for text in texts], object) for axis in AXES}
    for axis, numbers in values.items():
        spoken = [number for number in numbers if number is not None]
        share = vocabulary.RARER_SHARE if axis == "RARER" else 0.8
        assert len(spoken) / len(texts) == pytest.approx(share, abs=0.02)
        equal = 1 / len(AXES[axis])
        for count in (counts := Counter(spoken)).values():
            assert count / len(spoken) == pytest.approx(equal, abs=0.04)
        assert len(counts) == len(AXES[axis])
    values.pop("RARER")
    for one, other in combinations(values.values(), 2):
        table = Counter(zip(one, other, strict=True))
        assert len(table) == 16
        for (a, b), count in table.items():
            expected = (0.2 if a is None else 0.8 / 3) * (0.2 if b is None else 0.8 / 3)
            assert count / len(texts) == pytest.approx(expected, abs=0.015)


def test_now_and_then_one_to_four_further_things_stand_around() -> None:
    texts = described(4000)
    things = [text.rsplit(", ", 1)[1] for text in texts if re.search(r" stands? around$", text)]
    assert len(things) / len(texts) == pytest.approx(vocabulary.THINGS_SHARE, abs=0.02)
    amounts = [
        sum({"a": 1, "an": 1, "two": 2}.get(word, 0) for word in thing.split()) for thing in things
    ]
    assert set(amounts) == {1, 2, 3, 4}
    for thing, amount in zip(things, amounts, strict=True):
        assert thing.endswith("stands around") == (amount == 1)


def test_nouns_of_things_take_an_s_in_the_plural() -> None:
    nouns = {noun for kind in place_kinds() for noun in kind.things}
    assert all(re.fullmatch("[a-z]+", noun) for noun in nouns)
    assert not [noun for noun in nouns if re.search("(s|x|z|ch|sh|[^aeiou]y|fe?)$", noun)]


def test_descriptions_have_10_to_35_printable_words() -> None:
    def longest(*phrases: str) -> int:
        return max(len(phrase.split()) for phrase in phrases)

    asked = sum(longest(*(p for value in axis for p in value)) for axis in AXES.values())
    asked += longest("two lamps and two chairs stand around")
    for kind in place_kinds():
        parts = (kind.places, *kind.parts)
        assert sum(min(len(phrase.split()) for phrase in part) for part in parts) >= 10
        assert sum(longest(*part) for part in parts) + asked <= 35
    for text in described(1000):
        assert text.isprintable() and clean_description(text) == text
        assert 10 <= len(text.split()) <= 35


def test_places_and_their_materials_name_no_things_and_say_nothing_of_the_axes() -> None:
    for kind in place_kinds():
        words = set(re.findall("[a-z]+", " ".join(surroundings(kind)).lower()))
        assert words & set(COCO_NOUNS.split()) <= {"light", "glass"}
        assert not words & set(WISH_WORDS.split())
        assert not set(kind.things) & set(WISH_WORDS.split())


def test_descriptions_are_prompts_without_any_labelled_class() -> None:
    nouns = sorted(
        {noun for kind in place_kinds() for noun in kind.things} | set(COCO_NOUNS.split())
    )
    forms = {form for noun in nouns for form in (noun, noun + "s")}
    for text in described(500):
        assert set(re.findall("[a-z]+", strip_classes(text, nouns))).isdisjoint(forms)
        named = [noun for noun in nouns if re.search(rf"\b{noun}s?\b", text)] or ["zebra"]
        objects = tuple(LabelledObject(noun, (0, 0, 9, 9)) for noun in named)
        sample = replace(SAMPLE, objects=objects)
        prompt = build_prompt(text, sample, get_task("rec").constraints(sample))
        painted, kept = prompt.split(". Keep unchanged: ")
        assert len(painted.split(", ")) >= 3 and kept == ", ".join(named[:8])
        assert not [noun for noun in named if re.search(rf"\b{noun}s?\b", painted)]


def test_describers_are_found_by_name_and_of_the_user() -> None:
    assert isinstance(DESCRIBERS.load("photographs"), PhotographDescriber)
    assert "rooms" in DESCRIBERS.names()
    mine = DESCRIBERS.load(f"{__name__}:Terse")
    assert mine.describe(SAMPLE, np.random.default_rng(0)) == "fog"
    with pytest.raises(InputError, match="describer 'fotos' is unknown; use one of photographs"):
        DESCRIBERS.load("fotos")


class Terse:
    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        return "fog"
