"""Draws the text of contact sheets in any script.

Pillow's own font has hardly more than the letters of English. For others a font of this computer is
looked for; letters that none has are drawn without their accents, or as their code points.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FILES = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "segoeui.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf"),
    *("NotoSerifCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "uming.ttc"),
    *("DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "msyh.ttc", "simsun.ttc"),
    *("PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Light.ttc", "Arial Unicode.ttf"),
    *("NanumGothic.ttf", "malgun.ttf", "AppleSDGothicNeo.ttc", "NotoSansArabic-Regular.ttf"),
    *("NotoNaskhArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "Nirmala.ttf"),
    *("NotoSansThai-Regular.ttf", "NotoSansHebrew-Regular.ttf", "FreeSans.ttf", "unifont.otf"),
    *("unifont.ttf", "NotoEmoji-Regular.ttf", "Symbola.ttf", "seguiemj.ttf"),
)
"""Fonts of Linux, Windows and macOS, by the names of their files, in the order in which they are
tried. Pillow looks them up in the folders of the system."""

NO_LETTER = "\U0010fffe"
"""Stands for no letter in any font, so a font draws it as it draws the letters that it lacks."""
WITHOUT_SHAPE = ("Z", "C")
"""Categories of Unicode of what cannot be seen: spaces and marks of direction."""


def draw_text(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: str, size: int
) -> None:
    """Draw a line of text with its upper left corner at a place."""
    drawn, font = written(text, size)
    draw.text(place, drawn, fill=colour, font=font)


def text_size(draw: ImageDraw.ImageDraw, text: str, size: int) -> tuple[float, float]:
    """Return the width and the height in pixels of a line that ``draw_text`` draws."""
    drawn, font = written(text, size)
    _, _, width, height = draw.textbbox((0, 0), drawn, font=font)
    return width, height


def written(text: str, size: int) -> tuple[str, Font]:
    """Return a text as it can be drawn, and the font that has all or most of its letters."""
    text, plain = unicodedata.normalize("NFC", text), _plain(size)
    if not _lacked(plain, text):
        return text, plain
    fonts = (plain, *_fonts_here(size))
    best = min(fonts, key=lambda font: len(_lacked(font, text)))
    instead = {letter: _instead(best, letter) for letter in _lacked(best, text)}
    return "".join(instead.get(letter, letter) for letter in text).strip(), best


def undrawable(texts: Iterable[str], size: int = 12) -> str:
    """Return the first of the texts of which letters are drawn as code points; "" for none."""
    fine: set[str] = set()
    for text in texts:
        letters = set(unicodedata.normalize("NFC", text))
        if letters <= fine:
            continue
        _, font = written(text, size)
        if any(_instead(font, one) == _code(one) for one in letters if not _has(font, one)):
            return text
        fine |= letters
    return ""


@cache
def _plain(size: int) -> Font:
    return ImageFont.load_default(size=size)


@cache
def _fonts_here(size: int) -> tuple[Font, ...]:
    """Return the fonts of FILES that this computer has."""
    found = []
    for name in FILES:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(found)


def _lacked(font: Font, text: str) -> set[str]:
    return {letter for letter in set(text) if not _has(font, letter)}


@cache
def _has(font: Font, letter: str) -> bool:
    if letter.isascii() or unicodedata.category(letter)[0] in WITHOUT_SHAPE:
        return True
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType: a few letters
        return False
    # Without shaping, which draws a circle with a mark that stands alone.
    single = font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    mask, lacking = single.getmask(letter), single.getmask(NO_LETTER)
    return mask.size != lacking.size or bytes(mask) != bytes(lacking)


def _instead(font: Font, letter: str) -> str:
    """Return what is drawn for a letter that a font lacks: it without its accents, or its code."""
    parts = unicodedata.normalize("NFKD", letter)
    bare = "".join(part for part in parts if unicodedata.category(part)[0] != "M")
    return bare if bare and bare != letter and not _lacked(font, bare) else _code(letter)


def _code(letter: str) -> str:
    return f" u{ord(letter):x}"
