import errno
import os
import pickle
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.data_server.job_exchange import run_job
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.compositing import keep_mask
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.painter import Painter
from syngrpo.painting.refused_pictures import kept_pictures, read_view
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import random_description

SEEDS = rooms_samples("train", 12)
PHOTOS = Path(__file__).parents[2] / "examples" / "photos" / "photos.jsonl"
POLICY = SamplingPolicy()


def client(folder: Path, seeds: list[Sample] = SEEDS, generator: str = "rooms") -> InlineClient:
    pool = Pool.open(folder)
    pool.add_seeds(seeds)
    pool.close()
    return InlineClient(SynthesisSettings(folder, generator=generator), POLICY, seed=1)


def few_steps(synthesis: InlineClient, first: int, last: int) -> list[str]:
    """What a trainer does to its client; returns the samples drawn and outcomes seen."""
    seen: list[str] = []
    for step in range(first, last):
        rng = np.random.default_rng(step)
        drawn = synthesis.draw(6)
        seen += [f"{item.sample.id} {item.visits} {item.job_id}" for item in drawn]
        observed = [Observation(d.sample.id, step, step, rng.random(), 0.5) for d in drawn]
        synthesis.observe(observed)
        parents = [d.sample.id for d in drawn if d.sample.depth == 0]
        asked = [
            JobRequest(p, random_description(rng), step, synthesis.fingerprint) for p in parents
        ]
        synthesis.submit(asked)
        seen += [str(outcome) for outcome in synthesis.outcomes()]
    return seen


def contents(folder: Path) -> list[tuple]:
    database = sqlite3.connect(folder / "pool.db")
    queries = (
        "SELECT number, id, parent, job, image, body FROM samples ORDER BY number",
        "SELECT number, state, visits, diversity_mean FROM standing ORDER BY number",
        "SELECT id, state, attempts, reason, scores, cursor FROM jobs ORDER BY number",
        "SELECT sample, step, diversity FROM observations ORDER BY number",
    )
    rows = [row for query in queries for row in database.execute(query)]
    database.close()
    return rows


def test_the_same_calls_give_the_same_pool(tmp_path: Path) -> None:
    seen = []
    for name in ("a", "b"):
        synthesis = client(tmp_path / name)
        seen.append(few_steps(synthesis, 0, 4))
        assert synthesis.stats().synthetic > 10
        synthesis.close()
    assert seen[0] == seen[1]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_restored_client_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = client(tmp_path / "whole")
    expected = few_steps(whole, 0, 5)
    first = client(tmp_path / "cut")
    seen = few_steps(first, 0, 2)
    first.backup(tmp_path / "backup.db")
    state = first.state_dict()
    few_steps(first, 2, 4)  # lost in the crash
    first.close()
    Pool.restore(tmp_path / "cut", tmp_path / "backup.db").close()
    second = client(tmp_path / "cut")
    second.load_state_dict(state)
    seen += few_steps(second, 2, 5)
    second.close()
    whole.close()
    assert seen == expected
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_child_has_its_parents_labels_and_other_surroundings(tmp_path: Path) -> None:
    synthesis = client(tmp_path)
    request = JobRequest(SEEDS[0].id, "striped green wall, red carpet", 7, synthesis.fingerprint)
    assert synthesis.submit([request]).submitted == 1
    (outcome,) = synthesis.outcomes()
    assert outcome.job_id == request.id
    assert outcome.sample_id == f"syn-{request.id[:16]}"
    child, parent = Pool.open(tmp_path).get(outcome.sample_id), SEEDS[0]
    inherited = ("task", "question", "answer", "objects")
    assert all(getattr(child, name) == getattr(parent, name) for name in inherited)
    assert (child.parent, child.depth, child.description) == (parent.id, 1, request.description)
    made = child.columns.pop("synthesis")
    assert (made["generator"], made["seed"]) == (synthesis.fingerprint, 7)
    assert "striped green wall" in made["prompt"]
    assert child.columns == parent.columns
    keep, old, new = keep_mask(parent), parent.image.decode(), child.image.decode()
    assert (old[keep] == new[keep]).all()
    assert (old[~keep] != new[~keep]).any(axis=1).mean() > 0.9
    assert child.image.read().startswith(b"\x89PNG")


