"""The format ``yolo``: reads YOLO's ``data.yaml`` with its folders of images and label files.

A label file has a line for each object: the number of the class, then the centre, width and height
from 0 to 1, or a polygon. The rules are those of Ultralytics: the labels of ``…/images/a.jpg`` are
in ``…/labels/a.txt``, and an image without such a file shows no object.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from syngrpo.formats.base import Problems, ReadRequest
from syngrpo.formats.box_layout import Coordinates
from syngrpo.formats.box_samples import (
    LabelledBoxes,
    SplitOptions,
    ToolFile,
    ToolImage,
    ToolObject,
)
from syngrpo.formats.image_paths import SUFFIXES, ends_of, pure_path, spellings
from syngrpo.sample import EncodedImage, InputError
from syngrpo.serving.wording import count
from syngrpo.tasks.labels import shown

logger = logging.getLogger(__name__)

TEST = "test"
"""The split whose labels the authors of a data set often keep to themselves."""
SPLITS = ("train", "val", TEST)
YAML = (".yaml", ".yml")
CLASSES_FILES = ("classes.txt", "obj.names", "_darknet.labels")
"""Names of the classes, one a line, where there is no data.yaml: as labelImg and Label Studio,
Darknet and CVAT, and Roboflow call the file."""


class Yolo(LabelledBoxes):
    """Reads a ``data.yaml``, a folder with one, or a folder with ``classes.txt`` and images that
    have their labels in ``labels`` or beside them. A sixth number of a line, the confidence, is
    ignored."""

    name = "yolo"
    options = SplitOptions
    box_order = "cxcywh"
    box_coordinates: Coordinates = "0-1"

    def recognises(self, path: Path) -> bool:
        if path.is_dir():
            with_list = _classes_in(path) is not None and _labels_in(path)
            return with_list or _yaml_in(path) is not None
        return path.suffix.lower() in YAML and _content(path) is not None

    def parts(self, path: Path, problems: Problems) -> tuple[str, ...]:
        file = _yaml_in(path) if path.is_dir() else path
        content = _content(file) if file is not None else None
        if content is None or file is None:
            return ()
        named, there = _named(content), _splits_there(content, file)
        for split in named:
            if there and split not in there:
                problems.note(f"{file}: the folder of split {split} does not exist; it is left out")
        if TEST in there and len(there) > 1 and _is_unlabelled(content, file, TEST):
            problems.note(
                f"{file}: no image of split {TEST} has a file with its labels; it is left out"
            )
            there.remove(TEST)
        return tuple(there) if len(named) > 1 else ()

    def opened(self, path: Path, request: ReadRequest, problems: Problems) -> ToolFile:
        file = _yaml_in(path) if path.is_dir() else path
        if file is None:
            classes = _classes_in(path)
            if classes is None:
                raise InputError(
                    f"{path} has no data.yaml and no {CLASSES_FILES[0]}, which name the classes"
                )
            names, inside = _lines(classes), path / "images"
            found = _images_in(inside if inside.is_dir() else path)
            poses = False
        else:
            content = _content(file)
            if content is None:
                raise InputError(f"{file} is no data.yaml: it needs names, and train, val or test")
            names = _names(content["names"], file)
            found = _images_of(content, file, request.options.split)
            poses = bool(content.get("kpt_shape"))
        root = path if path.is_dir() else path.parent
        if not found:
            raise InputError(f"{path}: no images are there; check the folders that it names")
        images = _pictures(found, names, root, poses, request, problems)
        return ToolFile((Path("/"),), names, images)


def _classes_in(folder: Path) -> Path | None:
    return next((folder / name for name in CLASSES_FILES if (folder / name).is_file()), None)


def _labels_in(folder: Path) -> bool:
    """Return whether a folder has ``images``, or images with label files beside them."""
    inside = (file for pattern in ("*", "*/*") for file in folder.glob(pattern))
    images = (file for file in inside if file.suffix.lower() in SUFFIXES)
    return (folder / "images").is_dir() or any(_label_file(one).is_file() for one in images)


def _content(file: Path) -> dict[str, Any] | None:
    """Return the content of a data.yaml; None when it is none."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    is_yolo = isinstance(content, dict) and isinstance(content.get("names"), list | dict)
    return content if is_yolo and any(split in content for split in SPLITS) else None


def _yaml_in(folder: Path) -> Path | None:
    files = sorted(file for file in folder.glob("*.y*ml") if file.suffix in YAML)
    return next((file for file in files if _content(file) is not None), None)


def _names(value: Any, file: Path) -> list[str]:
    """Return the class names by number. They are a list, or a mapping of numbers to names."""
    if isinstance(value, dict):
        numbers = range(len(value))
        if set(value) != set(numbers):
            raise InputError(f"{file}: the keys of names are not 0, 1, 2, …")
        value = [value[number] for number in numbers]
    return [str(name) for name in value]


def _images_of(content: dict[str, Any], file: Path, wanted: str | None) -> list[Path]:
    named = _named(content)
    there = _splits_there(content, file) or named  # if none is there, it is said where not
    if wanted is None and len(named) != 1:
        raise InputError(f"{file} has the splits {', '.join(there)}; name one with split (--split)")
    split = wanted or there[0]
    if split not in named:
        raise InputError(f"{file} has no split {split}; it has {', '.join(there)}")
    return list(_images_of_split(content, file, split))


