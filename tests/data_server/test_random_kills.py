"""Random kills in a row: some dozens, or a thousand (slow).

A trainer and two workers live and die in processes of their own over one server's pool and a run's
own one, which mirrors it; each is killed before some statement or file operation.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fault_kills import fork, image_files, image_rows
from pool_integrity import check_consistent
from pool_samples import seed
from service_process import until

from syngrpo.data_server import async_client
from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.job_exchange import run_job
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator
from syngrpo.painting.painter import Painter
from syngrpo.pool.jobs import JobRequest, Outcome, bundled
from syngrpo.pool.mirror import mirror, mirrored_up_to
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation

SEEDS = [seed(number) for number in range(12)]
POLICY = SamplingPolicy(max_children=10_000, max_unmeasured=100_000)
ROLES = Counter(trainer=1, worker=2)
LONGEST = {"trainer": 220, "worker": 120}
"""Statements and file operations after which most processes of a role have ended."""


class Fussy(NoopGenerator):
    """Raises for every ninth seed, and paints the same picture for every fifth."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        if any(request.seed % 9 == 0 for request in requests):
            raise RuntimeError("no ninth seeds")
        return super().generate(
            [replace(one, seed=0 if one.seed % 5 == 0 else one.seed) for one in requests]
        )


def settings(folder: Path) -> SynthesisSettings:
    return SynthesisSettings(
        folder, generator="noop", lease_s=0.1, max_attempts=4, queue_limit=1000
    )


def train(folder: Path, run: Path, number: int) -> None:
    """Submit and observe through a client, note each submitted job, and mirror ended jobs into the
    run's own pool."""
    note = os.open(folder.parent / "submitted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    client = AsyncClient(settings(folder), POLICY, batch=2)
    with closing(Pool.open(run)) as own, closing(Pool.open(folder)) as theirs, closing(client):
        queue = open_queue(theirs, settings(folder), POLICY)
        for step in range(2):
            first = (number * 2 + step) * 3
            asked = [
                JobRequest(f"seed-{n % 12}", "wall", n, "noop-1") for n in range(first, first + 3)
            ]
            if step == 1:
                asked = bundled([replace(one, parent_id=asked[0].parent_id) for one in asked])
            client.submit(asked)
            os.write(note, "".join(f"{one.id}\n" for one in asked).encode())
            drawn = client.draw(2)
            client.observe([Observation(d.sample.id, number, step, 0.5, 0.5) for d in drawn])
            mirror(own, "server", queue.ended(mirrored_up_to(own, "server"), 16))


def work(folder: Path, name: str) -> None:
    """Paint the jobs there are, three at a time."""
    with closing(Pool.open(folder)) as pool:
        source = PoolJobs(pool, open_queue(pool, settings(folder)), settings(folder), name)
        painter = Painter(Fussy())
        for _ in range(3):
            for leased in source.lease(3):
                run_job(painter, source, leased)


def live_and_die(server: Path, run: Path, kills: int) -> None:
    """Start processes until so many were killed."""
    rng = random.Random(0)
    living: dict[int, str] = {}
    killed = started = 0
    while killed < kills:
        for role in (ROLES - Counter(living.values())).elements():
            started += 1
            life = partial(work, server, f"w-{started}")
            if role == "trainer":
                life = partial(train, server, run, started)
            living[fork(life, rng.randint(1, LONGEST[role]))] = role
        process, status = os.wait()
        del living[process]
        end = os.waitstatus_to_exitcode(status)
        assert end in (0, -signal.SIGKILL)
        killed += end == -signal.SIGKILL
    for process in living:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def finish(server: Path, run: Path) -> list[Outcome]:
    """Work off what is left, without kills."""
    train(server, run, 0)
    with closing(Pool.open(server)) as theirs, closing(Pool.open(run)) as own:
        queue = open_queue(theirs, settings(server), POLICY)
        until(lambda: not _left(theirs) or work(server, "last"), "the last jobs")
        while ended := queue.ended(mirrored_up_to(own, "server"), 64):
            mirror(own, "server", ended)
        return queue.outcomes(0)


def _left(pool: Pool) -> int:
    jobs = pool.stats().jobs
    return jobs["queued"] + jobs["leased"]


@pytest.mark.parametrize("kills", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_kills_in_a_row_lose_nothing_and_do_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    monkeypatch.setattr(async_client, "LOOK_S", 0.002)
    server, run = tmp_path / "server", tmp_path / "run"
    for folder in (server, run):
        with closing(Pool.open(folder)) as pool:
            pool.add_seeds(SEEDS)
    live_and_die(server, run, kills)
    outcomes = finish(server, run)

    ended = Counter(outcome.job_id for outcome in outcomes)
    assert set(ended.values()) == {1}
    assert set((tmp_path / "submitted").read_text().split()) <= set(ended)
    states = {outcome.state for outcome in outcomes}
    assert "admitted" in states
    assert kills < 1000 or states == {"admitted", "rejected", "dead"}, "each of them in many"
    for folder in (server, run):
        check_consistent(folder)
        assert image_rows(folder) == image_files(folder)
        with closing(Pool.open(folder)) as pool:
            assert _left(pool) == 0
            assert sum(pool.stats().jobs.values()) == len(outcomes)
            with pool.database.read() as connection:
                query = "SELECT COUNT(*), COUNT(waiting) FROM standing WHERE bundle IS NOT NULL"
                in_bundles, waiting = connection.execute(query).fetchone()
            assert in_bundles > 0 and waiting == 0, "each bundle has ended, here and there"
    assert image_rows(server) == image_rows(run)
