"""What workers and inline synthesis need to know: plain, picklable settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.judges.judge_options import JudgeOptions
from syngrpo.painting.painting_request import Canvas
from syngrpo.serving.http_client import ServerAddress


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What workers are anywhere. Times are in seconds.

    A worker renews its lease while it works, but no longer than ``job_timeout_s`` a job: a
    generator that hangs is abandoned with its process. ``niceness`` lowers the workers' priority
    against a trainer on the same cores. ``options`` are the generator's, see ``make_generator``.
    ``devices`` are accelerators as CUDA_VISIBLE_DEVICES names them: the n-th worker sees the n-th
    alone, beginning anew when there are more workers; without any, all see what the host has.
    """

    generator: str = "rooms"
    options: Mapping[str, Any] = field(default_factory=dict)
    judges: JudgeOptions = field(default_factory=JudgeOptions)
    job_timeout_s: float = 120.0
    workers: int = 1
    devices: tuple[str, ...] = ()
    niceness: int = 5


@dataclass(frozen=True)
class SynthesisSettings(WorkerSettings):
    """Workers beside the pool in ``directory``, and its queue.

    ``queue_limit`` open jobs at most; further ones are dropped. A job that fails ``max_attempts``
    times is given up; a lease lasts ``lease_s`` unless renewed.
    """

    directory: Path
    thresholds: GateThresholds = field(default_factory=GateThresholds)
    feather: int | None = None
    max_side: int = 1024
    round_trip: float = 0.0
    displacement: float = 0.0
    queue_limit: int = 256
    lease_s: float = 30.0
    max_attempts: int = 3

    @property
    def canvas(self) -> Canvas:
        return Canvas(self.feather, self.max_side, self.round_trip, self.displacement)


@dataclass(frozen=True)
class RemoteSettings(WorkerSettings):
    """Workers of a data server that may be on another host: they need no pool."""

    server: ServerAddress
