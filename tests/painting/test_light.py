"""Light and camera change pixels within bounds, move none, and keep named colours apart."""

import numpy as np
import pytest

from syngrpo.painting.light import (
    NAMED_COLOUR_CAST,
    Light,
    LightOptions,
    cast_gain,
    choose_light,
    glare_share,
    lit,
)
from syngrpo.sample import InputError
from syngrpo.tasks import Constraints
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.palette import THING_COLOURS

PICTURE = rooms_samples("train", 1)[0].image.decode()
BOUNDS = LightOptions(brightness=0.12, haze=0.8, glare=0.6, cast=1.0, blur=0.02, grain=12)
NONE = {"darkness": 0.0, "haze": 0.0, "glare": 0.0, "cast": 0.0, "blur": 0.0, "grain": 0.0}
BASIC = {
    "red": (255, 0, 0),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (139, 69, 19),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
}


def test_no_wish_and_no_bounds_change_nothing():
    assert choose_light(Constraints((), ()), NONE, BOUNDS) == Light()
    everything = dict.fromkeys(NONE, 1.0)
    assert choose_light(Constraints((), ()), everything, LightOptions()) == Light()
    assert lit(PICTURE, Light(), 0) is PICTURE


def test_each_level_lies_within_the_bounds():
    light = choose_light(Constraints((), ()), dict.fromkeys(NONE, 1.0), BOUNDS)
    assert light == Light(0.12, 0.8, 0.6, -1.0, 0.02, 12)
    half = choose_light(Constraints((), ()), NONE | {"darkness": 0.5, "haze": 0.5}, BOUNDS)
    assert half.brightness == pytest.approx(0.12**0.5) and half.haze == 0.4


@pytest.mark.parametrize(
    ("light", "holds"),
    [
        (Light(brightness=0.3), lambda p: abs(p.mean() / PICTURE.mean() - 0.3) < 0.01),
        (Light(haze=0.7), lambda p: abs(p.std() / PICTURE.std() - 0.3) < 0.02),
        (Light(glare=0.6), lambda p: p.max() > 200 and p.mean() > PICTURE.mean()),
        (Light(cast=1.0), lambda p: p[..., 2].mean() < 0.7 * PICTURE[..., 2].mean()),
        (Light(cast=-1.0), lambda p: p[..., 0].mean() < 0.75 * PICTURE[..., 0].mean()),
        (Light(blur=0.02), lambda p: np.abs(np.diff(p.astype(int), axis=0)).mean()
            < 0.7 * np.abs(np.diff(PICTURE.astype(int), axis=0)).mean()),
        (Light(grain=12), lambda p: abs((p.astype(int) - PICTURE).std() - 12) < 2),
    ],
)  # fmt: skip
def test_each_part_does_what_it_says(light, holds):
    picture = lit(PICTURE, light, 3)
    assert picture.shape == PICTURE.shape and picture.dtype == np.uint8
    assert holds(picture)
    assert (picture == lit(PICTURE, light, 3)).all()


@pytest.mark.parametrize("colours", [BASIC, THING_COLOURS])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_named_colour_stays_the_nearest_to_itself(colours, side):
    """Also in dim light, where a viewer sees a colour relative to how bright the picture is."""
    light = Light(brightness=0.3, cast=side * NAMED_COLOUR_CAST)
    names, table = list(colours), np.array(list(colours.values()), dtype=float)
    for name, colour in colours.items():
        patch = np.full((4, 4, 3), colour, dtype=np.uint8)
        seen = lit(patch, light, 0).astype(float).mean(axis=(0, 1)) / light.brightness
        assert names[int(((table - seen) ** 2).sum(axis=1).argmin())] == name
    assert cast_gain(light.cast).max() == 1


def test_the_cast_is_bounded_where_a_colour_is_named():
    warm = NONE | {"cast": 0.5}
    assert choose_light(Constraints((), ()), warm, BOUNDS).cast == 1
    named = Constraints((), (), names_colour=True)
    assert choose_light(named, warm, BOUNDS).cast == NAMED_COLOUR_CAST


def test_glare_takes_its_share_of_a_contrast():
    """Of two even pictures, the difference that is left is what the share says."""
    light, shape = Light(brightness=0.8, glare=0.6), (40, 60)
    dark, bright = (np.full((*shape, 3), level, dtype=np.uint8) for level in (50, 150))
    left = lit(bright, light, 5).astype(float) - lit(dark, light, 5)
    expected = 100 * 0.8 * (1 - glare_share(shape, light, 5))
    assert np.abs(left - expected[..., None]).max() <= 1
    assert glare_share(shape, light, 5).max() > 0.5


def test_light_is_stored_and_read_back():
    light = Light(0.5, 0.1, 0.2, -0.3, 0.01, 4)
    assert Light.of(light.lineage()) == light
    with pytest.raises(InputError, match="light has"):
        Light.of({"brightness": 1})
