"""Descriptions from their submission to their reward. ``DataClient`` owns a ``DescriptionQueue``.

``submit`` turns the descriptions of a step into jobs. ``settle`` learns what has become of jobs,
and computes the rewards of descriptions whose image was measured or rejected.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from syngrpo.data_server.drawn_sample import AskedSample
from syngrpo.data_server.group_reports import Description, GroupReport
from syngrpo.data_server.pool_client import PoolClient
from syngrpo.method.advantages import Floats, settled_credit
from syngrpo.method.base import Method
from syngrpo.method.baseline import Measured
from syngrpo.method.language import distinct_words
from syngrpo.method.ledger import Ledger, PendingDescription
from syngrpo.painting.describers import DESCRIBERS, described
from syngrpo.pool.jobs import EndState, JobRequest, bundled
from syngrpo.pool.stored_samples import DescriptionReward
from syngrpo.sample import InputError, Sample, with_pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Settled:
    """A description whose reward is known: its image was measured or rejected by the gate.

    ``parent`` is the sample to which the response was written, with its picture decoded; ``reward``
    is ρ; ``weight`` is that of ρ in the loss (``method.diversity_weight``). ``pending`` holds what
    was stored with the description.
    """

    parent: Sample
    pending: PendingDescription
    reward: float
    weight: float = 1.0

    @property
    def asked(self) -> AskedSample:
        """The parent, with what is needed to write the prompt of the response again."""
        return AskedSample(self.parent)

    @property
    def token_ids(self) -> NDArray[np.int64]:
        """The tokens of the whole response (L,), without the prompt."""
        return self.pending.token_ids

    @property
    def logprobs(self) -> NDArray[np.float32]:
        """Their log-probabilities under the policy that sampled them (L,)."""
        return self.pending.logprobs

    @property
    def scene_mask(self) -> NDArray[np.bool_]:
        """The tokens in the loss (L,): those of the description. The others are context."""
        return self.pending.scene_mask

    @property
    def advantages(self) -> Floats:
        """The advantage of each token, float32 (L,): weight·ρ on the scene, 0 elsewhere."""
        return settled_credit(self.scene_mask, self.reward, self.weight)


class DescriptionQueue:
    """The descriptions of one run. ``places`` is the average number of synthetic samples in a
    batch. Random choices depend only on ``seed``, the step and the place of the group in it."""

    def __init__(
        self,
        pool: PoolClient,
        method: Method,
        *,
        places: float,
        seed: int,
        describer: str | None,
    ) -> None:
        self.ledger = Ledger(method.options.max_staleness)
        self._pool = pool
        self._method = method
        self._places = places
        self._seed = seed
        self._describer = DESCRIBERS.load(describer) if describer is not None else None

    def submit(
        self, reports: Sequence[GroupReport], steps_done: int, version: int
    ) -> dict[str, float]:
        """Submit up to K different descriptions of each group that the method chooses as jobs,
        and enter those that the policy wrote in the ledger. Return counts by metric.

        Descriptions for an image from which nothing can be painted are skipped and counted: one
        without labelled objects, or whose answer depends on the surroundings.
        """
        method = self._method
        if not method.paints:
            return {}
        numbers: dict[str, float] = {}
        unusable = [report for report in reports if report.parenthood == "nothing to keep"]
        if unusable:
            numbers["synthesis/skipped"] = sum(
                method.random_descriptions + len(report.descriptions) for report in unusable
            )
        parents = [report for report in reports if report.parenthood == "parent"]
        rng = self._random(steps_done, "parents", 0)
        chosen = method.parents(parents, self._places, rng)
        requests = [
            request
            for report in chosen
            for request in self._requests(
                report, steps_done, version if report.version is None else report.version
            )
        ]
        counts = self._pool.submit(requests)
        for job_id in counts.dropped_ids:
            self.ledger.lose(job_id)
        share = distinct_words(r.description for r in requests if r.response is not None)
        if share is not None:
            numbers["description/distinct"] = share
        return {
            **numbers,
            "synthesis/submitted": counts.submitted,
            "synthesis/dropped": counts.dropped,
        }

    def settle(
        self, reports: Sequence[GroupReport], steps_done: int, version: int
    ) -> tuple[list[Settled], dict[str, float]]:
        """Return each description whose image was measured in this step or was rejected by the
        gate, with its reward; of siblings, when all of them are. Also return counts by metric."""
        numbers: Counter[str] = Counter({f"synthesis/{state}": 0 for state in get_args(EndState)})
        numbers["synthesis/stale"] = self.ledger.drop_stale(version)
        for report in reports:
            if report.job_id is not None:
                self.ledger.settle(report.job_id, report.rewarded_diversity)
        for outcome in self._pool.outcomes():
            numbers[f"synthesis/{outcome.state}"] += 1
            if outcome.state == "rejected":
                self.ledger.reject(outcome.job_id)
            elif outcome.state == "dead":
                self.ledger.lose(outcome.job_id)
        measured, unpaired = self.ledger.take_measured()
        settled = self._rewarded(measured)
        self._pool.record_rewards(
            [DescriptionReward(one.pending.job_id, steps_done + 1, one.reward) for one in settled]
        )
        numbers["synthesis/unpaired"], numbers["synthesis/settled"] = unpaired, len(settled)
        return settled, dict(numbers)

    def _random(self, steps_done: int, purpose: str, index: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, steps_done, index, *purpose.encode()])

    def _requests(self, report: GroupReport, steps_done: int, version: int) -> list[JobRequest]:
        """Return the jobs of a group, as a bundle if the method compares them with each other.
        Enter the descriptions of the policy in the ledger."""
        rng = self._random(steps_done, "job", report.index)
        drawn = self._method.random_descriptions
        written = report.descriptions[: self._method.written_descriptions]
        texts = self._random_descriptions(report, drawn, rng) if drawn else []
        requests = [self._request(report, text, rng) for text in texts]
        requests += [self._request(report, one.text, rng, version, one.response) for one in written]
        if self._method.bundle_size is not None:
            requests = bundled(requests)
        for request, one in zip(requests[len(texts) :], written, strict=True):
            self.ledger.add(_pending(request, report, one, version))
        return requests

    def _random_descriptions(
        self, report: GroupReport, count: int, rng: np.random.Generator
    ) -> list[str]:
        assert self._describer is not None
        parent = self._pool.get(report.sample_id)
        return [described(self._describer, parent, rng) for _ in range(count)]

    def _request(
        self,
        report: GroupReport,
        description: str,
        rng: np.random.Generator,
        version: int | None = None,
        response: str | None = None,
    ) -> JobRequest:
        return JobRequest(
            parent_id=report.sample_id,
            description=description,
            seed=int(rng.integers(2**31)),
            generator=self._pool.fingerprint,
            policy_version=version,
            response=response,
        )

    def _rewarded(self, measured: Sequence[PendingDescription]) -> list[Settled]:
        """Return the descriptions, whose D is known, with their rewards and their parents. One
        whose parent's image cannot be read is named in the log and left out."""
        rewards = self._method.description_rewards(
            [
                Measured(one.task, one.diversity or 0.0, one.parent_diversity, one.bundle)
                for one in measured
            ]
        )
        settled = []
        for pending, reward in zip(measured, rewards, strict=True):
            try:  # as a decoded image it also reaches processes that cannot read the file
                parent = with_pixels(self._pool.get(pending.parent_id))
            except InputError as error:
                logger.warning("a description of %s is not learned: %s", pending.parent_id, error)
                continue
            settled.append(Settled(parent, pending, reward, self._method.description_weight))
        return settled


def _pending(
    request: JobRequest, report: GroupReport, description: Description, version: int
) -> PendingDescription:
    return PendingDescription(
        job_id=request.id,
        parent_id=report.sample_id,
        task=report.task,
        token_ids=description.token_ids,
        logprobs=description.logprobs,
        scene_token_span=description.scene_tokens,
        policy_version=version,
        parent_diversity=report.rewarded_diversity,
        bundle=request.bundle,
    )
