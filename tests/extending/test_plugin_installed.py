"""``examples/plugin``, installed into a fresh environment: it trains, evaluates, paints, exports
and shows in the report, by its short names alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import syngrpo

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
SOURCE = Path(syngrpo.__file__).parents[1]

Syngrpo = Callable[..., str]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a new environment with the package. It sees the packages of this one."""
    root = tmp_path_factory.mktemp("environment")
    venv.create(root / "env")
    python = root / "env" / "bin" / "python"
    paths = {"base": str(root / "env"), "platbase": str(root / "env")}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    parent = sysconfig.get_path("purelib")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    copy = shutil.copytree(PLUGIN, root / "plugin")  # building leaves files beside the source
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, *options, str(copy)], check=True)
    return python


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the commands run, with the package's configuration."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(PLUGIN / "pointing.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def run_syngrpo(environment: Path, folder: Path) -> Syngrpo:
    """Return a function that runs a command in the environment and returns its output."""
    variables = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(*words: str) -> str:
        command = [str(environment), "-m", "syngrpo", *words]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def trained(run_syngrpo: Syngrpo, folder: Path) -> Path:
    """Return the run directory of three steps with every extension of the package."""
    for split, count in (("train", "8"), ("test", "4")):
        source, out = f"rooms:pointing:{split}", f"data/{split}"
        run_syngrpo(
            *("data", "convert", source, "--limit", count, "--to", "phrases-csv", "--out", out)
        )
    values = {
        "trainer.steps": 3,
        "rollout.group_size": 4,
        "synthesis.mode": "inline",
        "evaluation.samples_per_prompt": 2,
        "logging.trackers": "[]",
    }
    overrides = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    run_syngrpo("train", "pointing.yaml", "--run-dir", "run", *overrides)
    return folder / "run"


def test_the_extensions_are_listed(run_syngrpo: Syngrpo) -> None:
    listed = run_syngrpo("extensions")
    assert "cannot be loaded" not in listed
    lines = [line.split() for line in listed.splitlines() if "syngrpo-pointing" in line]
    assert {line[0] for line in lines} == {
        *("task", "reward", "generator", "describer", "judge", "family", "format", "method")
    }


def test_a_run_measures_the_task_and_the_reward(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    for row in rows:
        assert 0 < row["reward/brevity"] < 1
        assert 0 <= row["reward/accuracy/pointing"] <= 1
    evaluations = (trained / "evaluation.jsonl").read_text().splitlines()
    assert "reward/brevity" in json.dumps(json.loads(evaluations[-1])["metrics"])


def test_a_run_paints_written_and_random_descriptions(trained: Path, run_syngrpo: Syngrpo) -> None:
    run_syngrpo("pool", "export", "run", "--format", "phrases-csv", "--out", "painted")
    painted = trained.parent / "painted"
    with (painted / "lineage.csv").open(newline="") as file:
        lineage = list(csv.DictReader(file))
    assert {row["generator"] for row in lineage} == {"gradients-1-4.0"}
    assert all(float(row["score_brightness"]) >= 0.1 for row in lineage)
    drawn = [row for row in lineage if row["description"].startswith("a wall that goes from")]
    assert 0 < len(drawn) < len(lineage)
    assert (painted / "phrases.csv").read_text().startswith("image,phrase,x1,y1,x2,y2\n")


def test_a_model_is_evaluated_on_the_task(trained: Path, run_syngrpo: Syngrpo) -> None:
    data = ["--data", "data/test/phrases.csv", "--data", "rooms:pointing:ood", "--count", "4"]
    quick = ["--samples-per-prompt", "2", "--out", "results"]
    said = run_syngrpo("evaluate", "--model", str(trained / "final"), *data, *quick)
    assert "points inside the object" in said
    assert "points inside the object" in (trained.parent / "results" / "report.html").read_text()


def test_the_report_shows_the_task_and_the_reward(trained: Path, run_syngrpo: Syngrpo) -> None:
    report = trained / "report.html"
    report.unlink()
    run_syngrpo("report", "run")
    text = report.read_text()
    assert "points inside the object" in text
    assert "brevity" in text
    assert "a wall that goes from" in text


def test_data_are_checked(trained: Path, run_syngrpo: Syngrpo) -> None:
    assert "8" in run_syngrpo("data", "check", "data/train/phrases.csv")
