"""A run whose pool workers paint into goes on with it only if it is there and sound."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from pool_samples import seed
from quick_runs import quick_config
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.workflow.checkpoint import latest, save
from syngrpo.workflow.resuming import (
    POOL_BACKUP,
    require_same_seeds,
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


def test_a_lost_pool_is_told_before_anything_is_changed_and_repaired(run: RunDirectory) -> None:
    metrics = run.metrics_path.read_bytes()
    for lose in (lambda: run.pool_path.unlink(), lambda: os.truncate(run.pool_path, 0)):
        lose()
        with pytest.raises(InputError, match=f"pool.db is missing.*syngrpo pool repair {run.path}"):
            set_back(run, OPTIONS, latest(run.checkpoints))
        assert run.metrics_path.read_bytes() == metrics
        said = CliRunner().invoke(app, ["pool", "repair", str(run.path)])
        assert said.exit_code == 0, said.output
        copy = run.checkpoints / "step-2" / POOL_BACKUP
        assert said.output.splitlines() == [
            "pool.db is missing",
            f"read 5 samples and 0 jobs from {copy}",
            "pool.db holds 5 seeds, 0 synthetic samples and 0 jobs",
        ]
        set_back(run, OPTIONS, latest(run.checkpoints))
        run.close()
        assert run.metrics_path.read_text() == '{"step": 1}\n{"step": 2}\n'
        metrics = run.metrics_path.read_bytes()


def test_a_lost_pool_with_its_images_is_told_as_well(run: RunDirectory) -> None:
    run.pool_path.unlink()
    shutil.rmtree(run.path / "images")
    with pytest.raises(InputError, match=r"pool\.db is missing; run: syngrpo pool repair"):
        set_back(run, OPTIONS, latest(run.checkpoints))


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


def test_a_missing_image_is_told_with_what_is_left(run: RunDirectory) -> None:
    with closing(Pool.open(run.path)) as pool:
        assert told_about_images(pool) is None
        pool.get("seed-2").image.path.unlink()
        line = told_about_images(pool)
        assert line is not None and "such as that of seed-2: they are not drawn, 4 are left" in line
        assert f"syngrpo pool repair {run.path}" in line
        pool.add_seeds(seed(n) for n in range(5))  # as training does
        assert told_about_images(pool) is None
