"""The committed recipe of the starter: ``syngrpo rooms starter``.

Stage one teaches perception on broad surroundings with exact answers; stage two, short, teaches
the full response format on answers of mixed quality, so that reinforcement learning has something
to elicit. Both log what they do, keep a resumable state, and end with free-running accuracy.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from syngrpo.serving.atomic_files import atomic_file
from syngrpo_rooms.starter.annotators import THINK_WORDS, Manner, Mixture
from syngrpo_rooms.starter.build import build_model, build_processor, save
from syngrpo_rooms.starter.lessons import LessonBatch, Lessons
from syngrpo_rooms.starter.measure import measure
from syngrpo_rooms.starter.supervise import Pupil
from syngrpo_rooms.surroundings import Split
from syngrpo_rooms.vocabulary import vocabulary

HELD_OUT: tuple[Split, ...] = ("test", "dev", "ood")


@dataclass(frozen=True)
class Stage:
    """One stage of supervision."""

    name: str
    steps: int
    learning_rate: float
    mixture: Mixture
    auxiliary: float = 1.0
    scenes: int = 48


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, with the values the shipped starter was made with."""

    seed: int = 0
    workers: int = 1
    threads: int = 1
    report_every: int = 400
    measured: int = 300
    perceive: Stage = field(default_factory=lambda: Stage("perceive", 1200, 2e-3, Mixture()))
    answer: Stage = field(
        default_factory=lambda: Stage(
            "answer",
            400,
            1e-3,
            Mixture(
                expression=Manner((0.32, 0.30, 0.38), (0.04, 0.61, 0.35)),
                detection=Manner((0.45, 0.30, 0.25), (0.15, 0.55, 0.30)),
                reasoning=Manner((0.50, 0.30, 0.20), (0.25, 0.55, 0.20)),
                scenes=True,
            ),
            auxiliary=0.3,
            scenes=24,
        )
    )


def _optimizers(pupil: Pupil, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms, biases and heads."""
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, parameter in pupil.named_parameters():
        matrix = parameter.ndim == 2 and (".blocks." in name or ".layers." in name)
        (inner if matrix else outer).append(parameter)
    return [
        torch.optim.Muon(inner, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.02),
    ]


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over 2 %, constant, then a linear fall over the last half."""
    return min(1.0, (step + 1) / (0.02 * steps), 2 * (1 - step / steps) + 0.01)


def teach(
    pupil: Pupil,
    processor: Qwen2_5_VLProcessor,
    stage: Stage,
    recipe: Recipe,
    state_file: Path,
    report: Callable[[dict], None],
) -> None:
    """Runs one stage; goes on from ``state_file`` when there is one."""
    optimizers = _optimizers(pupil, stage.learning_rate)
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        pupil.load_state_dict(state["pupil"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    lessons = Lessons(
        processor.tokenizer,
        stage.mixture,
        scenes=stage.scenes,
        seed=recipe.seed * 1_000_003 + first,
    )
    loader = DataLoader(lessons, batch_size=None, num_workers=recipe.workers, prefetch_factor=4)
    stream = iter(loader)
    sums, began = torch.zeros(3), time.monotonic()
    for step in range(first, stage.steps):
        scale = _schedule(step, stage.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = stage.learning_rate * scale
        sums += _step(pupil, next(stream), stage.auxiliary, optimizers)
        if (step + 1) % 50 == 0:
            language, dense, pointing = (sums / 50).tolist()
            sums.zero_()
            report(
                {
                    "stage": stage.name,
                    "step": step + 1,
                    "language": language,
                    "dense": dense,
                    "pointing": pointing,
                    "seconds": time.monotonic() - began,
                }
            )
        last = step + 1 == stage.steps
        if (step + 1) % recipe.report_every == 0 or last:
            saved = [optimizer.state_dict() for optimizer in optimizers]
            state = {"pupil": pupil.state_dict(), "optimizers": saved, "step": step + 1}
            with atomic_file(state_file) as temporary:
                torch.save(state, temporary)
            count = recipe.measured if last else recipe.measured // 3
            found = accuracies(pupil, processor, count)
            report({"stage": stage.name, "step": step + 1} | found)


def _step(
    pupil: Pupil, batch: LessonBatch, auxiliary: float, optimizers: list[torch.optim.Optimizer]
) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = pupil(batch, auxiliary)
    if not math.isfinite(losses.total.item()):
        raise FloatingPointError("the loss is not finite; lower the learning rate")
    losses.total.backward()
    torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return torch.stack([losses.language, losses.dense, losses.pointing])


def accuracies(pupil: Pupil, processor: Qwen2_5_VLProcessor, count: int) -> dict[str, dict]:
    """Free-running accuracy on held-out rooms; ``ood`` is measured, never tuned on."""
    pupil.eval()
    found = {split: measure(pupil.model, processor, split, count) for split in HELD_OUT}
    pupil.train()
    return {
        split: {task: asdict(accuracy) for task, accuracy in by_task.items()}
        for split, by_task in found.items()
    }


def make_starter(out: Path, recipe: Recipe, report: Callable[[dict], None]) -> None:
    """Both stages, from random weights to a checkpoint in ``out``; resumes from ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    processor = build_processor(sorted({*vocabulary(), *THINK_WORDS}))
    model: Qwen2_5_VLForConditionalGeneration = build_model(processor.tokenizer)
    pupil = Pupil(model, processor)

    def keep(record: dict) -> None:
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        report(record)

    for stage in (recipe.perceive, recipe.answer):
        teach(pupil, processor, stage, recipe, out / f"{stage.name}.pt", keep)
        save(model, processor, out / stage.name)
