"""Real worker processes, really killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pointing_task import Pointing
from synthesis_generators import MARKS, started

from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.data_server.workers import LocalWorkers
from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import NoopGenerator
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Outcome
from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import random_description

SEEDS = rooms_samples("train", 6)
TESTS = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv(MARKS, str(folder))
    return folder


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for something that other processes do; fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Not running: no such process, or a zombie that nobody has collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


class Setup:
    """A pool with seeds, its queue as the trainer sees it, and a server's settings."""

    def __init__(self, folder: Path, generator: str, **options: object) -> None:
        self.settings = SynthesisSettings(folder / "pool", generator=generator, **options)  # type: ignore[arg-type]
        self.pool = Pool.open(folder / "pool")
        self.pool.add_seeds(SEEDS)
        self.queue = JobQueue(self.pool, limit=256, lease_s=30, max_attempts=3)

    def submit(self, *descriptions: str) -> list[str]:
        fingerprint = make_generator(self.settings.generator).fingerprint
        asked = [
            JobRequest(SEEDS[n % len(SEEDS)].id, text, n, fingerprint)
            for n, text in enumerate(descriptions)
        ]
        return self.queue.submit(asked).accepted

    def outcomes(self, count: int) -> list[Outcome]:
        until(lambda: len(self.queue.outcomes(0)) >= count, f"{count} outcomes")
        return self.queue.outcomes(0)

    def states(self) -> dict[str, int]:
        return {state: n for state, n in self.pool.stats().jobs.items() if n}


def test_workers_paint_and_stop_cleanly(tmp_path: Path) -> None:
    setup = Setup(tmp_path, "rooms", workers=2)
    rng = np.random.default_rng(0)
    ids = setup.submit(*(random_description(rng) for _ in range(24)))
    server = LocalWorkers(setup.settings)
    with server:
        outcomes = setup.outcomes(24)
        pids = server.worker_pids()
        assert len(pids) == 2
    assert {outcome.job_id for outcome in outcomes} == set(ids)
    assert all(outcome.state in ("admitted", "rejected") for outcome in outcomes)
    assert all(gone(pid) for pid in pids)
    assert server.restarts == 0
    assert server.problem is None
    stats = setup.pool.stats()
    assert stats.synthetic == sum(outcome.state == "admitted" for outcome in outcomes) > 12


