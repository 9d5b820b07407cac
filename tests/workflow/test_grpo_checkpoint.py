import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from run_options import run_options
from safetensors.torch import load_file, save_file
from small_disk import run_on_a_small_disk

from syngrpo.sample import InputError
from syngrpo.workflow.checkpoint import capture_rng, latest, restore_rng, save
from syngrpo.workflow.optimizer import _schedule

# Starts processes that have torch loaded already, so that a killed one costs milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["torch", "pytest", "safetensors.torch", "syngrpo.workflow.checkpoint"]
)


def _write_model(path: Path, step: int) -> None:
    path.mkdir()
    for shard in range(3):
        tensor = torch.full((10_000,), float(step))
        save_file({f"weight.{shard}": tensor}, path / f"shard-{shard}.safetensors")


def _save_step(directory: Path, step: int) -> None:
    save(
        directory,
        step,
        {
            "model": lambda path: _write_model(path, step),
            "optimizer": {"step": step, "momentum": torch.full((10_000,), float(step))},
        },
        keep_last=2,
    )


def _save_for_ever(directory: Path) -> None:
    newest = latest(directory)
    step = newest.step if newest else 0
    while True:
        step += 1
        _save_step(directory, step)


def _die_while_saving(directory: Path) -> None:
    def die(path: Path) -> None:
        path.write_bytes(b"half a fi")
        os.kill(os.getpid(), signal.SIGKILL)

    save(directory, 2, {"model": lambda path: _write_model(path, 2), "optimizer": die})


def _assert_whole(directory: Path) -> int:
    newest = latest(directory)
    assert newest is not None
    assert newest.read("optimizer")["step"] == newest.step
    assert (newest.read("optimizer")["momentum"] == newest.step).all()
    for shard in range(3):
        tensors = load_file(newest.file("model") / f"shard-{shard}.safetensors")
        assert (tensors[f"weight.{shard}"] == newest.step).all()
    return newest.step


def test_saves_and_reads_back(tmp_path):
    saved = []
    values = {
        "tensors": {"a": torch.arange(5), "nested": [{"b": torch.ones(2, dtype=torch.bfloat16)}]},
        "plain": {"step": 7, "names": ["x", None], "pair": (1, 2.5)},
        "pool.db": lambda path: saved.append(path.write_text("pool")),
    }
    checkpoint = save(tmp_path / "checkpoints", 7, values)
    newest = latest(tmp_path / "checkpoints")
    assert newest == checkpoint and newest.path.name == "step-7"
    assert newest.read("plain") == values["plain"]
    tensors = newest.read("tensors")
    assert torch.equal(tensors["a"], torch.arange(5))
    assert tensors["nested"][0]["b"].dtype == torch.bfloat16
    assert newest.file("pool.db").read_text() == "pool" and saved == [4]


def test_keeps_the_newest_by_number_not_by_name(tmp_path):
    for step in (8, 9, 10, 11):
        _save_step(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-11"]
    assert _assert_whole(tmp_path) == 11


def test_nothing_saved_yet(tmp_path):
    assert latest(tmp_path) is None and latest(tmp_path / "missing") is None


def test_a_step_is_saved_once(tmp_path):
    _save_step(tmp_path, 1)
    with pytest.raises(FileExistsError, match="step-1"):
        _save_step(tmp_path, 1)
    with pytest.raises(ValueError, match="keep_last is 0"):
        save(tmp_path, 2, {}, keep_last=0)


def _newest_name(directory: Path) -> int:
    return max((int(path.name[5:]) for path in directory.glob("step-*")), default=0)


def test_kill_9_while_saving_in_a_loop_leaves_a_whole_checkpoint(tmp_path):
    chance = random.Random(0)
    unfinished, reached = 0, 0
    for _ in range(25):
        process = PROCESSES.Process(target=_save_for_ever, args=(tmp_path,))
        process.start()
        while _newest_name(tmp_path) <= reached and process.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.03))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        unfinished += bool(list(tmp_path.glob(".unfinished-*")))
        step = _assert_whole(tmp_path)
        assert step > reached
        reached = step
    assert unfinished > 0


