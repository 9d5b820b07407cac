"""What an image generator is, and the simplest one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from syngrpo.boxes import Similarity


class OutOfMemory(RuntimeError):  # noqa: N818
    """The device cannot hold a picture of ``size`` (width, height) in pixels.

    The generator has freed what it could. The picture may succeed after ``Generator.limit_side``
    was called with less than the longer of the two sides.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(size)  # the only argument, so that the error can be pickled
        self.size = size

    def __str__(self) -> str:
        return f"out of device memory while painting {self.size[0]}x{self.size[1]} pixels"


@dataclass(frozen=True)
class GenerationRequest:
    """One picture to paint.

    ``image`` is uint8 (H, W, 3) RGB with the background erased to one grey, ``keep`` bool (H, W),
    true on the pixels of the kept objects, ``size`` the wanted (width, height) in pixels. The same
    ``prompt`` and ``seed`` must give the same picture.

    ``view`` says where the seed image lies in this picture, and ``horizon`` at which height in
    pixels its horizon is, for a generator that can paint a floor and walls to match; ``lit`` is
    True if light and camera fall on the whole picture afterwards, so that it shall be painted in
    even light. ``forbidden`` are class names of which nothing may be painted. The prompt names none
    of them; a generator that adds things of its own choice must leave them out.
    """

    image: np.ndarray
    keep: np.ndarray
    prompt: str
    seed: int
    size: tuple[int, int]
    view: Similarity = field(default_factory=Similarity)
    horizon: float | None = None
    lit: bool = False
    forbidden: tuple[str, ...] = ()


class NothingKnown(ValueError):  # noqa: N818
    """A prompt names nothing that the generator can paint. The job's picture is rejected with the
    reason ``nothing_known``."""


class Generator(ABC):
    """Paints new surroundings around kept objects. Subclass it to write one of your own.

    A worker makes one generator, calls ``load`` once, and then ``generate`` for each job, from one
    thread. The caller pastes the pixels under ``keep`` back afterwards, so a generator may paint
    over them. ``docs/extending.md`` shows a complete example.
    """

    Options: ClassVar[type[Any] | None] = None
    """A frozen dataclass of the keyword arguments that the class is called with, declared with
    ``syngrpo.options.option``. Without it the arguments are checked by the signature alone."""

    wants_gpu: ClassVar[bool] = True
    """Whether a GPU makes the generator faster. If so, each of its workers on a Ray cluster with
    GPUs reserves one."""

    fingerprint: str
    """A text that names the generator and changes with everything that changes its pictures
    (weights, steps, …)."""

    @abstractmethod
    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """Paint one picture per request, in order: uint8 (H', W', 3) RGB.

        The painter calls this with one request, because a worker paints one job at a time. A
        picture of another size than the request asks for is resized by the caller. Raise
        OutOfMemory when the device cannot hold a picture; any other exception fails the job.
        """

    def load(self) -> None:  # noqa: B027
        """Load the weights, if there are any. Raises InputError when that is not possible.

        ``generate`` must work without it; a worker calls it to find problems before its first job.
        """

    def limit_side(self, side: int) -> bool:
        """Paint no picture with a side of more than ``side`` pixels from now on, nor take one
        through the autoencoder in ``round_trip``.

        Called after OutOfMemory, each time with a smaller ``side``. Return False if the generator
        cannot do this. The fingerprint stays the same.
        """
        return False

    def round_trip(self, image: np.ndarray) -> np.ndarray | None:
        """Return ``image``, uint8 (H, W, 3), encoded and decoded by the generator's autoencoder, in
        any size. None if it has no autoencoder. Raise OutOfMemory as ``generate`` does."""
        return None


class NoopGenerator(Generator):
    """Paints coloured blocks drawn from the seed. For tests, and for benchmarks of everything but
    the generator."""

    wants_gpu = False
    fingerprint = "noop-1"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        return [self._paint(request) for request in requests]

    @staticmethod
    def _paint(request: GenerationRequest) -> np.ndarray:
        width, height = request.size
        blocks = np.random.default_rng(request.seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
        return blocks[rows[:, None], columns[None, :]]