def test_each_worker_has_a_device_of_its_own(tmp_path: Path, marks: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:SaysWhere", workers=2, devices=("3", "5"))
    count = 0
    with LocalWorkers(setup.settings):
        while {path.name for path in marks.glob("device-*")} != {"device-3", "device-5"}:
            count += 4
            setup.submit(*(f"room {count - n}" for n in range(4)))
            setup.outcomes(count)
    assert setup.states().keys() <= {"admitted", "rejected"}


def test_sigterm_lets_a_worker_finish_its_job(tmp_path: Path, marks: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:Slow")
    setup.submit("one", "two")
    server = LocalWorkers(setup.settings)
    server.start()
    until(lambda: len(started(marks)) == 1, "a job to begin")
    server.stop()
    assert setup.states() == {"admitted": 1, "queued": 1}


def test_a_worker_killed_in_the_middle_of_a_job_loses_nothing(tmp_path: Path, marks: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:HangsAtFirst", lease_s=1.0)
    setup.submit("one", "two", "three")
    server = LocalWorkers(setup.settings)
    with server:
        until(lambda: len(started(marks)) == 1, "a job to begin")
        (victim,) = started(marks)
        os.kill(victim, signal.SIGKILL)
        outcomes = setup.outcomes(3)
        assert server.restarts == 1
        assert server.worker_pids() != [victim]
    assert [outcome.state for outcome in outcomes] == ["admitted"] * 3
    assert setup.states() == {"admitted": 3}
    assert setup.pool.stats().synthetic == 3


def test_a_frozen_workers_job_goes_to_another(tmp_path: Path, marks: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:Slow", lease_s=1.0)
    setup.submit("one")
    with LocalWorkers(setup.settings) as first:
        until(lambda: len(started(marks)) == 1, "a job to begin")
        (frozen,) = first.worker_pids()
        os.kill(frozen, signal.SIGSTOP)
        with LocalWorkers(setup.settings):
            (outcome,) = setup.outcomes(1)
        os.kill(frozen, signal.SIGCONT)  # it wakes with a result that nobody wants any more
    assert outcome.state == "admitted"
    assert setup.states() == {"admitted": 1}
    assert setup.pool.stats().synthetic == 1


def test_a_generator_that_hangs_is_abandoned_with_its_process(tmp_path: Path, marks: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:HangsAtFirst", lease_s=60.0, job_timeout_s=0.5)
    setup.submit("one")
    server = LocalWorkers(setup.settings)
    with server:
        (outcome,) = setup.outcomes(1)
        (hung,) = started(marks)
        assert gone(hung)
    assert outcome.state == "admitted"
    assert server.problem == (
        "the generator did not return within 0.5 s; raise synthesis.job_timeout_s if it needs "
        "longer"
    )


def test_a_long_job_keeps_its_lease(tmp_path: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:Slow", lease_s=0.5, workers=2)
    (job,) = setup.submit("one")
    with LocalWorkers(setup.settings):
        (outcome,) = setup.outcomes(1)
    assert outcome.state == "admitted"
    with setup.pool.database.read() as connection:
        row = connection.execute("SELECT attempts FROM jobs WHERE id = ?", (job,)).fetchone()
    assert row == (1,)


def test_a_poisonous_job_dies_and_its_worker_lives(tmp_path: Path, marks: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:Poisonous")
    poison, *_ = setup.submit("poison", "two", "three", "four")
    with LocalWorkers(setup.settings) as server:
        outcomes = {outcome.job_id: outcome for outcome in setup.outcomes(4)}
        assert server.worker_pids() == started(marks)
        assert server.restarts == 0
    assert outcomes[poison].state == "dead"
    assert outcomes[poison].reason == "RuntimeError: the model choked on poison"
    assert setup.states() == {"admitted": 3, "dead": 1}


def test_a_worker_whose_device_has_failed_is_replaced_before_it_empties_the_queue(
    tmp_path: Path, marks: Path
) -> None:
    setup = Setup(tmp_path, "synthesis_generators:LosesDevice")
    setup.submit(*(f"room {n}" for n in range(24)))
    with LocalWorkers(setup.settings) as server:
        outcomes = setup.outcomes(24)
        assert len(started(marks)) == 2 and server.restarts == 1
        assert server.problem == (
            "jobs of 3 seeds failed in a row, the last one: RuntimeError: CUDA error: an illegal "
            "memory access was encountered"
        )
    dead = [outcome for outcome in outcomes if outcome.state == "dead"]
    assert len(dead) <= 2, "a job that fails is leased again first, so it may use up its attempts"


def test_what_the_user_can_fix_reaches_the_server_as_one_line(tmp_path: Path) -> None:
    setup = Setup(tmp_path, "rooms")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pool.db").write_text("this is no database " * 100)
    with LocalWorkers(SynthesisSettings(tmp_path / "broken", generator="rooms")) as server:
        until(lambda: server.problem is not None, "a problem")
    assert server.problem is not None
    assert "is not a SQLite database" in server.problem
    assert "\n" not in server.problem
    assert setup.states() == {}


def test_a_worker_knows_the_users_own_task(tmp_path: Path) -> None:
    task = "pointing_task:Pointing"
    setup = Setup(tmp_path, "noop", tasks=(task,))
    centre = tuple(np.mean(np.reshape(SEEDS[0].objects[0].box, (2, 2)), axis=0).tolist())
    pointing = replace(SEEDS[0], id="pointing", task=Pointing.name, answer=centre)
    setup.pool.add_seeds([pointing])
    request = JobRequest(pointing.id, "one", 0, NoopGenerator.fingerprint)
    assert setup.queue.submit([request]).accepted == [request.id]
    with LocalWorkers(setup.settings):
        (outcome,) = setup.outcomes(1)
    assert outcome.state == "admitted" and outcome.sample_id is not None
    assert setup.pool.get(outcome.sample_id).answer == centre


def test_a_task_that_cannot_be_loaded_is_the_problem_of_the_workers(tmp_path: Path) -> None:
    setup = Setup(tmp_path, "noop", tasks=("pointing_task:Elsewhere",))
    with LocalWorkers(setup.settings) as server:
        until(lambda: server.problem is not None, "a problem")
    assert server.problem is not None and "pointing_task:Elsewhere" in server.problem


PARENT = """
import sys, time
from pathlib import Path
from syngrpo.data_server.workers import LocalWorkers
from syngrpo.data_server.synthesis_options import SynthesisSettings

if __name__ == "__main__":
    generator = "synthesis_generators:HangsAtFirst"
    server = LocalWorkers(SynthesisSettings(Path(sys.argv[1]), generator=generator, workers=2))
    server.start()
    print(*server.worker_pids(), flush=True)
    time.sleep(600)
"""


def test_no_worker_outlives_a_killed_trainer(tmp_path: Path, marks: Path) -> None:
    setup = Setup(tmp_path, "synthesis_generators:HangsAtFirst")
    setup.submit("one")
    script = tmp_path / "trainer.py"
    script.write_text(PARENT)
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(script), str(setup.settings.directory)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as trainer:
        assert trainer.stdout is not None
        workers = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(workers) == 2
        until(lambda: len(started(marks)) == 1, "a job to begin")  # one is busy, the other idle
        assert not any(gone(pid) for pid in workers)
        trainer.kill()
    until(lambda: all(gone(pid) for pid in workers), "the workers to end")
    assert setup.states() == {"leased": 1}


def test_workers_and_clients_do_without_torch() -> None:
    code = (
        "import sys, syngrpo.data_server.workers, syngrpo.data_server.pool_client\n"
        "from syngrpo.painting.generators import make_generator\n"
        "make_generator('rooms')\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'pydantic', 'matplotlib'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
