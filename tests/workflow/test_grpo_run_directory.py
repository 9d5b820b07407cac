import json
import logging
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from syngrpo.sample import InputError
from syngrpo.serving.json_lines import read_lines, remove_after
from syngrpo.workflow.run_directory import RunDirectory

HOLD = """
import sys, time
from pathlib import Path
from syngrpo.workflow.run_directory import RunDirectory
run = RunDirectory.open(Path(sys.argv[1]))
run.write_config({"trainer": {"steps": 3}})
print("ready", flush=True)
time.sleep(600)
"""


def test_creates_and_names_its_files(tmp_path):
    with RunDirectory.open(tmp_path / "runs" / "a") as run:
        run.write_config({"trainer": {"steps": 3, "learning_rate": 1e-06}, "name": "größe"})
        assert yaml.safe_load(run.config_path.read_text(encoding="utf-8")) == {
            "trainer": {"steps": 3, "learning_rate": 1e-06},
            "name": "größe",
        }
        names = ["pool.db", "images", "checkpoints", "final", "metrics.jsonl", "log.txt"]
        paths = [run.pool_path, run.images, run.checkpoints, run.final]
        assert [*paths, run.metrics_path, run.log_path] == [run.path / name for name in names]


def test_one_process_at_a_time_and_none_after_kill_9(tmp_path):
    path = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
    try:
        for resume in (False, True):
            with pytest.raises(InputError, match=f"in use by process {holder.pid};") as caught:
                RunDirectory.open(path, resume=resume)
            assert "\n" not in str(caught.value)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    holder.stdout.close()
    with pytest.raises(InputError, match="not empty; pass --resume"):
        RunDirectory.open(path)
    RunDirectory.open(path, resume=True).close()
    RunDirectory.open(path, resume=True).close()


def test_two_in_one_process_exclude_each_other_too(tmp_path):
    with RunDirectory.open(tmp_path / "run"), pytest.raises(InputError, match="in use"):
        RunDirectory.open(tmp_path / "run")


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(InputError, match="not empty"):
        RunDirectory.open(tmp_path)
    with pytest.raises(InputError, match=r"no config\.yaml"):
        RunDirectory.open(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_cannot_be_a_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no run to resume"):
        RunDirectory.open(tmp_path / "missing", resume=True)
    assert not (tmp_path / "missing").exists()
    with pytest.raises(InputError, match="is a file"):
        RunDirectory.open(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        RunDirectory.open(tmp_path / "file" / "run")


def test_a_run_killed_before_its_configuration_starts_again(tmp_path):
    RunDirectory.open(tmp_path / "run").close()
    for resume in (False, True):
        with RunDirectory.open(tmp_path / "run", resume=resume) as run:
            assert not run.config_path.exists()


def test_an_empty_existing_directory_is_fine(tmp_path):
    with RunDirectory.open(tmp_path) as run:
        assert run.path == tmp_path


def _record(step: int) -> dict:
    chance = random.Random(step)
    return {"step": step, "loss": chance.gauss(0, 1) / 3, "kl": None, "pool/seed": step * 7}


def test_metrics_are_read_back_as_the_same_numbers(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        records = [_record(step) for step in range(1, 50)]
        for record in records:
            run.append_metrics(record)
        lines = run.metrics_path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == records


@pytest.mark.parametrize(
    "torn", ["", '{"step": 31, "loss": 0.1', '{"step": 31}\n{"st', "\0\0\0", '{"step": 31}']
)
def test_an_interrupted_and_resumed_file_equals_the_uninterrupted(tmp_path, torn):
    with RunDirectory.open(tmp_path / "whole") as whole:
        for step in range(1, 41):
            whole.append_metrics(_record(step))
    with RunDirectory.open(tmp_path / "cut") as run:
        run.write_config({})
        for step in range(1, 31):
            run.append_metrics(_record(step))
        with run.metrics_path.open("a") as file:
            file.write(torn)
    with RunDirectory.open(tmp_path / "cut", resume=True) as run:
        assert remove_after(run.metrics_path, 20) == [_record(step) for step in range(1, 21)]
        for step in range(21, 41):
            run.append_metrics(_record(step))
        assert run.metrics_path.read_bytes() == whole.metrics_path.read_bytes()


def test_a_file_without_its_last_line_feed_keeps_its_last_step(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        for step in (1, 2):
            run.append_metrics(_record(step))
        whole = run.metrics_path.read_bytes()
        run.metrics_path.write_bytes(whole[:-1])
        assert read_lines(run.metrics_path) == [_record(1), _record(2)]
        assert remove_after(run.metrics_path, 2) == [_record(1), _record(2)]
        assert run.metrics_path.read_bytes() == whole
        run.append_metrics(_record(3))
        assert [row["step"] for row in read_lines(run.metrics_path)] == [1, 2, 3]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(tmp_path, value):
    with RunDirectory.open(tmp_path / "run") as run:
        with pytest.raises(ValueError, match=r"metric loss is (nan|inf) at step 4"):
            run.append_metrics({"step": 4, "loss": value})
        assert not run.metrics_path.exists()


def test_a_full_disk_is_told(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        run.metrics_path.symlink_to("/dev/full")
        with pytest.raises(InputError, match="disk is full") as caught:
            run.append_metrics(_record(1))
    assert "\n" not in str(caught.value)


def test_the_log_is_appended_and_ends_with_close(tmp_path):
    logger = logging.getLogger("syngrpo.test")
    for text in ("first", "second"):
        with RunDirectory.open(tmp_path / "run", resume=text == "second") as run:
            run.write_config({})
            run.start_log()
            logger.info(text)
        logger.warning("outside")
    lines = Path(tmp_path / "run" / "log.txt").read_text().splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["first", "second"]
    assert "INFO syngrpo.test" in lines[0]


def test_a_pipe_in_the_place_of_the_log_is_told_at_once(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        os.mkfifo(run.log_path)
        with pytest.raises(InputError, match=r"log\.txt is no file; move it away"):
            run.start_log()