def test_the_gate_and_an_empty_description_reject_by_name(tmp_path: Path) -> None:
    client(tmp_path).close()
    strict = SynthesisSettings(tmp_path, gate=GateThresholds(min_change=300), generator="rooms")
    synthesis = InlineClient(strict, POLICY)
    texts = ("a blue wall", "<b> ...", f"a {SEEDS[0].objects[0].label}")
    synthesis.submit([JobRequest(SEEDS[0].id, text, 0, synthesis.fingerprint) for text in texts])
    reasons = [outcome.reason for outcome in synthesis.outcomes()]
    assert reasons == ["background_unchanged", "empty_description", "empty_description"]
    assert synthesis.stats().rejected == {"background_unchanged": 1, "empty_description": 2}
    (kept,) = kept_pictures(tmp_path)  # an empty description has no picture
    assert kept.path.parent.name == "background_unchanged"
    view = read_view(kept.path.read_bytes())
    assert view is not None and view[0].size == (SEEDS[0].image.width, SEEDS[0].image.height)


@pytest.mark.parametrize("keep", [1, 0])
def test_a_picture_that_is_refused_beside_its_siblings_is_kept(tmp_path: Path, keep: int) -> None:
    """The queue compares it with those that other workers have painted meanwhile."""
    client(tmp_path).close()
    settings = SynthesisSettings(
        tmp_path,
        gate=GateThresholds(min_distance=30, keep_refused=keep),
        generator="rooms",
    )
    pool = Pool.open(tmp_path)
    queue = open_queue(pool, settings)
    painter = Painter(settings.make_generator())
    text = "plain red wall, blue concrete floor, soft daylight, nothing else stands around"
    queue.submit([JobRequest(SEEDS[0].id, text, seed, painter.fingerprint) for seed in (1, 2)])
    workers = [PoolJobs(pool, queue, settings, name) for name in ("a", "b")]
    leased = [worker.lease(1)[0] for worker in workers]
    for worker, one in zip(workers, leased, strict=True):
        assert run_job(painter, worker, one)
    assert pool.stats().rejected == {"near_duplicate": 1}
    kept = kept_pictures(tmp_path)
    assert [one.job_id for one in kept] == [leased[1].job.id] * keep
    if keep:
        (child,) = pool.samples("synthetic")
        made = child.sample.columns["synthesis"]
        shown = Image.open(kept[0].path).convert("RGB")
        assert np.abs(np.asarray(shown).astype(int) - child.sample.image.decode()).mean() < 20
        view = read_view(kept[0].path.read_bytes())
        assert view is not None and view[0].lineage() == made["frame"]
    pool.close()


def test_photographs_are_painted_around_in_their_own_size(tmp_path: Path) -> None:
    photos = read_data(PHOTOS)
    for generator in ("rooms", "synthesis_generators:Smaller"):
        folder = tmp_path / generator.rpartition(":")[2]
        synthesis = client(folder, photos, generator)
        text = "plain blue walls, wooden floor"
        synthesis.submit([JobRequest(p.id, text, 1, synthesis.fingerprint) for p in photos])
        outcomes = synthesis.outcomes()
        assert [outcome.state for outcome in outcomes] == ["admitted"] * len(photos)
        pool = Pool.open(folder)
        for photo, outcome in zip(photos, outcomes, strict=True):
            child, keep = pool.get(str(outcome.sample_id)), keep_mask(photo)
            assert (child.image.width, child.image.height) == (
                photo.image.width,
                photo.image.height,
            )
            assert (child.image.decode()[keep] == photo.image.decode()[keep]).all()
        synthesis.close()


def test_a_picture_larger_than_the_canvas_is_painted_smaller(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 300, 3), dtype=np.uint8)
    box = (200.0, 20.0, 260.0, 90.0)
    image = EncodedImage.from_pixels(pixels)
    big = Sample("big", "rec", image, "the cat", box, (LabelledObject("cat", box),))
    client(tmp_path, [big]).close()
    synthesis = InlineClient(SynthesisSettings(tmp_path, max_side=64, generator="rooms"), POLICY)
    synthesis.submit([JobRequest("big", "a red wall", 0, synthesis.fingerprint)])
    child = Pool.open(tmp_path).get(str(synthesis.outcomes()[0].sample_id)).image.decode()
    assert child.shape == pixels.shape
    assert (child[20:90, 200:260] == pixels[20:90, 200:260]).all()


