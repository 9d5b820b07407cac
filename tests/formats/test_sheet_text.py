"""The text of contact sheets: letters of any script, with the fonts that are there."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from syngrpo.formats import sheet_text
from syngrpo.formats.sheet_text import draw_text, text_size, undrawable, written


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_text, "FILES", ())
    monkeypatch.setattr(sheet_text, "_fonts_here", sheet_text._fonts_here.__wrapped__)


def ink(text: str) -> bytes:
    """Return the pixels of a text that is drawn, without white around it."""
    image = Image.new("L", (400, 40), 255)
    draw_text(ImageDraw.Draw(image), (5, 5), text, "black", 13)
    dark = np.argwhere(np.asarray(image) < 128)
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    return image.crop((left, top, right + 1, bottom + 1)).tobytes()


@pytest.mark.usefixtures("no_fonts")
def test_letters_that_no_font_has_are_told_apart() -> None:
    assert written("a cup", 13)[0] == "a cup"
    assert written("杯子", 13)[0] == "u676f u5b50"
    assert written("Tür", 13)[0] == written("Tu\u0308r", 13)[0] == "Tur"
    assert ink("杯子") == ink("u676f u5b50") != ink("汽车")
    assert written("कु", 13)[0] == "u915 u941"  # a letter and its vowel sign
    assert undrawable(["a cup", "Tür", "杯子", "汽车"]) == "杯子"
    assert undrawable(["a cup", "Tür"]) == ""


def test_a_font_of_this_computer_is_used_for_letters_that_it_has() -> None:
    try:
        font = ImageFont.truetype("DejaVuSans.ttf", 13)
    except OSError:
        pytest.skip("needs DejaVuSans.ttf")
    image = Image.new("L", (400, 40), 255)
    ImageDraw.Draw(image).text((5, 5), "кружка", fill="black", font=font)
    drawn = Image.new("L", (400, 40), 255)
    draw_text(ImageDraw.Draw(drawn), (5, 5), "кружка", "black", 13)
    assert image.tobytes() == drawn.tobytes()
    assert not undrawable(["кружка", "الكرة"])


def test_the_size_is_that_of_what_is_drawn() -> None:
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    assert text_size(draw, "cups", 13) == pytest.approx(
        draw.textbbox((0, 0), "cups", font=ImageFont.load_default(13))[2:]
    )
