"""Describers: they write random descriptions of surroundings for the method ``random-scene``.

There the policy does not describe new surroundings itself; the trainer asks the describer that
``synthesis.describer`` names, once for each picture to be painted. ``base`` says what a describer
is, ``photographs`` is the built-in one for photographs of everyday things.
"""

from __future__ import annotations

from typing import Any

from syngrpo.extensions import Registry
from syngrpo.painting.describers.base import Describer


def _make(name: str, imported: Any) -> Describer:
    return imported() if isinstance(imported, type) else imported


DESCRIBERS: Registry[Describer] = Registry(
    "describer",
    "syngrpo.describers",
    {"photographs": "syngrpo.painting.describers.photographs:PhotographDescriber"},
    _make,
)
"""Describers by name. What is registered is a class without arguments, or a describer."""
