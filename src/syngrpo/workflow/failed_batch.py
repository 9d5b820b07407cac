"""Saves the rows of an update whose loss or gradient is not finite, so that they can be looked at.
``learner`` calls this before it ends the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from syngrpo.serving.atomic_files import atomic_directory
from syngrpo.workflow.update_rows import UpdateRow


def describe_rows(rows: Sequence[UpdateRow]) -> list[dict[str, Any]]:
    """Return the sample id, prompt and responses of every row as tensors and plain values."""
    return [
        {
            "sample_id": row.prompt.sample_id,
            "input_ids": row.prompt.input_ids,
            "image": {name: list(part.shape) for name, part in row.prompt.image.items()},
            "segments": [vars(segment) for segment in row.segments],
        }
        for row in rows
    ]


def save_batch(directory: Path, rows: list[dict[str, Any]], losses: Sequence[float]) -> None:
    """Write ``directory/batch.pt``: ``{"rows": …, "losses": …}``, where ``rows`` are those of
    ``describe_rows`` and ``losses`` those of the micro-batches.

    Read it by ``torch.load(…, weights_only=True)``. The images are in the pool, by sample id.
    """
    with atomic_directory(directory) as target:
        torch.save({"rows": rows, "losses": list(losses)}, target / "batch.pt")
