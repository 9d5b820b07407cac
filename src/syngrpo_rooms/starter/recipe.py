"""The recipe that made the bundled starter: ``make_starter``, run by ``syngrpo rooms starter``.

The first stage, ``perceive``, trains perception on scenes of the split ``broad`` with exact
answers. The second stage, ``answer``, is short. It trains the full response format with answers of
mixed quality, so that reinforcement learning has something to improve.

Each stage appends its losses to ``log.jsonl``, regularly saves a state from which it can resume,
and measures the accuracy on held-out scenes when it saves.
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
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)

from syngrpo.serving.atomic_files import atomic_file
from syngrpo_rooms.starter.annotators import THINK_WORDS, Care, Mixture
from syngrpo_rooms.starter.architecture import build_model, build_processor, save, vocabulary
from syngrpo_rooms.starter.held_out_accuracy import held_out_accuracy
from syngrpo_rooms.starter.supervised_losses import SupervisedStarter
from syngrpo_rooms.starter.training_batches import TrainingBatch, TrainingBatches
from syngrpo_rooms.surroundings import Split

HELD_OUT: tuple[Split, ...] = ("test", "dev", "ood")


@dataclass(frozen=True)
class Stage:
    """One stage of supervised training.

    ``steps`` is the number of batches, and ``scenes`` the number of scenes in a batch.
    ``learning_rate`` is the highest rate of the schedule. ``mixture`` are the annotators who write
    the responses. ``auxiliary`` is the weight of the perception losses (see ``supervised_losses``).
    ``under_view`` is the share of the scenes that are seen from anywhere, in any light and with
    decoys around.
    """

    name: str
    steps: int
    learning_rate: float
    mixture: Mixture
    auxiliary: float = 1.0
    scenes: int = 48
    under_view: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """All settings of the training. The defaults are the values of the bundled starter.

    A recipe with ``under_view`` 0 in both stages, and an ``answer`` mixture whose ``whole_range``
    is False, makes a starter that knows close and bright rooms only. ``first`` is the directory of
    a starter to begin with instead of random weights; then the stage ``perceive`` is left out.

    ``workers`` is the number of processes that render scenes, ``threads`` the number of threads of
    torch. Every ``report_every`` steps the state is saved and the accuracy is measured: on
    ``measured`` scenes of each split and task at the end of a stage, on a third of that before.
    """

    seed: int = 0
    first: Path | None = None
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
                expression=Care((0.85, 0.10, 0.05), (0.60, 0.25, 0.15)),
                detection=Care((0.85, 0.10, 0.05), (0.65, 0.20, 0.15)),
                reasoning=Care((0.85, 0.08, 0.07), (0.65, 0.20, 0.15)),
                scenes=True,
            ),
            auxiliary=0.3,
            scenes=24,
            under_view=1 / 3,
        )
    )


def _optimizers(student: SupervisedStarter, rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the transformer blocks, and AdamW for embeddings, norms,
    biases and heads."""
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, parameter in student.named_parameters():
        matrix = parameter.ndim == 2 and (".blocks." in name or ".layers." in name)
        (inner if matrix else outer).append(parameter)
    return [
        torch.optim.Muon(inner, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.02),
    ]


def _learning_rate_factor(step: int, steps: int) -> float:
    """Return the factor on the learning rate at a step: it rises linearly to 1 over the first 2 %
    of the steps, stays there, and falls linearly to 0.01 over the second half."""
    return min(1.0, (step + 1) / (0.02 * steps), 2 * (1 - step / steps) + 0.01)


