"""What descriptions say about the view and the light is read, carried out and left out."""

import numpy as np
import pytest

from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.prompt import without_further_things
from syngrpo.painting.wishes import AXES, SPREAD, VIEW_AXES, read_wishes
from syngrpo_rooms.dataset import rooms_samples


def levels(text):
    return dict(read_wishes(text).levels)


@pytest.mark.parametrize("name", list(AXES))
def test_the_first_phrase_of_every_level_asks_for_it(name):
    for level in AXES[name].levels:
        wishes = read_wishes(f"a stone hall, {level.name.replace('close-?up', 'close up')}, a rug")
        assert wishes.levels == {name: level.value}
        assert wishes.rest == "a stone hall, a rug"


@pytest.mark.parametrize(
    ("text", "found", "rest"),
    [
        ("dark green walls, bright red carpet", {}, "dark green walls, bright red carpet"),
        ("a dark room", {"darkness": 1.0}, "a"),
        ("almost dark", {"darkness": 1.0}, ""),
        ("half dark and in haze", {"darkness": 0.5, "haze": 0.5}, ""),
        ("Seen CLOSE UP, then far away", {"distance": 0.0}, "then"),
        ("a street at night in thick fog", {"darkness": 1.0, "haze": 1.0}, "a street"),
        ("in the left corner of a hall", {"place": 0.0}, "a hall"),
        ("a sharp knife, a clear glass", {}, "a sharp knife, a clear glass"),
        ("smoke-grey walls, a night-blue rug", {}, "smoke-grey walls, a night-blue rug"),
        ("half-dark, brightly-lit", {"darkness": 0.5}, ""),
        ("a field without any fog", {"haze": 0.0}, "a field"),
        ("a street, no haze, far-off", {"haze": 0.0, "distance": 1.0}, "a street"),
        ("a beach with no clouds, not dark", {"darkness": 0.0}, "a beach with no clouds"),
        ("a hall, no longer almost dark", {"darkness": 0.0}, "a hall"),
        ("neither dark nor foggy, a hall", {"darkness": 0.0, "haze": 0.0}, "a hall"),
        ("not in a gloomy room, not blurred", {"darkness": 0.0, "blur": 0.0}, ""),
        ("not far away, not out of focus", {"distance": 0.0, "blur": 0.0}, ""),
        ("a cellar without daylight", {"darkness": 1.0}, "a cellar"),
        ("a hall, not too bright, not close-up", {"darkness": 0.5, "distance": 0.5}, "a hall"),
        ("no dark walls, not near a window", {}, "no dark walls, not near a window"),
        ("not dark or foggy", {"darkness": 0.0, "haze": 0.0}, ""),
        ("a hall without glare or fog", {"glare": 0.0, "haze": 0.0}, "a hall"),
        (
            "without fog or glare, not close-up or blurred",
            {"glare": 0.0, "haze": 0.0, "distance": 0.5, "blur": 0.0},
            "",
        ),
        ("a hall, no light mist", {"haze": 0.0}, "a hall"),
        ("a hall, not at dusk", {"darkness": 0.0}, "a hall"),
        ("without twilight, not from the doorway", {"darkness": 0.0, "distance": 0.0}, ""),
        ("a hall, not midway, no warm light", {"distance": 0.5, "cast": 0.0}, "a hall"),
        ("", {}, ""),
    ],
)
def test_wishes_in_free_text(text, found, rest):
    wishes = read_wishes(text)
    assert dict(wishes.levels) == found
    assert wishes.rest == rest


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("red walls, two stools and a lamp stand around", "red walls"),
        ("a brick hall, two stools, a lamp and a vase stand around", "a brick hall"),
        ("a brick hall, at night, a lamp, two stools standing around", "a brick hall, at night"),
        ("a barn, the floor of stone, two stools stand around", "a barn, the floor of stone"),
        ("a kitchen, some light fog, a stool stands around", "a kitchen, some light fog"),
        ("red walls. A lamp Stands  around; oak floor", "red walls. oak floor"),
        ("red walls, nothing else stands around", "red walls"),
        ("red walls", "red walls"),
    ],
)
def test_further_things_can_be_switched_off(text, rest):
    assert without_further_things(text) == f"{rest}, nothing else stands around"
    assert without_further_things("boulders stand around.") == ""


def test_only_the_axes_asked_for_are_read_and_removed():
    wishes = read_wishes("a hall, far away, almost dark", VIEW_AXES)
    assert dict(wishes.levels) == {"distance": 1.0}
    assert wishes.rest == "a hall, almost dark"


def test_what_is_not_said_is_drawn_over_the_whole_range():
    wishes = read_wishes("a hall, midway")
    drawn = [wishes.drawn(seed) for seed in range(600)]
    assert drawn == [wishes.drawn(seed) for seed in range(600)]
    assert all(abs(one["distance"] - 0.5) <= SPREAD for one in drawn)
    for name in ("place", "darkness", "haze"):
        values = np.array([one[name] for one in drawn])
        near = [float((abs(values - level) <= SPREAD).mean()) for level in (0, 0.5, 1)]
        assert all(0.27 < share < 0.4 for share in near) and sum(near) == pytest.approx(1)
    for name in ("glare", "blur", "grain"):
        assert 0.05 < np.mean([one[name] > 0 for one in drawn]) < 0.25


def test_one_wish_does_not_change_the_others():
    with_it, without = read_wishes("a hall, almost dark"), read_wishes("a hall")
    for seed in range(20):
        first, second = with_it.drawn(seed), without.drawn(seed)
        assert {k: v for k, v in first.items() if k != "darkness"} == {
            k: v for k, v in second.items() if k != "darkness"
        }


def test_the_describer_of_photographs_says_wishes_that_are_read():
    (sample,) = rooms_samples("train", 1)
    describer, rng = DESCRIBERS.load("photographs"), np.random.default_rng(0)
    said = [levels(describer.describe(sample, rng)) for _ in range(300)]
    for name in ("distance", "place", "darkness", "haze"):
        found = [one[name] for one in said if name in one]
        assert 0.7 < len(found) / 300 < 0.9
        assert all(0.2 < found.count(x) / len(found) < 0.47 for x in (0.0, 0.5, 1.0))
