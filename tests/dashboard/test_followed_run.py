"""A run directory that is damaged, changed by hand or exchanged while it is followed: problems are
said in a line each, and reading never waits or fails."""

from __future__ import annotations

import json
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from made_up_run import write_run

from syngrpo.dashboard.attempts.log_messages import LogEnd
from syngrpo.dashboard.reading import followed_run
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.pages.labelled_picture import installed_task
from syngrpo.pages.run_data import load_tasks_of
from syngrpo.pool.pool_reading import PoolCopy
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.tasks import load_task
from syngrpo_rooms.dataset import rooms_samples

FILES = ("config.yaml", "metrics.jsonl", "evaluation.jsonl", "attempts.jsonl")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FollowedRun:
    """A run without pictures, which is read anew at each call."""
    monkeypatch.setattr(followed_run, "REREAD_S", 0.0)
    return FollowedRun("run", write_run(tmp_path / "run", 10, 10, synthesis=False))


def problems(run: FollowedRun) -> list[str]:
    run.data()
    run.attempts()
    return run.problems()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_a_line_and_never_waited_for(
    run: FollowedRun, make: Callable[[Path], None]
) -> None:
    for name in FILES:
        (run.directory / name).unlink(missing_ok=True)
        make(run.directory / name)
    make(run.directory / "log.txt")
    assert [name for name in FILES if f"{name} is no file" in " ".join(problems(run))] == [*FILES]
    with pytest.raises(InputError, match="is no file"):
        LogEnd(run.directory / "log.txt").follow()


def test_links_to_files_outside_of_the_run_are_not_read(run: FollowedRun, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("model: {key: a-secret}\n")
    for name in (*FILES, "log.txt"):
        (run.directory / name).unlink(missing_ok=True)
        (run.directory / name).symlink_to(tmp_path / "secret")
    lines = problems(run)
    assert sum("is a link to a file outside of the run" in line for line in lines) == len(FILES)
    assert "a-secret" not in repr((run.data(), run.attempts(), lines))
    with pytest.raises(InputError, match="outside of the run"):
        LogEnd(run.directory / "log.txt").follow()


def test_a_link_to_itself_is_a_line(run: FollowedRun) -> None:
    metrics = run.directory / "metrics.jsonl"
    metrics.unlink()
    metrics.symlink_to(metrics)
    (line,) = problems(run)
    assert "metrics.jsonl cannot be read" in line


def test_a_link_within_the_run_is_read(run: FollowedRun) -> None:
    metrics = run.directory / "metrics.jsonl"
    metrics.symlink_to(metrics.rename(run.directory / "all.jsonl"))
    assert len(run.data().metrics) == 10 and problems(run) == []


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [" + "x," * 9 + "]\n" + "".join(
            f"{name}: &{name} [{f'*{before},' * 9}]\n"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "a: &a {b: *a}\n",
        "a: " + "[" * 5000 + "]" * 5000,
        "model: 7\n",
        "hello",
        "a: !!python/object/apply:os.system [true]\n",
    ],
    ids=["a few lines for billions", "holds itself", "deep", "no section", "no mapping", "tag"],
)  # fmt: skip
def test_a_strange_configuration_is_a_line(run: FollowedRun, text: str) -> None:
    run.data()
    (run.directory / "config.yaml").write_text(text)
    (line,) = problems(run)
    assert "config.yaml cannot be read" in line and "\n" not in line
    assert run.data().setting("trainer", "steps") == 10  # that of before


def test_names_in_a_configuration_become_texts(run: FollowedRun) -> None:
    (run.directory / "config.yaml").write_text("model: {7: {null: 2}, true: !!set {a}}\n")
    assert run.data().config == {"model": {"7": {"None": 2}, "True": ["a"]}}


@pytest.mark.parametrize(
    "changed",
    [
        {"step": 1e30},
        {"step": True},
        {"metrics": {"greedy/accuracy": "high"}},
        {"metrics": {"greedy/accuracy": [1]}},
        {"kinds": {"k": {"greedy/accuracy": {}}}},
        {"intervals": {"greedy/accuracy": [1]}},
        {"set": ["a"]},
    ],
    ids=repr,
)
def test_an_evaluation_of_another_form_is_a_line(
    run: FollowedRun, changed: dict[str, object]
) -> None:
    lines = (run.directory / "evaluation.jsonl").read_text().splitlines()
    wrong = json.dumps(json.loads(lines[0]) | changed)
    (run.directory / "evaluation.jsonl").write_text("\n".join([wrong, lines[1], ""]))
    assert len(run.data().evaluations) == 1
    (line,) = problems(run)
    assert "evaluation.jsonl: a line has another form" in line


def test_the_values_of_each_sample_are_not_kept_in_memory(run: FollowedRun) -> None:
    evaluations = run.directory / "evaluation.jsonl"
    row = json.loads(evaluations.read_text().splitlines()[0])
    row["per_sample"] = [{"greedy/accuracy": n / 7, "sampled/accuracy": n / 9} for n in range(3000)]
    evaluations.write_text("".join(json.dumps(row | {"step": n}) + "\n" for n in range(10)))
    tracemalloc.start()
    assert len(run.data().evaluations) == 10
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < evaluations.stat().st_size / 4


