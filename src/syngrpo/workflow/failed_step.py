"""What is kept of a batch whose loss is not a number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from syngrpo.serving.atomic_files import atomic_directory
from syngrpo.workflow.update_rows import UpdateRow

BATCH = "batch.pt"


def describe_rows(rows: Sequence[UpdateRow]) -> list[dict[str, Any]]:
    """Sample, prompt and responses of every row, as tensors and plain values."""
    return [
        {
            "sample_id": row.prompt.sample_id,
            "input_ids": row.prompt.input_ids,
            "image_grid_thw": row.prompt.image_grid_thw,
            "segments": [vars(segment) for segment in row.segments],
        }
        for row in rows
    ]


def save_batch(directory: Path, rows: list[dict[str, Any]], losses: Sequence[float]) -> None:
    """Writes ``directory/batch.pt``: ``{"rows": …, "losses": …}``, the losses of the micro-batches.

    ``torch.load(…, weights_only=True)`` reads it. The images are in the pool, by sample id.
    """
    with atomic_directory(directory) as target:
        torch.save({"rows": rows, "losses": list(losses)}, target / BATCH)
