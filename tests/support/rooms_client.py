"""A client on rooms, without PyTorch, and responses for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from syngrpo.data_server.client import DataClient, DrawnSample, SynthesisOptions, WrittenResponse
from syngrpo_rooms.dataset import rooms_samples

SEEDS = rooms_samples("train", 24)
INLINE = SynthesisOptions(generator="rooms", mode="inline")


def opened(folder: Path | str, **more: Any) -> DataClient:
    options: dict[str, Any] = {"groups_per_step": 4, "synthesis": INLINE} | more
    return DataClient.open(folder, SEEDS, **options)


def describing(sample: DrawnSample | None, text: str) -> WrittenResponse:
    """A well-formed response of one token for each character."""
    whole = f"<think>t</think><answer>[1,2,3,4]</answer><scene>{text}</scene>"
    mask = np.arange(len(whole)) >= whole.index("<scene>")
    tokens = np.frombuffer(whole.encode(), np.uint8).astype(np.int64)
    return WrittenResponse(whole, tokens, np.zeros(len(whole), np.float32), mask)
