"""Everything a data server's workers, and inline synthesis, need to know: plain and picklable."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from syngrpo.synthesis.gate import GateThresholds


@dataclass(frozen=True)
class SynthesisSettings:
    """``directory`` holds the pool. Times are in seconds.

    ``feather`` is in pixels (None: by the image's size), ``max_side`` bounds the longer side of
    what a generator paints. ``queue_limit`` open jobs at most; further ones are dropped. A worker
    renews its lease of ``lease_s`` while it works, but no longer than ``job_timeout_s`` a job: a
    generator that hangs is abandoned with its process. ``niceness`` lowers the workers' priority
    against a trainer on the same cores.
    """

    directory: Path
    generator: str = "rooms"
    thresholds: GateThresholds = field(default_factory=GateThresholds)
    feather: int | None = None
    max_side: int = 1024
    queue_limit: int = 256
    lease_s: float = 30.0
    max_attempts: int = 3
    job_timeout_s: float = 120.0
    workers: int = 1
    niceness: int = 5
