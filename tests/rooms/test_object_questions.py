"""Every referring expression fits exactly one thing, as an independent reading of its words
shows."""

from __future__ import annotations

from collections import Counter

import pytest
from rooms_checker import Seen, read

from syngrpo_rooms.dataset import rooms_scene
from syngrpo_rooms.object_questions import KINDS, rec_questions
from syngrpo_rooms.scenes import Scene, sample_scene
from syngrpo_rooms.starter.architecture import vocabulary
from syngrpo_rooms.surroundings import SPLITS


def seen(scene: Scene) -> list[Seen]:
    return [Seen(thing.label, thing.colour, thing.size, thing.box) for thing in scene.things]


def least_margin(phrase: str) -> float:
    if "largest" in phrase or "smallest" in phrase:
        return 0.4 - 1e-9
    return 0.06 if " near " in phrase else 0.08 - 1e-9


@pytest.mark.parametrize("split", SPLITS)
def test_exactly_one_thing_fits(split: str) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(1200):
        scene = sample_scene(split, seed)
        things = seen(scene)
        for question in rec_questions(scene):
            reading = read(question.phrase, things, scene.width, scene.height)
            assert reading.fits == [question.target], (split, seed, question)
            assert reading.margin >= least_margin(question.phrase), (split, seed, question)
            kinds[question.kind] += 1
    assert min(kinds[kind] for kind in KINDS) > 1000


@pytest.mark.parametrize("size", [(128, 128), (224, 160), (100, 180)])
def test_exactly_one_thing_fits_in_rendered_boxes(size: tuple[int, int]) -> None:
    checked = 0
    for seed in range(60):
        scene, rendered = rooms_scene("broad", seed, size)
        things = [
            Seen(thing.label, thing.colour, thing.size, box)
            for thing, box in zip(scene.things, rendered.boxes, strict=True)
        ]
        for question in rec_questions(scene):
            reading = read(question.phrase, things, scene.width, scene.height)
            assert reading.fits == [question.target], (seed, question)
            # Pixels round a box by one at most, areas by what that is of a small thing.
            assert reading.margin >= least_margin(question.phrase) * 0.7, (seed, question)
            checked += 1
    assert checked > 500


def test_the_checker_refuses_a_wrong_target() -> None:
    refused = total = 0
    for seed in range(100):
        scene = sample_scene("broad", seed)
        things = seen(scene)
        for question in rec_questions(scene):
            wrong = (question.target + 1) % len(things)
            total += 1
            refused += read(question.phrase, things, scene.width, scene.height).fits != [wrong]
    assert refused == total > 500


def test_phrases_use_no_more_than_one_word_too_many() -> None:
    for seed in range(300):
        scene = sample_scene("broad", seed)
        things = seen(scene)
        by_target: dict[int, list[str]] = {}
        for question in rec_questions(scene):
            if question.kind == "attribute":
                by_target.setdefault(question.target, []).append(question.phrase)
        for target, phrases in by_target.items():
            lengths = [len(phrase.split()) for phrase in phrases]
            assert max(lengths) <= min(lengths) + 1
            label_alone = read(f"the {things[target].label}", things, 128, 128).fits == [target]
            assert (min(lengths) == 2) == label_alone


def test_every_word_is_in_the_vocabulary() -> None:
    known = set(vocabulary())
    said = {
        word
        for seed in range(500)
        for question in rec_questions(sample_scene("broad", seed))
        for word in question.phrase.split()
    }
    assert said <= known
    assert len(said) > 35
    assert all(word == word.lower() and word.isalpha() for word in known)
