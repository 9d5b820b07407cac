"""One optimiser step, or several, over rows of shared-prefix responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import get_scheduler

from syngrpo.config import Config
from syngrpo.grpo.loss import LossOutput, Normaliser, policy_loss
from syngrpo.grpo.metrics import StepMetrics
from syngrpo.grpo.processes import Processes
from syngrpo.grpo.rows import UpdateRow, count_fresh
from syngrpo.policy.loading import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs


class Updater:
    """Optimizer, schedule and loss of one run."""

    def __init__(self, config: Config, policy: Policy, processes: Processes) -> None:
        self.config = config
        self.policy = policy
        self.processes = processes
        trainer = config.trainer
        self.optimizer = torch.optim.AdamW(
            policy.trainable_parameters(),
            lr=trainer.learning_rate,
            weight_decay=trainer.weight_decay,
        )
        self.schedule = _schedule(self.optimizer, config)

    def update(self, rows: Sequence[UpdateRow], metrics: StepMetrics) -> int:
        """Learns from the rows of all processes; returns how many new versions the policy has."""
        counts = self.processes.gather([count_fresh(rows)])
        whole = Normaliser(rows=sum(r for r, _ in counts), tokens=sum(t for _, t in counts))
        for round_ in range(self.config.trainer.updates_per_rollout):
            self.optimizer.zero_grad(set_to_none=True)
            size = self.config.trainer.micro_groups
            for start in range(0, len(rows), size):
                output = self._loss(rows[start : start + size], whole, metrics, first=round_ == 0)
                output.loss.backward()
                metrics.observe_loss(output, self.config.trainer.updates_per_rollout)
            self.processes.sum_gradients(self.policy.trainable_parameters())
            norm = torch.nn.utils.clip_grad_norm_(
                self.policy.trainable_parameters(), self.config.trainer.max_grad_norm
            )
            metrics.observe("grad_norm", float(norm))
            metrics.observe("learning_rate", float(self.schedule.get_last_lr()[0]))
            self.optimizer.step()
            self.schedule.step()
        return self.config.trainer.updates_per_rollout

    def _loss(
        self, rows: Sequence[UpdateRow], whole: Normaliser, metrics: StepMetrics, first: bool
    ) -> LossOutput:
        method, device = self.config.method, self.policy.device
        packed = [PackedRow(r.prompt, [Segment(s.token_ids) for s in r.segments]) for r in rows]
        temperature = self.config.rollout.temperature
        scored = [s for row in segment_logprobs(self.policy, packed, temperature) for s in row]
        reference = None
        if method.beta:
            frozen = segment_logprobs(self.policy, packed, temperature, reference=True)
            reference = [s.logprobs for row in frozen for s in row]
        segments = [s for row in rows for s in row.segments]
        if first:
            for segment, score in zip(segments, scored, strict=True):
                if not segment.settled:
                    gap = (score.logprobs.detach().cpu() - segment.old_logprobs).abs()
                    metrics.observe("rollout/logp_diff", float(gap.mean()), len(gap))
        return policy_loss(
            [s.logprobs for s in scored],
            [s.old_logprobs.to(device) for s in segments],
            [s.advantages.to(device) for s in segments],
            [s.mask.to(device) for s in segments],
            normaliser=whole,
            variant=method.loss,
            clip_low=method.clip_low,
            clip_high=method.clip_high,
            max_completion_length=self.config.rollout.max_new_tokens,
            settled=torch.tensor([s.settled for s in segments], device=device),
            max_ratio=method.max_ratio,
            ref_logp=reference,
            beta=method.beta,
        )

    def state_dict(self) -> dict[str, Any]:
        """Trained weights, optimizer and schedule."""
        return {
            "weights": {name: p.detach() for name, p in self._trained()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts all three back. Raises KeyError when the model has other trained weights."""
        for name, parameter in self._trained():
            parameter.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(n, p) for n, p in self.policy.model.named_parameters() if p.requires_grad]


def _schedule(
    optimizer: torch.optim.Optimizer, config: Config
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up, then constant, linear or cosine to the end of the run."""
    names = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    return get_scheduler(
        names[config.trainer.schedule],
        optimizer,
        num_warmup_steps=config.trainer.warmup_steps,
        num_training_steps=config.trainer.steps * config.trainer.updates_per_rollout,
    )