def test_metrics_without_a_value_are_left_out(run: FollowedRun) -> None:
    row = json.loads((run.directory / "evaluation.jsonl").read_text().splitlines()[0])
    row["metrics"] = {"greedy/accuracy": None, "greedy/format": 0.5}
    (run.directory / "evaluation.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = run.data().evaluations
    assert found.metrics == {"greedy/format": 0.5} and problems(run) == []


def test_a_problem_goes_away_when_its_file_is_whole_again(run: FollowedRun) -> None:
    metrics, aside = run.directory / "metrics.jsonl", run.directory / "aside"
    run.data()
    metrics.rename(aside)
    metrics.mkdir()
    assert len(problems(run)) == 1
    metrics.rmdir()
    aside.rename(metrics)
    assert problems(run) == [] and len(run.data().metrics) == 10


def test_a_run_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    run = FollowedRun("run", write_run(tmp_path / "run", 10, 10))
    before = run.pool()
    assert before is not None and run.pool() is before
    shutil.rmtree(run.directory)
    assert run.pool() is before and "is gone" in problems(run)[0]
    write_run(run.directory, 10, 10, tasks=("ovd",))
    after = run.pool()
    assert after is not None and {one.sample.task for one in after.samples("seed")} == {"ovd"}
    run.close()


def test_the_pool_of_a_run_that_cannot_be_written_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one on another machine, whose folder is mounted here for reading only."""
    run = FollowedRun("run", write_run(tmp_path / "run", 10, 10))
    monkeypatch.setattr("syngrpo.pool.pool_reading.os.access", lambda *_: False)
    monkeypatch.setattr(followed_run, "COPY_AGAIN_S", 0.0)
    before = run.pool()
    assert isinstance(before, PoolCopy) and run.pool() is before
    with closing(Pool(run.directory)) as trainers:
        trainers.add_seeds(rooms_samples("test", 3))
        after = run.pool()
        assert after is not None and after.stats().seed == before.stats().seed + 3
    run.close()


def test_a_pool_whose_tables_are_others_is_a_line(tmp_path: Path) -> None:
    run = FollowedRun("run", write_run(tmp_path / "run", 10, 10))
    database = bytearray((run.directory / "pool.db").read_bytes())
    database[60:64] = (1).to_bytes(4)  # the format; its tables are those of the present one
    (run.directory / "pool.db").write_bytes(database)
    assert run.pool() is None
    assert any("the pool cannot be opened" in line for line in problems(run))


def test_every_folder_has_a_name_that_can_be_sent_to_a_browser(tmp_path: Path) -> None:
    for name in (b"\xff\xfe", b"a\nb", b"a b", b"\x1b[31m", b" ", b"\xe2\x80\xae"):
        (tmp_path / os.fsdecode(name)).mkdir()
        (tmp_path / os.fsdecode(name) / "metrics.jsonl").write_text("")
    names = [run.name for run in FollowedRuns([tmp_path])]
    assert len(names) == len(set(names)) == 6
    for name in names:
        assert name.encode().strip() and not set(name) & {"\n", "\x1b"}


def test_tasks_of_the_configuration_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the pages can draw their answers. What cannot be imported is a line."""
    source = (
        "from syngrpo.tasks import get_task\n"
        "class Counting(type(get_task('rec'))):\n    name = 'counting_things'\n"
    )
    (tmp_path / "counting_for_pages.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    config = {
        "data": {"train": [{"task": "counting_for_pages:Counting"}, {"task": "rec"}, 7]},
        "evaluation": {"sets": {"a": {"task": "no_such_module:Task"}, "b": None}},
    }
    (run / "config.yaml").write_text(json.dumps(config))
    followed = FollowedRun("run", run)
    assert followed.data().config == config
    (line,) = followed.problems()
    assert "no_such_module" in line
    assert load_task("counting_for_pages:Counting").name == "counting_things"
    assert installed_task("counting_things") is load_task("counting_for_pages:Counting")
    assert load_tasks_of({"data": {"train": "all"}, "evaluation": [1]}) == []


def test_a_finished_run_that_goes_on_with_more_steps_is_running(run: FollowedRun) -> None:
    (run.directory / "final").mkdir(exist_ok=True)
    run.data()
    assert run.activity().state == "finished"
    config = run.directory / "config.yaml"
    content = yaml.safe_load(config.read_text())
    content.setdefault("trainer", {})["steps"] = 40
    config.write_text(yaml.safe_dump(content))
    run.data()
    assert run.activity().state == "running"


def test_a_run_of_long_steps_is_not_stopped_between_two_of_them(run: FollowedRun) -> None:
    shutil.rmtree(run.directory / "final", ignore_errors=True)
    metrics = run.directory / "metrics.jsonl"
    for seconds, state in ((1.0, "stopped"), (60.0, "running")):
        lines = metrics.read_text().splitlines()
        rows = [json.loads(line) | {"time/step_s": seconds} for line in lines]
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
        run.data()
        then = time.time() - 120
        for file in run.directory.iterdir():
            os.utime(file, (then, then))
        assert run.activity().state == state
