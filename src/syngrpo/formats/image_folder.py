"""The images a data file speaks of: headers are read once, and no path leads out of the folder."""

from __future__ import annotations

from pathlib import Path

from syngrpo.sample import EncodedImage, InputError, LabelledObject
from syngrpo.tasks.labels import shown

Objects = tuple[LabelledObject, ...]


class ImageFolder:
    """One or several folders; an image is looked up in the first that has it.

    ``labelled`` is the memory of whoever reads rows: the objects that the last row about an image
    labelled, and the text they were read from.
    """

    def __init__(self, root: Path, *more: Path) -> None:
        self.roots = tuple(folder.resolve() for folder in (root, *more))
        self.labelled: dict[str, tuple[str, Objects]] = {}
        self._opened: dict[str, EncodedImage | InputError] = {}

    def open(self, relative: str) -> EncodedImage:
        """The image at a path relative to a folder (or absolute, and inside of one).

        The same object for the same path. Raises InputError; decodes nothing.
        """
        if relative not in self._opened:
            try:
                self._opened[relative] = EncodedImage.from_file(self._find(relative))
            except InputError as error:
                self._opened[relative] = error
        found = self._opened[relative]
        if isinstance(found, InputError):
            raise InputError(str(found))
        return found

    def _find(self, relative: str) -> Path:
        """Where the image is, or would be; never outside of the folders."""
        try:
            paths = [(root, (root / relative).resolve()) for root in self.roots]
            inside = [path for root, path in paths if path.is_relative_to(root)]
            present = [path for path in inside if path.exists()]
        except (ValueError, OSError, RuntimeError) as error:  # null bytes, loops of links
            raise InputError(f"image {shown(relative)} is not a usable path ({error})") from None
        if not inside:
            raise InputError(
                f"image {shown(relative)} leaves the image folder {self.roots[0]}; "
                "write a path relative to that folder"
            )
        return present[0] if present else inside[0]
