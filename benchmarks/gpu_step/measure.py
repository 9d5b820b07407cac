"""Measures the training step of one architecture, on any device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.against_trl import (
    OurStep,
    Times,
    activation_checkpointing,
    make_samples,
    now,
    take_turns,
)
from benchmarks.gpu_step.checkpoint import save_checkpoint
from benchmarks.gpu_step.work import Work
from syngrpo.config import options_from
from syngrpo.policy.loading import load_policy
from syngrpo.policy.lora import new_adapter
from syngrpo.policy.model import Policy
from syngrpo.workflow.run_options import RunOptions


@dataclass(frozen=True)
class Run:
    """How a step is measured. ``groups``: number of groups in one of our micro-batches; ``rows``:
    responses in one of TRL's; ``checkpointing``: of activations, in both; ``peer``: whether TRL
    takes turns with us."""

    device: torch.device
    peer: bool
    groups: int
    rows: int
    checkpointing: bool
    steps: int
    warmup: int


@dataclass(frozen=True)
class Measured:
    """``alone``: our steps before TRL was loaded; ``ours`` and ``theirs``: in turns, if TRL was
    measured. ``decode_s``: seconds of one token for all rows; ``prompt``: tokens; ``peak``: bytes
    of device memory in our steps alone (None on a CPU)."""

    alone: Times
    ours: Times | None
    theirs: Times | None
    decode_s: float
    prompt: int
    peak: int | None


def settings(work: Work, run: Run) -> RunOptions:
    """Return the project's configuration of this measurement; other options have their defaults."""
    setting = work.setting
    tokens = work.prompt + setting.group * setting.new_tokens
    return options_from(
        {
            "data": {"train": [{"format": "rooms", "split": "train"}]},
            "model": {
                "path": "starter",
                "dtype": "bfloat16",
                "lora": work.lora and {"rank": work.lora.rank, "alpha": work.lora.alpha},
                "freeze_vision": work.lora is not None,
                "gradient_checkpointing": run.checkpointing,
            },
            "method": {"name": "grpo", "loss": "dapo", "beta": 0.0},
            "rollout": {"group_size": setting.group, "max_new_tokens": setting.new_tokens},
            "trainer": {
                "groups_per_step": setting.prompts,
                "token_budget": run.groups * tokens,
                "learning_rate": 1e-6 if work.lora is None else 1e-5,
            },
        }
    )


def measure(work: Work, run: Run) -> Measured:
    """Measure our steps, the speed of decoding, and then, if wanted, TRL's steps and ours in
    turns."""
    config, setting = settings(work, run), work.setting
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder)
        save_checkpoint(work.shape, checkpoint, run.device)
        policy = load_policy(
            checkpoint,
            dtype=config.model.dtype,
            device=str(run.device),
            lora=work.lora,
            freeze_vision=config.model.freeze_vision,
            gradient_checkpointing=run.checkpointing,
        )
        samples = make_samples(setting.prompts * 4, setting.width, setting.height)
        ours = OurStep(config, policy, samples)
        if run.device.type == "cuda":
            torch.cuda.empty_cache()  # the checkpoint was made here
            torch.cuda.reset_peak_memory_stats(run.device)
        for _ in range(run.warmup + run.steps):
            ours()
        peak = torch.cuda.max_memory_allocated(run.device) if run.device.type == "cuda" else None
        alone, ours.times = ours.times.without(run.warmup), Times()
        decode_s, prompt = decode_seconds(ours)
        theirs = _peer(ours, policy, checkpoint, work, run) if run.peer else None
    turns = ours.times.without(run.warmup) if theirs else None
    return Measured(alone, turns, theirs, decode_s, prompt, peak)


def decode_seconds(ours: OurStep) -> tuple[float, int]:
    """Return the seconds of one token for all rows, from the difference between a long and a short
    rollout of the same prompts; and the tokens of a prompt."""
    device, long = ours.policy.device, ours.options.rollout.max_new_tokens
    short = max(long // 5, 1)
    seconds: dict[int, list[float]] = {long: [], short: []}
    for _ in range(3):
        for length, taken in seconds.items():
            start = now(device)
            prompts, _ = ours.roll_out(length)
            taken.append(now(device) - start)
    difference = min(seconds[long]) - min(seconds[short])
    return difference / (long - short), len(prompts[0].input_ids)


def _peer(ours: OurStep, policy: Policy, checkpoint: Path, work: Work, run: Run) -> Times:
    """TRL's times, with our steps in between."""
    dtype = torch.bfloat16
    model: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=dtype)
    if work.lora is not None:
        model = new_adapter(model, policy.family, work.lora, freeze_vision=True, seed=0)
        assert isinstance(model, PeftModel)
    theirs = take_turns(
        ours,
        model,
        AutoProcessor.from_pretrained(checkpoint, padding_side="left"),
        run.steps + run.warmup,
        run.rows,
        output_dir=str(checkpoint / "trl"),
        **activation_checkpointing(run.checkpointing),
        generation_kwargs={
            "min_new_tokens": work.setting.new_tokens,
            # A placeholder of an image among the sampled tokens would end TRL's run.
            "suppress_tokens": policy.banned.tolist(),
        },
    )
    return theirs.without(run.warmup)
