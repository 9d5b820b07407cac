"""Turns a configuration into keys as in ``--set``, such as ``trainer.steps``, and texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def flat_values(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested sections with their keys; a list of sections counts as one."""
    if isinstance(value, dict) and value:
        inside = {str(name): one for name, one in value.items()}
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        inside = {str(number): one for number, one in enumerate(value)}
    else:
        if key:  # nothing of a configuration that has nothing
            yield key, value
        return
    for name, one in inside.items():
        yield from flat_values(one, f"{key}.{name}" if key else name)


def value_text(value: Any) -> str:
    """Return a value of a configuration as a text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