def test_a_job_that_always_fails_dies_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNGRPO_TEST_MARKS", str(tmp_path))
    synthesis = client(tmp_path / "pool", generator="synthesis_generators:Poisonous")
    asked = [JobRequest(SEEDS[0].id, text, 0, "poisonous") for text in ("poison", "a red wall")]
    synthesis.submit([*asked, JobRequest(SEEDS[0].id, "a wall", 0, "another generator")])
    by_id = {outcome.job_id: outcome for outcome in synthesis.outcomes()}
    dead, painted = by_id[asked[0].id], by_id[asked[1].id]
    assert (dead.state, painted.state) == ("dead", "admitted")
    assert dead.reason == "RuntimeError: the model choked on poison"
    (error, attempts), (foreign, _) = (
        sqlite3.connect(tmp_path / "pool" / "pool.db")
        .execute("SELECT error, attempts FROM jobs WHERE state = 'dead' ORDER BY number")
        .fetchall()
    )
    assert "Traceback" in error
    assert "synthesis_generators.py" in error
    assert attempts == 3
    assert "start the server with the trainer's generator" in foreign


def test_a_full_disk_is_one_line_and_not_the_jobs_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesis = client(tmp_path)

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="disk full while writing") as raised:
            synthesis.submit([JobRequest(SEEDS[0].id, "a blue wall", 0, synthesis.fingerprint)])
    assert "\n" not in str(raised.value)
    assert synthesis.stats().jobs["dead"] == 0
    synthesis.close()
    again = InlineClient(SynthesisSettings(tmp_path, generator="rooms"), POLICY)
    again.submit([])
    assert [outcome.state for outcome in again.outcomes()] == ["admitted"]


def test_an_image_that_does_not_decode_is_quarantined_and_another_drawn(tmp_path: Path) -> None:
    whole = SEEDS[0].image.read()
    torn = replace(SEEDS[0].image, data=whole[: len(whole) // 2])
    broken = replace(SEEDS[0], image=torn)
    synthesis = client(tmp_path, [broken, *SEEDS[1:5]])
    ids = {item.sample.id for item in synthesis.draw(4)}
    assert ids == {sample.id for sample in SEEDS[1:5]}
    assert synthesis.stats().quarantined == 1
    with pytest.raises(InputError, match="a batch needs 5"):
        synthesis.draw(5)


def test_drawn_images_are_already_decoded(tmp_path: Path) -> None:
    (drawn,) = client(tmp_path, SEEDS[:1]).draw(1)
    assert drawn.sample.image.path is not None
    drawn.sample.image.path.unlink()
    assert (drawn.sample.image.decode() == SEEDS[0].image.decode()).all()


def test_a_drawn_image_travels_encoded(tmp_path):
    """Decoded here, it reaches another process as the bytes of its file, without the file."""
    synthesis = client(tmp_path)
    drawn = synthesis.draw(1)[0].sample
    synthesis.close()
    travelled = pickle.dumps(drawn.image)
    arrived = pickle.loads(travelled)
    assert arrived.path is None and arrived.data == drawn.image.path.read_bytes()
    assert np.array_equal(arrived.decode(), drawn.image.decode())
    assert len(travelled) < drawn.image.decode().nbytes


def test_samples_under_way_are_not_drawn_again(tmp_path: Path) -> None:
    ahead = client(tmp_path)
    batches = [[one.sample.id for one in ahead.draw(3)] for _ in range(4)]
    assert len({name for batch in batches for name in batch}) == 12
    # All samples are under way: those of the oldest batch are the first that may come again.
    ahead.observe([Observation(name, 1, 1, 0.5, 0.5) for name in batches[1]])
    assert {one.sample.id for one in ahead.draw(3)} == set(batches[1])
