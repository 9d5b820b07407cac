"""Finds files by the paths that data hold: other spellings of a path, and folders nearby."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

MOST_FOLDERS = 300
"""Largest number of folders that are searched for images that do not exist where they should."""

TRIED = 50
"""Number of images by which a folder is recognised, taken evenly from all."""

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


def that_hold_most(
    names: Sequence[str], folders: Iterable[Path], has: Callable[[Path, str], bool] = holds
) -> list[Path]:
    """Return the folders that hold more of the images with these paths than any other does, and at
    least half of them."""
    some = tried(names)
    searched = islice(folders, MOST_FOLDERS) if some else ()
    numbers = {one: sum(has(one, name) for name in some) for one in searched}
    most = max(numbers.values(), default=0)
    return [one for one, number in numbers.items() if number == most and 2 * most >= len(some)]


def that_hold_together(names: Sequence[str], folders: Iterable[Path]) -> list[Path]:
    """Return a folder that holds at least half of the images with these paths, and up to two more
    that hold many of the others; or up to three that hold so many together. [] if none do."""
    left, chosen = list(tried(names)), list[Path]()
    most = len(left) / 2
    found = {
        folder: {name for name in left if holds(folder, name)}
        for folder in islice(folders, MOST_FOLDERS if left else 0)
    }
    while found and len(chosen) < MOST_TOGETHER:
        best = max(found, key=lambda folder: sum(name in found[folder] for name in left))
        rest = [name for name in left if name not in found[best]]
        if len(left) - len(rest) < (max(FEW, FEW_SHARE * 2 * most) if chosen else 1):
            break
        chosen.append(best)
        left = rest
    return chosen if len(left) <= most else []


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