def _images_of_split(content: dict[str, Any], file: Path, split: str) -> Iterator[Path]:
    roots = _roots(content, file)
    for entry in _entries(content, split):
        yield from _images_at(entry, roots, file)


def _splits_there(content: dict[str, Any], file: Path) -> list[str]:
    """Return the splits of a data.yaml whose folders or lists exist."""
    roots = _roots(content, file)
    return [
        split
        for split in _named(content)
        if all(_place_of(entry, roots, file) is not None for entry in _entries(content, split))
    ]


def _named(content: dict[str, Any]) -> list[str]:
    return [split for split in SPLITS if content.get(split)]


def _is_unlabelled(content: dict[str, Any], file: Path, split: str) -> bool:
    images = _images_of_split(content, file, split)
    return not any(_label_file(image).is_file() for image in images)


def _entries(content: dict[str, Any], split: str) -> list[str]:
    listed = content[split] if isinstance(content[split], list) else [content[split]]
    return [str(entry) for entry in listed]


def _roots(content: dict[str, Any], file: Path) -> list[Path]:
    return [file.parent / str(content.get("path") or ""), file.parent]


def _place_of(entry: str, roots: Sequence[Path], file: Path) -> Path | None:
    """Return the folder or the list of paths that an entry names, None if there is none. Roboflow
    writes ``../train/images`` for ``train/images``."""
    return _there(entry, roots) or _there(entry.lstrip("./"), [file.parent])


def _there(entry: str, folders: Sequence[Path]) -> Path | None:
    """Return the file or folder that a path names in one of the folders; for an absolute path of
    another computer, that of its longest end. None if there is none."""
    written = (*spellings(entry), *ends_of(entry))
    places = (folder / one for one in written for folder in folders)
    return next((place for place in places if place.exists()), None)


def _images_at(entry: str, roots: Sequence[Path], file: Path) -> list[Path]:
    """Return the images of a folder or of a list of paths."""
    place = _place_of(entry, roots, file)
    if place is None:
        tried = " or ".join(dict.fromkeys(str(root / entry) for root in roots))
        raise InputError(f"{file}: {tried} does not exist; correct the paths in this file")
    if place.is_dir():
        return _images_in(place)
    folders = list(dict.fromkeys((place.parent, *roots)))
    lines = _lines(place)
    images = [_there(line, folders) or Path(line) for line in lines]
    pairs = zip(lines, images, strict=True)
    moved = ((a, b) for a, b in pairs if pure_path(a).is_absolute() and str(b) != a)
    if pair := next(moved, None):
        logger.warning("image %s is read as %s; others like it, too", *pair)
    return images


def _images_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _lines(file: Path) -> list[str]:
    return [line for _, line in _numbered_lines(file)]


def _numbered_lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines of a file that are not blank, with their numbers from 1."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error})") from None
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in lines if line]


def _pictures(
    images: Sequence[Path],
    names: Sequence[str],
    root: Path,
    poses: bool,
    request: ReadRequest,
    problems: Problems,
) -> Iterator[ToolImage]:
    """Yield the images with their objects. ``poses``: keypoints follow the box of each object, and
    are not read."""
    files = [_label_file(image) for image in images]
    without = sum(not labels.is_file() for labels in files)
    if without == len(images):
        problems.refuse(
            f"{root}: no image has a file with its labels, such as {files[0]} for {images[0]}; put "
            "them there"
        )
    elif without:
        problems.note(f"{root}: images without a label file, which show no object: {without}")
    for image, labels in zip(images, files, strict=True):
        place = str(labels) if labels.is_file() else str(image)
        objects = []
        try:
            for number, line in _numbered_lines(labels) if labels.is_file() else ():
                place = f"{labels}:{number}"
                objects.append(_object(line, names, image, poses, request.as_stored))
        except InputError as error:
            problems.add(place, error)
            continue
        place = str(labels) if objects else str(image)
        inside = image.relative_to(root) if image.is_relative_to(root) else image
        yield ToolImage(place, inside.with_suffix("").as_posix(), str(image.resolve()), objects)


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for number in range(len(parts) - 2, -1, -1):
        if parts[number] == "images":
            parts[number] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _object(
    line: str, names: Sequence[str], image: Path, poses: bool, as_stored: bool
) -> ToolObject:
    try:
        number, *values = (float(word) for word in line.split())
    except ValueError:
        raise InputError(f"the line {shown(line)} is not numbers") from None
    if number not in range(len(names)):
        raise InputError(
            f"the line {shown(line)} has class {number:g}, but there are names for "
            f"{count(len(names), 'class')} (0 to {len(names) - 1}); the first has number 0"
        )
    label = names[int(number)]
    if len(values) in (4, 5) or (poses and len(values) > 5):
        return ToolObject(label, values[:4])
    if len(values) < 6 or len(values) % 2:
        raise InputError(f"the line {shown(line)} has neither a box nor a polygon")
    size = EncodedImage.from_file(image, as_stored)
    sides = (size.width, size.height) * (len(values) // 2)
    return ToolObject(label, None, [v * side for v, side in zip(values, sides, strict=True)])
