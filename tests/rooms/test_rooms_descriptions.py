"""Descriptions are read back as written, and the generator paints what they say."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.boxes import Similarity
from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.generators.base import GenerationRequest, NothingKnown
from syngrpo.painting.painter import PLAIN
from syngrpo.painting.prompt import ALONE as NOTHING
from syngrpo.painting.wishes import AXES, read_wishes
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.decoys import (
    allowed_classes,
    place_decoys,
    read_decoys,
    write_decoys,
)
from syngrpo_rooms.descriptions import (
    MAIN,
    NEUTRAL,
    RARE,
    TUNED,
    WHOLE_RANGE,
    describe,
    description_words,
    parse_description,
    random_description,
)
from syngrpo_rooms.generator import RoomsGenerator, decoys_of, view_of
from syngrpo_rooms.palette import ROOM_COLOURS
from syngrpo_rooms.scenes import FLOOR_HEAD, LABELS, WALL_FOOT, WALL_LABELS, RoomView
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


ALONE = ", nothing else stands around"


def request(
    prompt: str, seed: int = 0, keep: np.ndarray | None = None, **more
) -> GenerationRequest:
    blank = np.zeros((128, 128, 3), dtype=np.uint8)
    keep = np.zeros((128, 128), dtype=bool) if keep is None else keep
    return GenerationRequest(blank, keep, prompt, seed, (128, 128), **more)


def paint(prompt: str, seed: int = 0, **more) -> np.ndarray:
    return RoomsGenerator().generate([request(prompt, seed, **more)])[0]


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
    assert (room.wall_colour, room.wall_accent, room.rug_colour) == (
        "yellow",
        None,
        None,
    )  # a thing has its own colours
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
    requests = [request(prompt, 1), request(prompt, 2)]
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
    picture = paint(f"plain {colour} wall, {colour} carpet{ALONE}")
    for region in (picture[10:50], picture[90:120]):
        distance = np.abs(palette - region.reshape(-1, 3).mean(axis=0)).sum(axis=1)
        assert names[int(distance.argmin())] == colour


def test_kept_objects_cast_a_shadow_under_them_only() -> None:
    keep = np.zeros((128, 128), dtype=bool)
    keep[60:100, 40:70] = True
    with_shadow = paint(BASE + ALONE, keep=keep).astype(int)
    darker = paint(BASE + ALONE).astype(int).sum(axis=2) - with_shadow.sum(axis=2)
    assert darker[101:104, 45:65].min() > 30
    assert np.abs(darker[:55]).max() == np.abs(darker[115:]).max() == 0
    assert np.abs(darker[keep]).max() == 0


def test_a_keep_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="keep mask has shape"):
        paint(BASE, keep=np.zeros((64, 128), dtype=bool))


def read_back(text: str) -> dict[str, str]:
    """What is left of the text for the room when its wishes have been carried out."""
    return {k: v for k, v in asdict(parse_description(read_wishes(text).rest)).items() if v}


def test_random_descriptions_say_every_level_equally_often() -> None:
    rng = np.random.default_rng(4)
    texts = [random_description(rng) for _ in range(3000)]
    assert max(len(text.split()) for text in texts) <= 30
    asked = [read_wishes(text).levels for text in texts]
    for name in MAIN:
        said = [levels[name] for levels in asked if name in levels]
        assert 0.77 < len(said) / len(texts) < 0.83
        for level in AXES[name].levels:
            assert 0.30 < said.count(level.value) / len(said) < 0.37
    for name in RARE:
        said = [levels[name] for levels in asked if name in levels]
        assert 0.12 < len(said) / len(texts) < 0.18
        assert 0.0 not in said
    counts = [len(kinds) for text in texts if (kinds := read_decoys(text)[0]) is not None]
    assert 0.77 < len(counts) / len(texts) < 0.83
    assert all(0.30 < counts.count(n) / len(counts) < 0.37 for n in (0, 2, 5))
    firsts = {text.split(",")[0] for text in texts}
    assert {"far away", "on the left", NOTHING, "a kitchen"} <= firsts, "in any order"


@pytest.mark.parametrize("asking", [WHOLE_RANGE, NEUTRAL, TUNED])
def test_what_is_said_besides_the_room_is_not_read_as_the_room(asking) -> None:
    rng = np.random.default_rng(5)
    known = description_words()
    for _ in range(500):
        text = random_description(rng, asking)
        assert set(text.replace(",", "").split()) <= known
        phrases = {level.name for axis in AXES.values() for level in axis.levels}
        parts = [p for p in text.split(", ") if p not in phrases and "around" not in p]
        alone = {k: v for k, v in asdict(parse_description(", ".join(parts))).items() if v}
        assert read_back(text) == alone
        unlit = {k: v for k, v in asdict(parse_description(text)).items() if v and k != "light"}
        assert unlit == {k: v for k, v in alone.items() if k != "light"}
        assert {"wall_colour", "floor_colour", "floor_material"} <= alone.keys()


def test_further_describers_narrow_the_range() -> None:
    (sample,) = rooms_samples("train", 1)
    for name, levels in (("NeutralDescriber", {0.0}), ("TunedDescriber", {0.0, 0.5})):
        describer = DESCRIBERS.load(f"syngrpo_rooms.descriptions:{name}")
        rng, found = np.random.default_rng(6), {}
        for _ in range(100):
            for axis, value in read_wishes(describer.describe(sample, rng)).levels.items():
                found.setdefault(axis, set()).add(value)
        assert found["distance"] == found["darkness"] == found["haze"] == levels
        assert found["place"] == ({0.5} if levels == {0.0} else {0.0, 0.5, 1.0})
        if levels == {0.0}:
            assert all(found[axis] == {0.0} for axis in RARE)


LAMP, RED_BALL, LARGE_BOX = ("lamp", None, None), ("ball", "red", None), ("box", "blue", "large")
CHAIR, CLOCK, CUP = ("chair", None, None), ("clock", None, None), ("cup", None, None)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("white walls", None),
        (f"white walls, {NOTHING}", []),
        ("a lamp, two red balls stand around", [LAMP, RED_BALL, RED_BALL]),
        ("a striped old chair by a large navy box", [CHAIR, LARGE_BOX]),
        ("lamps, the clock", [LAMP, LAMP, CLOCK]),
        ("99 cups", 6 * [CUP]),
        ("two stools stand around", []),
        ("no lamps", []),
    ],
)
def test_decoys_are_read_from_free_text(text, kinds) -> None:
    assert read_decoys(text)[0] == kinds


def test_decoys_read_back_as_written() -> None:
    rng = np.random.default_rng(7)
    for count in range(7):
        for _ in range(100):
            text = write_decoys(count, LABELS, rng)
            kinds, rest = read_decoys(text)
            assert len(kinds) == count and len(text.split()) <= 8
            assert not rest.replace("and", "").strip()
    assert write_decoys(3, (), rng) == NOTHING
    assert allowed_classes(LABELS) == ()
    assert set(LABELS) - set(allowed_classes(("Boxes", "CUP", "armchair"))) == {"box", "cup"}


@pytest.mark.parametrize("scale", [1.0, 0.7, 0.4])
def test_decoys_stand_in_free_places(scale) -> None:
    rng, view = np.random.default_rng(8), RoomView(scale)
    taken = np.zeros((128, 128), dtype=bool)
    taken[50:90, 40:70] = True
    number = 0
    for _ in range(60):
        kinds = [(label, None, None) for label in rng.choice(LABELS, 6)]
        decoys = place_decoys(kinds, taken, view, rng)
        number += len(decoys)
        covered = taken.astype(int)
        for thing in decoys:
            x1, y1, x2, y2 = thing.box
            assert x1 >= 0 and y1 >= 0 and x2 <= 128 and y2 <= 128
            covered[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] += 1
            if thing.label in WALL_LABELS:
                assert y2 <= max(128 * view.down(WALL_FOOT), y2 - y1 + 0.03 * 128) + 1e-6
            else:
                assert y2 >= 128 * view.down(FLOOR_HEAD) - 1e-6
        assert covered.max() == 1
    assert number > 60 * 3


def test_forbidden_classes_are_never_painted() -> None:
    text = "white wall, two lamps and four red balls stand around"
    every = {thing.label for seed in range(60) for thing in decoys_of(request("white wall", seed))}
    assert every == set(LABELS)
    for seed in range(20):
        asked = request(text, seed, forbidden=("Lamp", "chairs"))
        assert {(t.label, t.colour) for t in decoys_of(asked)} == {("ball", "red")}
        drawn = decoys_of(request("white wall", seed, forbidden=LABELS[:10]))
        assert {thing.label for thing in drawn} <= set(LABELS[10:])
        assert decoys_of(request(text, seed, forbidden=LABELS)) == ()
        assert decoys_of(request(f"two lamps, white wall, {NOTHING}", seed)) == ()
    numbers = [len(decoys_of(request("white wall", seed))) for seed in range(60)]
    assert 10 < numbers.count(0) < 30


def test_the_floor_line_follows_the_view() -> None:
    text = "plain white wall, black carpet" + ALONE
    lines = []
    for scale in (1.0, 0.6, 0.4):
        view = Similarity(scale, 0.0, (1 - scale) * 64)
        asked = request(text, view=view, horizon=64.0)
        assert view_of(asked).scale == pytest.approx(scale)
        bright = RoomsGenerator().generate([asked])[0].astype(int).sum(axis=(1, 2))
        lines.append(int(np.diff(bright).argmin()) + 1)
    assert lines[0] > lines[1] > lines[2] > 64
    for scale, line in zip((1.0, 0.6, 0.4), lines, strict=True):
        assert line - 64 == pytest.approx(scale * (lines[0] - 64), abs=1.5)


@pytest.mark.parametrize("light", ["dim light", "warm light", "bright light", "dazzling glare"])
def test_light_does_not_fall_twice(light: str) -> None:
    text = BASE.replace("daylight", light)
    assert difference(paint(text), paint(BASE)) > 0.8
    assert difference(paint(text, lit=True), paint(BASE, lit=True)) == 0
    shaped = BASE.replace("daylight", "long shadows")
    assert difference(paint(shaped, lit=True), paint(BASE, lit=True)) > 0.8


def test_a_text_without_a_known_word_is_refused() -> None:
    for text in ("", "a zebra in the sky", "of the with"):
        with pytest.raises(NothingKnown):
            paint(text)
    for text in (PLAIN, "a zebra in the kitchen", "far away"):
        paint(text)
