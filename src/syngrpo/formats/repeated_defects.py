"""Tells defects of rows, those that repeat in one line: their number, and the first five."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from syngrpo.serving.wording import count

NAMED = 5
"""Largest number of defects of one kind that have a line each; of more, so many are named."""

FILE = re.compile(r".*?(?=:\d+$|\[\d+\]$|: |$)", re.DOTALL)
"""Matches the file at the beginning of a place."""

_IMAGE = re.compile(r"\bimage (\S+)")
_VALUES = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^]]*\]|\{[^}]*\}|\S*[/\\]\S*|\S*\d\S*""", re.DOTALL
)
"""Matches what differs between messages of one kind: texts, lists, paths, numbers."""
_EXIF = "exif: stored"


def told(found: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield lines for defects, each a place and a message, in their order. Messages of one kind
    differ only in values, or behind the first semicolon."""
    kinds: dict[tuple[str, bool], list[tuple[str, str]]] = {}
    for place, message in found:
        kinds.setdefault(_kind(message), []).append((place, message))
    done: set[tuple[str, bool]] = set()
    for place, message in found:
        kind = _kind(message)
        if len(kinds[kind]) <= NAMED:
            yield f"{place}: {message}"
        elif kind not in done:
            done.add(kind)
            yield _summary(kinds[kind])


def _kind(message: str) -> tuple[str, bool]:
    return _VALUES.sub("#", message.partition(";")[0]), _EXIF in message


def _summary(alike: Sequence[tuple[str, str]]) -> str:
    """Return one line for more than NAMED defects of one kind."""
    files = {_file(place) for place, _ in alike}
    start = f"{next(iter(files))}: " if len(files) == 1 else ""
    message = alike[0][1]
    if any(other != message for _, other in alike):
        message = f"such as: {message}"
    return f"{start}{count(len(alike), 'row')} ({_names(alike, bool(start))}): {message}"


def _names(alike: Sequence[tuple[str, str]], of_one_file: bool) -> str:
    """Return the first images if each message is about one, otherwise the first places."""
    images = [match[1] for _, message in alike if (match := _IMAGE.search(message))]
    names = list(dict.fromkeys(PurePath(name.strip("'\"")).name for name in images))
    what = "images "
    if len(images) < len(alike) or len(names) <= 1:
        what, names = "", [_short(place) if of_one_file else place for place, _ in alike]
    more = len(names) - NAMED
    return what + ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _short(place: str) -> str:
    """Return a place without its file: the number of a line, or what follows the file."""
    return place[len(_file(place)) :].strip(":[] ").removeprefix("row ")


def _file(place: str) -> str:
    return FILE.match(place)[0]  # type: ignore[index]
