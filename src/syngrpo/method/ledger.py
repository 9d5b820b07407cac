"""The ledger: descriptions that wait for their reward.

A description's image is painted minutes after the description was written, and its diversity is
known only when a later step has rolled it out. Until then the ledger keeps what the update needs:
the response's tokens, their log-probabilities under the policy that sampled them, and the range of
the description in them. The prompt is not kept; it is encoded again from the parent sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

DEFAULT_MAX_STALENESS = 64
"""Number of policy versions after which a stored response is too old to learn from."""


@dataclass(eq=False)
class PendingDescription:
    """One response whose description was submitted as the synthesis job ``job_id``.

    ``token_ids`` int64 (L,) and ``logprobs`` float32 (L,), under the sampling distribution, hold
    the response (no prompt); ``scene_token_span`` is the half-open range of its scene tokens, tags
    included. Both arrays are copied, so that a slice of a batch does not keep the batch alive.
    Raises ValueError when the three do not fit together.
    """

    job_id: str
    parent_id: str
    task: str
    token_ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    scene_token_span: tuple[int, int]
    policy_version: int
    parent_diversity: float

    def __post_init__(self) -> None:
        self.token_ids = np.array(self.token_ids, dtype=np.int64)
        self.logprobs = np.array(self.logprobs, dtype=np.float32)
        start, end = self.scene_token_span
        length = self.token_ids.size
        if self.token_ids.shape != self.logprobs.shape or not 0 <= start < end <= length:
            raise ValueError(
                f"description {self.job_id}: {length} tokens, {self.logprobs.size} "
                f"log-probabilities, scene tokens {start} to {end} do not fit together"
            )

    @property
    def scene_mask(self) -> NDArray[np.bool_]:
        """The tokens that get the diversity reward: bool (L,)."""
        mask = np.zeros(self.token_ids.size, dtype=np.bool_)
        mask[slice(*self.scene_token_span)] = True
        return mask


@dataclass
class LedgerCounts:
    """How many descriptions were added since the start of the run, and how they left the ledger."""

    added: int = 0
    replaced: int = 0
    settled: int = 0
    rejected: int = 0
    stale: int = 0
    lost: int = 0


class Ledger:
    """The pending descriptions, by the id of their job.

    Every entry leaves the ledger exactly once: it is settled, rejected, stale, lost, or replaced by
    a newer response with the same description.

    With several processes the ledger must hold the descriptions of all of them, because a synthetic
    sample may be drawn by another process than the one that wrote its description.
    """

    def __init__(self, max_staleness: int = DEFAULT_MAX_STALENESS) -> None:
        self.max_staleness = max_staleness
        self.counts = LedgerCounts()
        self._pending: dict[str, PendingDescription] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._pending

    def add(self, pending: PendingDescription) -> None:
        """Keep a description until its job has an outcome.

        A newer response replaces an older one of the same job, because its log-probabilities are
        closer to those of the policy that will be updated.
        """
        if self._pending.pop(pending.job_id, None) is not None:
            self.counts.replaced += 1
        self._pending[pending.job_id] = pending
        self.counts.added += 1

    def settle(self, job_id: str) -> PendingDescription | None:
        """Remove and return the description whose image was rolled out in this step.

        Return None if no description waits for this job, because its image was rolled out before
        or the description became stale. Call ``drop_stale`` first in every step.
        """
        pending = self._pending.pop(job_id, None)
        self.counts.settled += pending is not None
        return pending

    def reject(self, job_id: str) -> PendingDescription | None:
        """Remove and return the description whose image the gate refused; its D counts as 0."""
        pending = self._pending.pop(job_id, None)
        self.counts.rejected += pending is not None
        return pending

    def lose(self, job_id: str) -> bool:
        """Remove a description whose job was dropped or is dead. It gets no reward, because the
        description is not the cause. Return whether it was pending."""
        was_pending = self._pending.pop(job_id, None) is not None
        self.counts.lost += was_pending
        return was_pending

    def drop_stale(self, version: int) -> int:
        """Remove the descriptions written more than ``max_staleness`` policy versions before
        ``version``. Return how many were removed."""
        oldest = version - self.max_staleness
        stale = [job for job, item in self._pending.items() if item.policy_version < oldest]
        for job_id in stale:
            del self._pending[job_id]
        self.counts.stale += len(stale)
        return len(stale)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and two arrays in which all responses are concatenated. (Each array
        is an entry of its own in a checkpoint's archive, so one for each response is too many.)"""
        items = list(self._pending.values())
        return {
            "counts": asdict(self.counts),
            "rows": [{name: getattr(item, name) for name in _PLAIN_FIELDS} for item in items],
            "lengths": [item.token_ids.size for item in items],
            "token_ids": _concatenated((item.token_ids for item in items), np.int64),
            "logprobs": _concatenated((item.logprobs for item in items), np.float32),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. The arrays in ``state`` may be tensors."""
        ends = np.cumsum(state["lengths"], dtype=np.int64)[:-1]
        token_ids = np.split(np.asarray(state["token_ids"]), ends) if state["lengths"] else []
        logprobs = np.split(np.asarray(state["logprobs"]), ends) if state["lengths"] else []
        self.counts = LedgerCounts(**state["counts"])
        self._pending = {
            row["job_id"]: PendingDescription(token_ids=tokens, logprobs=probabilities, **row)
            for row, tokens, probabilities in zip(state["rows"], token_ids, logprobs, strict=True)
        }


_PLAIN_FIELDS = tuple(
    field.name
    for field in fields(PendingDescription)
    if field.name not in ("token_ids", "logprobs")
)


def token_span(mask: ArrayLike) -> tuple[int, int]:
    """Return the half-open range of the marked tokens of a mask, bool (L,).

    Raises ValueError when no token is marked, or when the marked tokens are not contiguous.
    """
    positions = np.flatnonzero(np.asarray(mask))
    if not positions.size or positions[-1] - positions[0] + 1 != positions.size:
        raise ValueError(f"{positions.size} marked tokens are not one contiguous run")
    return int(positions[0]), int(positions[-1]) + 1


def _concatenated(arrays: Iterable[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=dtype), *arrays])
