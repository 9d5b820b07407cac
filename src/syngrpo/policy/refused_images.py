"""Finds the samples whose images a model refuses, from the sizes of the images alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest
from typing import Any

from syngrpo.policy.encode import chat_text
from syngrpo.policy.families.base import Family, SplitFamily
from syngrpo.sample import InputError, Sample
from syngrpo.serving.wording import count

NAMED = 5
"""Number of refused samples that a message names."""
TRIED = 300
"""How many of the largest, the most elongated and the smallest sizes are tried with a processor
that must run to say what it does with a size. It takes up to a second for a large one."""

Size = tuple[int, int]


class SeedTooLarge(InputError):  # noqa: N818
    """A seed image has more pixels than new images are painted from."""


@dataclass(frozen=True)
class Refusal:
    """Samples that are refused for the same kind of reason. ``problem`` says it of the first."""

    problem: str
    samples: Sequence[Sample]

    def told(self) -> str:
        """Return one line: how many samples there are, the first five, and the problem."""
        names = ", ".join(sample.id for sample in self.samples[:NAMED])
        more = len(self.samples) - NAMED
        rest = f" and {more} more" if more > 0 else ""
        return f"{count(len(self.samples), 'sample')} ({names}{rest}): {self.problem}"


def refused_images(
    model: tuple[Family, Any, Any], samples: Iterable[Sample], most_pixels: int | None = None
) -> list[Refusal]:
    """Return the samples whose images ``encode`` would refuse for their size, or which have more
    than ``most_pixels``. No image is read.

    ``model``: family, configuration and processor, as ``read_model_files`` returns them.
    """
    family, config, processor = model
    chat = chat_text(processor, config.name_or_path, "")
    by_size: dict[Size, list[Sample]] = {}
    for sample in samples:
        by_size.setdefault((sample.image.width, sample.image.height), []).append(sample)
    found: dict[type, Refusal] = {}
    for size in _tried(family, list(by_size)):
        first = by_size[size][0]
        try:
            if most_pixels is not None:
                _require_paintable(first, most_pixels)
            family.size(processor, config, first, chat)
        except InputError as error:
            earlier = found.get(type(error), Refusal(str(error), ()))
            found[type(error)] = Refusal(earlier.problem, [*earlier.samples, *by_size[size]])
    return list(found.values())


def _require_paintable(sample: Sample, most_pixels: int) -> None:
    image = sample.image
    if image.width * image.height > most_pixels:
        raise SeedTooLarge(
            f"image of sample {sample.id} is {image.width}x{image.height}, more than {most_pixels} "
            "pixels, far more than the model sees; shrink it, or set data.max_image_pixels (a "
            "worker needs about 40 bytes of memory for each pixel)"
        )


def _tried(family: Family, sizes: list[Size]) -> list[Size]:
    """Return the sizes that are tried: all where the family computes what becomes of a size."""
    if isinstance(family, SplitFamily):
        return sizes
    largest = nlargest(TRIED, sizes, key=lambda size: size[0] * size[1])
    elongated = nlargest(TRIED, sizes, key=lambda size: max(size) / min(size))
    return list(dict.fromkeys([*largest, *elongated, *nsmallest(TRIED, sizes, key=min)]))
