"""The plain data a pool hands out and takes in."""

from __future__ import annotations

from dataclasses import dataclass

from syngrpo.sample import Sample


@dataclass(frozen=True)
class PoolSample:
    """A sample and what the pool knows of it.

    ``visits`` and ``diversity_mean`` (None before the first visit) are those before this draw;
    ``job_id`` is the job that made a synthetic sample, None for a seed.
    """

    sample: Sample
    visits: int
    job_id: str | None
    diversity_mean: float | None


@dataclass(frozen=True)
class Observation:
    """One visit: the response diversity D and the mean accuracy of the group, both in [0, 1]."""

    sample_id: str
    step: int
    policy_version: int
    diversity: float
    accuracy: float


@dataclass(frozen=True)
class PoolStats:
    """Counts over everything the pool ever held; seed + synthetic = active + retired + quarantined.

    ``unmeasured``: active synthetic samples without a visit. ``depth_mean``: over the active
    samples, a seed counting 0. ``jobs``: by state (queued, leased, admitted, rejected, dead).
    ``rejected``: by the gate's reason.
    """

    seed: int
    synthetic: int
    active: int
    retired: int
    quarantined: int
    unmeasured: int
    depth_mean: float
    jobs: dict[str, int]
    rejected: dict[str, int]


JOB_STATES = ("queued", "leased", "admitted", "rejected", "dead")


def stats_from_tallies(tallies: dict[str, int]) -> PoolStats:
    """Statistics from the counts that the database keeps."""

    def total(*names: str) -> int:
        return sum(tallies.get(name, 0) for name in names)

    def both(state: str) -> int:
        return total(f"seed/{state}", f"synthetic/{state}")

    def every(kind: str) -> int:
        return total(f"{kind}/active", f"{kind}/retired", f"{kind}/quarantined")

    active = both("active")
    prefix = "rejected/"
    return PoolStats(
        seed=every("seed"),
        synthetic=every("synthetic"),
        active=active,
        retired=both("retired"),
        quarantined=both("quarantined"),
        unmeasured=total("unmeasured"),
        depth_mean=total("depth") / active if active else 0.0,
        jobs={state: total(f"job/{state}") for state in JOB_STATES},
        rejected={
            name.removeprefix(prefix): count
            for name, count in sorted(tallies.items())
            if name.startswith(prefix)
        },
    )
