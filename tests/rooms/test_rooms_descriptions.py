"""Descriptions are read back as written, and the generator paints what they say."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo_rooms.descriptions import describe, parse_description, random_description
from syngrpo_rooms.generator import RoomsGenerator
from syngrpo_rooms.palette import ROOM_COLOURS
from syngrpo_rooms.starter.architecture import vocabulary
from syngrpo_rooms.surroundings import (
    BROAD,
    COLOURS,
    DEV,
    OOD,
    ROOMS,
    Surroundings,
    sample_surroundings,
)

ALLOWED: dict[str, tuple[str, ...]] = {
    "room": ROOMS,
    "wall_colour": COLOURS,
    "wall_pattern": BROAD.wall_patterns,
    "wall_accent": COLOURS,
    "floor_colour": COLOURS,
    "floor_material": BROAD.floor_materials,
    "rug_colour": COLOURS,
    "rug_pattern": BROAD.rug_patterns,
    "window": BROAD.windows,
    "light": BROAD.lights,
    "clutter": BROAD.clutter,
    "clutter_colour": COLOURS,
    "clutter_amount": ("few", "many"),
}


@dataclass(frozen=True)
class Request:
    prompt: str
    seed: int = 0
    size: tuple[int, int] = (128, 128)
    keep: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.keep is None:
            object.__setattr__(self, "keep", np.zeros(self.size[::-1], dtype=bool))


def paint(prompt: str, seed: int = 0) -> np.ndarray:
    return RoomsGenerator().generate([Request(prompt, seed)])[0]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_descriptions_read_back_as_what_they_describe() -> None:
    rng = np.random.default_rng(0)
    said: dict[str, int] = {}
    for _ in range(1500):
        room = sample_surroundings("broad", rng)
        text = describe(room, rng)
        assert 5 <= len(text.split()) <= 14
        read = {name: value for name, value in asdict(parse_description(text)).items() if value}
        for name, value in read.items():
            assert value == getattr(room, name), text
            said[name] = said.get(name, 0) + 1
        assert {"wall_colour", "floor_colour", "floor_material"} <= read.keys()
    assert said.keys() == {f.name for f in fields(Surroundings)}
    assert min(said.values()) > 50


def test_free_text_is_understood() -> None:
    room = parse_description(
        "Striped GREEN wallpaper, dark wood floor; a red rug and scattered leaves under warm light."
    )
    assert (room.wall_pattern, room.wall_colour) == ("striped", "green")
    assert (room.floor_material, room.rug_colour) == ("wood", "red")
    assert (room.clutter, room.clutter_amount, room.light) == ("leaves", "many", "warm")
    room = parse_description("red and white checkered walls with a navy carpet in gloomy light")
    assert (room.wall_colour, room.wall_accent, room.wall_pattern) == ("red", "white", "checked")
    assert (room.floor_colour, room.floor_material, room.light) == ("blue", "carpet", "dim")
    room = parse_description("a yellow wall behind the large purple chair, with the pink sofa")
    assert (room.wall_colour, room.wall_accent, room.rug_colour) == ("yellow", "purple", None)
    assert parse_description("a spaceship full of tigers!") == Surroundings()


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=120),
        st.lists(st.sampled_from([*vocabulary(), ",", "and", "zebra", "", ";"]), max_size=16).map(
            " ".join
        ),
    )
)
def test_no_text_raises_or_asks_for_reserved_surroundings(text: str) -> None:
    for name, value in asdict(parse_description(text)).items():
        assert value is None or value in ALLOWED[name]


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("a kitchen, striped red walls", "kitchen"),
        ("Red walls in a small KITCHENETTE", "kitchen"),
        ("bath with white tiles", "bathroom"),
        ("an evening window in the study", "office"),
        ("garage; concrete floor", "workshop"),
        ("green gym walls", "gym"),
        ("kitchen, a bathroom with brown wood floor, gym", "kitchen"),
        ("the large red chair stands on a gym mat of the office", "gym"),
        ("a gymnast in the kitchens", None),
    ],
)
def test_the_first_word_for_a_room_names_it(text: str, room: str | None) -> None:
    assert parse_description(text).room == room


def test_four_of_five_descriptions_name_the_room() -> None:
    rng = np.random.default_rng(2)
    plain = sample_surroundings("broad", rng)
    for room in ROOMS:
        texts = [describe(replace(plain, room=room), rng) for _ in range(400)]
        named = [text for text in texts if room in text]
        assert 0.72 < len(named) / len(texts) < 0.88
        assert all(text.split(",")[0] in (f"a {room}", f"an {room}") for text in named)
    for none in ("none", None):
        texts = [describe(replace(plain, room=none), rng) for _ in range(50)]
        assert not any(room in text for text in texts for room in ROOMS)


def test_reserved_words_mean_nothing() -> None:
    for words in (OOD, DEV):
        parts = {
            "wall_pattern": [f"{word} wall" for word in words.wall_patterns],
            "floor_material": [f"{word} floor" for word in words.floor_materials],
            "light": [f"{word} light" for word in words.lights],
            "clutter": [f"many {word}" for word in words.clutter],
        }
        for name, texts in parts.items():
            for text in texts:
                assert getattr(parse_description(text), name) is None
        with pytest.raises(KeyError):
            describe(Surroundings(wall_pattern=words.wall_patterns[0]), np.random.default_rng(0))


def test_every_described_word_is_in_the_vocabulary() -> None:
    rng, known = np.random.default_rng(1), set(vocabulary())
    texts = [random_description(rng) for _ in range(800)]
    assert {word for text in texts for word in text.replace(",", "").split()} <= known
    assert len(set(texts)) > 750


def test_the_same_request_gives_the_same_picture() -> None:
    prompt = "blue dotted wallpaper, brown wood floor, a few red toys"
    assert np.array_equal(paint(prompt, 3), paint(prompt, 3))
    assert difference(paint(prompt, 3), paint(prompt, 4)) > 2
    requests = [Request(prompt, 1), Request(prompt, 2)]
    batch = RoomsGenerator().generate(requests)
    assert np.array_equal(batch[1], RoomsGenerator().generate(requests[1:])[0])


BASE = "white plain walls, brown wood floor, daylight"


@pytest.mark.parametrize(
    "changed",
    [
        "red plain walls, brown wood floor, daylight",
        "white and blue striped walls, brown wood floor, daylight",
        "white plain walls, green tile floor, daylight",
        "white plain walls, brown wood floor, dim light",
        "white plain walls, brown wood floor, dazzling glare",
        "white plain walls, brown wood floor, daylight, a blue rug",
        "white plain walls, brown wood floor, daylight, a night window",
        "white plain walls, brown wood floor, daylight, many red toys",
        *(f"a {room}, white plain walls, brown wood floor, daylight" for room in ROOMS),
    ],
)
def test_the_picture_follows_the_description(changed: str) -> None:
    assert difference(paint(BASE), paint(changed)) > 0.8
    assert difference(paint(BASE), paint(BASE + " zebra")) == 0


@pytest.mark.parametrize("colour", ["red", "yellow", "green", "blue", "purple", "teal", "black"])
def test_walls_and_floors_have_the_asked_colour(colour: str) -> None:
    names, palette = list(ROOM_COLOURS), np.asarray(list(ROOM_COLOURS.values()))
    picture = paint(f"plain {colour} wall, {colour} carpet")
    for region in (picture[10:50], picture[90:120]):
        distance = np.abs(palette - region.reshape(-1, 3).mean(axis=0)).sum(axis=1)
        assert names[int(distance.argmin())] == colour


def test_kept_objects_cast_a_shadow_under_them_only() -> None:
    keep = np.zeros((128, 128), dtype=bool)
    keep[60:100, 40:70] = True
    with_shadow = RoomsGenerator().generate([Request(BASE, keep=keep)])[0].astype(int)
    darker = paint(BASE).astype(int).sum(axis=2) - with_shadow.sum(axis=2)
    assert darker[101:104, 45:65].min() > 30
    assert np.abs(darker[:55]).max() == np.abs(darker[115:]).max() == 0
    assert np.abs(darker[keep]).max() == 0


def test_a_keep_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="keep mask has shape"):
        RoomsGenerator().generate([Request(BASE, keep=np.zeros((64, 128), dtype=bool))])
