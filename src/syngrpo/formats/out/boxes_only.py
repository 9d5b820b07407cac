"""Formats that hold boxes and nothing else."""

from __future__ import annotations

from syngrpo.sample import InputError, Sample
from syngrpo.tasks.ovd import DETECTION

TASKS_WITH_BOXES = ("rec", *DETECTION)


def refuse_without_boxes(sample: Sample, whose: str) -> None:
    """Raises InputError for a sample whose answer is not made of boxes."""
    if sample.task not in TASKS_WITH_BOXES:
        raise InputError(
            f"sample {sample.id} has task {sample.task}, for which {whose} format has no place; "
            "write jsonl or hf"
        )
