import numpy as np
import pytest

from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.prompt import (
    DESCRIPTION_LIMIT,
    build_prompt,
    clean_description,
    strip_classes,
    without_names,
)
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import Constraints, get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import parse_description, random_description


def sample(*labels: str) -> Sample:
    image = EncodedImage.from_pixels(np.zeros((32, 32, 3), np.uint8))
    objects = tuple(LabelledObject(label, (0, 0, 8, 8)) for label in labels)
    return Sample("s", "rec", image, "the thing", (0, 0, 8, 8), objects)


def test_control_characters_tags_and_line_breaks_go() -> None:
    dirty = "a red\x00 wall\n\n<|image_pad|>\u200b under\u2028warm <b>light</b>\x1b[31m."
    assert clean_description(dirty) == "a red wall under warm light [31m"
    assert clean_description(" .,; \n") == ""


def test_long_descriptions_are_cut_at_a_word() -> None:
    text = clean_description("a wall with tiles " * 200)
    assert len(text) <= DESCRIPTION_LIMIT
    assert set(text.split()) == {"a", "wall", "with", "tiles"}
    assert len(clean_description("x" * 5000)) == DESCRIPTION_LIMIT


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a big red chair near the window", "near the window"),
        ("the wall behind the chair", "the wall behind"),
        ("white wall with two chairs, a rug", "white wall with, a rug"),
        ("Chairs and armchairs and chairlifts", "and armchairs and chairlifts"),
        ("a fire  hydrant by a wall", "by a wall"),
        ("boxes of stone", "of stone"),
    ],
)
def test_forbidden_classes_are_stripped_with_their_adjectives(text: str, left: str) -> None:
    assert strip_classes(text, ["chair", "fire hydrant", "box"]) == left


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("shelf", "two shelves"),
        ("bookshelf", "Bookshelves"),
        ("person", "some people"),
        ("snowman", "three big snowmen"),
        ("berry", "berries"),
        ("bus", "many buses"),
        ("chairs", "a chair"),
        ("couches", "a couch"),
        ("knives", "the knife"),
        ("potted plant", "a potted-plant"),
        ("potted_plant", "several potted plants"),
        ("fire-hydrant", "a fire hydrant"),
        ("cafe (bar)", "a cafe (bar)"),
    ],
)
def test_class_names_are_found_in_every_form(label: str, written: str) -> None:
    assert strip_classes(f"blue wall, {written}, wooden floor", [label]) == (
        "blue wall,, wooden floor"
    )


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("bus", "bushes"),
        ("person", "personal"),
        ("glass", "glasshouse"),
        ("", "a"),
        ("man", "may"),
    ],
)
def test_other_words_stay(label: str, text: str) -> None:
    assert strip_classes(text, [label]) == text


def test_a_kept_class_is_named_exactly_once() -> None:
    thing = sample("cat", "dog", "cat")
    prompt = build_prompt("a cat on a wooden floor", thing, Constraints((0, 1, 2), ("cat", "dog")))
    assert prompt.count("cat") == 1
    assert prompt.count("dog") == 1
    assert "wooden floor" in prompt
    assert without_names(prompt) == "on a wooden floor"


def test_the_phrase_of_the_task_is_honoured() -> None:
    prompt = build_prompt("blue walls", sample("cat"), Constraints((0,), (), "a kitchen"))
    assert prompt.startswith("a kitchen, blue walls")


def test_no_other_room_type_is_left_beside_the_phrase() -> None:
    described = "a cosy bedroom with striped blue walls, kitchen tiles, as in garages"
    kitchen = build_prompt(described, sample("cat"), Constraints((0,), (), "kitchen"))
    assert without_names(kitchen) == "kitchen, with striped blue walls, kitchen tiles, as in"
    assert parse_description(without_names(kitchen)).room == "kitchen"
    unknown = build_prompt(described, sample("cat"), Constraints((0,), (), "Sauna"))
    assert without_names(unknown) == "Sauna, with striped blue walls, tiles, as in"
    free = build_prompt(described, sample("cat"), Constraints((0,), ()))
    assert without_names(free) == described
    only = Constraints((0,), (), "kitchen")
    assert build_prompt("a large bedroom", sample("cat"), only) == ""


def test_absent_classes_asked_for_are_not_named() -> None:
    constraints = Constraints((0,), ("cat", "fire hydrant", "shelf"))
    prompt = build_prompt("a shelf, two fire hydrants, brick wall", sample("cat"), constraints)
    assert "hydrant" not in prompt and "shel" not in prompt and "brick wall" in prompt


@pytest.mark.parametrize(
    "described, left",
    [
        ("blue walls, two cats stand around, a rug", "blue walls, a rug"),
        ("two cats and a cat stand around, a rug", "a rug"),
        ("two cats and a lamp stand around, a rug", "and a lamp stand around, a rug"),
        ("a cat stands around.", ""),
    ],
)
def test_no_things_are_asked_for_where_all_their_classes_were_removed(
    described: str, left: str
) -> None:
    prompt = build_prompt(described, sample("cat"), Constraints((0,), ("cat",)))
    assert prompt == (f"{left}. Keep unchanged: cat" if left else "")


@pytest.mark.parametrize("text", ["", "cat", " a cat, the cat. ", "<scene></scene>", "\x00\x01"])
def test_a_description_that_says_nothing_gives_no_prompt(text: str) -> None:
    assert build_prompt(text, sample("cat"), Constraints((0,), ("cat",))) == ""


def test_rooms_hears_the_description_and_not_the_names() -> None:
    rng = np.random.default_rng(0)
    constraints = get_task("rec").constraints
    for thing in rooms_samples("train", 20):
        description = random_description(rng)
        prompt = build_prompt(description, thing, constraints(thing))
        assert parse_description(without_names(prompt)) == parse_description(description)
    # Labels whose words mean something to rooms must not colour the room.
    rooms, keep = make_generator("rooms"), np.zeros((64, 64), bool)
    pictures = []
    for label in ("cat", "striped red wallpaper poster", "blue books"):
        prompt = build_prompt("grey wooden floor", sample(label), Constraints((0,), (label,)))
        request = GenerationRequest(np.zeros((64, 64, 3), np.uint8), keep, prompt, 3, (64, 64))
        pictures.append(rooms.generate([request])[0])
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()


def test_an_unknown_generator_is_one_line() -> None:
    with pytest.raises(InputError, match=r"generator 'rom' is unknown; use one of noop, diffusers"):
        make_generator("rom")
    with pytest.raises(InputError, match="cannot be imported"):
        make_generator("no_such_package:Thing")
    assert make_generator("synthesis_generators:Slow").fingerprint == "slow"
