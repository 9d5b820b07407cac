"""What a user can get wrong ends in one line and exit status 2."""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm_processes
from data_sets import write_data
from quick_runs import metrics, train_arguments
from small_disk import run_on_a_small_disk

from syngrpo_rooms.dataset import rooms_samples


def assert_one_line(status: int, stderr: str, *parts: str) -> None:
    assert status == 2, stderr
    lines = stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), stderr
    for part in parts:
        assert part in lines[0], stderr


def assert_refused(folder: Path, arguments: list[str], *parts: str) -> None:
    command = warm_processes.start(folder, *arguments)
    assert_one_line(command.wait(), command.stderr, *parts)


def truncate_image(row: dict[str, Any], folder: Path) -> None:
    image = folder / row["image"]
    image.write_bytes(image.read_bytes()[:-2000])


def leave_the_image(row: dict[str, Any], folder: Path) -> None:
    row["objects"][0]["box"] = row["answer"] = [100, 40, 190, 90]


def turn_the_box(row: dict[str, Any], folder: Path) -> None:
    row["answer"] = [60, 40, 20, 90]


def write_nan(row: dict[str, Any], folder: Path) -> None:
    row["answer"] = [math.nan, 1, 20, 30]


BAD_ROWS: dict[Callable[[dict[str, Any], Path], None], tuple[str, ...]] = {
    truncate_image: (".png cannot be decoded", "replace it"),
    leave_the_image: ("[100, 40, 190, 90] leaves the 128x128 image", "pixels"),
    turn_the_box: ("answer [60, 40, 20, 90] has no area", "write x1 < x2"),
    write_nan: ("answer [nan, 1, 20, 30]", "not a finite number"),
}


@pytest.mark.parametrize("spoil", BAD_ROWS)
def test_a_bad_row_is_named_with_its_line_and_nothing_is_left(
    tmp_path: Path, spoil: Callable[[dict[str, Any], Path], None]
) -> None:
    data = tmp_path / "data.jsonl"
    write_data(rooms_samples("train", 4), data)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    spoil(rows[2], tmp_path)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    arguments = train_arguments(run, data__train=f"[{{path: {data}}}]")
    assert_refused(tmp_path, arguments, f"{data}:3: ", *BAD_ROWS[spoil])
    assert not run.exists()


def test_no_data_too_little_and_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    run = tmp_path / "run"
    wrong: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"data__train": "[{path: empty.jsonl}]"}, ("empty.jsonl is empty", "docs/data.md")),
        (
            {"data__train": "[{format: rooms, split: train, count: 2}]"},
            ("holds 2 samples", "groups_per_step"),
        ),
        ({"model__path": "gone"}, ("gone does not exist", "model.path")),
        ({"model__path": tmp_path}, (str(tmp_path), "check model.path")),
        ({"trainer__steps": "many"}, ("trainer.steps", "'many'", "whole number")),
    ]
    for changed, parts in wrong:
        assert_refused(tmp_path, train_arguments(run, **changed), *parts)
    assert {path.name for path in run.glob("*")} <= {".lock"}


def test_after_a_mistake_the_same_command_works(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert_refused(tmp_path, train_arguments(run, model__path="gone"), "gone")
    command = warm_processes.start(tmp_path, *train_arguments(run, trainer__steps=1))
    assert command.wait() == 0, command.stderr
    assert [record["step"] for record in metrics(run)] == [1]


def test_a_run_directory_that_is_in_use(tmp_path: Path) -> None:
    run = tmp_path / "run"
    live = warm_processes.start(tmp_path, *train_arguments(run, trainer__steps=1000))
    try:
        while not metrics(run):
            assert live.process.is_alive(), live.stderr
            time.sleep(0.05)
        before = (run / "config.yaml").read_bytes()
        for flags in ([], ["--resume"]):
            assert_refused(
                tmp_path,
                train_arguments(run, *flags),
                f"{run} is in use by process {live.pid}",
                "another --run-dir",
            )
        assert live.process.is_alive()
        assert (run / "config.yaml").read_bytes() == before
    finally:
        live.kill()


def test_a_disk_that_is_full_when_a_checkpoint_is_written(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = train_arguments(run, trainer__checkpoint_every=1)
    command = [sys.executable, "-m", "syngrpo", *arguments]
    look = 'find "$0/run"; wc -l < "$0/run/metrics.jsonl"'
    done = run_on_a_small_disk(tmp_path, "6m", command, look)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: the disk is full: writing {run}/checkpoints/step-1 needs")
    assert "free some space" in line and "Traceback" not in done.stderr
    assert "unfinished" not in done.stdout and "step-1" not in done.stdout
    assert done.stdout.endswith("\n1\n")
