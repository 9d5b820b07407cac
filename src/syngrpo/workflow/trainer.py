"""The trainer: one optimisation step is draw, roll out, score, submit, settle, update.

``run.py`` builds one trainer in every process of a run and calls ``step``. All processes take every
step together. The main process alone has a ``DataClient``, which talks to the pool and the data
server and keeps the descriptions that wait for their reward; it sends the others their samples.
Every decision that depends on the method is made by the ``Method`` object; nothing here looks at a
method's name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from syngrpo.data_server.client import DataClient
from syngrpo.data_server.description_rewards import Settled
from syngrpo.data_server.group_reports import GroupReport, parenthood
from syngrpo.data_server.pool_client import PoolClient
from syngrpo.method import METHODS
from syngrpo.method.diversity import has_zero_variance
from syngrpo.method.response import ANSWER_END
from syngrpo.policy.encode import Prompt
from syngrpo.policy.model import Policy
from syngrpo.pool.stored_samples import PoolSample
from syngrpo.rollout import make_rollout
from syngrpo.rollout.base import require_finite, require_logprobs
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import Sample
from syngrpo.serving.timeline import of_step, span, traced
from syngrpo.tasks.rewards import load_reward
from syngrpo.workflow.ahead import Batch, BatchesAhead, RolledOut
from syngrpo.workflow.distorted_rollout import distorted_rollout
from syngrpo.workflow.groups import Group, is_phantom, report_group, score_group
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.prompt_cache import PromptCache
from syngrpo.workflow.response_credit import step_credits
from syngrpo.workflow.response_keeper import ResponseKeeper
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.signal import drop_silent_groups
from syngrpo.workflow.step_metrics import StepMetrics, merged
from syngrpo.workflow.update_rows import update_rows

REMEMBERED_STEPS = 4
"""The prompts of this many steps stay encoded: a description that settles within them needs its
parent's prompt again."""


