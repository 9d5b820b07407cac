"""Decodes every image of a data set once, as a check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from syngrpo.formats.base import Problems
from syngrpo.formats.image_files import distinct_images, image_key
from syngrpo.sample import EncodedImage, InputError, Sample

_AT_ONCE = 64
"""Number of images that are given to the threads at a time, to keep the number of futures small."""


def drop_undecodable(
    samples: Sequence[Sample], problems: Problems, advance: Callable[[], object] = lambda: None
) -> list[Sample]:
    """Decode every image once. Return the samples whose image can be decoded, and report the others
    as defects.

    ``advance`` is called once for each of ``distinct_images``.
    """
    images = distinct_images(samples)
    broken: dict[Path | int, InputError] = {}
    with ThreadPoolExecutor() as threads:  # decoding releases the interpreter lock
        for start in range(0, len(images), _AT_ONCE):
            batch = images[start : start + _AT_ONCE]
            for image, problem in zip(batch, threads.map(_decode_problem, batch), strict=True):
                if problem is not None:
                    broken[image_key(image)] = problem
                advance()
    for sample in samples:
        problem = broken.get(image_key(sample.image))
        if problem is not None:
            problems.add(problems.place_of(sample.id), problem)
    return [sample for sample in samples if image_key(sample.image) not in broken]


def _decode_problem(image: EncodedImage) -> InputError | None:
    try:
        image.decode()
    except InputError as error:
        return error
    return None
