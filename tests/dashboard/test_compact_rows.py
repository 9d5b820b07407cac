"""Rows of metrics in little memory: they say what their dictionaries say."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from syngrpo.dashboard.reading.compact_rows import CompactRows


@pytest.mark.parametrize(
    "row",
    [
        {"step": 7, "loss": 0.1, "kl": None, "synthesis/admitted": 0, "x": -0.0},
        {"step": 8, "loss": 1e308, "kl": 5e-324, "synthesis/admitted": 2**53, "x": -3},
        {"step": 2**62, "loss": 0.5},
        {"step": 9, "loss": "text"},
        {"step": 9, "loss": [1, 2], "kl": True},
        {},
    ],
    ids=str,
)
def test_a_row_says_what_its_dictionary_says(row: dict[str, Any]) -> None:
    found = CompactRows().compact(row)
    assert dict(found) == row and len(found) == len(row) and list(found) == list(row)
    assert [type(found[name]) for name in row] == [type(value) for value in row.values()]
    assert found.keys() == row.keys() and ("loss" in found) is ("loss" in row)
    assert found.get("other") is None and found.get("other", 3) == 3
    with pytest.raises(KeyError):
        found["other"]


def test_rows_need_a_fraction_of_the_memory() -> None:
    numbers = np.random.default_rng(0).normal(size=100)
    line = json.dumps({"step": 1} | {f"group/key_{n}": value for n, value in enumerate(numbers)})

    def bytes_of(compact: bool) -> int:
        rows, kept = CompactRows(), []
        tracemalloc.start()
        for _ in range(300):
            row = json.loads(line)
            kept.append(rows.compact(row) if compact else row)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    assert bytes_of(True) < bytes_of(False) / 5
