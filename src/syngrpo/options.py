"""How an option is declared: once, by the frozen dataclass of the part that uses it.

    @dataclass(frozen=True)
    class SamplingPolicy:
        synthetic_ratio: float = option(0.5, "share of synthetic samples", ge=0, le=1)

The part itself uses the dataclass as it is. ``syngrpo.config`` nests these dataclasses into the
sections of a configuration file; there the bounds are checked, and the descriptions become the
text of ``syngrpo config explain`` and of the JSON schema.
"""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any

REQUIRED: Any = MISSING
"""The default of an option that the user has to set."""


def option(default: Any, description: str, **bounds: Any) -> Any:
    """Declare one option as a dataclass field.

    ``default``: its value when the user sets none; ``REQUIRED`` when there is none; a callable
    (``dict``, ``list``, another options dataclass) is called for a new value each time.
    ``description``: what it means, in plain words and with its unit.
    ``bounds``: ``ge``, ``gt``, ``le``, ``lt``, ``min_length``, ``pattern``, as pydantic names them.
    """
    metadata = {"description": description, **bounds}
    if default is REQUIRED:
        return field(metadata=metadata)
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
