"""Writes parts of messages: numbers of things ("1 image", "2 boxes"), and what an error says."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inflect import engine


def count(number: int, noun: str) -> str:
    """Return a number of things: ``count(1, "image")`` is "1 image", ``count(3, "image")`` is
    "3 images". The noun is given in the singular."""
    return f"{number} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Return the form of a singular noun that follows a number: ``plural(2, "box")`` is "boxes"."""
    return noun if abs(number) == 1 else _plural(noun)


def one_line(error: BaseException) -> str:
    """Return the text of an error on one line, with single spaces; its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of the text of an error, because some libraries append a long
    explanation; the type of the error if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@cache
def _plural(noun: str) -> str:
    return _inflect().plural_noun(noun)


@cache
def _inflect() -> engine:
    # Imported here because it takes a second, and most commands do not need it.
    from inflect import engine

    return engine()
