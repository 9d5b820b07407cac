"""The learner: updates the policy from the rows of one training step.

The trainer calls ``Learner.update`` once a step, in every process. The learner packs the rows into
micro-batches within the token budget (``micro_batches``), computes the loss and the gradients of
each (``loss``), sums the gradients over all processes, and takes an optimizer step (``optimizer``).
With ``trainer.updates_per_rollout`` above 1 it repeats this with the same rows.
"""

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

from syngrpo.policy.compat_transformers import checkpoints_activations
from syngrpo.policy.encode import Prompt
from syngrpo.policy.kept_prompts import backward, worth
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment
from syngrpo.sample import InputError
from syngrpo.serving.timeline import span, traced
from syngrpo.workflow.entropy_bonus import EntropyBonus
from syngrpo.workflow.failed_batch import describe_rows, save_batch
from syngrpo.workflow.loss import LossOutput, Normaliser, policy_loss
from syngrpo.workflow.micro_batches import Lockstep, count_tokens, micro_batches
from syngrpo.workflow.optimizer import Optimizer, outline
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.row_scores import RowScores
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.signal import shortest, with_signal
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.surrogates import LossRule
from syngrpo.workflow.token_choice import Chosen, choose_tokens
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow, count_fresh

logger = logging.getLogger(__name__)

NEGLIGIBLE = 1e-3
"""A smaller difference between the log-probabilities of sampling and training counts as a rounding
error."""

Trained = dict[CreditedSegment, Tensor]
"""Log-probabilities (L,) of each fresh segment under the policy before the step's first update."""


