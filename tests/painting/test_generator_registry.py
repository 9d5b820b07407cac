"""Generators by name and options, as config files and command lines give them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from syngrpo.options import option
from syngrpo.painting.generators import GENERATORS, make_generator, wants_gpu
from syngrpo.painting.generators.base import GenerationRequest, Generator
from syngrpo.sample import InputError


@dataclass(frozen=True)
class Brightness:
    level: int = option(128, "grey level of the surroundings", ge=0, le=255)


class Grey(Generator):
    """A generator of a user: the base class does what it leaves out."""

    Options = Brightness

    def __init__(self, **options: Any) -> None:
        self.options = Brightness(**options)
        self.fingerprint = f"grey-{self.options.level}"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        return [np.full((*r.size[::-1], 3), self.options.level, np.uint8) for r in requests]


def any_grey(level: int) -> Generator:
    return Grey(level=level)


MINE = f"{__name__}:Grey"


def test_a_generator_of_the_user() -> None:
    assert make_generator(MINE).fingerprint == "grey-128"
    generator = make_generator(MINE, {"level": "7"})  # as a command line gives it
    assert generator.fingerprint == "grey-7"
    request = GenerationRequest(
        np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), bool), "", 0, (6, 4)
    )
    (picture,) = generator.generate([request])
    assert picture.shape == (4, 6, 3) and (picture == 7).all()
    assert make_generator(f"{__name__}:any_grey", {"level": 3}).fingerprint == "grey-3"


def test_what_a_generator_leaves_out_has_a_default() -> None:
    generator = make_generator(MINE)
    generator.load()
    assert not generator.limit_side(64)
    assert generator.round_trip(np.zeros((4, 6, 3), np.uint8)) is None


def test_which_generators_want_a_gpu() -> None:
    assert not any(map(wants_gpu, ("noop", "rooms", "http")))
    assert all(map(wants_gpu, ("diffusers", "sdxl-inpaint", MINE, f"{__name__}:any_grey")))
    assert not wants_gpu("sdxl-inpaint", {"device": "cpu"})


def test_every_known_generator_can_be_imported() -> None:
    errors = {found.name: found.error for found in GENERATORS.found()}
    presets = {"flux2-klein", "z-image-turbo", "qwen-image-inpaint", "sdxl-inpaint"}
    assert errors.keys() >= {"noop", "diffusers", *presets, "http", "rooms"}
    assert not any(errors.values())


def test_options_make_another_generator() -> None:
    url = "http://localhost:8000/v1/images/edits"
    transparent = make_generator("http", {"url": url})
    white = make_generator("http", {"url": url, "mask": "white"})
    assert transparent.fingerprint != white.fingerprint


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "rooms",
            {"steps": 4},
            "'rooms' does not take these options (got an unexpected",
        ),
        ("http", {}, "option url of generator 'http': is missing"),
        (
            "http",
            {"timeout": 3},
            "'http' has no option timeout; it has api_key_env, timeout_s",
        ),
        ("sdxl-inpaint", {"steps": "many"}, "option steps of generator 'sdxl-inpaint'"),
        ("flux2-klein", {"model": "no/such/directory"}, "no/such/directory"),
        ("flux", {}, "use one of noop, diffusers, flux2-klein"),
        ("no_such_package:Painter", {}, "cannot be imported"),
        (MINE, {"level": 256}, "should be less than or equal to 255"),
        (MINE, {"levels": 2}, "has no option levels; it has level"),
        (f"{__name__}:any_grey", {}, "does not take these options (missing a required argument"),
    ],
)
def test_what_is_wrong_is_said(name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError) as raised:
        make_generator(name, options)
    assert message in str(raised.value) and "\n" not in str(raised.value)
