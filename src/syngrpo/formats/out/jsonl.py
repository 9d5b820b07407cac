"""Our own JSONL, in a directory of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from syngrpo.formats.out.images import ImageFiles
from syngrpo.formats.rows import sample_to_row
from syngrpo.sample import Sample

FILE_NAME = "data.jsonl"


def write_jsonl_directory(samples: Iterable[Sample], directory: Path) -> dict[str, str]:
    """Writes ``data.jsonl`` and ``images/``; returns sample id → image, below the directory."""
    images = ImageFiles(directory)
    with (directory / FILE_NAME).open("w", encoding="utf-8") as file:
        for sample in samples:
            row = sample_to_row(sample, images.add(sample))
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    return images.names
