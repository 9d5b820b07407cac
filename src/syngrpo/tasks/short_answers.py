"""Compares short answers: numbers, which may be written as words, and labels.

A truth that is a text but reads as a number, such as "3" or "three", is a number, whatever file it
comes from. A truth with a unit, such as "€5" or "5 %", is a label: 5 € is the same, before or
after the number, and 5 is not. Where the truth has no unit, the unit of an answer does not matter.
"""

from __future__ import annotations

import math
import re
import unicodedata
from itertools import dropwhile

from syngrpo.tasks.answer_spelling import plain_digits

Answer = str | int | float

# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
NUMBER_WORDS = {word: number for number, word in enumerate(_ONES)} | {
    word: 10 * number for number, word in enumerate(_TENS, 2)
}

_GROUPED = "|".join(
    rf"[0-9]{{1,3}}(?:{sign}[0-9]{{3}})++(?:\.[0-9]*+)?" for sign in ", \u00a0\u202f"
)
_NUMBER = re.compile(
    rf"[-+]?(?:(?:{_GROUPED})(?![0-9])|[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[-+]?[0-9]++)?",
    re.IGNORECASE,
)
_WORDS = rf"(?:{'|'.join(_TENS)})[-\s](?:{'|'.join(_ONES[1:10])})\b|(?:{'|'.join(NUMBER_WORDS)})\b"
_NUMBER_OR_WORD = re.compile(rf"(?<![\w.]){_NUMBER.pattern}(?![0-9])|\b(?:{_WORDS})", re.IGNORECASE)
_IN_BRACKETS = re.compile(
    rf"(?<=\w)\s{{1,3}}\(\s{{0,3}}(?:{_NUMBER_OR_WORD.pattern})\s{{0,3}}\)", re.IGNORECASE
)
_ONLY_WORDS = re.compile(rf"\s*+(?:{_WORDS})\s*+", re.IGNORECASE)
_LARGER = re.compile(r"\b(?:hundred|thousand|million|billion|dozen)s?\b", re.IGNORECASE)
"""Words that change the number before them; what holds one is not read as a number."""

