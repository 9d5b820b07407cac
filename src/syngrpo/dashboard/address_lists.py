"""Lists of names in the query of an address: ``runs=first,second``."""

from __future__ import annotations

from collections.abc import Iterable


def joined_names(names: Iterable[str]) -> str:
    """Return names as one text that ``split_names`` takes apart again, whatever they hold."""
    return ",".join(name.replace("%", "%25").replace(",", "%2C") for name in names)


def split_names(text: str) -> list[str]:
    """Return the names that ``joined_names`` has joined; [] for ""."""
    parts = text.split(",") if text else []
    return [part.replace("%2C", ",").replace("%25", "%") for part in parts]