class Trainer:
    """Trains the policy, in one process of a run.

    ``pool`` gives the main process access to the pool and the data server; it is None in the other
    processes. ``tasks`` are the tasks of the seeds; each gets metrics of its own. Raises
    InputError for a method, describer, reward or rollout engine that cannot be used.
    """

    def __init__(
        self,
        options: RunOptions,
        policy: Policy,
        processes: Processes,
        pool: PoolClient | None,
        tasks: Iterable[str],
    ) -> None:
        self.tasks = tuple(sorted(set(tasks)))
        self.options = options
        self.policy = policy
        self.processes = processes
        self.method = METHODS.load(options.method.name)(options.method, options.trainer.steps)
        self.client = self._new_client(pool) if pool is not None else None
        self.rewards = [load_reward(one) for one in options.data.rewards]
        self.learner = Learner(options, policy, processes)
        self.keeper = ResponseKeeper(options, processes, self.method)
        kept = REMEMBERED_STEPS * options.trainer.groups_per_step
        self.prompts = PromptCache(policy, options.data.prompt_style or "full", kept)
        if self.client is not None:
            self.client.prefetch_with(self._prefetch)
        with processes.whole(policy) as whole:  # roll_out samples with whole weights, too
            self.rollout = make_rollout(options.rollout, whole)
        self.ahead = BatchesAhead(self.begin, options.rollout.async_steps, options.trainer.steps)
        self.steps_done = 0
        self.version = 0
        self.metrics = self._new_metrics()

    def step(self) -> dict[str, Any]:
        """Do one optimisation step and return its line of ``metrics.jsonl``, the same in every
        process."""
        self.metrics = self._new_metrics()
        this = of_step(self.steps_done + 1)
        with self.metrics.timed("time/step_s"), this, span("step"):
            groups, reports = self.collect(self.options.trainer.groups_per_step)
            if self.options.method.refill_zero_variance:
                groups, reports = self.refill(groups, reports)
            self.submit(reports)
            settled = self.settle(reports)
            self.update(groups, settled)
            self.keeper.end(self.steps_done + 1, len(reports), self.metrics)
        self.steps_done += 1
        states = self.processes.gather([self.metrics.state()])
        return merged(states, self.tasks, self._reward_names).record(self.steps_done)

    def collect(
        self, count: int, first: int = 0, avoid: Collection[str] = ()
    ) -> tuple[list[Group], list[GroupReport]]:
        """Draw ``count`` samples, roll them out and score them.

        Return the groups of this process and the reports of all groups. ``first`` is the place of
        the first sample in the global batch of the step. Samples to ``avoid`` are only drawn if no
        others are left.
        """
        if self.options.rollout.async_steps:
            return self.score(*self.waited_for(self.ahead.take(self.steps_done)))
        drawn = self.draw(count, avoid)
        return self.score(self.roll_out(drawn, first), self.version)

    @traced("draw")
    def draw(self, count: int, avoid: Collection[str] = ()) -> list[tuple[int, PoolSample]]:
        """1. Draw ``count`` samples from the pool, as ``DataClient.draw`` does. Return this
        process's part of them, with their places in the draw."""
        drawn: Sequence[PoolSample] | None = None
        if self.client is not None:
            with self.metrics.timed("time/wait_data_s"):
                drawn = self.client.draw(count, avoid)
        return self.processes.part(self.processes.share(drawn))

    @traced("sample")
    def roll_out(self, drawn: Sequence[tuple[int, PoolSample]], first: int) -> list[RolledOut]:
        """2. Sample G responses to each sample, as the method transforms it. The random numbers
        depend only on the seed, the step and the sample's place in the global batch. Raises
        NotFinite."""
        with self.metrics.timed("time/rollout_s"):
            asked, seeds = self._asked(drawn, first, self.steps_done)
            prompts = [prompt for _, _, prompt in asked]
            keeps = self.learner.may_keep(prompts)
            for prompt in prompts:
                prompt.will_train = keeps
            with self.processes.whole(self.policy) as policy:
                request = self._request(policy, asked, seeds)
                distortion = self.method.distortion(self.steps_done)
                if distortion is None:
                    responses = self.rollout(*request)
                else:
                    responses = distorted_rollout(self.rollout, distortion, *request)
            require_finite(prompts, responses)
            if distortion is None:
                require_logprobs(self.options.rollout.engine_name, prompts, responses)
            if keeps and not all(prompt.will_train for prompt in prompts):
                self.learner.keeps_prompts = False  # there was no memory for it
        return [(*one, group) for one, group in zip(asked, responses, strict=True)]

    def begin(self, step: int) -> Batch:
        """1. and 2. for a later step: draw its samples, and let the engine begin to sample with the
        weights of now."""
        with of_step(step + 1), span("begin batch"):
            return self._begin(step)

    def _begin(self, step: int) -> Batch:
        drawn = self.draw(self.options.trainer.groups_per_step)
        with self.metrics.timed("time/rollout_s"):
            asked, seeds = self._asked(drawn, 0, step)
            with self.processes.whole(self.policy) as policy:
                waiting = self.rollout.start(*self._request(policy, asked, seeds))
        return Batch(asked, self.version, waiting)

    @traced("wait for responses")
    def waited_for(self, batch: Batch) -> tuple[list[RolledOut], int]:
        """Wait for a batch. Return its groups, and the version of the policy that sampled them.
        Raises NotFinite."""
        with self.metrics.timed("time/rollout_s"):
            rolled_out = batch.wait()
            prompts, responses = [one[2] for one in rolled_out], [one[3] for one in rolled_out]
            require_finite(prompts, responses)
            require_logprobs(self.options.rollout.engine_name, prompts, responses)
        return rolled_out, batch.version

    @traced("score")
    def score(
        self, rolled_out: Sequence[RolledOut], version: int
    ) -> tuple[list[Group], list[GroupReport]]:
        """3. Compute accuracy, format, custom rewards and D, and report D to the pool. ``version``
        is that of the policy that sampled the responses."""
        groups = [
            score_group(
                *parts,
                rewards=self.rewards,
                question=self.prompts.text(parts[1].sample),
                limits=self.options.method.wording_limits,
            )
            for parts in rolled_out
        ]
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
            phantom = is_phantom(group, self.rewards, self.options.method.format_weight)
            self.metrics.observe("diversity/phantom_groups", float(phantom))
            self.metrics.observe_responses(group.responses)
            self.metrics.observe("reward/unreadable", group.unreadable)
            self.metrics.observe("reward/other_scale", group.other_scale)
            self.metrics.observe("reward/outside", group.outside)
            self.metrics.observe_wording(group.parsed)
            self.metrics.observe_custom(group.custom)
        self.metrics.observe("rollout/staleness", self.version - version)
        self.keeper.scored(groups, version)
        reports = self.processes.gather(
            [
                report_group(group, self.policy.tokenizer, self.method, self._max_depth, version)
                for group in groups
            ]
        )
        if self.client is not None:
            self.client.record(reports)
        return groups, reports

    @traced("refill")
    def refill(
        self, groups: list[Group], reports: list[GroupReport]
    ) -> tuple[list[Group], list[GroupReport]]:
        """Draw one more sample for each group whose responses all score the same (DAPO).

        Only the accuracies count: what a group could teach by format and custom rewards is left
        out of the update, too. Its report stays. The samples drawn instead are used even if their
        responses all score the same, too; samples of this step only if no others are left.
        """
        empty = sum(has_zero_variance(report.diversity) for report in reports)
        if not empty:
            return groups, reports
        used: list[Group] = []
        for group in groups:
            if has_zero_variance(group.diversity):
                group.prompt.kept = None  # frees the memory of its pass
            else:
                used.append(group)
        drawn = {report.sample_id for report in reports}
        more, their_reports = self.collect(empty, first=len(reports), avoid=drawn)
        return used + more, reports + their_reports

    @traced("submit")
    def submit(self, reports: Sequence[GroupReport]) -> None:
        """4. Submit up to K different descriptions of each group that the method chooses as jobs,
        and enter those that the policy wrote in the ledger.

        Descriptions for an image from which nothing can be painted are skipped and counted.
        """
        if self.client is not None:
            for name, value in self.client.submit_reports(reports).items():
                self.metrics.observe(name, value)

    @traced("settle")
    def settle(self, reports: Sequence[GroupReport]) -> list[Settled]:
        """5. Compute the reward of each description whose image was measured in this step or was
        rejected by the gate; of siblings, when all of them are."""
        settled: list[Settled] = []
        if self.client is not None:
            settled, counts = self.client.settle_reports(reports)
            for name, value in counts.items():
                self.metrics.observe(name, value)
            for item in settled:
                self.metrics.observe_task("diversity/reward", item.pending.task, item.reward)
            self.metrics.observe_pool(self.client.pool_stats(), self.method.baselines())
            self.client.end_step()
        return self.processes.share(settled)

    @traced("update")
    def update(self, groups: Sequence[Group], settled: Sequence[Settled]) -> None:
        """6. Update the policy from the responses of this step and the settled descriptions."""
        with self.metrics.timed("time/update_s"):
            here = [item for _, item in self.processes.part(settled)]
            tokenizer = self.policy.tokenizer
            credits = step_credits(groups, self.method, self.rewards, self.processes)
            rows = update_rows(groups, credits, here, self.prompts, tokenizer, self.method)
            used = rows
            if self.options.method.drop_zero_variance:
                groups, used = drop_silent_groups(groups, rows)
            self.version += self.learner.update(used, self.metrics, rows)
            self.keeper.learned(groups, used, self.learner.trained)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the main process saves in a checkpoint. All processes call this
        together."""
        client = self.client.state_dict() if self.client is not None else None
        return {
            "steps_done": self.steps_done,
            "version": self.version,
            "learner": self.learner.state_dict(),
            "ledger": _with_tensors(client["ledger"]) if client is not None else None,
            "method": self.method.state_dict(),
            "entropy_bonus": self.learner.bonus.state_dict(),
            "client": client["pool"] if client is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Every process loads the same state."""
        self.steps_done, self.version = state["steps_done"], state["version"]
        self.learner.load_state_dict(state["learner"])
        if "entropy_bonus" in state:  # not in checkpoints of before there was one
            self.learner.bonus.load_state_dict(state["entropy_bonus"])
        if self.client is None:
            self.method.load_state_dict(state["method"])
        else:
            counts = {"steps": self.steps_done, "version": self.version}
            parts = {name: state[name] for name in ("ledger", "method")}
            self.client.load_state_dict({**counts, **parts, "pool": state["client"]})

    def _new_client(self, pool: PoolClient) -> DataClient:
        options = self.options
        return DataClient(
            pool,
            self.method,
            options.pool,
            groups_per_step=options.trainer.groups_per_step,
            updates_per_step=options.trainer.updates_per_rollout,
            seed=options.trainer.seed,
            describer=options.synthesis.describer,
        )

    @property
    def _reward_names(self) -> tuple[str, ...]:
        return tuple(reward.name for reward in self.rewards)

    def _describing(self, item: PoolSample) -> int:
        """Return how many responses to a sample describe new surroundings, the first ones."""
        is_parent = parenthood(item.sample, self._max_depth) == "parent"
        return self.method.describing_responses(self.options.rollout.group_size, is_parent)

    @property
    def _max_depth(self) -> int:
        return self.options.pool.max_depth

    @property
    def _sampling(self) -> Sampling:
        options = self.options.rollout
        all_describe = self.options.method.describing == "all"
        return Sampling(
            options.temperature,
            options.top_p,
            options.max_new_tokens,
            stop_at=None if all_describe else ANSWER_END,
        )

    def _new_metrics(self) -> StepMetrics:
        return StepMetrics(self.tasks, self._reward_names)

    def _prefetch(self, samples: Sequence[Sample]) -> None:
        """Begin to encode this process's part of the next batch. The client calls this in a thread.

        Only the main process has a client: the others get their parts when they are drawn.
        """
        self.prompts.prefetch(sample for _, sample in self.processes.part(samples))

    def _asked(
        self, drawn: Sequence[tuple[int, PoolSample]], first: int, step: int
    ) -> tuple[list[tuple[int, PoolSample, Prompt]], list[int]]:
        """Return place, sample and prompt of each drawn sample, as the method transforms it, and
        the seeds of their responses."""
        items = [(first + i, self._transformed(first + i, item, step)) for i, item in drawn]
        prompts = self.prompts.take([item.sample for _, item in items])
        for prompt, (_, item) in zip(prompts, items, strict=True):
            prompt.going_on = self._describing(item)
        seeds = [int(self._random("rollout", i, step).integers(2**62)) for i, _ in items]
        asked = [(*item, prompt) for item, prompt in zip(items, prompts, strict=True)]
        return asked, seeds

    def _request(
        self, policy: Policy, asked: Sequence[tuple[int, PoolSample, Prompt]], seeds: list[int]
    ) -> tuple[Policy, list[Prompt], int, Sampling, list[int]]:
        prompts = [prompt for _, _, prompt in asked]
        return policy, prompts, self.options.rollout.group_size, self._sampling, seeds

    def _transformed(self, index: int, item: PoolSample, step: int) -> PoolSample:
        sample = self.method.transform(item.sample, self._random("transform", index, step))
        return item if sample is item.sample else replace(item, sample=sample)

    def _random(self, purpose: str, index: int, step: int) -> np.random.Generator:
        """Return a random generator for this purpose, step and group. It does not depend on the
        number of processes or on earlier random numbers."""
        return np.random.default_rng([self.options.trainer.seed, step, index, *purpose.encode()])


def _with_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Replace arrays by tensors, which a checkpoint can hold without pickled code."""
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }
