"""The ledger: descriptions that wait for their reward.

A description's image is painted minutes after the description was written, and its diversity is
known only when a later step has rolled it out. Until then the ledger keeps what the update needs:
the response's tokens, their log-probabilities under the policy that sampled them, and the range of
the description in them. The prompt is not kept; it is encoded again from the parent sample.

In each step the trainer tells the ledger what has become of the jobs: ``settle`` (rolled out),
``reject`` (rejected by the gate), ``lose`` (dropped or dead). Then it takes the descriptions that
can be rewarded (``take_measured``). The descriptions of a bundle are rewarded in the same step.
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
    the response (no prompt); ``scene_token_span`` is the half-open range of its scene tokens, from
    ``<scene>`` to the end. Both arrays are copied, so that a slice of a batch does not keep the
    batch alive.
    ``bundle`` is the name of its bundle, None without siblings; ``diversity`` is D of its image,
    None until it is known. Raises ValueError when tokens, log-probabilities and span do not fit
    together.
    """

    job_id: str
    parent_id: str
    task: str
    token_ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    scene_token_span: tuple[int, int]
    policy_version: int
    parent_diversity: float
    bundle: str | None = None
    diversity: float | None = None

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
    def compared_in(self) -> str:
        """The name of its bundle. A description without siblings is a bundle of its own."""
        return self.bundle or self.job_id

    @property
    def scene_mask(self) -> NDArray[np.bool_]:
        """The tokens that get the diversity reward: bool (L,)."""
        mask = np.zeros(self.token_ids.size, dtype=np.bool_)
        mask[slice(*self.scene_token_span)] = True
        return mask


@dataclass
class LedgerCounts:
    """How many descriptions were added since the start of the run, and what became of them. The
    unpaired ones are also among the settled and the rejected, unless their image came too late."""

    added: int = 0
    replaced: int = 0
    settled: int = 0
    rejected: int = 0
    stale: int = 0
    lost: int = 0
    unpaired: int = 0


class Ledger:
    """The pending descriptions, by the id of their job.

    Every entry leaves the ledger exactly once: it is settled, rejected, stale, lost, unpaired (no
    sibling is left to compare it with), or replaced by a newer response with the same description.

    With several processes the ledger must hold the descriptions of all of them, because a synthetic
    sample may be drawn by another process than the one that wrote its description.
    """

    def __init__(self, max_staleness: int = DEFAULT_MAX_STALENESS) -> None:
        self.max_staleness = max_staleness
        self.counts = LedgerCounts()
        self._pending: dict[str, PendingDescription] = {}
        self._ended: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._pending

    def pending(self) -> list[PendingDescription]:
        """Return the descriptions that wait, oldest first."""
        return list(self._pending.values())

    def add(self, pending: PendingDescription) -> None:
        """Keep a description until its job has an outcome.

        A newer response replaces an older one of the same job, because its log-probabilities are
        closer to those of the policy that will be updated.
        """
        if self._pending.pop(pending.job_id, None) is not None:
            self.counts.replaced += 1
        self._pending[pending.job_id] = pending
        self.counts.added += 1

    def settle(self, job_id: str, diversity: float) -> None:
        """Record D of a description's image, which was rolled out in this step.

        Does nothing if no description waits for this job, because its image was rolled out before
        or the description became stale. Call ``drop_stale`` first in every step.
        """
        self._end(job_id, diversity, rolled_out=True)

    def reject(self, job_id: str) -> None:
        """Record that the gate rejected a description's image: its D counts as 0."""
        self._end(job_id, 0.0, rolled_out=False)

    def lose(self, job_id: str) -> None:
        """Remove a description whose job was dropped or is dead. It gets no reward, because the
        description is not the cause."""
        pending = self._pending.pop(job_id, None)
        if pending is not None:
            self.counts.lost += 1
            self._ended.setdefault(pending.compared_in, False)

    def take_measured(self) -> tuple[list[PendingDescription], int]:
        """Remove and return the descriptions that are rewarded in this step, and the number of
        those that leave without a reward.

        A description without siblings is rewarded as soon as its D is known. A bundle is rewarded
        when one of its images was rolled out in this step, because all that there are were drawn
        together, or when no image of it can be expected any more. Its descriptions whose D is still
        unknown then get no reward, and neither does a single one that is left of a bundle.
        """
        bundles: dict[str, list[PendingDescription]] = {name: [] for name in self._ended}
        for pending in self._pending.values():
            if pending.compared_in in bundles:
                bundles[pending.compared_in].append(pending)
        measured: list[PendingDescription] = []
        unpaired = 0
        for name, members in bundles.items():
            known = [one for one in members if one.diversity is not None]
            if not self._ended[name] and len(known) < len(members):
                continue
            for one in members:
                del self._pending[one.job_id]
            single = len(known) == 1 and known[0].bundle is not None
            rewarded = [] if single else known
            measured += rewarded
            unpaired += len(members) - len(rewarded)
        self._ended.clear()
        self.counts.unpaired += unpaired
        return measured, unpaired

    def drop_stale(self, version: int) -> int:
        """Remove the descriptions written more than ``max_staleness`` policy versions before
        ``version``. Return how many were removed."""
        oldest = version - self.max_staleness
        stale = [job for job, item in self._pending.items() if item.policy_version < oldest]
        for job_id in stale:
            del self._pending[job_id]
        self.counts.stale += len(stale)
        return len(stale)

    def _end(self, job_id: str, diversity: float, rolled_out: bool) -> None:
        pending = self._pending.get(job_id)
        if pending is None or pending.diversity is not None:
            return
        pending.diversity = diversity
        self.counts.settled += rolled_out
        self.counts.rejected += not rolled_out
        bundle = pending.compared_in
        self._ended[bundle] = self._ended.get(bundle, False) or rolled_out

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
        counts = LedgerCounts(**state["counts"])
        self._pending = {
            row["job_id"]: PendingDescription(token_ids=tokens, logprobs=probabilities, **row)
            for row, tokens, probabilities in zip(state["rows"], token_ids, logprobs, strict=True)
        }
        self.counts = counts


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
