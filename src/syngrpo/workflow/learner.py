"""One optimiser step, or several, over rows of shared-prefix responses."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from syngrpo.config import Config
from syngrpo.policy.encode import Prompt
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.sample import InputError
from syngrpo.workflow.failed_step import describe_rows, save_batch
from syngrpo.workflow.loss import LossOutput, Normaliser, policy_loss
from syngrpo.workflow.micro_batches import Lockstep, count_tokens, micro_batches
from syngrpo.workflow.optimizer import Optimizer, outline
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow, count_fresh

logger = logging.getLogger(__name__)

NEGLIGIBLE = 1e-3
"""Log-probabilities of sampling and training that differ by less differ by rounding."""

Trained = dict[CreditedSegment, Tensor]
"""Log-probabilities (L,) under the policy as it was before the first of the updates."""


class Updater:
    """Optimizer and loss of one run. ``directory`` is where a failed batch is saved, if anywhere.
    ``budget`` is ``trainer.token_budget``, or less once the device has run out of memory.
    """

    def __init__(
        self,
        config: Config,
        policy: Policy,
        processes: Processes,
        directory: Path | None = None,
    ) -> None:
        self.config = config
        self.policy = policy
        self.processes = processes
        self.directory = directory
        self.budget = config.trainer.token_budget
        self.optimizer = Optimizer(policy, config)
        self.lockstep = Lockstep(policy, processes, self._idle)

    def update(self, rows: Sequence[UpdateRow], metrics: StepMetrics) -> int:
        """Learns from the rows of all processes; returns how many new versions the policy has.

        Raises InputError, before anything is changed, for a group that ``trainer.token_budget`` has
        no room for; when the device's memory does not suffice; and when the loss is not finite.
        """
        self.processes.agree(self._lack_of_room(rows))
        counts = self.processes.gather([count_fresh(rows)])
        whole = Normaliser(rows=sum(r for r, _ in counts), tokens=sum(t for _, t in counts))
        trained: Trained = {}
        for round_ in range(self.config.trainer.updates_per_rollout):
            outputs = self._backward_or_retry(rows, whole, trained, first=round_ == 0)
            if round_ == 0:
                _observe_gap(trained, metrics)
            for output in outputs:
                metrics.observe_loss(output, self.config.trainer.updates_per_rollout)
            self._step(rows, [float(output.loss.detach()) for output in outputs], metrics)
        return self.config.trainer.updates_per_rollout

    def _step(self, rows: Sequence[UpdateRow], losses: list[float], metrics: StepMetrics) -> None:
        """From the gradients of all processes to new weights."""
        parameters = self.policy.trainable_parameters()
        if self.policy.sharding is None:  # else every backward pass has done that
            self.processes.sum_gradients(parameters)
        total = torch.nn.utils.clip_grad_norm_(parameters, self.config.trainer.max_grad_norm)
        norm = float(total.full_tensor() if isinstance(total, DTensor) else total)
        if not all(self.processes.gather([math.isfinite(sum(losses)) and math.isfinite(norm)])):
            self._stop(rows, losses, norm)
        metrics.observe("grad_norm", norm)
        metrics.observe("learning_rate", self.optimizer.learning_rate)
        self.optimizer.step()

    def _stop(self, rows: Sequence[UpdateRow], losses: list[float], norm: float) -> None:
        """Every process comes here; the main one saves what all of them were working on."""
        everything = self.processes.gather(describe_rows(rows))
        losses = self.processes.gather(losses)
        step = self.optimizer.steps // self.config.trainer.updates_per_rollout + 1
        saved = ""
        if self.directory is not None:
            target = self.directory / f"failed-step-{step}"
            saved = f", the batch is saved in {target}"
            if self.processes.is_main:
                save_batch(target, everything, losses)
        raise InputError(
            f"step {step}: the loss is {sum(losses)}, its gradient's norm {norm}{saved}; lower "
            f"trainer.learning_rate ({self.config.trainer.learning_rate:g}) and go on with --resume"
        )

    def _lack_of_room(self, rows: Sequence[UpdateRow]) -> str | None:
        """Settled descriptions may be moved to a row of their own; a group's responses may not."""
        limit, shares = self.config.trainer.token_budget, self.policy.shares_prefix
        groups = [replace(row, segments=[s for s in row.segments if not s.settled]) for row in rows]
        longest = max(groups, key=lambda row: count_tokens(row, shares), default=None)
        if longest is None or count_tokens(longest, shares) <= limit:
            return None
        needed = count_tokens(longest, shares)
        return (
            f"the group of sample {longest.prompt.sample_id} has {needed} tokens (prompt "
            f"{len(longest.prompt.input_ids)}, {len(longest.segments)} responses), more than "
            f"trainer.token_budget {limit}; set trainer.token_budget to {needed} or more"
        )

    def _backward_or_retry(
        self, rows: Sequence[UpdateRow], whole: Normaliser, trained: Trained, first: bool
    ) -> list[LossOutput]:
        """Gradients of the whole loss, once more in half as large parts if memory runs out, on
        whichever process. Raises InputError when that does not help."""
        outputs, tokens = self._backward(rows, whole, trained, first)
        if not tokens:
            return outputs
        self.budget = tokens // 2
        if self.processes.is_main:
            logger.warning(
                "out of device memory in a micro-batch of %d tokens; going on with at most %d "
                "instead of trainer.token_budget %d",
                tokens,
                self.budget,
                self.config.trainer.token_budget,
            )
        outputs, again = self._backward(rows, whole, trained, first)
        if not again:
            return outputs
        raise InputError(
            f"out of device memory in a micro-batch of {tokens} tokens, and again with {again}; "
            f"set trainer.token_budget to {again // 2}, or model.gradient_checkpointing to true, "
            "or make rollout.group_size, rollout.max_new_tokens or model.max_pixels smaller"
        )

    def _backward(
        self, rows: Sequence[UpdateRow], whole: Normaliser, trained: Trained, first: bool
    ) -> tuple[list[LossOutput], int]:
        """Adds up the gradients of all micro-batches, from nothing; and on all processes alike, how
        many tokens were too much for the memory of one, or 0."""
        self.optimizer.zero_grad()
        batches = micro_batches(rows, self.budget, self.policy.shares_prefix)
        outputs, exhausted = self.lockstep.run(
            [partial(self._learn, batch, whole, trained, first) for batch in batches]
        )
        too_much = max(self.processes.gather([self._longest(rows) if exhausted else 0]))
        if too_much:
            self.optimizer.zero_grad()
            if self.policy.device.type == "cuda":
                torch.cuda.empty_cache()
        return outputs, too_much

    def _longest(self, rows: Sequence[UpdateRow]) -> int:
        shares = self.policy.shares_prefix
        batches = micro_batches(rows, self.budget, shares)
        return max(sum(count_tokens(row, shares) for row in batch) for batch in batches)

    def _learn(
        self, rows: Sequence[UpdateRow], whole: Normaliser, trained: Trained, first: bool
    ) -> LossOutput:
        """Forward and backward pass of one micro-batch."""
        output = self._loss(rows, whole, trained, first)
        output.loss.backward()
        return replace(output, loss=output.loss.detach())

    def _idle(self, prompt: Prompt, token: Tensor) -> None:
        """The same with nothing to learn."""
        rows = [PackedRow(prompt, [Segment(token)])]
        (logprobs,) = self._logprobs(rows)
        if self.config.method.has_kl:
            self._logprobs(rows, reference=True)
        logprobs.sum().backward()

    def _loss(
        self, rows: Sequence[UpdateRow], whole: Normaliser, trained: Trained, first: bool
    ) -> LossOutput:
        method, device = self.config.method, self.policy.device
        segments = [segment for row in rows for segment in row.segments]
        packed = [PackedRow(r.prompt, [Segment(s.token_ids) for s in r.segments]) for r in rows]
        scores = self._logprobs(packed)
        if first:
            fresh = [not segment.settled for segment in segments]
            trained |= {
                segment: score.detach()
                for segment, score, counts in zip(segments, scores, fresh, strict=True)
                if counts
            }
        sampled = [segment.old_logprobs.to(device) for segment in segments]
        old = [trained.get(s, stored) for s, stored in zip(segments, sampled, strict=True)]
        return policy_loss(
            scores,
            old,
            [s.advantages.to(device) for s in segments],
            [s.mask.to(device) for s in segments],
            normaliser=whole,
            variant=method.loss,
            clip_low=method.clip_low,
            clip_high=method.clip_high,
            max_completion_length=self.config.rollout.max_new_tokens,
            settled=torch.tensor([s.settled for s in segments], device=device),
            max_ratio=method.max_ratio,
            ref_logp=self._logprobs(packed, reference=True) if method.has_kl else None,
            beta=[s.beta.to(device) for s in segments] if method.has_kl else 0.0,
            sampling_logp=[_unless_negligible(*pair) for pair in zip(sampled, old, strict=True)],
            tis_cap=self.config.rollout.tis_cap,
        )

    def _logprobs(self, rows: Sequence[PackedRow], reference: bool = False) -> list[Tensor]:
        """log p (L,) of every segment of every row."""

        def score() -> Tensor:
            scored = segment_logprobs(
                self.policy,
                rows,
                self.config.rollout.temperature,
                reference=reference,
                logits_bytes=self.config.trainer.logits_bytes,
            )
            return torch.cat([segment.logprobs for row in scored for segment in row])

        lengths = [len(segment.token_ids) for row in rows for segment in row.segments]
        return list(self.policy.run(score, reference).split(lengths))

    def state_dict(self) -> dict[str, Any] | None:
        """Return trained weights, optimizer and schedule. All processes call this together.

        The main process's are whole; when the policy is sharded, the others get None.
        """
        self.processes.agree()
        if self.policy.sharding is None:
            return self.optimizer.state_dict()
        return self.optimizer.gather_state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore what ``state_dict`` returned in the main process; what the others pass means
        nothing. All processes call this together. Raises KeyError when the model has other trained
        weights."""
        if self.processes.count == 1 and state is not None:
            self.optimizer.load_state_dict(state)
            return
        known = self.processes.share(outline(state) if state is not None else None)
        self.optimizer.spread_state_dict(state if self.processes.is_main else None, known)


def _unless_negligible(sampled: Tensor, trained: Tensor) -> Tensor:
    """Training's where the two are nearly equal, or nothing was sampled from this prompt (NaN)."""
    return torch.where((trained - sampled).abs() > NEGLIGIBLE, sampled, trained)


def _observe_gap(trained: Trained, metrics: StepMetrics) -> None:
    """How far the log-probabilities of sampling, where known, are from those of training."""
    if trained:
        sampled = torch.cat([segment.old_logprobs for segment in trained])
        gap = (torch.cat(list(trained.values())).cpu() - sampled).abs()
        gap = gap[~sampled.isnan()]
        metrics.observe("rollout/logp_diff", float(gap.mean()), len(gap))
