"""Describers: they write random descriptions of surroundings for the method ``random-scene``.

There the policy does not describe new surroundings itself; the trainer asks the describer that
``synthesis.describer`` names, once for each picture to be painted. ``base`` says what a describer
is, ``photographs`` is the built-in one for photographs of everyday things.
"""

from __future__ import annotations

import numpy as np

from syngrpo.extensions import Registry, no_instance, reason_of
from syngrpo.painting.describers.base import Describer
from syngrpo.sample import InputError, Sample

DESCRIBERS: Registry[Describer] = Registry(
    "describer",
    "syngrpo.describers",
    {"photographs": "syngrpo.painting.describers.photographs:PhotographDescriber"},
    problem=lambda name, found: no_instance(found, Describer),
    instances=True,
)
"""Describers by name. What is registered is a class without arguments, or a describer."""


def described(describer: Describer, sample: Sample, rng: np.random.Generator) -> str:
    """Return what a describer writes for a sample.

    Raises InputError that names both when the describer raises or returns no text.
    """
    what = f"describer {type(describer).__name__}"
    try:
        text = describer.describe(sample, rng)
    except Exception as error:
        raise InputError(f"{what} failed on sample {sample.id} ({reason_of(error)})") from error
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{what} gave {text!r} for sample {sample.id}; it has to return a text")
    return text
