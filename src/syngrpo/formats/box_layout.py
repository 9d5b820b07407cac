"""Says how the boxes of a data set are written, and converts them to corners in pixels.

A format calls ``ReadRequest.boxes.corners`` for every box that it reads, before the box is checked.
So the keys ``boxes`` and ``coordinates`` of a source apply to every format, and
``box_recognition`` can tell from the boxes that were seen whether they are written another way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from syngrpo.sample import EncodedImage
from syngrpo.serving.wording import count
from syngrpo.tasks.labels import ConvertedBox, is_finite_number

BoxOrder = Literal["xyxy", "xywh", "cxcywh", "yxyx"]
Coordinates = Literal["pixels", "0-1", "0-1000"]

ORDER_WORDS: dict[BoxOrder, str] = {
    "xyxy": "x1, y1, x2, y2",
    "xywh": "x, y, width, height",
    "cxcywh": "centre x, centre y, width, height",
    "yxyx": "y1, x1, y2, x2",
}
UNITS: dict[Coordinates, float] = {"0-1": 1.0, "0-1000": 1000.0}
"""The width and the height of an image in coordinates that do not depend on its pixels."""

KEYS_OF_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
KEYS_OF_SIZES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "width", "height"),
    ("xmin", "ymin", "w", "h"),
)
KEYS_OF_CENTRES = (
    ("cx", "cy", "w", "h"),
    ("cx", "cy", "width", "height"),
    ("xcenter", "ycenter", "width", "height"),
    ("x_center", "y_center", "width", "height"),
)
"""The keys of a box that is an object and not a list."""
KEYS_BY_ORDER: dict[BoxOrder, tuple[tuple[str, str, str, str], ...]] = {
    "xyxy": KEYS_OF_CORNERS,
    "xywh": KEYS_OF_SIZES,
    "cxcywh": KEYS_OF_CENTRES,
}

ROUNDING_SHARE = 0.001
"""A box whose coordinates do not count pixels may reach out of its image by this share of the
side, because numbers up to 1000 are whole. It is clipped."""

MOST_SEEN = 20_000
"""Number of boxes of a file from which every second, fourth, … is kept to recognise how they are
written."""


@dataclass(frozen=True)
class BoxLayout:
    """The order of the four numbers of a box, and their unit."""

    order: BoxOrder = "xyxy"
    coordinates: Coordinates = "pixels"

    def corners(self, numbers: Any, width: Any, height: Any) -> tuple[Any, Any, Any, Any]:
        """Return x1, y1, x2, y2 in pixels of an image of this size, without a check.

        ``numbers`` are four numbers, or four arrays of equal length.
        """
        a, b, c, d = numbers
        if self.order == "xyxy":
            x1, y1, x2, y2 = a, b, c, d
        elif self.order == "xywh":
            x1, y1, x2, y2 = a, b, a + c, b + d
        elif self.order == "cxcywh":
            x1, y1, x2, y2 = a - c / 2, b - d / 2, a + c / 2, b + d / 2
        else:
            x1, y1, x2, y2 = b, a, d, c
        if self.coordinates == "pixels":
            return x1, y1, x2, y2
        unit = UNITS[self.coordinates]
        return x1 * width / unit, y1 * height / unit, x2 * width / unit, y2 * height / unit

    def words(self) -> str:
        """Return the layout in words: "x, y, width, height in pixels"."""
        unit = "pixels" if self.coordinates == "pixels" else f"the range {self.coordinates}"
        return f"{ORDER_WORDS[self.order]} in {unit}"


PIXEL_CORNERS = BoxLayout()


class SeenBox(NamedTuple):
    """Four numbers as they are in the data, in the order of the layout they were read with, and
    their image; where they are in the data, and what the object is called, "" if unknown."""

    numbers: tuple[float, float, float, float]
    image: EncodedImage
    place: str = ""
    label: str = ""


class BoxReader:
    """Converts the boxes of one file, and keeps some of them as they were written.

    ``given``: whether the user named the layout; otherwise it is the usual one of the format.
    ``used``: whether any box was converted; ``count``: how many were. ``place``: where the boxes
    that come next are in the data, for messages; a format sets it for each row.
    """

    def __init__(self, layout: BoxLayout = PIXEL_CORNERS, given: bool = False) -> None:
        self.layout, self.given = layout, given
        self.used = False
        self.count = 0
        self.place = ""
        self._seen: list[SeenBox] = []
        self._small: list[SeenBox] = []
        self._plain = layout == PIXEL_CORNERS
        self._every = 1

    def in_units(self, coordinates: Coordinates | None) -> BoxReader:
        """Return a reader for boxes whose row says what their numbers count; None: it does not. The
        keys that the user set take precedence."""
        if coordinates is None or self.given:
            return self
        self.used = True
        return BoxReader(BoxLayout(self.layout.order, coordinates), given=True)

    def corners(self, value: Any, image: EncodedImage, label: Any = "") -> Any:
        """Return a box as the list x1, y1, x2, y2 in pixels of the image.

        ``value`` is a list of four numbers in the layout, or an object that names them (x1, xmin,
        left, width, …). Anything else is returned unchanged, for the check to refuse. ``label``:
        what the object is called, for the contact sheet.
        """
        layout = self.layout
        if isinstance(value, Mapping):
            order, value = _named(value, layout.order)
            if self.given and (order, layout.order) == ("xywh", "cxcywh"):
                order = layout.order  # the user says that x and y are the centre
            layout = BoxLayout(order, layout.coordinates)
        if not isinstance(value, list | tuple) or len(value) != 4:
            return value
        if not all(is_finite_number(number) for number in value):
            return value
        self._see(value, layout, image, label)
        if layout == PIXEL_CORNERS:
            return list(value)
        corners = layout.corners(value, image.width, image.height)
        if layout.coordinates != "pixels":
            return ConvertedBox(_rounded(corners, image), value)
        return ConvertedBox(corners, value)

    def _see(
        self, value: Sequence[Any], layout: BoxLayout, image: EncodedImage, label: Any
    ) -> None:
        self.used = True
        label = label if isinstance(label, str) else ""
        if layout.order != self.layout.order:
            if self.layout.order != "xyxy":
                return
            value = BoxLayout(layout.order).corners(value, 1, 1)
        a, b, c, d = value
        if -1 <= a <= 1 and -1 <= b <= 1 and -1 <= c <= 1 and -1 <= d <= 1:
            self._small.append(SeenBox((a, b, c, d), image, self.place, label))
        if self.count % self._every == 0:
            self._seen.append(SeenBox((a, b, c, d), image, self.place, label))
            if len(self._seen) == MOST_SEEN:
                del self._seen[1::2]
                self._every *= 2
        self.count += 1

    @property
    def seen(self) -> list[SeenBox]:
        """Boxes from the whole file, once all are read; all of them if there are no more than
        MOST_SEEN. A box that several rows have on the same image, or that is an object and the
        answer, is there once."""
        return _each_once(self._seen)

    @property
    def small(self) -> list[SeenBox]:
        """The boxes without a number larger than 1, each once."""
        return _each_once(self._small)

    @property
    def number(self) -> int:
        """The number of boxes in the file. In a large one, equal boxes count more than once."""
        return len(self.seen) if self._every == 1 else self.count

    def looked_at(self) -> str:
        """Return in words how many boxes ``seen`` has: "60 boxes"."""
        return count(len(self.seen), "box") + ("" if self._every == 1 else " looked at")

    def point(self, value: Any, image: EncodedImage) -> Any:
        """Return a point x, y in pixels of the image. ``value`` is a list of two numbers in the
        unit of the boxes, y first if theirs is; anything else is returned unchanged."""
        if not isinstance(value, list | tuple) or len(value) != 2:
            return value
        if self._plain or not all(is_finite_number(number) for number in value):
            return value
        order: BoxOrder = "yxyx" if self.layout.order == "yxyx" else "xyxy"
        layout = BoxLayout(order, self.layout.coordinates)
        return list(layout.corners((*value, *value), image.width, image.height)[:2])


def _each_once(seen: Sequence[SeenBox]) -> list[SeenBox]:
    found: dict[tuple[Any, ...], SeenBox] = {}
    for box in seen:
        found.setdefault((id(box.image), box.numbers), box)
    return list(found.values())


def _rounded(corners: tuple[float, ...], image: EncodedImage) -> Iterator[float]:
    """Yield the corners without what reaches out of the image because numbers were rounded."""
    for number, side in zip(corners, (image.width, image.height) * 2, strict=True):
        inside = min(max(number, 0.0), float(side))
        yield inside if abs(number - inside) <= side * ROUNDING_SHARE else number


def _named(value: Mapping[Any, Any], order: BoxOrder) -> tuple[BoxOrder, Any]:
    """Return the order and the four numbers of a box that names them; for an object that is no box
    the order ``order`` and the object."""
    for known, names in KEYS_BY_ORDER.items():
        for keys in names:
            if all(key in value for key in keys):
                return known, [value[key] for key in keys]
    return order, value


def names_of_boxes() -> list[tuple[str, str, str, str]]:
    """Return what the four numbers of a box that names them are called, the most usual first."""
    return [keys for names in KEYS_BY_ORDER.values() for keys in names]
