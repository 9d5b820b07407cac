"""kill -9 at any moment, then --resume: nothing is lost, and inline the numbers are the same."""

import glob
import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import warm_processes
from data_sets import write_data
from kept_responses import rows_of
from quick_runs import metrics, pool_contents, quick_config, train_arguments, without_time
from rich.console import Console
from safetensors.torch import load_file

from syngrpo.cli.train import run_training
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo_rooms.dataset import rooms_samples

STEPS = 6
RUN = {"trainer__steps": STEPS, "trainer__warmup_steps": 4, "trainer__schedule": "cosine"}
EVALUATED = {"evaluation__sets": "{test: {format: rooms, split: test, count: 2}}"}


def finish(run: Path, *flags: str, **changed: object) -> None:
    command = warm_processes.start(run.parent, *train_arguments(run, *flags, **changed))
    assert command.wait() == 0, command.stderr


def lines(run: Path, count: int) -> Callable[[], bool]:
    return lambda: len(metrics(run)) >= count


def saving(run: Path, step: int) -> Callable[[], bool]:
    """Whether the checkpoint of a step is half written."""
    return lambda: any((run / "checkpoints").glob(f".unfinished-*-step-{step}/*"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "final" / "model.safetensors")


def assert_same_weights(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(run, **RUN, **EVALUATED)
    return run


def test_a_run_killed_again_and_again_ends_with_the_same_numbers(
    tmp_path: Path, uninterrupted: Path
) -> None:
    run = tmp_path / "run"
    moments: list[Callable[[], bool]] = [
        (run / "pool.db").exists,
        lines(run, 1),
        saving(run, 2),
        lines(run, 3),
        saving(run, 4),
        lines(run, 5),
    ]
    for number, moment in enumerate(moments):
        flags = ["--resume"] * (number > 0)
        command = warm_processes.start(tmp_path, *train_arguments(run, *flags, **RUN, **EVALUATED))
        command.kill_when(moment)
    finish(run, "--resume", **RUN, **EVALUATED)
    expected = metrics(uninterrupted)
    assert [record["step"] for record in expected] == list(range(1, STEPS + 1))
    assert sum(record["synthesis/settled"] for record in expected) > 0
    assert without_time(metrics(run)) == without_time(expected)
    assert pool_contents(run) == pool_contents(uninterrupted)
    assert [row["step"] for row in rows_of(run)] == [s + 1 for s in range(STEPS) for _ in range(12)]
    assert rows_of(run) == rows_of(uninterrupted)
    assert not list((run / "responses").glob(".*"))
    ours, theirs = (folder / "evaluation.jsonl" for folder in (run, uninterrupted))
    assert ours.read_text() == theirs.read_text()
    assert_same_weights(weights(run), weights(uninterrupted))
    assert not list((run / "checkpoints").glob(".unfinished-*"))


def test_resuming_a_finished_run_changes_nothing(uninterrupted: Path) -> None:
    files = ("metrics.jsonl", "evaluation.jsonl", "config.yaml")
    before = [(uninterrupted / name).read_bytes() for name in files]
    weights_before = weights(uninterrupted)
    finish(uninterrupted, "--resume", **RUN, **EVALUATED)
    assert [(uninterrupted / name).read_bytes() for name in files] == before
    assert_same_weights(weights(uninterrupted), weights_before)


def test_a_resumed_run_says_how_it_goes_on(tmp_path: Path) -> None:
    """Where there is no terminal no progress bar shows it."""
    screen, run = io.StringIO(), tmp_path / "run"
    console = Console(file=screen, width=40)
    quick = {"trainer__checkpoint_every": 1, "method__name": "grpo", "rollout__max_new_tokens": 8}

    def go(resume: bool = True, **changed: object) -> list[str]:
        screen.truncate(screen.seek(0))
        run_training(quick_config(**quick, **changed), run, resume=resume, console=console)
        return screen.getvalue().splitlines()

    cosine = {"trainer__schedule": "cosine"}
    assert "resumed from" not in " ".join(go(resume=False, **cosine, trainer__steps=1))
    told = go(**cosine, trainer__steps=2)
    expected = [
        f"resumed from {run / 'checkpoints' / 'step-1'}: 1 of 2 steps are done",
        "changed since the run was last started: trainer.steps 1 → 2",
        "warning: the learning rate of step 2 is 5e-05, not 0: the cosine schedule now ends at "
        "step 2",
    ]
    assert [line for line in told if line in expected] == expected
    assert all(line.removeprefix("warning: ") in (run / "log.txt").read_text() for line in expected)
    # transformers' get_scheduler("cosine"): base · ½ (1 + cos π·step/steps)
    assert [one["learning_rate"] for one in metrics(run)] == pytest.approx([1e-4, 5e-5])
    finished = f"{run} is finished: all 2 steps are done; for more, set trainer.steps higher"
    assert finished in go(**cosine, trainer__steps=2)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InputError, match=r"or delete metrics\.jsonl to start at step 1"):
        go(trainer__steps=1)
    (run / "metrics.jsonl").unlink()
    assert f"{run} has no checkpoint: starting at step 1 of 1" in go(trainer__steps=1)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model__lora": "{rank: 4}"}, "other settings than it began with: model.lora null → {"),
        ({"trainer__steps": 4}, "has done 6 steps already, more than trainer.steps 4; set"),
        ({"synthesis__mode": "async"}, 'synthesis.mode "inline" → "async"'),
    ],
)
def test_what_a_run_cannot_go_on_with_is_one_line_and_changes_nothing(
    uninterrupted: Path, tmp_path: Path, changed: dict[str, object], told: str
) -> None:
    files = ("metrics.jsonl", "evaluation.jsonl", "config.yaml", "log.txt")
    before = [(uninterrupted / name).read_bytes() for name in files]
    arguments = train_arguments(uninterrupted, "--resume", **(RUN | EVALUATED | changed))
    command = warm_processes.start(tmp_path, *arguments)
    assert command.wait() == 2 and told in command.stderr.splitlines()[-1]
    assert [(uninterrupted / name).read_bytes() for name in files] == before


