"""What a data set holds, in numbers."""

from __future__ import annotations

import io
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from syngrpo.boxes import area
from syngrpo.formats.registry import image_key
from syngrpo.sample import EncodedImage, Sample

EXIF_ORIENTATION = 0x0112


@dataclass
class Survey:
    """``sizes``: (width, height) of every image; ``boxes_per_image``: one number an image;
    ``area_shares``: of every box, its part of its image. Objects that several samples share on
    one image count once."""

    tasks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    boxes_per_image: list[int] = field(default_factory=list)
    area_shares: list[float] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    nothing_to_find: int = 0
    rotated: int = 0

    @property
    def rows(self) -> int:
        """The number of samples."""
        return self.tasks.total()


def survey(samples: Iterable[Sample]) -> Survey:
    """Counts. Reads the headers of the images again, for their orientation, and decodes none."""
    result = Survey()
    images: dict[Path | int, tuple[EncodedImage, dict[Any, bool]]] = {}
    for sample in samples:
        result.tasks[sample.task] += 1
        if isinstance(kind := sample.columns.get("kind"), str):
            result.kinds[kind] += 1
        result.nothing_to_find += sample.answer == ()
        _, objects = images.setdefault(image_key(sample.image), (sample.image, {}))
        for thing in sample.objects:
            key = (thing.label, thing.box)
            objects[key] = objects.get(key, False) or thing.mask is not None
    for image, objects in images.values():
        result.sizes.append((image.width, image.height))
        result.boxes_per_image.append(len(objects))
        result.classes.update(label for label, _ in objects)
        result.area_shares += [area(box) / (image.width * image.height) for _, box in objects]
        result.masks += sum(objects.values())
        result.rotated += is_rotated(image)
    return result


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Minimum, median, maximum of at least one value."""
    return min(values), statistics.median(values), max(values)


def is_rotated(image: EncodedImage) -> bool:
    """Whether viewers turn the image by its EXIF orientation before they show it."""
    source = image.path if image.path is not None else io.BytesIO(image.read())
    with Image.open(source) as header:
        return header.getexif().get(EXIF_ORIENTATION, 1) != 1
