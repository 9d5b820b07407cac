"""Generators that hang, raise, or return what is no picture: each job ends as it should, and the
jobs around it are painted, beside the pool and through HTTP."""

from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from fault_generators import Faulty
from pool_integrity import check_consistent
from service_process import serve, until

from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.job_exchange import run_job
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.server_sink import ServerSink
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.data_server.workers import LocalWorkers
from syngrpo.painting.painter import Painter
from syngrpo.pool.jobs import JobRequest, Outcome
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.serving.http_client import ServerAddress
from syngrpo_rooms.dataset import rooms_samples

SEEDS = rooms_samples("train", 8)
POLICY = SamplingPolicy()
NO_PICTURE = "ValueError: generator faulty returned "
ENDS = {
    "fail": ("dead", "RuntimeError: the model choked"),
    "nan": ("dead", NO_PICTURE + "float32 (128, 128, 3), not uint8 (H, W, 3)"),
    "floats": ("dead", NO_PICTURE + "float32 (128, 128, 3), not uint8 (H, W, 3)"),
    "grey": ("dead", NO_PICTURE + "uint8 (128, 128), not uint8 (H, W, 3)"),
    "alpha": ("dead", NO_PICTURE + "uint8 (128, 128, 4), not uint8 (H, W, 3)"),
    "empty": ("dead", NO_PICTURE + "uint8 (0, 128, 3), not uint8 (H, W, 3)"),
    "nothing": ("dead", "IndexError: list index out of range"),
    "smaller": ("admitted", None),
    "larger": ("admitted", None),
    "wall": ("admitted", None),
    "black": ("admitted", None),
}
"""State and last line of the error by description. Pictures of another size are resized back."""


def requests(*words: str) -> list[JobRequest]:
    return [
        JobRequest(SEEDS[n % 8].id, f"a {word} of stone", n, Faulty.fingerprint)
        for n, word in enumerate(words)
    ]


def test_what_is_no_picture_is_a_dead_letter_and_the_next_job_is_painted(tmp_path: Path) -> None:
    with closing(Pool.open(tmp_path)) as pool:
        pool.add_seeds(SEEDS)
        settings = SynthesisSettings(tmp_path, generator="fault_generators:Faulty")
        queue = open_queue(pool, settings)
        asked = requests(*ENDS)
        queue.submit(asked)
        source, painter = PoolJobs(pool, queue, settings, "w"), Painter(Faulty())
        while leased := source.lease(1):
            run_job(painter, source, *leased)
        ended = {job.request.id: job for job in queue.ended(0, 100)}
        for request, (word, (state, reason)) in zip(asked, ENDS.items(), strict=True):
            job = ended.pop(request.id)
            assert (job.state, job.attempts) == (state, 3 if state == "dead" else 1), word
            if state == "dead":
                assert job.error is not None and job.error.startswith("Traceback"), word
                assert job.error.splitlines()[-1] == reason, word
        assert ended == {}
        for child in pool.samples("synthetic"):
            assert (child.sample.image.width, child.sample.image.height) == (128, 128)
    check_consistent(tmp_path)


@pytest.mark.slow
def test_a_generator_that_always_hangs_ends_its_job_as_a_dead_letter(tmp_path: Path) -> None:
    """Each attempt ends its worker. After the job is given up, the next ones are painted."""
    with closing(Pool.open(tmp_path)) as pool:
        pool.add_seeds(SEEDS)
        settings = SynthesisSettings(
            tmp_path, generator="fault_generators:Faulty", job_timeout_s=0.3, max_attempts=2
        )
        queue = open_queue(pool, settings)
        asked = requests("wall", "hang", "wall", "nan", "wall")
        queue.submit(asked)
        with LocalWorkers(settings) as server:
            until(lambda: len(queue.outcomes(0)) == 5, "the jobs to end")
            assert server.restarts >= 1
        ended = {job.request.id: job for job in queue.ended(0, 100)}
        states = [ended[one.id].state for one in asked]
        assert states == ["admitted", "dead", "admitted", "dead", "admitted"]
        assert ended[asked[1].id].error == (
            "the generator did not return within 0.3 s; raise synthesis.job_timeout_s if it needs "
            "longer"
        )
        assert [ended[one.id].attempts for one in asked] == [1, 2, 1, 2, 1]
    check_consistent(tmp_path)


@pytest.mark.slow
def test_faults_of_remote_workers_reach_the_trainer(tmp_path: Path) -> None:
    words = ["wall", "nan", "fail", "empty", "larger", "wall"]
    with ExitStack() as stack:
        server = serve(tmp_path, "--workers", "1", "--generator", "fault_generators:Faulty")
        stack.callback(server.command.kill)
        own = tmp_path / "own"
        with closing(Pool.open(own)) as pool:
            pool.add_seeds(SEEDS)
        settings = SynthesisSettings(own, generator="fault_generators:Faulty")
        sink = ServerSink(ServerAddress(server.url), "one", settings, POLICY)
        client = stack.enter_context(closing(AsyncClient(settings, POLICY, batch=2, sink=sink)))
        asked = requests(*words)
        client.submit(asked)
        outcomes: dict[str, Outcome] = {}

        def all_ended() -> bool:
            outcomes.update({one.job_id: one for one in client.outcomes()})
            return len(outcomes) == len(words)

        until(all_ended, "the outcomes")
        assert [outcomes[one.id].state for one in asked] == [ENDS[word][0] for word in words]
        assert [outcomes[one.id].reason for one in asked[1:3]] == [ENDS["nan"][1], ENDS["fail"][1]]
        assert server.stop() == 0
    for folder in (own, tmp_path / "runs" / "one"):
        check_consistent(folder)
