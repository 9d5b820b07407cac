"""Says which images of a data set do not exist, and in which folder they may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from syngrpo.sample import InputError
from syngrpo.serving.wording import count
from syngrpo.tasks.labels import shown

MOST_FOLDERS = 300
"""Largest number of folders that are searched for an image that does not exist where it should."""


class MissingImage(InputError):  # noqa: N818
    """An image that is in none of its folders. ``name`` is its path in the data."""

    def __init__(self, name: str, folders: tuple[Path, ...]) -> None:
        path = str(folders[0] / name) if len(folders) == 1 else f"{name} in {_list(folders)}"
        super().__init__(f"image {path} does not exist; {CHECK}")
        self.name, self.folders = name, folders


CHECK = "check the path, or name the folder of the images with images (--images)"


class MissingImages:
    """Collects the missing images of all files, so that those of the same folders are one line."""

    def __init__(self) -> None:
        self.rows = 0
        """Number of rows whose image is missing."""
        self._places: dict[tuple[Path, ...], dict[str, str]] = {}

    def add(self, error: MissingImage, place: str) -> None:
        """Register a row at ``place`` whose image is missing."""
        self.rows += 1
        self._places.setdefault(error.folders, {}).setdefault(error.name, place)

    def lines(self) -> Iterator[str]:
        """Yield one line for the images that are missing from the same folders; it names all of
        them."""
        for folders, places in self._places.items():
            names, (name, place) = list(places), next(iter(places.items()))
            found = folder_with(name, folders)
            offer = f"it is in {found}; set images: {found} (--images)" if found else CHECK
            if len(names) == 1:
                yield f"{place}: {MissingImage(name, folders)}".replace(CHECK, offer)
                continue
            yield (
                f"{count(len(names), 'image')} do not exist in {_list(folders)}: "
                f"{', '.join(map(shown, names))}; the first belongs to {place}; {offer}"
            )


def folder_with(name: str, folders: Sequence[Path]) -> Path | None:
    """Return a folder near these folders that holds an image with this relative path; None if none
    does."""
    for folder in islice(_around(folders), MOST_FOLDERS):
        try:
            if (folder / name).is_file() and not Path(name).is_absolute():
                return folder
        except (OSError, ValueError):
            continue
    return None


def _around(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders inside of the given ones and of their parents, two levels deep."""
    for base in dict.fromkeys(near for folder in folders for near in (folder, folder.parent)):
        yield base
        inside = list(subfolders(base))
        yield from inside
        for folder in inside:
            yield from subfolders(folder)


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield the visible folders inside of a folder, sorted by name; none when it cannot be read."""
    try:
        names = sorted(folder.iterdir())
    except OSError:
        return
    yield from (name for name in names if not name.name.startswith(".") and name.is_dir())


def _list(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
