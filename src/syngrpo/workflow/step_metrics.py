"""The metrics of one optimisation step: their names, and how values are combined.

``METRICS`` lists every metric and how its values become one number. The trainer makes a
``StepMetrics`` for each step, whose ``observe…`` methods take values; ``merged`` combines those of
all processes; ``record`` is the line of ``metrics.jsonl``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from syngrpo.method.diversity import has_zero_variance
from syngrpo.method.language import FAULTS, words_of
from syngrpo.method.response import ParsedResponse
from syngrpo.pool.stored_samples import PoolStats
from syngrpo.rollout.base import Response
from syngrpo.workflow.loss import LossOutput

Kind = Literal["mean", "sum", "max", "same"]

METRICS: dict[str, Kind] = {
    "loss": "sum",
    "reward/accuracy": "mean",
    "reward/accuracy_seed": "mean",
    "reward/accuracy_synthetic": "mean",
    "reward/format": "mean",
    "reward/unreadable": "sum",
    "reward/other_scale": "sum",
    "reward/outside": "sum",
    "diversity/response": "mean",
    "diversity/response_seed": "mean",
    "diversity/response_synthetic": "mean",
    "diversity/baseline": "same",
    "diversity/reward": "mean",
    "diversity/zero_variance_groups": "mean",
    "diversity/zero_variance_groups_seed": "mean",
    "diversity/zero_variance_groups_synthetic": "mean",
    "diversity/phantom_groups": "mean",
    "entropy/token": "mean",
    "entropy/token_seed": "mean",
    "entropy/token_synthetic": "mean",
    "description/words": "mean",
    "description/distinct": "same",
    **{f"description/{fault}": "sum" for fault in FAULTS},
    "synthesis/submitted": "sum",
    "synthesis/dropped": "sum",
    "synthesis/skipped": "sum",
    "synthesis/admitted": "sum",
    "synthesis/rejected": "sum",
    "synthesis/settled": "sum",
    "synthesis/stale": "sum",
    "synthesis/unpaired": "sum",
    "synthesis/dead": "sum",
    "pool/seed": "same",
    "pool/synthetic": "same",
    "pool/depth_mean": "same",
    "time/step_s": "max",
    "time/rollout_s": "max",
    "time/update_s": "max",
    "time/wait_data_s": "max",
    "rollout/logp_diff": "mean",
    "rollout/kept_prompts": "mean",
    "rollout/staleness": "mean",
    "rollout/length_mean": "mean",
    "rollout/cut_share": "mean",
    "responses/lost": "sum",
    "kl": "mean",
    "clip_fraction": "mean",
    "truncated_fraction": "mean",
    "off_policy_fraction": "mean",
    "entropy_weight": "same",
    "grad_norm": "same",
    "learning_rate": "same",
    "tokens": "sum",
}
"""How the values of one step, over micro-batches and processes, become one number:

- ``mean``: the weighted mean; null without a value (for example, without a synthetic group);
- ``sum``: the sum; 0 without a value;
- ``max``: for durations; they are added up in each process, and the slowest process counts;
- ``same``: for values that are equal in all processes; the last value counts.

``clip_fraction`` and ``rollout/logp_diff`` are those of the responses that the update computes:
without KL and entropy bonus, those with an advantage. ``off_policy_fraction`` is the share of their
tokens that ``method.off_policy_threshold`` or ``rollout.importance`` leaves out.
``entropy_weight`` is the weight of the entropy bonus in this step, null without one.

