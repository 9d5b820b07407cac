"""Keeps the rows of ``metrics.jsonl`` in a fraction of the memory that dictionaries need, so that
tens of runs of many steps can be open.

The rows of a run have nearly all the same names. They share them, and each row has its numbers in
an array of its own.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, KeysView, Mapping
from typing import Any

_LARGEST = 2**53
"""Integers up to this are the same as a float."""
_KINDS = {float, int, type(None)}


class CompactRows:
    """Makes compact rows. Those with the same names, made by one ``CompactRows``, share them."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, ...], dict[str, int]] = {}

    def compact(self, row: dict[str, Any]) -> Mapping[str, Any]:
        """Return a row with the same names and values; the row itself if it has other values than
        numbers and None."""
        values = row.values()
        if not set(map(type, values)) <= _KINDS:
            return row
        whole = [place for place, value in enumerate(values) if type(value) is int]
        numbers = array("d", (math.nan if value is None else value for value in values))
        if any(abs(numbers[place]) > _LARGEST for place in whole):
            return row
        names = tuple(row)
        places = self._shared.setdefault(names, {name: place for place, name in enumerate(names)})
        return _CompactRow(places, numbers, sum(1 << place for place in whole))


class _CompactRow(Mapping[str, Any]):
    """``places`` has the place of each name in ``numbers``, in which NaN stands for None; a bit of
    ``whole`` is set for each place of an integer."""

    __slots__ = ("_numbers", "_places", "_whole")

    def __init__(self, places: dict[str, int], numbers: array[float], whole: int) -> None:
        self._places, self._numbers, self._whole = places, numbers, whole

    def __getitem__(self, name: str) -> float | int | None:
        place = self._places[name]
        value = self._numbers[place]
        if value != value:
            return None
        return int(value) if self._whole >> place & 1 else value

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._places else default

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def keys(self) -> KeysView[str]:
        return self._places.keys()