def test_kill_9_in_the_middle_of_a_file_leaves_the_previous_checkpoint(tmp_path):
    _save_step(tmp_path, 1)
    process = PROCESSES.Process(target=_die_while_saving, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (unfinished,) = tmp_path.glob(".unfinished-*-step-2")
    assert (unfinished / "optimizer").read_bytes() == b"half a fi"
    assert _assert_whole(tmp_path) == 1
    _save_step(tmp_path, 2)
    assert _assert_whole(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1", "step-2"]


def _fill_with_text(path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        full.write(str(path))


def _fill_with_torch(path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        torch.save(torch.zeros(100_000), full)


@pytest.mark.parametrize("fill", [_fill_with_text, _fill_with_torch])
def test_a_full_disk_is_one_line_and_leaves_the_previous_checkpoint(tmp_path, fill):
    _save_step(tmp_path, 1)
    with pytest.raises(InputError) as caught:
        save(tmp_path, 2, {"model": lambda path: _write_model(path, 2), "pool": fill})
    message = str(caught.value)
    assert "\n" not in message and f"writing {tmp_path}/step-2 needs more than " in message
    assert "B are free" in message and "choose another directory" in message
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert _assert_whole(tmp_path) == 1


SAVE_ON_A_SMALL_DISK = """
import sys, torch
from pathlib import Path
from syngrpo.serving.json_lines import remove_after
from syngrpo.workflow.checkpoint import latest, save
from syngrpo.workflow.run_directory import RunDirectory
from syngrpo.sample import InputError
disk = Path(sys.argv[1])
large = {"a": torch.zeros(1_000_000)}
run = RunDirectory.open(disk / "run")
save(run.checkpoints, 1, {"small": {"a": torch.zeros(10)}})
for writer in [large, lambda path: torch.save(large, path)]:
    try:
        save(run.checkpoints, 2, {"model": writer})
    except InputError as error:
        print(error)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-1"]
    assert latest(run.checkpoints).step == 1
run.append_metrics({"step": 1, "loss": 0.5})
(disk / "filler").write_bytes(bytes(40_000))
try:
    while True:
        run.append_metrics({"step": 2} | {f"loss-{number}": 1.0 for number in range(3000)})
except InputError as error:
    print(error)
(disk / "filler").unlink()
remove_after(run.metrics_path, 1)
assert run.metrics_path.read_text() == '{"step": 1, "loss": 0.5}\\n'
"""


def test_a_disk_that_is_really_full(tmp_path):
    command = [sys.executable, "-c", SAVE_ON_A_SMALL_DISK, str(tmp_path)]
    done = run_on_a_small_disk(tmp_path, "400k", command)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"the disk is full: writing {tmp_path}/run/") for line in lines)


def test_other_errors_of_a_writer_pass_through_and_leave_nothing(tmp_path):
    _save_step(tmp_path, 1)

    def fail(path: Path) -> None:
        path.write_text("something")
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        save(tmp_path, 2, {"model": fail})
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def _truncate(path: Path) -> None:
    os.truncate(path / "optimizer.pt", 100)


def _flip(path: Path) -> None:
    content = bytearray((path / "optimizer.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "optimizer.pt").write_bytes(content)


def _lose(path: Path) -> None:
    (path / "model" / "shard-1.safetensors").unlink()


def _lose_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_truncate, "optimizer.pt has 100 bytes instead of"),
        (_flip, "content of optimizer.pt has changed"),
        (_lose, "model/shard-1.safetensors is missing"),
        (_lose_manifest, "manifest.json is missing"),
    ],
)
def test_a_damaged_checkpoint_is_told_and_the_way_out_works(tmp_path, damage, what):
    _save_step(tmp_path, 1)
    _save_step(tmp_path, 2)
    damage(tmp_path / "step-2")
    with pytest.raises(InputError, match=what) as caught:
        latest(tmp_path)
    assert "delete it to resume from step 1" in str(caught.value)
    shutil.rmtree(tmp_path / "step-2")
    assert _assert_whole(tmp_path) == 1


def test_the_manifest_lists_every_file(tmp_path):
    _save_step(tmp_path, 1)
    manifest = json.loads((tmp_path / "step-1" / "manifest.json").read_text())
    files = {p.relative_to(tmp_path / "step-1").as_posix() for p in tmp_path.rglob("*.*t*s")}
    assert {name for name in manifest["files"] if name.endswith("tensors")} == files
    assert manifest["step"] == 1 and "optimizer.pt" in manifest["files"]


def test_a_checkpoint_cannot_run_code(tmp_path):
    checkpoint = save(tmp_path, 1, {"evil": {"path": Path("/tmp")}})
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        checkpoint.read("evil")


def test_random_states_go_through_a_checkpoint(tmp_path):
    def draw() -> tuple:
        return random.random(), random.gauss(0, 1), np.random.normal(), torch.randn(3).tolist()

    draw()
    own = np.random.default_rng(5)
    checkpoint = save(
        tmp_path, 1, {"rng": capture_rng(), "pool": {"generator": own.bit_generator.state}}
    )
    expected, expected_own = [draw() for _ in range(3)], own.random(4)
    restore_rng(checkpoint.read("rng"))
    own.bit_generator.state = checkpoint.read("pool")["generator"]
    assert [draw() for _ in range(3)] == expected
    assert (own.random(4) == expected_own).all()


def test_another_number_of_gpus_leaves_their_random_states_alone():
    state = capture_rng()
    expected = torch.randn(3)
    assert restore_rng(state) and torch.equal(torch.randn(3), expected)
    of_more = state | {"cuda": [*state["cuda"], torch.get_rng_state()]}
    assert not restore_rng(of_more) and torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("updates", [1, 4])
def test_warm_up_counts_steps(updates):
    options = run_options(
        {"trainer": {"warmup_steps": 8, "steps": 20, "updates_per_rollout": updates}}
    )
    adam = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule, rates = _schedule(adam, options), []
    for _ in range(12):
        rates.append(schedule.get_last_lr()[0])
        for _ in range(updates):
            adam.step()
            schedule.step()
    assert rates == pytest.approx([min(1.0, step / 8) for step in range(12)])
