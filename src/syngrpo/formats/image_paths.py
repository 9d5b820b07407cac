"""Finds files by the paths that data hold: other spellings of a path, and folders nearby."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

MOST_FOLDERS = 300
"""Largest number of folders that are searched for images that do not exist where they should."""

TRIED = 50
"""Number of images by which a folder is recognised, taken evenly from all."""

PROBED = 5
"""Number of these by which a folder is tried first."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Endings of image files."""

MOST_TOGETHER = 3
"""Largest number of folders that are offered together."""
FEW, FEW_SHARE = 3, 0.1
"""A folder that holds fewer images than both is not offered beside another."""


def spellings(path: str) -> Iterator[str]:
    """Yield a path, and the same with / for the separators of Windows, and with its letters
    composed and decomposed, as file systems write them differently."""
    yield path
    if "\\" in path:
        yield path.replace("\\", "/")
    if not path.isascii():
        yield unicodedata.normalize("NFC", path)
        yield unicodedata.normalize("NFD", path)


def pure_path(path: str) -> PurePath:
    """Return a path of the data, which may be one of Windows."""
    return PureWindowsPath(path) if "\\" in path else PurePosixPath(path)


def ends_of(path: str) -> Iterator[str]:
    """Yield the ends of an absolute path, the longest first: a/b.png and b.png for /a/b.png. None
    for a relative path."""
    pure = pure_path(path)
    if pure.is_absolute():
        yield from ("/".join(pure.parts[start:]) for start in range(1, len(pure.parts)))


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield the visible folders inside of a folder, sorted by name; none when it cannot be read."""
    try:
        names = sorted(folder.iterdir())
    except OSError:
        return
    yield from (name for name in names if not name.name.startswith(".") and name.is_dir())


def holds(folder: Path, path: str) -> bool:
    """Return whether a folder has the image with this path, which is relative to it, or an absolute
    one of which an end is."""
    relative = spellings(path) if not pure_path(path).is_absolute() else ends_of(path)
    return any(_is_file(folder / one) for one in relative)


def holds_name(folder: Path, path: str) -> bool:
    """Return whether a folder has a file with the last part of this path as its name."""
    return any(_is_file(folder / pure_path(one).name) for one in spellings(path))


def tried(names: Sequence[str]) -> Sequence[str]:
    """Return at most about TRIED of the names, evenly from all."""
    return names[:: max(1, len(names) // TRIED)]


def held_by(
    folders: Iterable[Path], names: Sequence[str], has: Callable[[Path, str], bool] = holds
) -> dict[Path, set[str]]:
    """Return the folders that have any of a few of the images, with those of ``tried`` that they
    have. A network disk takes a millisecond for each look, so most folders get only a few."""
    some = tried(names)
    few = some[:: max(1, len(some) // PROBED)]
    found = {}
    for folder in islice(folders, MOST_FOLDERS):
        if any(has(folder, name) for name in few):
            found[folder] = {name for name in some if has(folder, name)}
    return found


def that_hold_most(found: Mapping[Path, set[str]], names: Sequence[str]) -> list[Path]:
    """Return the folders that hold more of the images than any other does, and at least half of
    them. ``found`` is what ``held_by`` returns for these names."""
    most = max(map(len, found.values()), default=0)
    half = 2 * most >= len(tried(names))
    return [one for one, held in found.items() if half and len(held) == most]


def that_hold_together(found: Mapping[Path, set[str]], names: Sequence[str]) -> list[Path]:
    """Return a folder that holds at least half of the images, and up to two more that hold many of
    the others; or up to three that hold so many together. [] if none do. ``found`` is what
    ``held_by`` returns for these names."""
    left, chosen = set(tried(names)), list[Path]()
    number = len(left)
    while found and len(chosen) < MOST_TOGETHER:
        best = max(found, key=lambda folder: len(found[folder] & left))
        if len(found[best] & left) < (max(FEW, FEW_SHARE * number) if chosen else 1):
            break
        chosen.append(best)
        left -= found[best]
    return chosen if 2 * len(left) <= number else []


def folders_in(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield these folders and those inside of them, two levels deep, each once."""
    seen: set[Path] = set()
    for base in folders:
        inside = list(subfolders(base))
        deeper = (one for folder in inside for one in subfolders(folder))
        for folder in (base, *inside, *deeper):
            if folder not in seen:
                seen.add(folder)
                yield folder


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
