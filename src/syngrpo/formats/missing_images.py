"""Says which images of a data set do not exist, and in which folder they may be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from syngrpo.formats.image_paths import (
    MOST_FOLDERS,
    SUFFIXES,
    folders_in,
    held_by,
    holds,
    holds_name,
    pure_path,
    spellings,
    that_hold_most,
    that_hold_together,
    tried,
)
from syngrpo.sample import InputError
from syngrpo.serving.wording import count
from syngrpo.tasks.labels import shown

NAMED = 5
"""Number of missing images that a line names."""


class MissingImage(InputError):  # noqa: N818
    """An image that is in none of its folders. ``name`` is its path in the data; ``asked``: the
    paths of all images that are looked for in these folders, which may still grow."""

    def __init__(self, name: str, folders: tuple[Path, ...], asked: Collection[str] = ()) -> None:
        super().__init__(f"{_where(name, folders)}; {CHECK}")
        self.name, self.folders, self.asked = name, folders, asked


CHECK = "check the path, or name the folder of the images with images (--images)"


@dataclass
class _Missing:
    """Images that are missing from the same folders: path in the data → place of the first row."""

    asked: Collection[str]
    places: dict[str, str] = field(default_factory=dict)


class MissingImages:
    """Collects the missing images of all files, so that those of the same folders are one line."""

    def __init__(self) -> None:
        self.rows = 0
        """Number of rows whose image is missing."""
        self._missing: dict[tuple[Path, ...], _Missing] = {}

    def add(self, error: MissingImage, place: str) -> None:
        """Register a row at ``place`` whose image is missing."""
        self.rows += 1
        missing = self._missing.setdefault(error.folders, _Missing(error.asked))
        if len(error.asked) > len(missing.asked):
            missing.asked = error.asked
        missing.places.setdefault(error.name, place)

    def lines(self) -> Iterator[str]:
        """Yield one line for the images that are missing from the same folders: their number, the
        first five, and what to do."""
        for folders, missing in self._missing.items():
            names, (name, place) = list(missing.places), next(iter(missing.places.items()))
            offer = _offer(names, [*missing.asked], folders)
            if len(names) == 1:
                yield f"{place}: {_where(name, folders)}; {offer}"
                continue
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            yield (
                f"{count(len(names), 'image')} do not exist in {_list(folders)}: "
                f"{', '.join(map(shown, names[:NAMED]))}{more}; the first belongs to {place}; "
                f"{offer}"
            )


def _where(name: str, folders: tuple[Path, ...]) -> str:
    alone = len(folders) == 1 and not pure_path(name).is_absolute()
    where = str(folders[0] / name) if alone else f"{name} in {_list(folders)}"
    return f"image {where} does not exist"


def _offer(names: Sequence[str], asked: Sequence[str], folders: tuple[Path, ...]) -> str:
    """Return what to do about missing images: which folders to name, or which names to correct.

    A folder is offered only if it holds most of the images that are asked for, and not only of
    those that are missing: the others must be found in it, too. Outside of the folder of the data
    it may be one of other data, whose images have the same names.
    """
    asked = asked or names
    searched = list(islice(folders_in(folders), MOST_FOLDERS))
    found = held_by(searched, asked)
    inside = that_hold_together(found, asked)
    if any(_holds_any(one, names) for one in inside):
        equal = that_hold_most(found, asked)
        if len(inside) == 1 and len(equal) > 1:
            return _one_of(equal)
        which = "it is" if len(names) == 1 else _which(inside, asked)
        return f"{which} in {_list(inside)}; {_set(inside)}"
    if like := _named_alike(names, folders):
        name, file = like
        return f"there is {file} for {shown(name)}; write names exactly as the files are called"
    around = held_by(folders_in([folder.parent for folder in folders]), asked)
    outside = [one for one in that_hold_most(around, asked) if _holds_any(one, names)]
    if len(outside) == 1:
        return (
            f"files of these names are in {outside[0]}; if they are the right images, "
            f"{_set(outside)}"
        )
    if outside:
        return _one_of(outside)
    for folder in that_hold_most(held_by(searched, asked, holds_name), asked):
        if any(holds_name(folder, name) for name in names):
            return (
                f"files of these names are in {folder}: correct the paths in the data, or move the "
                "files"
            )
    if 2 * len(names) < len(asked):
        return (
            f"the other {len(asked) - len(names)} are there: add {_them(names)}, or remove the rows"
        )
    return CHECK


def _holds_any(folder: Path, names: Sequence[str]) -> bool:
    return any(holds(folder, name) for name in names)


def _one_of(folders: Sequence[Path]) -> str:
    more = f" and {len(folders) - NAMED} more" if len(folders) > NAMED else ""
    return (
        f"several folders have files of these names: {_list(folders[:NAMED])}{more}; name that of "
        "the right images with images (--images)"
    )


def _set(folders: Sequence[Path]) -> str:
    listed = " ".join(f"--images {folder}" for folder in folders)
    them = _list(folders) if len(folders) == 1 else f"[{_list(folders)}]"
    return f"set images: {them} ({listed})"


def _them(names: Sequence[str]) -> str:
    return "the file" if len(names) == 1 else "these files"


def _which(folders: Sequence[Path], names: Sequence[str]) -> str:
    """Return the subject of a sentence that says where images are: "they are", if the folders hold
    all that were looked for."""
    some = tried(names)
    number = sum(any(holds(folder, name) for folder in folders) for name in some)
    return "they are" if number == len(some) else f"{number} of {len(some)} looked for are"


def _named_alike(names: Sequence[str], folders: Sequence[Path]) -> tuple[str, Path] | None:
    """Return a missing image, and a file that has its name in other letters or with another ending,
    if most missing images have such a file; otherwise None."""
    listed: dict[Path, dict[str, Path]] = {}
    found = []
    for name in tried(names):
        for spelling in spellings(name):
            for folder in folders:
                path = folder / spelling
                if path.parent not in listed:
                    listed[path.parent] = _by_stem(path.parent)
                if file := listed[path.parent].get(path.stem.casefold()):
                    found.append((name, file))
    return found[0] if 2 * len({name for name, _ in found}) > len(tried(names)) else None


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their names without ending, in small letters; {} when it
    cannot be read."""
    try:
        files = sorted(folder.iterdir())
    except (OSError, ValueError):
        return {}
    return {file.stem.casefold(): file for file in files if file.suffix.lower() in SUFFIXES}


def _list(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
