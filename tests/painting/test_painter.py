"""What a worker does with one job: paint, fail, or hand back what its device cannot hold."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from syngrpo.data_server.job_exchange import run_job
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.generators.base import GenerationRequest, NoopGenerator, OutOfMemory
from syngrpo.painting.generators.sizes import shrunk
from syngrpo.painting.judges.panel import judges_of
from syngrpo.painting.painter import Painter
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples

(SEED,) = rooms_samples("train", 1, size=512)


class SmallDevice(NoopGenerator):
    """Has memory for pictures whose sides are at most ``holds``; knows when it was loaded."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.side = 1024
        self.loaded = False

    def load(self) -> None:
        self.loaded = True

    def limit_side(self, side: int) -> bool:
        self.side = side
        return True

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        size = min(self.side, max(requests[0].size))
        if size > self.holds:
            raise OutOfMemory((size, size))
        painted = super().generate(requests)
        return [image[:size, :size] for image in painted]


@pytest.fixture
def settings(tmp_path: Path) -> SynthesisSettings:
    Pool.open(tmp_path).add_seeds([SEED])
    return SynthesisSettings(tmp_path, generator="noop")


def run_to_the_end(settings: SynthesisSettings, painter: Painter) -> tuple[int, int]:
    """Works off one job; how often it was leased, and the attempts that were counted."""
    pool = Pool.open(settings.directory)
    queue = open_queue(pool, settings)
    queue.submit([JobRequest(SEED.id, "a green wall", 1, painter.fingerprint)])
    source, turns = PoolJobs(pool, queue, settings, "worker"), 0
    while leased := source.lease(1):
        turns += 1
        run_job(painter, source, leased[0])
    (ended,) = queue.ended(0, 9)
    return turns, ended.attempts


def test_what_does_not_fit_is_painted_smaller(
    settings: SynthesisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    generator = SmallDevice(300)
    painter = Painter(generator)
    painter.load()
    assert generator.loaded
    with caplog.at_level(logging.WARNING):
        assert run_to_the_end(settings, painter) == (3, 1)  # 512, 384 and 288 pixels, one attempt
    assert generator.side == 288
    assert [record.getMessage() for record in caplog.records] == [
        "out of device memory while painting 512x512 pixels; from now on no side is longer than "
        "384 pixels",
        "out of device memory while painting 384x384 pixels; from now on no side is longer than "
        "288 pixels",
    ]
    (child,) = Pool.open(settings.directory).children(SEED.id)
    assert (child.sample.image.width, child.sample.image.height) == (512, 512)


def test_shrunk_objects_are_not_mixed_with_the_erased_background(
    settings: SynthesisSettings,
) -> None:
    asked: list[GenerationRequest] = []

    class Looking(NoopGenerator):
        def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
            asked.extend(requests)
            return super().generate(requests)

    run_to_the_end(replace(settings, max_side=200), Painter(Looking()))
    (request,) = asked
    picture = shrunk(SEED.image.decode(), 200)
    assert request.keep.any() and not request.keep.all()
    assert (request.image[request.keep] == picture[request.keep]).all()
    assert len(np.unique(request.image[~request.keep].reshape(-1, 3), axis=0)) == 1


def test_a_device_that_can_hold_nothing_does_not_go_on_for_ever(
    settings: SynthesisSettings,
) -> None:
    turns, attempts = run_to_the_end(settings, Painter(SmallDevice(10)))
    assert attempts == settings.max_attempts
    assert turns == attempts + 4  # 384, 288, 216 and 162 were tried; less is not worth it
    stats = Pool.open(settings.directory).stats()
    assert (stats.jobs["dead"], stats.jobs["queued"]) == (1, 0)


class SmallAutoencoder(NoopGenerator):
    """Has memory for round trips of pictures whose sides are at most ``holds``."""

    def __init__(self, holds: int, limited: bool = True) -> None:
        self.holds = holds
        self.limited = limited
        self.side: int | None = None
        self.seen: list[int] = []

    def limit_side(self, side: int) -> bool:
        self.side = side
        return True

    def round_trip(self, image: np.ndarray) -> np.ndarray:
        if self.limited and self.side is not None:
            image = shrunk(image, self.side)
        self.seen.append(max(image.shape))
        if self.seen[-1] > self.holds:
            raise OutOfMemory((image.shape[1], image.shape[0]))
        return image


def test_a_round_trip_that_does_not_fit_is_made_smaller(settings: SynthesisSettings) -> None:
    gate = GateThresholds(max_kept_difference=255)
    settings = replace(settings, round_trip=0.5, max_side=400, gate=gate)
    generator = SmallAutoencoder(300)
    assert run_to_the_end(settings, Painter(generator)) == (2, 1)
    assert generator.seen == [400, 300]  # of a picture of 512 pixels


def test_a_round_trip_that_never_fits_does_not_go_on_for_ever(settings: SynthesisSettings) -> None:
    """Even of a generator that exceeds the limit it was given."""
    settings = replace(settings, round_trip=0.5)
    generator = SmallAutoencoder(300, limited=False)
    turns, attempts = run_to_the_end(settings, Painter(generator))
    assert attempts == settings.max_attempts
    assert turns == attempts + 4
    assert generator.side == 162


def test_without_a_limit_to_lower_it_is_a_failure(settings: SynthesisSettings) -> None:
    class Fixed(NoopGenerator):
        def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
            raise OutOfMemory(requests[0].size)

    assert run_to_the_end(settings, Painter(Fixed())) == (3, 3)


def test_a_judge_that_scores_with_nonsense_fails_the_job(settings: SynthesisSettings) -> None:
    class Confused:
        def similarity(self, image: np.ndarray, text: str) -> float:
            return float("nan")

    painter = Painter(NoopGenerator(), judges_of(similarity=Confused()))
    assert run_to_the_end(settings, painter) == (3, 3)
    with Pool.open(settings.directory).database.read() as connection:
        (error,) = connection.execute("SELECT error FROM jobs").fetchone()
    assert "a judge returned a score that is not finite" in error
