"""What an image generator is to the data server, and how one is found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from syngrpo.painting.prompt import without_names
from syngrpo.sample import InputError
from syngrpo_rooms.generator import RoomsGenerator


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


_EMBEDDED: dict[str, Callable[[], Generator]] = {"rooms": EmbeddedRooms, "noop": NoopGenerator}
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def make_generator(name: str, options: Mapping[str, Any] = NO_OPTIONS) -> Generator:
    """The generator of that name: "rooms", "noop", "diffusers" or one of its presets, "http", or
    the one that the callable ``package.module:name`` returns, called with the options.

    ``options`` are those of ``DiffusersOptions`` or ``HttpOptions``; the embedded generators have
    none. Raises InputError for an unknown name and for options that do not fit.
    """
    if name in _EMBEDDED:
        if options:
            raise InputError(f"generator '{name}' has no options; remove {', '.join(options)}")
        return _EMBEDDED[name]()
    if ":" in name:
        return _of_user(name)(**options)
    # Imported here: they build on what stands above, and torch-free workers need none of it.
    from syngrpo.painting.generators.presets import PRESETS, DiffusersOptions

    if name == "http":
        from syngrpo.painting.generators.http import HttpOptions, make_http

        return make_http(_checked(HttpOptions, name, options))
    if name == "diffusers" or name in PRESETS:
        from syngrpo.painting.generators.diffusers import make_diffusers

        preset = {"preset": name} if name in PRESETS else {}
        return make_diffusers(_checked(DiffusersOptions, name, {**preset, **options}))
    known = ", ".join([*_EMBEDDED, "diffusers", *PRESETS, "http"])
    raise InputError(
        f"generator '{name}' is unknown; use one of {known}, or 'package.module:callable'"
    )


def _of_user(name: str) -> Callable[..., Generator]:
    module_name, _, attribute = name.partition(":")
    try:
        factory: Callable[..., Generator] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"generator '{name}' cannot be imported ({error})") from error
    return factory


def _checked(kind: type[Any], name: str, options: Mapping[str, Any]) -> Any:
    """Plain values, as a config file or a command line writes them, as the options of a kind."""
    from pydantic import TypeAdapter, ValidationError  # workers do without it

    known = [field.name for field in fields(kind)]
    if unknown := [key for key in options if key not in known]:
        raise InputError(
            f"generator '{name}' has no option {unknown[0]}; it has {', '.join(known)}"
        )
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"option {key} of generator '{name}': {first['msg']}") from None
