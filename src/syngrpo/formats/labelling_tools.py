"""The formats ``voc``, ``labelme`` and ``cvat``: files of labelling tools, read with ``globox``.

``globox``, an optional library, reads a box; which objects there are, and what it does not tell
(polygons, phrases, objects that are no ground truth), is read here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os.path import normpath
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

from syngrpo.formats.base import Problems, ReadRequest
from syngrpo.formats.box_samples import (
    LabelledBoxes,
    SplitOptions,
    ToolFile,
    ToolImage,
    ToolObject,
)
from syngrpo.formats.image_paths import pure_path
from syngrpo.formats.row_files import beginning
from syngrpo.sample import InputError
from syngrpo.serving.wording import one_line
from syngrpo.tasks.labels import shown

PHRASE_NAMES = ("phrase", "caption", "description", "expression", "referring_expression")
"""Attributes of an object in CVAT whose text describes this object alone."""

SHOWN_LISTS = 5
"""Number of lists that a message offers."""

NOT_READ = "which are not read, left out; their classes are not asked for in these images"
"""The end of a message about objects that only a shape of another kind marks."""
_CVAT_KINDS = ("box", "polygon", "tag")

Element = ElementTree.Element


def globox_library() -> ModuleType:
    """Import and return the ``globox`` library. Raises InputError when it is not installed."""
    try:
        import globox
    except ImportError:
        raise InputError(
            "data of labelling tools (voc, labelme, cvat) need the globox library; run: "
            "pip install 'syngrpo[tools]'"
        ) from None
    return globox


class PascalVoc(LabelledBoxes):
    """Reads Pascal VOC: a folder with ``Annotations`` (XML) and ``JPEGImages``, a folder of XML
    files, or one XML file. ``split`` names a list in ``ImageSets/Main``. Objects that are
    ``difficult`` are no ground truth."""

    name = "voc"
    options = SplitOptions

    def recognises(self, path: Path) -> bool:
        first = _first_of(path, ".xml")
        return first is not None and _begins(first, b"annotation")

    def opened(self, path: Path, request: ReadRequest, problems: Problems) -> ToolFile:
        globox = globox_library()
        folder = path if path.is_dir() else path.parent
        base = folder.parent if folder.name == "Annotations" else folder
        files = [path] if path.is_file() else _listed(path, ".xml", request.options.split, base)
        folders = (base / "JPEGImages", base / "images", folder, base)
        usable = tuple(one for one in dict.fromkeys(folders) if one.is_dir())
        return ToolFile(usable, (), _each(files, problems, lambda file: _voc_image(file, globox)))


def _voc_image(file: Path, globox: ModuleType) -> ToolImage:
    root = _xml(file)
    if root.tag != "annotation":
        raise InputError(f"it holds <{root.tag}>, and no <annotation> of Pascal VOC")
    objects = []
    for node in root.iter("object"):
        label = node.findtext("name") or ""
        written = [node.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        numbers = _box(globox.BoundingBox.from_xml, node, label, written)
        objects.append(ToolObject(label, numbers, sure=node.findtext("difficult", "0") != "1"))
    size = root.find("size")
    sides = (size.findtext("width"), size.findtext("height")) if size is not None else ()
    known = all(text is not None and text.isdecimal() and int(text) > 0 for text in sides)
    width_height = tuple(int(text or 0) for text in sides) if known and sides else None
    name = root.findtext("filename") or file.stem
    return ToolImage(str(file), file.stem, name, objects, width_height)  # type: ignore[arg-type]


class LabelMe(LabelledBoxes):
    """Reads LabelMe: a JSON file for each image, or a folder of them. Rectangles are boxes,
    polygons masks; the description of a shape is the phrase for its object."""

    name = "labelme"

    def recognises(self, path: Path) -> bool:
        first = _first_of(path, ".json")
        head = _head(first) if first is not None else b""
        return b'"shapes"' in head and b'"imagePath"' in head

    def opened(self, path: Path, request: ReadRequest, problems: Problems) -> ToolFile:
        globox = globox_library()
        folder = path if path.is_dir() else path.parent
        files = [path] if path.is_file() else _listed(path, ".json", None, path)
        roots = request.images or (folder, folder.parent)
        told: Counter[str] = Counter()

        def read(file: Path) -> ToolImage:
            found = _labelme_image(file, globox, told)
            return replace(found, file=_labelme_path(found.file, file, folder, roots, told))

        listed = list(_each(files, problems, read))
        for what, number in told.items():
            problems.note(f"{path}: {what}: {number}")
        return ToolFile(roots, (), iter(listed))


def _labelme_path(
    path: str, file: Path, folder: Path, roots: Sequence[Path], told: Counter[str]
) -> str:
    """Return the path of an image below one of the folders ``roots``.

    LabelMe writes it relative to its JSON file, so it may lead to a folder beside. If nothing is
    there, as when the files were moved, it is the image of that name beside the JSON file or in a
    root.
    """
    own = file.parent.relative_to(folder)
    spelling = path.replace("\\", "/")
    written = [normpath(own / spelling), normpath(Path(folder.name) / own / spelling)]
    name = pure_path(path).name
    for option in (*written, str(own / name), name):
        if not option.startswith("..") and any((root / option).is_file() for root in roots):
            if option not in written:
                told["images that are not where imagePath says, found by their names"] += 1
            return option
    return str(own / path)


def _labelme_image(file: Path, globox: ModuleType, told: Counter[str]) -> ToolImage:
    content = _json(file)
    shapes, path = content.get("shapes"), content.get("imagePath")
    if not isinstance(shapes, list) or not isinstance(path, str):
        raise InputError("it has no shapes and imagePath, so it is no file of LabelMe")
    objects, unread = [], set()
    for shape in shapes:
        kind = shape.get("shape_type", "polygon") if isinstance(shape, Mapping) else None
        label = str(shape.get("label", "")) if isinstance(shape, Mapping) else ""
        if kind not in ("rectangle", "polygon"):
            told[f"shapes of the kind {kind}, {NOT_READ}"] += 1
            unread.add(label)
            continue
        numbers = _box(globox.BoundingBox.from_labelme, shape, label)
        flat = [float(number) for point in shape["points"] for number in point]
        phrase = shape.get("description")
        objects.append(
            ToolObject(
                label=label,
                box=numbers,
                polygon=flat if kind == "polygon" else (),
                phrase=phrase.strip() if isinstance(phrase, str) else "",
            )
        )
    size = (content.get("imageWidth"), content.get("imageHeight"))
    known = all(type(number) is int for number in size)
    sides = size if known else None
    return ToolImage(str(file), file.stem, path, objects, sides, frozenset(unread))  # type: ignore[arg-type]


class Cvat(LabelledBoxes):
    """Reads CVAT for images 1.1: an XML file with all images, which lie in ``images`` beside it or
    beside the file. Boxes and polygons are read; an attribute such as ``caption`` is the phrase for
    its object."""

    name = "cvat"

    def recognises(self, path: Path) -> bool:
        first = _first_of(path, ".xml")
        return first is not None and _begins(first, b"annotations")

    def opened(self, path: Path, request: ReadRequest, problems: Problems) -> ToolFile:
        globox = globox_library()
        files = [path] if path.is_file() else _listed(path, ".xml", None, path)
        file = files[0]
        if len(files) > 1:
            raise InputError(
                f"{path} holds {len(files)} XML files, such as {file.name} and {files[1].name}; "
                "name the files themselves, each as a source of its own"
            )
        try:
            root = _xml(file)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        if root.tag != "annotations" or root.find("track") is not None:
            raise InputError(
                f"{file} holds no annotations of images; export as CVAT for images 1.1"
            )
        classes = [node.text or "" for node in root.findall("./meta//labels/label/name")]
        nodes = list(root.iter("image"))
        _note_kinds(nodes, file, problems)
        places = ((f"{file}: image {shown(node.get('name'))}", node) for node in nodes)
        images = _each_of(places, problems, lambda node: _cvat_image(node, file, globox))
        folders = [file.parent / "images", file.parent]
        return ToolFile(tuple(one for one in folders if one.is_dir()), classes, images)


def _cvat_image(node: Element, file: Path, globox: ModuleType) -> ToolImage:
    name = node.get("name", "")
    objects = []
    for shape in node:
        if shape.tag == "box":
            if float(shape.get("rotation", 0)) != 0:
                raise InputError("it has a rotated box; export polygons instead")
            label = shape.get("label", "")
            written = [shape.get(key) for key in ("xtl", "ytl", "xbr", "ybr")]
            numbers = _box(globox.BoundingBox.from_cvat, shape, label, written)
            objects.append(ToolObject(label, numbers, phrase=_phrase(shape)))
        elif shape.tag == "polygon":
            points = shape.get("points", "").replace(";", ",").split(",")
            try:
                flat = [float(number) for number in points]
            except ValueError:
                raise InputError(
                    f"the polygon {shown(shape.get('points'))} is not points"
                ) from None
            objects.append(ToolObject(shape.get("label", ""), None, flat, _phrase(shape)))
    unread = frozenset(shape.get("label", "") for shape in node if shape.tag not in _CVAT_KINDS)
    size = (int(node.get("width", 0)), int(node.get("height", 0)))
    sides = size if min(size) > 0 else None
    return ToolImage(f"{file}: image {shown(name)}", name, name, objects, sides, unread)


def _phrase(shape: Element) -> str:
    for attribute in shape.iter("attribute"):
        if attribute.get("name", "").lower() in PHRASE_NAMES and attribute.text:
            return attribute.text.strip()
    return ""


def _note_kinds(nodes: list[Element], file: Path, problems: Problems) -> None:
    for kind in sorted({shape.tag for node in nodes for shape in node} - set(_CVAT_KINDS)):
        number = sum(shape.tag == kind for node in nodes for shape in node)
        problems.note(f"{file}: shapes of the kind {kind}, {NOT_READ}: {number}")


def _box(
    read: Callable[[Any], Any], value: Any, label: str, written: Sequence[str | None] = ()
) -> list[float]:
    """Return the box that globox reads from an object, as four numbers. It raises errors of many
    kinds for a bad one; if four numbers are ``written``, these are returned, and refused by the
    check."""
    try:
        return list(read(value).ltrb)
    except Exception as error:
        texts = [text for text in written if text is not None]
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            told = f"the box of {shown(label)} is {shown(texts)}, not four numbers"
            raise InputError(told) from None
        if len(numbers) == 4:
            return numbers
        raise InputError(f"the box of {shown(label)} cannot be read ({one_line(error)})") from None


def _each(
    files: list[Path], problems: Problems, read: Callable[[Path], ToolImage]
) -> Iterator[ToolImage]:
    yield from _each_of(((str(file), file) for file in files), problems, read)


def _each_of(
    places: Iterator[tuple[str, Any]], problems: Problems, read: Callable[[Any], ToolImage]
) -> Iterator[ToolImage]:
    for place, one in places:
        try:
            image = read(one)
        except InputError as error:
            problems.add(place, error)
        except (ValueError, TypeError) as error:
            problems.add(place, f"a value is not what the format has there ({one_line(error)})")
        else:
            yield image


def _listed(path: Path, suffix: str, split: str | None, base: Path) -> list[Path]:
    """Return the annotation files of a folder, or of its part ``split``. Raises InputError when
    there are none."""
    inside = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(inside.rglob(f"*{suffix}"))
    if split is not None:
        listed = base / "ImageSets" / "Main" / f"{split}.txt"
        if not listed.is_file():
            there = [file.stem for file in sorted(listed.parent.glob("*.txt"))]
            named = [name for name in ("train", "val", "trainval", "test") if name in there]
            has = f"it has {', '.join(named or there[:SHOWN_LISTS])}" if there else "leave it out"
            raise InputError(f"{path} has no split {split} (no {listed}); {has}")
        lines = [line.split() for line in listed.read_text(encoding="utf-8-sig").splitlines()]
        names = {words[0] for words in lines if words and words[-1] != "-1"}
        files = [file for file in files if file.stem in names]
    if not files:
        raise InputError(f"{path} has no {suffix} files; name the folder with the annotations")
    return files


def _first_of(path: Path, suffix: str) -> Path | None:
    """Return the file, or the first of a folder, that has this suffix; None if there is none."""
    if path.is_file():
        return path if path.suffix.lower() == suffix else None
    folders = (path / "Annotations", path)
    return next((file for folder in folders for file in sorted(folder.glob(f"*{suffix}"))), None)


def _head(file: Path) -> bytes:
    try:
        return beginning(file)
    except InputError:
        return b""


def _begins(file: Path, tag: bytes) -> bool:
    """Return whether the head of an XML file has an element with this name, with or without
    attributes."""
    return re.search(rb"<" + tag + rb"[\s>]", _head(file)) is not None


def _xml(file: Path) -> Element:
    try:
        return ElementTree.parse(file).getroot()
    except OSError as error:
        raise InputError(f"it cannot be read ({error.strerror})") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"it is not XML ({one_line(error)})") from None


def _json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"it cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON ({one_line(error)})") from None
    if not isinstance(content, Mapping):
        raise InputError(f"it is {shown(content)}, and no file of LabelMe")
    return content
