"""A run whose generator fails on every job trains to its end, and says so."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from quick_runs import quick_config
from rich.console import Console

from syngrpo.cli.train import run_training
from syngrpo.data_server.client import DataClient, SynthesisOptions, WrittenResponse
from syngrpo.data_server.job_failures import FIRST_JOBS, JobFailures
from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, error_line
from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples

HERE = Path(__file__).stem


class Broken(NoopGenerator):
    fingerprint = "broken"

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        raise RuntimeError("no weights\nhere")


def ended(admitted: int = 0, rejected: int = 0, dead: int = 0) -> dict[str, int]:
    """The counts of a step's line of metrics."""
    return {
        "synthesis/admitted": admitted,
        "synthesis/rejected": rejected,
        "synthesis/dead": dead,
    }


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """The directory of a run of which four jobs have failed, with two errors."""
    pool = Pool.open(tmp_path)
    seed = rooms_samples("train", 1, size=64)[0]
    pool.add_seeds([seed])
    queue = JobQueue(pool, limit=9, lease_s=9, max_attempts=1)
    queue.submit([JobRequest(seed.id, f"wall {n}", n, "broken") for n in range(4)])
    for number, job in enumerate(queue.lease("me", 4)):
        queue.fail(job.id, "me", f"worker {1 if number else 0} was lost\nlong ago")
    pool.close()
    return tmp_path


def test_a_run_warns_at_its_end_and_shows_the_number(tmp_path: Path) -> None:
    screen, run = io.StringIO(), tmp_path / "run"
    config = quick_config(synthesis__generator=f"{HERE}:Broken")
    run_training(config, run, resume=False, console=Console(file=screen, width=80))
    (told,) = [line for line in screen.getvalue().splitlines() if "synthesis jobs failed" in line]
    with_error = "synthesis jobs failed, most often with: RuntimeError: no weights; no images"
    assert (
        told.startswith("warning: ") and with_error in told and "log.txt has the traceback" in told
    )
    failed, of = told.split(" synthesis jobs")[0].split()[-3::2]
    assert failed == of and int(of) > 0
    assert f"0 rejected, {of} failed" in screen.getvalue()
    log = (run / "log.txt").read_text()
    assert 'raise RuntimeError("no weights\\nhere")' in log and (run / "final").is_dir()
    assert "failed, given up" in (run / "report.html").read_text()


def test_a_client_of_another_trainer_warns_when_it_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    synthesis = SynthesisOptions(generator=f"{HERE}:Broken", mode="inline", max_attempts=1)
    seeds = rooms_samples("train", 4)
    with DataClient.open(tmp_path, seeds, groups_per_step=2, synthesis=synthesis) as client:
        for sample in client.draw():
            client.observe(sample, [0.0, 1.0])
            text = "<think>t</think><answer>[1,2,3,4]</answer><scene>a red wall</scene>"
            ids = np.arange(9)
            response = WrittenResponse(text, ids, np.zeros(9, np.float32), ids > 4)
            assert client.submit(sample, [response]) == 1
        client.outcomes()
        assert client.stats().metrics()["synthesis/dead"] == 2
        assert client.stats().metrics()["synthesis/admitted"] == 0
        assert not warnings(caplog)
    (told,) = warnings(caplog)
    assert told.startswith("2 of 2 synthesis jobs failed, most often with: RuntimeError: no weight")
    assert told.endswith("its traceback is logged at level INFO")


def test_a_warning_comes_once_when_the_first_jobs_all_fail(
    failed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = JobFailures(failed)
    watch.step(ended(dead=FIRST_JOBS - 1))
    assert not warnings(caplog)
    watch.step(ended(dead=1))
    (told,) = warnings(caplog)
    often = "4 of 4 synthesis jobs failed, most often with: worker 1 was lost; training goes on"
    assert told.startswith(often)
    watch.step(ended(dead=FIRST_JOBS))
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("good", [ended(admitted=1), ended(rejected=1)])
def test_no_warning_while_training_if_any_job_did_not_fail(
    failed: Path, good: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    watch = JobFailures(failed)
    watch.step(good)
    watch.step(ended(dead=2 * FIRST_JOBS))
    assert not warnings(caplog)


def test_a_run_without_failures_ends_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Pool.open(tmp_path).close()
    JobFailures(tmp_path).end()
    assert not warnings(caplog)


def test_the_line_of_an_error_is_the_first_of_its_message() -> None:
    frames = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n    ^^^\n'
    assert error_line(frames + "ValueError: two\n  lines\nand more\n") == "ValueError: two"
    assert error_line("the generator did not return\nin time") == "the generator did not return"
    assert error_line("") == ""
