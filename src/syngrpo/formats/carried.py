"""What foreign formats have no place for, carried along under a key of our own.

VLM-R1 rows and COCO images keep in ``syngrpo`` the whole row of our JSONL but the image, so that
what Syn-GRPO wrote is read back exactly: masks, every object, description, columns. Other programs
ignore the key. It wins over the foreign fields beside it: whoever edits those removes the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syngrpo.formats.image_folder import ImageFolder
from syngrpo.formats.rows import parse_row, row_to_sample, sample_to_row
from syngrpo.sample import InputError, Sample
from syngrpo.tasks.labels import shown

CARRIED = "syngrpo"
"""The key. In a VLM-R1 row it holds JSON text: VLM-R1 hands its rows to Arrow, which wants one type
a column, and ours differ between tasks. In a COCO image it is a list, one object a sample."""


def carried_row(sample: Sample) -> dict[str, Any]:
    """Everything of a sample but its image, as plain JSON data."""
    row = sample_to_row(sample, image="")
    del row["image"]
    return row


def carried_sample(value: Any, image: str, images: ImageFolder) -> Sample:
    """The sample again, from the JSON text or the object, with the image at that path.

    Raises InputError when anything about it is wrong.
    """
    row = parse_row(value.encode("utf-8", "replace")) if isinstance(value, str) else value
    if not isinstance(row, Mapping):
        raise InputError(f"{CARRIED} is {shown(value)}, not a sample; remove that key")
    return row_to_sample({**row, "image": image}, images)
