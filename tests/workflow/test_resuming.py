"""A run whose pool workers paint into goes on with it only if it is there and sound."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from pool_samples import seed
from quick_runs import quick_config
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.data_server.async_client import SPILL_NAME
from syngrpo.data_server.pool_client import draw_decoded
from syngrpo.data_server.server_sink import OUTBOX_NAME
from syngrpo.data_server.spill import Spill
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import InputError
from syngrpo.workflow.checkpoint import Checkpoint, latest, save
from syngrpo.workflow.resume_rules import Change
from syngrpo.workflow.resuming import (
    POOL_BACKUP,
    accepted_changes,
    lines_at_start,
    require_kept_checkpoints,
    require_same_seeds,
    require_sound_files,
    set_back,
    told_about_images,
)
from syngrpo.workflow.run_directory import RunDirectory

OPTIONS = quick_config(synthesis__mode="async")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with a checkpoint of step 2, as asynchronous synthesis saves it, and metrics of 3."""
    run = RunDirectory(tmp_path / "run")
    with closing(Pool.open(run.path)) as pool:
        pool.add_seeds(seed(n) for n in range(5))
        save(run.checkpoints, 2, {POOL_BACKUP: pool.backup})
    run.write_config(OPTIONS.as_values())
    for step in (1, 2, 3):
        run.append_metrics({"step": step})
    return run


def test_a_run_whose_checkpoints_are_lost_does_not_begin_again(run: RunDirectory) -> None:
    run.write_config(quick_config(trainer__checkpoint_every=2).as_values())
    require_kept_checkpoints(run, latest(run.checkpoints))
    shutil.rmtree(run.checkpoints)
    with pytest.raises(InputError, match=r"lost its checkpoints: .* the metrics of 3 steps; put "):
        require_kept_checkpoints(run, latest(run.checkpoints))
    run.write_config(quick_config(trainer__checkpoint_every=3).as_values())
    require_kept_checkpoints(run, None)  # it was killed before it saved its first one
    run.final.mkdir()
    with pytest.raises(InputError, match=r"final has the weights of its end"):
        require_kept_checkpoints(run, None)
    run.metrics_path.unlink()
    require_kept_checkpoints(run, None)