class Learner:
    """Updates the policy of one run.

    ``directory`` is where the batch of a failed step is saved; with None it is not saved.
    ``budget`` is ``trainer.token_budget``, or less once the device has run out of memory.
    ``trained`` are the log-probabilities of the last step's responses before its first update.
    ``keeps_prompts``: whether the first update of a rollout can go on from its pass over the
    prompts (``policy.kept_prompts``).
    """

    def __init__(
        self,
        options: RunOptions,
        policy: Policy,
        processes: Processes,
        directory: Path | None = None,
    ) -> None:
        self.options = options
        self.policy = policy
        self.processes = processes
        self.directory = directory
        self.budget = options.trainer.token_budget
        self.trained: Trained = {}
        self.chosen: Chosen = {}
        self.scores = RowScores(policy, options)
        self.keeps_prompts = _keeps_prompts(options, policy)
        self.rule = _loss_rule(options)
        self.bonus = EntropyBonus(options.method)
        self.optimizer = Optimizer(policy, options)
        self.lockstep = Lockstep(policy, processes, self._idle)

    def update(
        self,
        rows: Sequence[UpdateRow],
        metrics: StepMetrics,
        drawn: Sequence[UpdateRow] | None = None,
    ) -> int:
        """Update the policy from the rows of all processes. Return the number of updates made.

        ``drawn`` are all rows of the step, if groups without a signal are left out of ``rows``:
        settled descriptions keep the weight that they have without that. Raises InputError, before
        anything is changed, for a group with more tokens than ``trainer.token_budget``; when the
        device runs out of memory twice; and when the loss or its gradient is not finite.
        """
        self.processes.agree(self._lack_of_room(rows))
        whole = self._divisors(rows, rows if drawn is None else drawn)
        seed = [self.options.trainer.seed, self.optimizer.steps]
        self.chosen = choose_tokens(rows, self.options.method, self.processes, seed)
        computed = self._computed(rows)
        kept = _choose_kept(rows if drawn is None else drawn, computed)
        metrics.observe("rollout/kept_prompts", kept, len(computed))
        trained: Trained = {}
        self.trained = trained
        for round_ in range(self.options.trainer.updates_per_rollout):
            outputs = self._gradients(computed, whole, trained, round_ == 0)
            if round_ == 0:
                _observe_gap(trained, metrics)
            for output in outputs:
                metrics.observe_loss(output, self.options.trainer.updates_per_rollout)
            self._step(rows, [float(output.loss.detach()) for output in outputs], metrics)
            self._observe_entropy(outputs, whole, metrics)
        return self.options.trainer.updates_per_rollout

    def may_keep(self, prompts: Sequence[Prompt]) -> bool:
        """Return whether the rollout may keep its pass over these prompts for the next update."""
        tokens = sum(len(prompt.input_ids) for prompt in prompts)
        asked = self.options.trainer.keep_prompts is True
        return self.keeps_prompts and (asked or tokens <= self.budget // 2)

    def _divisors(self, rows: Sequence[UpdateRow], drawn: Sequence[UpdateRow]) -> Normaliser:
        """Count the responses of all processes: those of ``rows`` for fresh responses, those of
        ``drawn`` for settled descriptions."""
        whole = self._counted(rows)
        return whole if drawn is rows else replace(whole, of_settled=self._counted(drawn))

    def _counted(self, rows: Sequence[UpdateRow]) -> Normaliser:
        """Count the fresh responses and their tokens, of all processes."""
        here = count_fresh(rows)
        counts = self.processes.gather([here])
        return Normaliser(
            rows=sum(responses for responses, _ in counts),
            tokens=sum(tokens for _, tokens in counts),
            local_tokens=here[1] * self.processes.count or None,
        )

    def _computed(self, rows: Sequence[UpdateRow]) -> Sequence[UpdateRow]:
        """Return what the passes have to compute: the responses with a signal. If no process has
        any, it is the shortest response, so that the optimizer gets gradients of 0."""
        if self.options.method.wants_entropy:
            return rows
        held = {s: t for s, t in self.chosen.items() if t.any()} if self._holds_chosen else {}
        kept = with_signal(rows, held)
        return kept if any(self.processes.gather([bool(kept)])) else shortest(rows)

    @property
    def _holds_chosen(self) -> bool:
        return self.rule.form.chosen == "hold"

    def _observe_entropy(
        self, outputs: Sequence[LossOutput], whole: Normaliser, metrics: StepMetrics
    ) -> None:
        """Let the weight of the entropy bonus follow its target, unless every group was left out:
        then no entropy is known."""
        if not self.options.method.wants_entropy:
            return
        metrics.observe("entropy_weight", self.bonus.weight)
        here = [(float(output.entropy_sum), int(output.fresh_tokens)) for output in outputs]
        sums = self.processes.gather(here)
        if any(tokens for _, tokens in sums):
            self.bonus.observe(sum(entropy for entropy, _ in sums) / max(whole.tokens, 1))

    def _gradients(
        self, rows: Sequence[UpdateRow], whole: Normaliser, trained: Trained, first: bool
    ) -> list[LossOutput]:
        """Compute the gradients of the loss, summed over all micro-batches and processes."""
        outputs = self._backward_or_retry(rows, whole, trained, first)
        # AdamW leaves weights without a gradient as they are, and moves those with one of 0 by its
        # momentum. All weights get one, so that a step without rows does the same in one process
        # as in several, which add up zeros.
        for weight in self.policy.trainable_parameters():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        if self.policy.sharding is None:  # a sharded backward pass sums them itself
            with span("sum gradients"):
                self.processes.sum_gradients(self.policy.trainable_parameters())
        return outputs

    @traced("optimizer step")
    def _step(self, rows: Sequence[UpdateRow], losses: list[float], metrics: StepMetrics) -> None:
        """Clip the gradients, and change the weights by them."""
        parameters = self.policy.trainable_parameters()
        total = torch.nn.utils.clip_grad_norm_(parameters, self.options.trainer.max_grad_norm)
        norm = float(total.full_tensor() if isinstance(total, DTensor) else total)
        if not all(self.processes.gather([math.isfinite(sum(losses)) and math.isfinite(norm)])):
            self._stop(rows, losses, norm)
        metrics.observe("grad_norm", norm)
        metrics.observe("learning_rate", self.optimizer.learning_rate)
        self.optimizer.step()

    def _stop(self, rows: Sequence[UpdateRow], losses: list[float], norm: float) -> None:
        """Save the batch of all processes and raise the InputError that ends the run. All processes
        call this."""
        everything = self.processes.gather(describe_rows(rows))
        losses = self.processes.gather(losses)
        step = self.optimizer.steps // self.options.trainer.updates_per_rollout + 1
        saved = ""
        if self.directory is not None:
            target = self.directory / f"failed-step-{step}"
            saved = f", the batch is saved in {target}"
            if self.processes.is_main:
                save_batch(target, everything, losses)
        raise InputError(
            f"step {step}: the loss is {sum(losses)}, its gradient's norm {norm}{saved}; lower "
            f"trainer.learning_rate ({self.options.trainer.learning_rate:g}) and go on with "
            "--resume"
        )

    def _lack_of_room(self, rows: Sequence[UpdateRow]) -> str | None:
        """Return the error message for a group with more tokens than the token budget, else None.

        Settled descriptions do not count, because they can be moved to a row of their own. Kept
        prompts count, because they may have to be computed again.
        """
        limit, shares = self.options.trainer.token_budget, self.policy.shares_prefix
        groups = [
            UpdateRow(replace(row.prompt, kept=None), [s for s in row.segments if not s.settled])
            for row in rows
        ]
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
        """Compute the gradients of the whole loss; if any process runs out of memory, compute them
        again with half the token budget. Raises InputError when that fails, too."""
        kept = any(row.prompt.kept is not None for row in rows)
        outputs, tokens = self._backward(rows, whole, trained, first)
        if tokens and any(self.processes.gather([kept])):
            self.keeps_prompts = False
            logger.warning(
                "out of device memory in an update from kept prompts; going on without: set "
                "trainer.keep_prompts to false"
            )
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
                self.options.trainer.token_budget,
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
        """Add up the gradients of all micro-batches, starting from zero.

        The second value is the same on all processes: the tokens of the largest micro-batch where
        a process ran out of memory, 0 if none did.
        """
        self.optimizer.zero_grad()
        kept = [row.prompt.kept for row in rows if row.prompt.kept is not None]
        # The activations of kept prompts take up a part of the room.
        room = max(self.budget - sum(one.length for one in kept), self.budget // 2)
        batches = micro_batches(rows, room, self.policy.shares_prefix)
        outputs, exhausted = self.lockstep.run(
            [partial(self._learn, batch, whole, trained, first) for batch in batches]
        )
        if kept:
            if not exhausted:
                _, exhausted = self.lockstep.run([partial(backward, kept)])
            _let_go(rows)
        too_much = max(self.processes.gather([self._longest(rows) if exhausted else 0]))
        if too_much:
            self.optimizer.zero_grad()
            if self.policy.device.type == "cuda":
                torch.cuda.empty_cache()
        return outputs, too_much

    def _longest(self, rows: Sequence[UpdateRow]) -> int:
        """Return the number of tokens of the largest micro-batch."""
        shares = self.policy.shares_prefix
        batches = micro_batches(rows, self.budget, shares)
        return max(sum(count_tokens(row, shares) for row in batch) for batch in batches)

    def _learn(
        self, rows: Sequence[UpdateRow], whole: Normaliser, trained: Trained, first: bool
    ) -> LossOutput:
        """Run the forward and the backward pass of one micro-batch. Return its detached loss."""
        tokens = sum(count_tokens(row, self.policy.shares_prefix) for row in rows)
        responses = sum(len(row.segments) for row in rows)
        with span("micro-batch", tokens=tokens, responses=responses):
            with span("forward"):
                output = self._loss(rows, whole, trained, first)
            with span("backward"):
                output.loss.backward()
        return replace(output, loss=output.loss.detach())

    def _idle(self, prompt: Prompt, token: Tensor) -> None:
        """Run a forward and a backward pass over one token. ``Lockstep`` discards the gradients.

        With sharded weights every process must take part in each pass, also one without data.
        """
        self.scores.idle(PackedRow(prompt, [Segment(token)]))

    def _loss(
        self, rows: Sequence[UpdateRow], whole: Normaliser, trained: Trained, first: bool
    ) -> LossOutput:
        """Return the loss of one micro-batch. With ``first`` the log-probabilities of fresh
        segments are added to ``trained``; later updates compare with them."""
        device = self.policy.device
        segments = [segment for row in rows for segment in row.segments]
        scores, entropies = self.scores.of_policy(rows)
        if first:
            fresh = [not segment.settled for segment in segments]
            trained |= {
                segment: score.detach()
                for segment, score, counts in zip(segments, scores, fresh, strict=True)
                if counts
            }
        sampled = [segment.old_logprobs.to(device) for segment in segments]
        old = [trained.get(s, stored) for s, stored in zip(segments, sampled, strict=True)]
        reference = self.scores.of_reference(rows)
        return policy_loss(
            scores,
            old,
            [s.advantages.to(device) for s in segments],
            [s.mask.to(device) for s in segments],
            rule=self.rule,
            normaliser=whole,
            settled=torch.tensor([s.settled for s in segments], device=device),
            ref_logp=reference,
            beta=0.0 if reference is None else [s.beta.to(device) for s in segments],
            sampling_logp=self._of_sampling(sampled, old),
            chosen=self._chosen(segments) if self.rule.form.chosen else None,
            entropy=entropies,
            entropy_weight=self.bonus.weight,
        )

    def _of_sampling(self, sampled: Sequence[Tensor], trained: Sequence[Tensor]) -> list[Tensor]:
        """Return the log-probabilities of sampling, for the weights of ``rollout.importance``.

        They are replaced by those of training (weight 1) where they are NaN because the response
        was sampled from another image, and where the difference is negligible. Ratios of a whole
        response add up its differences, so there none is.
        """
        least = 0.0 if self.rule.importance.startswith("response") else NEGLIGIBLE
        return [
            torch.where((ours - theirs).abs() > least, theirs, ours)
            for theirs, ours in zip(sampled, trained, strict=True)
        ]

    def _chosen(self, segments: Sequence[CreditedSegment]) -> list[Tensor]:
        """Return the tokens that the loss treats apart, none of settled segments."""
        nothing = (torch.zeros_like(segment.mask) for segment in segments)
        pairs = zip(segments, nothing, strict=True)
        return [self.chosen.get(s, none).to(self.policy.device) for s, none in pairs]

    def state_dict(self) -> dict[str, Any] | None:
        """Return trained weights, optimizer and schedule. All processes call this together.

        The main process gets whole weights. When the policy is sharded, the others get None.
        """
        self.processes.agree()
        if self.policy.sharding is None:
            return self.optimizer.state_dict()
        return self.optimizer.gather_state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore what ``state_dict`` returned in the main process. All processes call this
        together; the argument of the others is ignored.

        Raises InputError when the model has other trained weights.
        """
        if self.processes.count == 1 and state is not None:
            self.optimizer.load_state_dict(state)
            return
        known = self.processes.share(outline(state) if state is not None else None)
        self.optimizer.spread_state_dict(state if self.processes.is_main else None, known)


def _keeps_prompts(options: RunOptions, policy: Policy) -> bool:
    """Return whether ``trainer.keep_prompts`` and the policy allow it."""
    wanted = options.trainer.keep_prompts
    if policy.sharding is not None or not policy.shares_prefix or wanted is False:
        return False
    return wanted is True or not checkpoints_activations(policy.base)


def _choose_kept(rows: Sequence[UpdateRow], computed: Sequence[UpdateRow]) -> float:
    """Let go of what is kept of prompts from which nothing is learned, and of the passes of which
    too little is. Return the share of the ``computed`` rows whose prompt is not computed again."""
    learned = {row.prompt for row in computed}
    known = worth(prompt.kept for prompt in learned if prompt.kept is not None)
    for prompt in {row.prompt for row in rows} | learned:
        if prompt.kept is not None and (prompt not in learned or prompt.kept.of not in known):
            prompt.kept = None
    return sum(row.prompt.kept is not None for row in computed) / max(len(computed), 1)


def _let_go(rows: Sequence[UpdateRow]) -> None:
    for row in rows:
        row.prompt.kept = None


def _loss_rule(options: RunOptions) -> LossRule:
    method = options.method
    low, high = method.clip_range
    return LossRule(
        form=method.loss_form,
        low=low,
        high=high,
        dual_clip=method.dual_clip,
        tau_positive=method.sapo_tau_positive,
        tau_negative=method.sapo_tau_negative,
        covariance_penalty=method.covariance_penalty,
        off_policy_threshold=method.off_policy_threshold,
        kl_estimator=method.kl_estimator,
        max_length=options.rollout.max_new_tokens,
        max_ratio=method.max_ratio,
        tis_cap=options.rollout.tis_cap,
        importance=options.rollout.importance,
    )


def _observe_gap(trained: Trained, metrics: StepMetrics) -> None:
    """Record the mean absolute difference between the log-probabilities of sampling and training.
    Responses without known log-probabilities of sampling (NaN) are left out."""
    if trained:
        sampled = torch.cat([segment.old_logprobs for segment in trained])
        gap = (torch.cat(list(trained.values())).cpu() - sampled).abs()
        gap = gap[~sampled.isnan()]
        if len(gap):
            metrics.observe("rollout/logp_diff", float(gap.mean()), len(gap))
