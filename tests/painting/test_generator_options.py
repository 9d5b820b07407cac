"""Generators by name and options, as config files and command lines give them."""

import pytest

from syngrpo.painting.generators import make_generator
from syngrpo.sample import InputError


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
        ("http", {}, "option url of generator 'http': Field required"),
        (
            "http",
            {"timeout": 3},
            "'http' has no option timeout; it has api_key_env, timeout_s",
        ),
        ("sdxl-inpaint", {"steps": "many"}, "option steps of generator 'sdxl-inpaint'"),
        ("flux2-klein", {"model": "no/such/directory"}, "no/such/directory"),
        ("flux", {}, "use one of noop, diffusers, flux2-klein"),
        ("no_such_package:Painter", {}, "cannot be imported"),
    ],
)
def test_what_is_wrong_is_said(name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError) as raised:
        make_generator(name, options)
    assert message in str(raised.value) and "\n" not in str(raised.value)