The record also has ``tokens_per_s``: ``tokens`` of all processes divided by ``time/step_s``.
``diversity/zero_variance_groups`` and its two parts are shares in [0, 1], ``entropy/*`` is in nats.

``diversity/phantom_groups`` is the share of groups whose answers are all wrong, but whose responses
get different advantages by format or custom rewards. These tell nothing about the answer; where
such groups are many, the policy learns the form of wrong answers.

``rollout/staleness`` is the number of updates between the policy that sampled the responses and the
one that learns from them; 0 without ``rollout.async_steps``.

``rollout/length_mean`` is the mean number of tokens of a response, ``rollout/cut_share`` the share
of responses that were cut at ``rollout.max_new_tokens``.

``rollout/kept_prompts`` is the share of the rows of the update whose prompt was computed to sample
and is not computed again (``trainer.keep_prompts``).

``reward/unreadable``, ``reward/other_scale`` and ``reward/outside`` are numbers of answers: that
cannot be read; with boxes on another scale than the model's coordinates; with boxes that reach out
of the image, which are clipped.

``responses/lost`` is the number of responses, of this or of earlier steps, that were found not to
be written to ``responses/``, because the disk is full, for example.

``description/words`` is the mean number of words over all descriptions of the step's responses, and
``description/distinct`` the share of different words among all words of those that the step
submits. The other metrics of ``description/`` count responses that are not well formed only because
of the wording of their description, by what is wrong with it.
"""

PER_TASK = (
    "reward/accuracy",
    "reward/format",
    "diversity/response",
    "diversity/baseline",
    "diversity/reward",
    "diversity/zero_variance_groups",
    "entropy/token",
)
"""Metrics that are also recorded for each task of the run, as ``{metric}/{task}``."""


def of_task(name: str, task: str) -> str:
    """Return the name under which a metric of PER_TASK is recorded for one task."""
    assert name in PER_TASK
    return f"{name}/{task}"


def of_reward(name: str) -> str:
    """Return the name of the metric of a custom reward."""
    return f"reward/{name}"


@dataclass
class _WeightedSum:
    """The sum of a metric's values, and the sum of their weights."""

    total: float = 0
    weight: float = 0


@dataclass
class StepMetrics:
    """Collects the metrics of one step in one process.

    ``tasks`` and ``rewards`` are the names of the run's tasks and custom rewards, in the order in
    which the record lists them.
    """

    tasks: tuple[str, ...] = ()
    rewards: tuple[str, ...] = ()
    observed: dict[str, _WeightedSum] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric of this run, in the order of the record."""
        of_tasks = (of_task(name, task) for name in PER_TASK for task in self.tasks)
        return (*METRICS, *of_tasks, *map(of_reward, self.rewards))

    def kind_of(self, name: str) -> Kind:
        """Return how the values of a metric are combined. Raises KeyError for unknown names."""
        if name in METRICS:
            return METRICS[name]
        metric, _, last = name.rpartition("/")
        if metric == "reward" and last in self.rewards:
            return "mean"
        return METRICS[metric if last and metric in PER_TASK else name]

    def observe(self, name: str, value: float, weight: float = 1.0) -> None:
        """Add one value of a metric. ``weight`` is used for means only. Raises KeyError for
        unknown names."""
        kind = self.kind_of(name)
        entry = self.observed.setdefault(name, _WeightedSum())
        if kind == "same":
            entry.total = value
        else:
            entry.total += value * weight if kind == "mean" else value
        entry.weight += weight

    def observe_task(self, name: str, task: str, value: float, weight: float = 1.0) -> None:
        """Add one value of a metric of PER_TASK: for all tasks together, and for its task."""
        self.observe(name, value, weight)
        self.observe(of_task(name, task), value, weight)

    def observe_group(
        self,
        *,
        task: str,
        diversity: float,
        accuracies: Iterable[float],
        format_rewards: Iterable[float],
        entropy_sum: float,
        tokens: int,
        synthetic: bool,
    ) -> None:
        """Add the values of one group of responses.

        ``entropy_sum`` is the sum over its ``tokens`` response tokens, in nats.
        """
        origin = "synthetic" if synthetic else "seed"
        means = [
            ("diversity/response", diversity, 1),
            ("diversity/zero_variance_groups", float(has_zero_variance(diversity)), 1),
        ]
        if tokens:
            means.append(("entropy/token", entropy_sum / tokens, tokens))
        means += [("reward/accuracy", accuracy, 1) for accuracy in accuracies]
        for name, value, weight in means:
            self.observe_task(name, task, value, weight)
            self.observe(f"{name}_{origin}", value, weight)
        for reward in format_rewards:
            self.observe_task("reward/format", task, reward)
        self.observe("tokens", tokens)

    def observe_responses(self, responses: Iterable[Response]) -> None:
        """Add the lengths of one group of responses."""
        for response in responses:
            self.observe("rollout/length_mean", len(response.token_ids))
            self.observe("rollout/cut_share", float(not response.finished))

    def observe_wording(self, responses: Iterable[ParsedResponse]) -> None:
        """Add the descriptions of one group of responses."""
        for parsed in responses:
            if parsed.scene is not None:
                self.observe("description/words", len(words_of(parsed.scene)))
            if parsed.fault is not None:
                self.observe(f"description/{parsed.fault}", 1)

    def observe_custom(self, values: Mapping[str, Sequence[float | None]]) -> None:
        """Add the values of the custom rewards of one group, by name. None is left out."""
        for name, of_responses in values.items():
            for value in of_responses:
                if value is not None:
                    self.observe(of_reward(name), value)

    def observe_pool(self, stats: PoolStats, baselines: Mapping[str, float]) -> None:
        """Add the statistics of the pool and the diversity baselines by task.
        ``diversity/baseline`` is the mean of the baselines."""
        self.observe("pool/seed", stats.seed)
        self.observe("pool/synthetic", stats.synthetic)
        self.observe("pool/depth_mean", stats.depth_mean)
        for task, value in baselines.items():
            self.observe(of_task("diversity/baseline", task), value)
        if baselines:
            self.observe("diversity/baseline", sum(baselines.values()) / len(baselines))

    def observe_loss(self, output: LossOutput, divisor: int = 1) -> None:
        """Add the values of one micro-batch. The loss is divided by ``divisor``, the number of
        updates from the same rollout."""
        self.observe("loss", float(output.loss.detach()) / divisor)
        if fresh := float(output.fresh_tokens):
            self.observe("clip_fraction", output.clip_fraction, fresh)
            self.observe("off_policy_fraction", float(output.off_policy_tokens) / fresh, fresh)
        if weighted := float(output.kl_tokens):
            self.observe("kl", output.kl, weighted)
        if settled := float(output.settled_tokens):
            self.observe("truncated_fraction", output.truncated_fraction, settled)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds spent in the block to a ``time/…`` metric."""
        start = time.perf_counter()
        yield
        self.observe(name, time.perf_counter() - start)

    def state(self) -> dict[str, tuple[float, float]]:
        """Return all values as plain data that another process can pass to ``merged``."""
        return {name: (entry.total, entry.weight) for name, entry in self.observed.items()}

    def record(self, step: int) -> dict[str, Any]:
        """Return the line of ``metrics.jsonl``: every metric in a fixed order, None without a
        value."""
        record: dict[str, Any] = {"step": step}
        for name in self.names:
            kind = self.kind_of(name)
            entry = self.observed.get(name)
            if entry is None:
                record[name] = 0 if kind == "sum" else None
            elif kind == "mean":
                record[name] = entry.total / entry.weight if entry.weight else None
            else:
                record[name] = entry.total
        tokens, seconds = record.pop("tokens"), record["time/step_s"]
        record["tokens_per_s"] = tokens / seconds if seconds else None
        return record


def merged(
    states: Iterable[dict[str, tuple[float, float]]],
    tasks: tuple[str, ...] = (),
    rewards: tuple[str, ...] = (),
) -> StepMetrics:
    """Combine the metrics of all processes from the ``state`` of each, in the order of ranks."""
    whole = StepMetrics(tasks, rewards)
    for state in states:
        for name, (total, weight) in state.items():
            entry, kind = whole.observed.setdefault(name, _WeightedSum()), whole.kind_of(name)
            if kind == "same":
                entry.total = total
            elif kind == "max":
                entry.total = max(entry.total, total)
            else:
                entry.total += total
            entry.weight += weight
    return whole
