"""Writes parts of messages: numbers of things ("1 image", "2 boxes"), and what an error says."""

from __future__ import annotations

import re


def count(number: int, noun: str) -> str:
    """Return a number of things: ``count(1, "image")`` is "1 image", ``count(3, "image")`` is
    "3 images". The noun is given in the singular."""
    return f"{number} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Return the form of a singular noun that follows a number: ``plural(2, "box")`` is "boxes".

    It knows the regular nouns and "child", which is what messages need. (A library for the plurals
    of English takes two seconds to import, half of the start of a short command.)
    """
    if abs(number) == 1:
        return noun
    if noun.endswith("child"):
        return noun + "ren"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")


def one_line(error: BaseException) -> str:
    """Return the text of an error on one line, with single spaces; its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of the text of an error, because some libraries append a long
    explanation; the type of the error if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
