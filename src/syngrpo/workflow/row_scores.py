"""Computes the log-probabilities of the responses in rows, as the loss of a run needs them.

``learner`` asks for those under the policy, with gradient, and for those under the reference. The
entropies are computed only for a loss that needs them, and the reference only for responses in
which the KL has a weight. The vocabulary is computed for the tokens in the loss alone: of a settled
response and under the reference these are those of the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow


class RowScores:
    """Scores rows with one policy under the options of a run."""

    def __init__(self, policy: Policy, options: RunOptions) -> None:
        self._policy = policy
        self._options = options

    def of_policy(self, rows: Sequence[UpdateRow]) -> tuple[list[Tensor], list[Tensor] | None]:
        """Return log p (L,) of every segment of every row, and the entropies (L,) if the loss needs
        them. Both are 0 for tokens outside of the loss. Differentiable."""
        in_loss = _packed(rows, lambda segment: segment.mask)
        scored = self._scores(in_loss, with_entropy=self._options.method.wants_entropy)
        return scored[0], scored[1] if len(scored) > 1 else None

    def of_reference(self, rows: Sequence[UpdateRow]) -> list[Tensor] | None:
        """Return log p (L,) of every segment under the reference, 0 for tokens at which the KL has
        no weight: they are not computed. None in a run without a KL."""
        if not self._options.method.has_kl:
            return None
        weighted = [
            UpdateRow(row.prompt, kept)
            for row in rows
            if (kept := [segment for segment in row.segments if segment.beta.any()])
        ]
        if not weighted and self._policy.sharding is not None:
            # With sharded weights every process must take part in each pass.
            weighted = [UpdateRow(rows[0].prompt, rows[0].segments[:1])]
        rows_of_kl = _packed(weighted, lambda segment: segment.beta != 0)
        scored = self._scores(rows_of_kl, reference=True)[0] if weighted else []
        computed = [segment for row in weighted for segment in row.segments]
        known = dict(zip(computed, scored, strict=True))
        return [
            known[s] if s in known else torch.zeros(len(s.token_ids), device=self._policy.device)
            for row in rows
            for s in row.segments
        ]

    def idle(self, row: PackedRow) -> None:
        """Run the passes of an update over any row."""
        ((logprobs,), *_) = self._scores([row])
        if self._options.method.has_kl:
            self._scores([row], reference=True)
        logprobs.sum().backward()

    def _scores(
        self, rows: Sequence[PackedRow], reference: bool = False, with_entropy: bool = False
    ) -> list[list[Tensor]]:
        """Return log p (L,) of every segment of every row, and with ``with_entropy`` a second list,
        the entropies."""

        def score() -> Tensor:
            scored = segment_logprobs(
                self._policy,
                rows,
                self._options.rollout.temperature,
                reference=reference,
                logits_bytes=self._options.trainer.logits_bytes,
                with_entropy=with_entropy,
            )
            each = [segment for row in scored for segment in row]
            parts = [torch.cat([segment.logprobs for segment in each])]
            if with_entropy:
                parts.append(torch.cat([s.entropy for s in each if s.entropy is not None]))
            return torch.stack(parts)

        lengths = [len(segment.token_ids) for row in rows for segment in row.segments]
        return [list(part.split(lengths)) for part in self._policy.run(score, reference)]


def _packed(
    rows: Sequence[UpdateRow], scored: Callable[[CreditedSegment], Tensor]
) -> list[PackedRow]:
    """Return the rows as the policy scores them. ``scored`` returns ``Segment.scored``."""
    return [
        PackedRow(row.prompt, [Segment(s.token_ids, scored(s)) for s in row.segments])
        for row in rows
    ]