_DASHES = {ord(dash): "-" for dash in "‐‑‒–—−"}
_SIGN = re.compile(
    r"((?:(?<=[0-9])|(?<![\w.]))\.(?=[0-9])"  # 1.5
    r"|(?<=[0-9])\s{0,3}[-/]\s{0,3}(?=[0-9])"  # 2-3, 2/3
    r"|(?<!\w)[-+](?=\.?[0-9])"  # -3
    r"|[<>=≤≥]+(?=\s{0,3}[-+.$€£¥]?[0-9])|(?<=[0-9])\s{0,3}[<>=≤≥]+"
    r"|[$€£¥](?=\s{0,3}\.?[0-9])|(?<=[0-9])\s{0,3}[€£¥%]|(?<=[0-9])[$]"
    r"|(?<=\w)[+#]+|#(?=[0-9]))"  # C#, #3
)
"""Signs that tell one label from another. All others are punctuation."""
_QUANTITY = re.compile(
    rf"(?P<sign>[-+]?)\s?(?P<before>[$€£¥]?)\s*+(?P<number>{_NUMBER.pattern})\s*+(?P<after>[$€£¥%]?)",
    re.IGNORECASE,
)
"""A text that is a number with a currency before or after it, or with a per cent sign."""
_ARTICLES = {"a", "an", "the"}
_YES_OR_NO = re.compile(
    r"\s*+(?P<said>yes|no|true|false)\b(?:\s*+[,.;:!(‐‑‒–—−-]|[^\S\n]*+\n"
    r"|\s++(?:it|there|they|he|she|this|that|these|those|the|an?|i|we|you)\b)"
    r"(?!.*\b(?:yes|no|true|false|but|or|maybe|perhaps|unsure|sure|know|tell|say|clear|unclear"
    r"|idea|clue|depends)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""A text that begins with yes or no, goes on with a sign, a line or a sentence of its own ("Yes
there is a lamp", and not "No idea"), and takes nothing back."""
_NONE = {"none", "nothing"}
_BEFORE_NONE = {"there", "is", "are", "s", "i", "we", "can", "see", "count"}
# fmt: off
_BESIDE_NONE = _NONE | {
    "no", "of", "them", "these", "those", "this", "that", "there", "is", "are", "in", "on", "at",
    "all", "here", "visible", "present", "shown", "seen", "room", "picture", "image", "photo",
    "scene",
}
# fmt: on
"""Words that say nothing about how many things there are."""
_NO_THINGS = {"answer", "number", "count", "how", "many", "much"}
"""Words of a question that name nothing to be counted: "no number" is not 0."""


def as_number(text: str) -> int | float | None:
    """Return the number that the whole text is, else None."""
    plain = plain_digits(text.strip())
    return _number(plain) if _NUMBER.fullmatch(plain) else None


def truth_of(answer: Answer) -> Answer:
    """Return the answer, as a number if it is a text that reads as one."""
    if not isinstance(answer, str):
        return answer
    is_word = _ONLY_WORDS.fullmatch(answer) is not None
    number = only_number(answer) if is_word else as_number(answer)
    return answer if number is None else number


def only_number(text: str) -> float | None:
    """Return the number in a text that holds exactly one, else None. One that is repeated in
    brackets, as in "2 (two)", counts once."""
    plain = plain_digits(text)
    found = [_value(one) for one in _NUMBER_OR_WORD.findall(plain)]
    if len(found) == 2 and found[0] == found[1] and _IN_BRACKETS.search(plain):
        found.pop()
    return found[0] if len(found) == 1 and not _LARGER.search(plain) else None


def says_none(text: str, question: str) -> bool:
    """Return whether a text says that there is none of what the question counts, as "None" and
    "There are no chairs" do. It holds no other words than those of the question and such that say
    nothing about the number."""
    words = list(dropwhile(_BEFORE_NONE.__contains__, normalised(text).split()))
    if not words or words[0] not in {"no", *_NONE}:
        return False
    asked = {_stem(word) for word in normalised(question).split() if word not in _NO_THINGS}
    named = [word for word in words if word not in _BESIDE_NONE]
    known = all(_stem(word) in asked and word not in _NO_THINGS for word in named)
    return known and bool(named or not _NONE.isdisjoint(words))


def _stem(word: str) -> str:
    """Return a word without the ending of a plural; it may lose more letters."""
    return word.rstrip("es")


def is_same_label(prediction: str, truth: str) -> bool:
    """Return whether two labels are the same once they are normalised. A sentence such as "Yes, it
    is." is the same as "yes"."""
    wanted = normalised(truth)
    if wanted in ("yes", "no", "true", "false") and (match := _YES_OR_NO.match(prediction)):
        return match["said"].casefold() == wanted
    quantity = _quantity(truth)
    if quantity is not None and quantity == _quantity(prediction):
        return True
    return bool(wanted) and normalised(prediction) == wanted


def _quantity(text: str) -> tuple[float, str] | None:
    """Return the number and the unit of a text that is nothing but both, else None."""
    plain = unicodedata.normalize("NFKC", text).translate(_DASHES).strip().rstrip(".,;:!")
    match = _QUANTITY.fullmatch(plain)
    if match is None or bool(match["before"]) == bool(match["after"]):
        return None
    sign, number = match["sign"], match["number"]
    if sign and number[0] in "+-":
        return None
    value = _number(sign + number)
    return None if value is None else (value, match["before"] or match["after"])


def normalised(label: str) -> str:
    """Return a label without case, punctuation, superfluous white space and articles. Signs that
    change its meaning stay, as in -3, 2/3, < 5, $5 and C#; so do pictures such as an emoji."""
    text = unicodedata.normalize("NFKC", label).casefold().translate(_DASHES)
    parts = _SIGN.split(text)
    kept = "".join(
        f" {part.strip()} " if place % 2 else "".join(map(_kept, part))
        for place, part in enumerate(parts)
    )
    words = kept.split()
    return " ".join([word for word in words if word not in _ARTICLES] or words) or text.strip()


def _kept(sign: str) -> str:
    """Return what stays of a sign: letters, digits and their marks, and pictures as words."""
    if sign.isalnum():
        return sign
    kind = unicodedata.category(sign)
    if kind in ("Mn", "Mc"):
        return "" if sign == "\ufe0f" else sign  # says only how a picture looks
    return f" {sign} " if kind == "So" or "\U0001f3fb" <= sign <= "\U0001f3ff" else " "


def _value(text: str) -> int | float | None:
    """Convert a number, in digits or in words."""
    words = re.split(r"[-\s]", text.lower())
    return sum(NUMBER_WORDS[word] for word in words) if words[0] in NUMBER_WORDS else _number(text)


def _number(text: str) -> int | float | None:
    """Convert a text that is a number; None when it is beyond the range of floats."""
    plain = re.sub(r"[,\s]", "", text)
    value = float(plain)
    if not math.isfinite(value):
        return None
    return int(plain) if plain.lstrip("+-").isdigit() else value
