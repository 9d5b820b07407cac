"""Image generators paint new surroundings around the kept objects of a picture.

``base`` says what a generator is; ``make_generator`` makes one from the name and the options that
the configuration gives. Each worker of a data server, and inline synthesis, makes one generator and
calls it through ``painting.painter``. Built in are

- ``noop`` (in ``base``): coloured blocks, for tests and benchmarks;
- ``diffusers`` and its presets (``diffusers_options``, ``diffusers_generator``, and
  ``diffusers_pipeline``, which alone imports torch): inpainting pipelines on a device of this host;
- ``http`` (``http_generator`` writes the requests, ``image_server`` sends them and reads the
  answers): a server with OpenAI's image edit API.

``sizes`` brings requests to sizes that a model can paint. Start reading at ``base``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from types import MappingProxyType
from typing import Any

from syngrpo.extensions import Registry, made, no_callable, no_instance, no_subclass
from syngrpo.options import read_options, require_arguments
from syngrpo.painting.generators.base import Generator
from syngrpo.sample import InputError

_HERE = "syngrpo.painting.generators"


def _problem(name: str, found: Any) -> str | None:
    options = found.Options if no_subclass(found, Generator) is None else None
    if options is not None and not is_dataclass(options):
        return f"has Options {options!r}; they are a frozen dataclass"
    return no_callable(name, found)


GENERATORS: Registry[Callable[..., Generator]] = Registry(
    "generator",
    "syngrpo.generators",
    {
        "noop": f"{_HERE}.base:NoopGenerator",
        "diffusers": f"{_HERE}.diffusers_generator:DiffusersGenerator",
        "flux2-klein": f"{_HERE}.diffusers_generator:Flux2Klein",
        "z-image-turbo": f"{_HERE}.diffusers_generator:ZImageTurbo",
        "qwen-image-inpaint": f"{_HERE}.diffusers_generator:QwenImageInpaint",
        "sdxl-inpaint": f"{_HERE}.diffusers_generator:SdxlInpaint",
        "http": f"{_HERE}.http_generator:HttpGenerator",
    },
    problem=_problem,
)

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def make_generator(name: str, options: Mapping[str, Any] = NO_OPTIONS) -> Generator:
    """Return the generator with this name, called with these options as keyword arguments.

    ``name`` is one of GENERATORS, or ``package.module:name`` of a class or a function. It must come
    from the user's configuration or command line, because it can import any module. Raises
    InputError for a name that is unknown, for options that the generator does not take, and when
    what is returned is no generator.
    """
    what = f"generator '{name}'"
    checked = check_generator(name, options)
    generator = made(what, GENERATORS.load(name), **checked)
    problem = no_instance(generator, Generator)
    if problem is None and not isinstance(getattr(generator, "fingerprint", None), str):
        problem = "has no fingerprint, a text that names it and all that changes what it paints"
    if problem is not None:
        raise InputError(f"{what} {problem}")
    return generator


def check_generator(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a generator, checked and of the right types, without making it.

    Raises InputError as ``make_generator`` does for a wrong name and for wrong options.
    """
    make, what = GENERATORS.load(name), f"generator '{name}'"
    kind = make.Options if isinstance(make, type) and issubclass(make, Generator) else None
    if kind is None:
        require_arguments(make, options, what)
        return dict(options)
    checked = read_options(kind, options, what)
    return {key: getattr(checked, key) for key in options}


def wants_gpu(name: str, options: Mapping[str, Any] = NO_OPTIONS) -> bool:
    """Return whether a GPU makes this generator faster. Raises InputError for an unknown name."""
    make = GENERATORS.load(name)
    wants = make.wants_gpu if isinstance(make, type) and issubclass(make, Generator) else True
    return wants and options.get("device") != "cpu"
