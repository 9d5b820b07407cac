"""What the parts measure, each with what the project has for it anyway."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_step.devices import device_called
from benchmarks.gpu_step.measure import Run, measure
from benchmarks.gpu_step.report import results
from benchmarks.gpu_step.shapes import SHAPES, small
from benchmarks.gpu_step.work import REHEARSED, Setting, Work
from syngrpo.policy.model_options import LoraOptions
from syngrpo.serving.json_lines import read_lines

TESTS = ("tests/policy/test_varlen_attention.py", "tests/rollout/test_native_decoding.py")
MORE_STEPS = 30
"""How many times the steps of the experiment the rows on the GPU have."""
ENDING_S = 25.0
"""Seconds before its end at which the experiment is asked to end, so that what is done is told."""
ROWS = ("starter", "grpo", "random-scene", "syn-grpo")


@dataclass(frozen=True)
class Scope:
    """Where a part runs: its device, whether it is a rehearsal with small shapes, a folder for its
    files, and the seconds after which it is stopped."""

    device: torch.device
    tiny: bool
    folder: Path
    seconds: float


def kernels(scope: Scope) -> dict[str, Any]:
    """Run the tests of variable-length attention and of CUDA graphs. Those that need a GPU are
    skipped without one."""
    pytest = [sys.executable, "-m", "pytest", "-v", "-o", "addopts=", "-p", "no:cacheprovider"]
    run = subprocess.run([*pytest, *TESTS], capture_output=True, text=True, check=False)
    print(run.stdout, run.stderr)
    last = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else ""
    if run.returncode:
        raise SystemExit(f"the tests failed: {last}")
    return {"tests": list(TESTS), "outcome": last.strip("= ")}


def demo(scope: Scope) -> dict[str, Any]:
    """Run the demo from its configuration on the device."""
    command = ["train", "configs/demo.yaml", "--run-dir", str(scope.folder)]
    command += ["--set", f"model.device={scope.device.type}"]
    if scope.tiny:
        for less in ("trainer.steps=2", "evaluation.sets.test.count=4"):
            command += ["--set", less]
        command += ["--set", "evaluation.sets.ood.count=4", "--set", "data.train.0.count=8"]
    if scope.folder.exists():
        command += ["--resume"]
    subprocess.run([sys.executable, "-m", "syngrpo", *command], check=True)
    metrics = read_lines(scope.folder / "metrics.jsonl")
    evaluations = read_lines(scope.folder / "evaluation.jsonl")
    return {
        "steps": len(metrics),
        "step_s": sorted(row["time/step_s"] for row in metrics)[len(metrics) // 2],
        "evaluations": [
            {key: one[key] for key in ("step", "set", "metrics") if key in one}
            for one in evaluations
        ],
    }


def step(scope: Scope, model: str, lora: bool, peer: bool = True) -> dict[str, Any]:
    """Time the step of an architecture with random weights, in turns with TRL's."""
    shape, setting = SHAPES[model], Setting()
    steps, warmup, rows = 5, 2, 8
    if scope.tiny:
        shape, setting = small(shape), REHEARSED
        steps, warmup, rows = 1, 0, 2
    work = Work(shape, setting, LoraOptions() if lora else None)
    run = Run(scope.device, peer, groups=1, rows=rows, checkpointing=False, steps=steps,
              warmup=warmup)  # fmt: skip
    measured = measure(work, run)
    known = device_called(torch.cuda.get_device_name(scope.device)) if not scope.tiny else None
    return {
        "body": results(work, run, measured, known),
        "alone_s": measured.alone.step,
        "ours_s": measured.ours.step if measured.ours else None,
        "trl_s": measured.theirs.step if measured.theirs else None,
        "peak_bytes": measured.peak,
    }


def matrix(scope: Scope) -> dict[str, Any]:
    """Run rows of the experiment with 30 times its steps, as far as the time goes. Cells that were
    interrupted go on in the next call."""
    command = [sys.executable, "-m", "experiments.rooms", "run", "--out", str(scope.folder)]
    command += ["--seeds", "0"]
    for name in ROWS[1:2] if scope.tiny else ROWS:
        command += ["--only", f"method={name}" + (",task=rec" if scope.tiny else "")]
    steps = 2 if scope.tiny else MORE_STEPS * 100
    settings = [f"trainer.steps={steps}", f"evaluation.every={steps}"]
    settings += [f"model.device={scope.device.type}"]
    for one in settings:
        command += ["--set", one]
    complete = _ended_within(command, max(10.0, scope.seconds - ENDING_S))
    cells = sorted((scope.folder / "results").glob("*.json"))
    found = {cell.stem: _accuracies(json.loads(cell.read_text())["held_out"]) for cell in cells}
    return {"cells": found, "state": "done" if complete else "stopped"}


def _accuracies(held_out: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the mean accuracies in per cent of the last evaluation of each held-out set. Cells
    hold them for each sample in thousandths."""
    found = {}
    for name, one in held_out.items():
        last = one["evaluations"][-1]
        found[name] = {
            key: statistics.fmean(last[key]) / 10 for key in ("greedy", "sampled") if key in last
        }
    return found


def _ended_within(command: Sequence[str], seconds: float) -> bool:
    """Run a command, and ask it to end when the time is over. Return whether it came to its own
    end."""
    process = subprocess.Popen(command)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return False
    if status:
        raise SystemExit(f"{' '.join(command)} has ended with status {status}")
    return True
