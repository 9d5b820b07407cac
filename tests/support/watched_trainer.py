"""A trainer in this process, on the rooms world, whose steps can be looked into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quick_runs import quick_config

from syngrpo.data_server.description_rewards import Settled
from syngrpo.data_server.group_reports import GroupReport
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.gate import GateThresholds
from syngrpo.policy.loading import load_policy
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo.workflow.groups import Group
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.trainer import Trainer
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR


@dataclass
class Step:
    """What one step rolled out and learned from, and its line of metrics."""

    scored: list[Group]
    reports: list[GroupReport]
    groups: list[Group]
    settled: list[Settled]
    record: dict[str, Any]


class WatchedTrainer(Trainer):
    """Notes what is scored and what goes into the update; changes nothing."""

    def score(self, rolled_out: Any, version: int) -> tuple[list[Group], list[GroupReport]]:
        groups, reports = super().score(rolled_out, version)
        self.scored += groups
        self.reports += reports
        return groups, reports

    def update(self, groups: Sequence[Group], settled: Sequence[Settled]) -> None:
        self.seen = list(groups), list(settled)
        super().update(groups, settled)

    def watched_step(self) -> Step:
        self.scored: list[Group] = []
        self.reports: list[GroupReport] = []
        record = self.step()
        return Step(self.scored, self.reports, *self.seen, record)


@contextmanager
def watched_trainer(
    folder: Path,
    min_change: float = GateThresholds.min_change,
    seeds: Sequence[Sample] = (),
    **changed: Any,
) -> Iterator[WatchedTrainer]:
    """Four groups a step unless changed, synthesis inline. ``min_change`` is the gate's: 300
    refuses every image. ``seeds`` are 24 rooms samples unless given."""
    config = quick_config(**{"trainer__groups_per_step": 4, **changed})
    seeds = seeds or rooms_samples("train", 24)
    pool = Pool.open(folder)
    pool.add_seeds(seeds)
    pool.close()
    settings = SynthesisSettings(
        folder,
        gate=GateThresholds(min_change=min_change),
        queue_limit=config.synthesis.queue_limit,
        generator="rooms",
    )
    client = InlineClient(settings, config.pool, seed=0)
    tasks = {seed.task for seed in seeds}
    yield WatchedTrainer(config, load_policy(STARTER_DIR), Processes(), client, tasks)
    client.close()
