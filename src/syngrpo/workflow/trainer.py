"""The workflow: draw, roll out, score, submit, settle, update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from syngrpo.config import Config
from syngrpo.data_server.client import DataClient
from syngrpo.method.baseline import DiversityBaseline, Measured
from syngrpo.method.diversity import has_zero_variance
from syngrpo.method.ledger import Ledger, PendingDescription
from syngrpo.policy.model import Policy
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.stored_samples import Observation, PoolSample
from syngrpo.rollout.base import Response
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import EncodedImage, Sample
from syngrpo.workflow.group_reports import Description, GroupReport, report_group
from syngrpo.workflow.groups import Group, score_group
from syngrpo.workflow.learner import Updater
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.prompt_cache import Prompts
from syngrpo.workflow.rollouts import rollout_of
from syngrpo.workflow.step_metrics import StepMetrics, merged
from syngrpo.workflow.update_rows import Settled, update_rows
from syngrpo_rooms.descriptions import random_description

REMEMBERED_STEPS = 4
"""Prompts of so many steps stay encoded, for descriptions that settle soon."""


class Trainer:
    """One process's part of a run. The main one alone holds ``client`` (the way to pool and data
    server), the ledger and the baseline; the others get from it what they work on. ``tasks`` are
    those of the seeds; each has metrics of its own."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        processes: Processes,
        client: DataClient | None,
        tasks: Iterable[str],
    ) -> None:
        self.tasks = tuple(sorted(set(tasks)))
        self.config = config
        self.policy = policy
        self.processes = processes
        self.client = client
        self.updater = Updater(config, policy, processes)
        kept = REMEMBERED_STEPS * config.trainer.groups_per_step
        self.prompts = Prompts(policy, config.data.prompt_style, kept)
        if client is not None:
            client.prefetch_with(self._prefetch)
        with processes.whole(policy) as whole:  # as it will be when it samples
            self.rollout = rollout_of(config, whole, lambda: self.steps_done)
        method = config.method
        self.ledger = Ledger(method.max_staleness)
        self.baseline = DiversityBaseline(
            decay=method.smoothing_decay,
            clip=method.rho_clip,
            smoothing=method.smoothing,
            relative_to_parent=method.relative_to_parent,
        )
        self.steps_done = 0
        self.version = 0
        self.metrics = StepMetrics(self.tasks)

    def step(self) -> dict[str, Any]:
        """One optimisation step; returns its line of ``metrics.jsonl``, the same everywhere."""
        self.metrics = StepMetrics(self.tasks)
        with self.metrics.timed("time/step_s"):
            groups, reports = self.collect(self.config.trainer.groups_per_step)
            if self.config.method.refill_zero_variance:
                groups, reports = self.refill(groups, reports)
            self.submit(reports)
            settled = self.settle(reports)
            self.update(groups, settled)
        self.steps_done += 1
        states = self.processes.gather([self.metrics.state()])
        return merged(states, self.tasks).record(self.steps_done)

    def collect(self, count: int, first: int = 0) -> tuple[list[Group], list[GroupReport]]:
        """Draws ``count`` samples, rolls them out, scores them: this process's groups, and the
        reports of all. ``first`` is the place of the first in the step's global batch."""
        drawn = self.draw(count)
        responses = self.roll_out(drawn, first)
        return self.score(responses)

    def draw(self, count: int) -> list[tuple[int, PoolSample]]:
        """1. This process's part of ``count`` samples from the pool, with their global indices."""
        drawn: list[PoolSample] | None = None
        if self.client is not None:
            with self.metrics.timed("time/wait_data_s"):
                drawn = self.client.draw(count)
        return self.processes.part(self.processes.share(drawn))

    def roll_out(
        self, drawn: Sequence[tuple[int, PoolSample]], first: int
    ) -> list[tuple[int, PoolSample, Any, list[Response]]]:
        """2. G responses each, from a random stream that only (seed, step, index) decides."""
        options = self.config.rollout
        sampling = Sampling(options.temperature, options.top_p, options.max_new_tokens)
        with self.metrics.timed("time/rollout_s"):
            prompts = self.prompts.take([item.sample for _, item in drawn])
            seeds = [self._random("rollout", first + i).integers(2**62) for i, _ in drawn]
            with self.processes.whole(self.policy) as policy:
                responses = self.rollout(
                    policy, prompts, options.group_size, sampling, [int(s) for s in seeds]
                )
        return [
            (first + i, item, prompt, group)
            for (i, item), prompt, group in zip(drawn, prompts, responses, strict=True)
        ]

    def score(
        self, rolled_out: Sequence[tuple[int, PoolSample, Any, list[Response]]]
    ) -> tuple[list[Group], list[GroupReport]]:
        """3. Accuracy, format and diversity, reported to the pool."""
        groups = [score_group(*parts) for parts in rolled_out]
        for group in groups:
            entropy = group.entropy
            self.metrics.observe_group(
                task=group.task,
                diversity=group.diversity,
                accuracies=group.accuracy.tolist(),
                format_rewards=group.format.tolist(),
                entropy_sum=float(entropy.sum()),
                tokens=len(entropy),
                synthetic=group.synthetic,
            )
            self.metrics.observe("reward/unreadable", group.unreadable)
        method = self.config.method
        wanted = method.descriptions_per_group if method.rewards_diversity else 0
        reports = self.processes.gather(
            [report_group(group, self.policy.tokenizer, wanted) for group in groups]
        )
        if self.client is not None:
            self.client.observe(
                [
                    Observation(
                        r.sample_id, self.steps_done + 1, self.version, r.diversity, r.accuracy
                    )
                    for r in reports
                ]
            )
        return groups, reports

    def refill(
        self, groups: list[Group], reports: list[GroupReport]
    ) -> tuple[list[Group], list[GroupReport]]:
        """Draws once more for groups that carry no gradient, which leave the update (DAPO)."""
        empty = sum(has_zero_variance(report.diversity) for report in reports)
        if not empty:
            return groups, reports
        more, their_reports = self.collect(empty, first=len(reports))
        kept = [group for group in groups if not has_zero_variance(group.diversity)]
        return kept + more, reports + their_reports

    def submit(self, reports: Sequence[GroupReport]) -> None:
        """4. Up to K different descriptions a group become jobs; the ledger waits for them. Those
        for a picture without labelled objects are counted: there is nothing to paint around."""
        method = self.config.method
        if self.client is None or not method.synthesises:
            return
        requests = []
        for report in reports:
            if report.depth >= self.config.pool.max_depth:
                continue
            rng = self._random("job", report.index)
            drawn = method.descriptions_per_group if method.random_descriptions else 0
            if not report.paintable:
                self.metrics.observe("synthesis/skipped", drawn + len(report.descriptions))
                continue
            texts = [random_description(rng) for _ in range(drawn)]
            requests += [self._request(report, text, rng) for text in texts]
            for description in report.descriptions:
                request = self._request(report, description.text, rng, description.response)
                requests.append(request)
                self.ledger.add(self._pending(request, report, description))
        counts = self.client.submit(requests)
        for job_id in counts.dropped_ids:
            self.ledger.lose(job_id)
        self.metrics.observe("synthesis/submitted", counts.submitted)
        self.metrics.observe("synthesis/dropped", counts.dropped)

    def settle(self, reports: Sequence[GroupReport]) -> list[Settled]:
        """5. Every description whose image was measured just now, or rejected, gets its reward."""
        measured: list[tuple[PendingDescription, float]] = []
        settled: list[Settled] = []
        if self.client is not None:
            self.metrics.observe("synthesis/stale", self.ledger.drop_stale(self.version))
            for report in reports:
                pending = self.ledger.settle(report.job_id) if report.job_id else None
                if pending is not None:
                    measured.append((pending, report.diversity))
            for outcome in self.client.outcomes():
                if outcome.state == "admitted":
                    self.metrics.observe("synthesis/admitted", 1)
                elif outcome.state == "rejected":
                    self.metrics.observe("synthesis/rejected", 1)
                    pending = self.ledger.reject(outcome.job_id)
                    if pending is not None:
                        measured.append((pending, 0.0))
                else:
                    self.metrics.observe("synthesis/dead", 1)
                    self.ledger.lose(outcome.job_id)
            settled = self._rewarded(measured)
            self.metrics.observe("synthesis/settled", len(settled))
            for item in settled:
                self.metrics.observe_task("diversity/reward", item.pending.task, item.reward)
            baselines = {task: self.baseline.baseline(task) for task in self.baseline.tasks}
            self.metrics.observe_pool(self.client.stats(), baselines)
        return self.processes.share(settled)

    def update(self, groups: Sequence[Group], settled: Sequence[Settled]) -> None:
        """6. One loss over fresh responses and settled descriptions."""
        with self.metrics.timed("time/update_s"):
            here = [item for _, item in self.processes.part(settled)]
            tokenizer = self.policy.tokenizer
            rows = update_rows(groups, here, self.prompts, tokenizer, self.config.method)
            self.version += self.updater.update(rows, self.metrics)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights, for a checkpoint of the main process."""
        return {
            "steps_done": self.steps_done,
            "version": self.version,
            "updater": self.updater.state_dict(),
            "ledger": self.ledger.state_dict(),
            "baseline": self.baseline.state_dict(),
            "client": self.client.state_dict() if self.client is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there; every process loads the same state."""
        self.steps_done, self.version = state["steps_done"], state["version"]
        self.updater.load_state_dict(state["updater"])
        self.ledger.load_state_dict(state["ledger"])
        self.baseline.load_state_dict(state["baseline"])
        if self.client is not None:
            self.client.load_state_dict(state["client"])

    def _prefetch(self, samples: Sequence[Sample]) -> None:
        """Called by another thread. The other processes hear of theirs when they are drawn."""
        self.prompts.prefetch(sample for _, sample in self.processes.part(samples))

    def _random(self, purpose: str, index: int) -> np.random.Generator:
        """A stream of its own for every use, step and group: the same on any number of processes
        and after any resume."""
        return np.random.default_rng(
            [self.config.trainer.seed, self.steps_done, index, *purpose.encode()]
        )

    def _request(
        self,
        report: GroupReport,
        description: str,
        rng: np.random.Generator,
        response: str | None = None,
    ) -> JobRequest:
        assert self.client is not None
        return JobRequest(
            parent_id=report.sample_id,
            description=description,
            seed=int(rng.integers(2**31)),
            generator=self.client.fingerprint,
            policy_version=self.version if response is not None else None,
            response=response,
        )

    def _pending(
        self, request: JobRequest, report: GroupReport, description: Description
    ) -> PendingDescription:
        return PendingDescription(
            job_id=request.id,
            parent_id=report.sample_id,
            task=report.task,
            token_ids=description.token_ids,
            logprobs=description.logprobs,
            scene_token_span=description.scene_tokens,
            policy_version=self.version,
            parent_diversity=report.diversity,
        )

    def _rewarded(self, measured: Sequence[tuple[PendingDescription, float]]) -> list[Settled]:
        """The descriptions with what their images' groups were measured with, or 0, compared."""
        assert self.client is not None
        rewards = self.baseline.rewards(
            [Measured(one.task, diversity, one.parent_diversity) for one, diversity in measured]
        )
        settled = []
        for (pending, _), reward in zip(measured, rewards, strict=True):
            parent = self.client.get(pending.parent_id)
            if self.processes.count > 1:  # the file may be out of reach of the others
                parent = replace(parent, image=EncodedImage.from_bytes(parent.image.read()))
            settled.append(Settled(parent, pending, reward))
        return settled
