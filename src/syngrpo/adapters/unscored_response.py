"""A response whose description gets no reward, for trainers that cannot take one that comes
later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syngrpo.data_server.client import WrittenResponse


def unscored(text: str, token_ids: Sequence[int]) -> WrittenResponse:
    """Return a response that gets no reward later: its log-probabilities are unknown, and any token
    stands for its scene."""
    ids = np.asarray(token_ids, np.int64)
    return WrittenResponse(text, ids, np.full(ids.shape, np.nan, np.float32), ids == ids)
