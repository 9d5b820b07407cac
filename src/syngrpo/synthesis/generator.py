"""What an image generator is to the data server, and how one is found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from syngrpo.rooms.generator import RoomsGenerator
from syngrpo.sample import InputError
from syngrpo.synthesis.prompts import without_names


@dataclass(frozen=True)
class GenerationRequest:
    """One picture to paint.

    ``image`` is uint8 (H, W, 3) RGB with the background erased, ``keep`` bool (H, W), true on the
    pixels of the kept objects, ``size`` the wanted (width, height) in pixels. The same prompt and
    ``seed`` must give the same picture.
    """

    image: np.ndarray
    keep: np.ndarray
    prompt: str
    seed: int
    size: tuple[int, int]


class Generator(Protocol):
    """Paints new surroundings. Pixels under ``keep`` are pasted back afterwards by the caller."""

    @property
    def fingerprint(self) -> str:
        """Names the generator and everything that changes what it paints (weights, steps, …)."""
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """uint8 (H', W', 3) RGB per request, in order; another size than asked is resized back."""
        ...


class NoopGenerator:
    """Coloured blocks drawn from the seed: no model, for tests and for benchmarks of the rest."""

    fingerprint = "noop-1"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        return [self._paint(request) for request in requests]

    @staticmethod
    def _paint(request: GenerationRequest) -> np.ndarray:
        width, height = request.size
        blocks = np.random.default_rng(request.seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
        return blocks[rows[:, None], columns[None, :]]


class EmbeddedRooms:
    """The rooms generator. It takes every word for the surroundings, so it is not told the names
    of what is kept."""

    def __init__(self) -> None:
        self._rooms = RoomsGenerator()
        self.fingerprint = self._rooms.fingerprint

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        return self._rooms.generate(
            [replace(request, prompt=without_names(request.prompt)) for request in requests]
        )


_GENERATORS: dict[str, Callable[[], Generator]] = {"rooms": EmbeddedRooms, "noop": NoopGenerator}


def make_generator(name: str) -> Generator:
    """The generator of that name, or the one that the callable ``package.module:name`` returns.

    Raises InputError for a name that is neither.
    """
    if name in _GENERATORS:
        return _GENERATORS[name]()
    module_name, separator, attribute = name.partition(":")
    if not separator:
        known = ", ".join(sorted(_GENERATORS))
        raise InputError(
            f"generator '{name}' is unknown; use one of {known}, or 'package.module:callable'"
        )
    try:
        factory: Callable[[], Generator] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"generator '{name}' cannot be imported ({error})") from error
    return factory()