def damage_by_truncating(run: RunDirectory) -> None:
    """Cut the database off in the middle, after everything has been written into it."""
    with closing(sqlite3.connect(run.pool_path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(run.pool_path, run.pool_path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("lose", "wrong"),
    [
        (lambda run: run.pool_path.unlink(), "is missing"),
        (lambda run: os.truncate(run.pool_path, 0), "is empty"),
        (damage_by_truncating, r"is damaged \(.*\)"),
        (lambda run: run.pool_path.write_text("no database"), r"is damaged \(.*\)"),
    ],
)
def test_a_lost_pool_is_told_with_what_is_left_of_it_and_repaired(
    run: RunDirectory, lose: Callable[[RunDirectory], None], wrong: str
) -> None:
    lose(run)
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    last = latest(run.checkpoints)
    copy = run.checkpoints / "step-2" / POOL_BACKUP
    with pytest.raises(InputError) as told:
        require_sound_files(run, OPTIONS, last)
    line = str(told.value)
    assert re.match(f"pool {run.path}: pool.db {wrong}; ", line), line
    assert f"5 samples and 0 jobs can be read from the copy {copy}, 5 images are left; " in line
    assert line.endswith(f"run: syngrpo pool repair {run.path}") and "\n" not in line
    assert {file: file.read_bytes() for file in before} == before
    said = CliRunner().invoke(app, ["pool", "repair", str(run.path)])
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert (
        re.match(f"pool.db {wrong}$", lines[0]) and f"5 samples and 0 jobs from {copy}" in lines[-3]
    )
    assert lines[-2] == "pool.db holds 5 seeds, 0 synthetic samples and 0 jobs"
    assert lines[-1].startswith("now resume with: syngrpo train ")
    require_sound_files(run, OPTIONS, last)
    set_back(run, OPTIONS, last)
    run.close()
    assert run.metrics_path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_lost_pool_with_its_images_and_copies_is_told_as_well(run: RunDirectory) -> None:
    last = latest(run.checkpoints)
    (run.checkpoints / "step-2" / POOL_BACKUP).unlink()
    run.pool_path.unlink()
    with pytest.raises(InputError, match=r"is missing; 5 images of unknown labels are left; run:"):
        require_sound_files(run, OPTIONS, last)
    shutil.rmtree(run.path / "images")
    with pytest.raises(InputError, match=r"is missing; 0 images of unknown labels are left; run:"):
        require_sound_files(run, OPTIONS, last)


@pytest.mark.parametrize("name", [SPILL_NAME, OUTBOX_NAME])
def test_a_broken_file_of_waiting_records_is_told_first_and_repaired(
    run: RunDirectory, name: str
) -> None:
    last, path = latest(run.checkpoints), run.path / name
    records = [
        {"observation": asdict(Observation("seed-0", step, 0, 0.5, 0.5))} for step in range(9)
    ]
    with closing(Spill(path)) as spill:
        spill.append(records)
    with path.open("r+b") as file:
        file.write(b"\xff" * 8)
    with pytest.raises(
        InputError, match=f"{name} is damaged: 9 waiting .* 8 bytes cannot;.*repair"
    ):
        require_sound_files(run, OPTIONS, last)
    said = CliRunner().invoke(app, ["pool", "repair", str(run.path)])
    assert f"{name} keeps 9 records" in said.output
    require_sound_files(run, OPTIONS, last)
    with closing(Spill(path)) as spill:
        assert spill.pending().records == records


def test_a_finished_run_does_not_take_a_rate_for_steps_that_never_come(run: RunDirectory) -> None:
    last = latest(run.checkpoints)
    rate = {"trainer__learning_rate": 5e-5, "synthesis__mode": "async"}
    with pytest.raises(InputError, match=r"is finished, so trainer\.learning_rate 0\.0001 → 5e-05"):
        accepted_changes(run, quick_config(**rate, trainer__steps=2), last)
    changes = accepted_changes(run, quick_config(**rate), last)
    assert [change.key for change in changes] == ["trainer.learning_rate"]


def test_noise_that_more_steps_bring_back_is_told(run: RunDirectory) -> None:
    last, longer = Checkpoint(run.path, 300), [Change("trainer.steps", 300, 600)]
    noisy = quick_config(method__name="noisy-rollout", method__noise=0.5, trainer__steps=600)
    *_, line = lines_at_start(run.path, noisy, last, longer)
    assert "in step 301 it is 0.5, with 300 steps it would be 2.3e-05" in line
    plain = quick_config(method__name="grpo", trainer__steps=600)
    for options, changes in ((plain, longer), (noisy, [])):
        lines = lines_at_start(run.path, options, last, changes)
        assert not any("the noise of" in line for line in lines)


def test_without_workers_a_lost_pool_is_set_back_to_the_checkpoint(run: RunDirectory) -> None:
    os.truncate(run.pool_path, 3000)
    set_back(run, quick_config(), latest(run.checkpoints))
    run.close()
    with closing(Pool.open(run.path)) as pool:
        assert pool.stats().seed == 5


def test_lost_lines_of_metrics_are_told(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    os.truncate(run.metrics_path, run.metrics_path.stat().st_size - 15)
    set_back(run, OPTIONS, latest(run.checkpoints))
    run.close()
    assert run.metrics_path.read_text() == '{"step": 1}\n'
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{run.metrics_path} has lost 1 step of 2, such as step 2;")


def test_a_pool_in_use_is_not_repaired(run: RunDirectory) -> None:
    with RunDirectory.open(run.path, resume=True):
        said = CliRunner().invoke(app, ["pool", "repair", str(run.path)])
    assert said.exit_code != 0 and "is in use by process" in str(said.exception or said.output)


def test_data_is_compared_with_the_seeds_of_the_pool(run: RunDirectory) -> None:
    with closing(Pool.open(run.path)) as pool:
        assert require_same_seeds(pool, [seed(n) for n in range(5)]) is None
        new = require_same_seeds(pool, [seed(n) for n in range(7)])
        assert new == "data.train has 2 samples that are new in this run, such as seed-5"
        with pytest.raises(InputError, match=r"lacks 2 samples that run .* such as seed-3; put"):
            require_same_seeds(pool, [seed(n) for n in range(3)])


def test_missing_images_are_told_with_what_is_left(run: RunDirectory) -> None:
    with closing(Pool.open(run.path)) as pool:
        assert told_about_images(pool, pool.without_image()) == []
        for number in (1, 3):
            pool.get(f"seed-{number}").image.path.unlink()
        missing = pool.without_image()
        pool.add_seeds([seed(1)])  # the data has this one alone
        assert told_about_images(pool, missing) == [
            "the images of 1 sample were missing, such as that of seed-1: they have been written "
            "again from the data",
            "the images of 1 sample are gone, such as that of seed-3: they are not drawn, 4 are "
            f"left; syngrpo pool repair {run.path} looks for more damage",
        ]


@pytest.mark.parametrize("repaired", [False, True])
def test_a_seed_that_has_lost_its_image_while_training_comes_back(
    run: RunDirectory, repaired: bool
) -> None:
    """The file is missing, or damaged and moved away by a repair. Training draws the seed and
    quarantines it; going on writes the file again, says so, and draws the seed again."""
    path = run.path
    with closing(Pool.open(path)) as pool:
        file = pool.get("seed-2").image.path
        content = file.read_bytes()
        if repaired:
            file.write_bytes(content[: len(content) // 2])
        else:
            file.unlink()
        draw_decoded(pool, 4, SamplingPolicy(), np.random.default_rng(0))
        assert pool.stats().quarantined == 1
    if repaired:
        said = CliRunner().invoke(app, ["pool", "repair", str(path)])
        assert "seeds get theirs back from the data when the run goes on" in said.output
    with closing(Pool.open(path)) as pool:
        missing = pool.without_image()
        pool.add_seeds(seed(n) for n in range(5))
        assert told_about_images(pool, missing) == [
            "the images of 1 sample were missing, such as that of seed-2: they have been written "
            "again from the data"
        ]
        assert file.read_bytes() == content and pool.stats().quarantined == 0
        drawn = draw_decoded(pool, 5, SamplingPolicy(), np.random.default_rng(0))
        assert "seed-2" in {one.sample.id for one in drawn}
