"""Makes texts of users and models fit to be shown: none can break the page or hide what it says.

HTML is no danger, because labels and templates escape it. Control characters are: some end a text,
and half a surrogate pair cannot be sent to the browser at all.
"""

from __future__ import annotations

import re
from datetime import datetime

LONGEST_LINE = 300
"""Largest number of characters of a question or a name that are shown in a line."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def shown_text(text: str, longest: int | None = None) -> str:
    """Return a text for a label, at most ``longest`` characters of it. Control characters other
    than line breaks and tabs become their symbols (␀), what has no symbol becomes a �."""
    cut = longest is not None and len(text) > longest
    return _UNSEEN.sub(_symbol, text[:longest].replace("\r\n", "\n")) + (" …" if cut else "")


def shown_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Return a text for a label of a single line, at most ``longest`` characters of it."""
    return shown_text(" ".join(text.split()), longest)


def shown_time(text: object) -> str:
    """Return a time in UTC that a file says in the form of ISO 8601, as people write it; a text of
    another form as it is."""
    try:
        return f"{datetime.fromisoformat(str(text)):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return str(text)


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "�"