def teach(
    student: SupervisedStarter,
    processor: Qwen2_5_VLProcessor,
    stage: Stage,
    recipe: Recipe,
    state_file: Path,
    report: Callable[[dict], None],
) -> None:
    """Run one stage, or resume it from ``state_file`` if that exists.

    ``report`` gets the mean losses every 50 steps, and the accuracies whenever the state is saved.
    A resumed stage draws other scenes than it would have drawn without the interruption. Raises
    FloatingPointError when the loss is not finite.
    """
    optimizers = _optimizers(student, stage.learning_rate)
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        student.load_state_dict(state["student"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    batches = TrainingBatches(
        processor.tokenizer,
        stage.mixture,
        scenes=stage.scenes,
        under_view=stage.under_view,
        seed=recipe.seed * 1_000_003 + first,
    )
    loader = DataLoader(batches, batch_size=None, num_workers=recipe.workers, prefetch_factor=4)
    stream = iter(loader)
    sums, began = torch.zeros(3), time.monotonic()
    for step in range(first, stage.steps):
        scale = _learning_rate_factor(step, stage.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = stage.learning_rate * scale
        sums += _step(student, next(stream), stage.auxiliary, optimizers)
        if (step + 1) % 50 == 0:
            means = dict(zip(("language", "dense", "pointing"), (sums / 50).tolist(), strict=True))
            sums.zero_()
            progress = {"stage": stage.name, "step": step + 1}
            report(progress | means | {"seconds": time.monotonic() - began})
        last = step + 1 == stage.steps
        if (step + 1) % recipe.report_every == 0 or last:
            saved = [optimizer.state_dict() for optimizer in optimizers]
            state = {"student": student.state_dict(), "optimizers": saved, "step": step + 1}
            with atomic_file(state_file) as temporary:
                torch.save(state, temporary)
            count = recipe.measured if last else recipe.measured // 3
            found = accuracies(student, processor, count)
            report({"stage": stage.name, "step": step + 1} | found)


def _step(
    student: SupervisedStarter,
    batch: TrainingBatch,
    auxiliary: float,
    optimizers: list[torch.optim.Optimizer],
) -> torch.Tensor:
    """Update the model with one batch. Return the language, dense and pointing loss, float (3,)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = student(batch, auxiliary)
    if not math.isfinite(losses.total.item()):
        raise FloatingPointError("the loss is not finite; lower the learning rate")
    losses.total.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return torch.stack([losses.language, losses.dense, losses.pointing])


def accuracies(
    student: SupervisedStarter, processor: Qwen2_5_VLProcessor, count: int
) -> dict[str, dict]:
    """Return split → task → fields of ``Accuracy``, on ``count`` held-out scenes of each.

    ``ood`` is only reported: no setting of this recipe was chosen by it.
    """
    student.eval()
    found = {split: held_out_accuracy(student.model, processor, split, count) for split in HELD_OUT}
    student.train()
    return {
        split: {task: asdict(accuracy) for task, accuracy in by_task.items()}
        for split, by_task in found.items()
    }


@torch.no_grad()
def copy_weights(
    first: Path, model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Copy the weights of an earlier starter into the model. The embeddings of tokens that it does
    not have become the mean of all others, with noise.

    Raises OSError when ``first`` holds no model.
    """
    earlier = Qwen2_5_VLForConditionalGeneration.from_pretrained(first, dtype=torch.float32)
    known = AutoTokenizer.from_pretrained(first).get_vocab()
    old: torch.Tensor = earlier.model.language_model.embed_tokens.weight
    new: torch.Tensor = model.model.language_model.embed_tokens.weight
    own = model.state_dict()
    for name, value in earlier.state_dict().items():
        if own[name].shape == value.shape:  # all but the embeddings, which are copied by token
            own[name].copy_(value)
    mean = old.mean(dim=0)
    for token, row in tokenizer.get_vocab().items():
        new[row] = old[known[token]] if token in known else mean + 0.02 * torch.randn_like(mean)


def make_starter(out: Path, recipe: Recipe, report: Callable[[dict], None]) -> None:
    """Train a starter: from random weights in both stages, or from ``recipe.first``.

    Writes the checkpoints ``out/perceive`` and ``out/answer`` (the starter), the log
    ``out/log.jsonl``, and the states for resuming. ``report`` gets every record of the log. Call
    it again after an interruption to resume. Raises FloatingPointError when the loss is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    words = vocabulary(recipe.answer.mixture.whole_range)
    processor = build_processor(sorted({*words, *THINK_WORDS}))
    model: Qwen2_5_VLForConditionalGeneration = build_model(processor.tokenizer)
    if recipe.first is not None:
        copy_weights(recipe.first, model, processor.tokenizer)
    student = SupervisedStarter(model, processor)

    def log(record: dict) -> None:
        with (out / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        report(record)

    for stage in (recipe.perceive, recipe.answer)[recipe.first is not None :]:
        teach(student, processor, stage, recipe, out / f"{stage.name}.pt", log)
        save(model, processor, out / stage.name)