def test_data_that_lacks_what_the_run_began_with_is_refused(tmp_path: Path) -> None:
    data, run = tmp_path / "data.jsonl", tmp_path / "run"
    write_data(rooms_samples("train", 8), data)
    quick = {"data__train": f"[{{path: {data}}}]", "method__name": "grpo", "trainer__steps": 1}
    run_training(quick_config(**quick), run, resume=False, console=Console(quiet=True))
    rows = data.read_text().splitlines(keepends=True)
    data.write_text("".join(rows[1:]))
    with pytest.raises(InputError, match=r"data\.train lacks 1 sample that run .* began with"):
        run_training(quick_config(**quick), run, resume=True, console=Console(quiet=True))


@pytest.mark.slow
def test_a_run_with_workers_beside_goes_on_after_kill_9_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    options = RUN | {"synthesis__mode": "async", "synthesis__workers": 2}
    command = warm_processes.start(tmp_path, *train_arguments(run, **options))
    workers: set[int] = set()

    def painted_and_saved() -> bool:
        workers.update(processes_in(run) - {command.pid})
        return len(metrics(run)) >= 3 and len(workers) >= 2

    command.kill_when(painted_and_saved)
    assert_gone(workers)
    finish(run, "--resume", **options)
    records = metrics(run)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert pool_contents(run)
    pool = Pool.open(run)
    samples = [*pool.samples("seed"), *pool.samples("synthetic")]
    stats = pool.stats()
    pool.close()
    assert stats.synthetic == stats.jobs["admitted"] > 0
    assert stats.jobs["dead"] == stats.quarantined == 0
    for drawn in samples:
        assert drawn.sample.image.decode().shape == (128, 128, 3)
    assert_gone(processes_in(run))


def processes_in(directory: Path) -> set[int]:
    """Processes that hold a file below a directory open."""
    found = set()
    for link in glob.iglob("/proc/[0-9]*/fd/*"):  # that of Path raises when a process ends in it
        try:
            target = os.readlink(link)
        except OSError:  # it ended meanwhile
            continue
        if target.startswith(str(directory)):
            found.add(int(Path(link).parts[2]))
    return found


def assert_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"still running: {pids}"
        time.sleep(0.02)
