"""Times one training step of ours and one of TRL's GRPOTrainer, in turns, each in two halves.

Both have the same process, the same threads or device, the same checkpoint, images, prompts, group
size and response length (end tokens do not end a response here). TRL trains by its own ``train()``;
after each of its steps we do one of ours, so that both meet the same load of the machine. Our step
is the one of the project: encode, ``rollout``, ``Learner``. The time runs from the encoded image to
the optimizer's step. TRL runs at its best: no reference model, no second forward pass for old
log-probabilities.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Image, List
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from syngrpo.method.advantages import normalised_advantages
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import EncodedImage, Sample
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

QUESTION = "the small red lamp"


@dataclass
class Times:
    """Seconds of each measured step. ``rollout``: from encoded images to scored responses;
    ``update``: from there to new weights."""

    rollout: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)

    @property
    def step(self) -> list[float]:
        return [sum(halves) for halves in zip(self.rollout, self.update, strict=True)]

    def without(self, warmup: int) -> Times:
        return Times(self.rollout[warmup:], self.update[warmup:])


def ratio(peer: Sequence[float], ours: Sequence[float]) -> float:
    """Return the median over steps of the other trainer's time, divided by the time of our next
    step."""
    return statistics.median(theirs / own for theirs, own in zip(peer, ours, strict=True))


def now(device: torch.device) -> float:
    """Return the time once the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def make_samples(count: int, width: int, height: int) -> list[Sample]:
    """Return samples with images of noise: the content of an image does not change the time."""
    rng = np.random.default_rng(0)
    box = (0.0, 0.0, 1.0, 1.0)
    samples = []
    for i in range(count):
        image = EncodedImage.from_pixels(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        samples.append(Sample(str(i), "rec", image, QUESTION, box, ()))
    return samples


def reward_of(token_ids: list[int]) -> float:
    """Return an arbitrary but deterministic reward that differs within a group, so that every
    response has a gradient."""
    return (sum(token_ids) % 97) / 97


def rewards(completion_ids: list[list[int]], **_: object) -> list[float | None]:
    """Return the same rewards in the form that TRL asks for."""
    return [reward_of(ids) for ids in completion_ids]


class OurStep:
    """Does one training step with the settings of ``options`` and times it: encode, roll out,
    update."""

    def __init__(self, options: RunOptions, policy: Policy, samples: list[Sample]) -> None:
        self.options, self.samples = options, samples
        self.policy = replace(policy, stop_ids=())
        self.learner = Learner(options, self.policy, Processes())
        self.times = Times()

    def __call__(self) -> None:
        start = now(self.policy.device)
        prompts, groups = self.roll_out(self.options.rollout.max_new_tokens)
        middle = now(self.policy.device)
        rows = [credited(prompt, group) for prompt, group in zip(prompts, groups, strict=True)]
        self.learner.update(rows, StepMetrics())
        end = now(self.policy.device)
        self.times.rollout.append(middle - start)
        self.times.update.append(end - middle)

    def roll_out(self, new_tokens: int) -> tuple[list[Prompt], list[list[Response]]]:
        """Sample a group of responses to each of the next prompts."""
        step, count = len(self.times.update), self.options.trainer.groups_per_step
        first = step * count % len(self.samples)
        drawn = self.samples[first : first + count]
        prompts = [encode(self.policy, sample, QUESTION) for sample in drawn]
        for prompt in prompts:
            prompt.will_train = self.learner.may_keep(prompts)
        sampling = Sampling(max_new_tokens=new_tokens)
        seeds = [step * 1000 + i for i in range(count)]
        size = self.options.rollout.group_size
        return prompts, rollout(self.policy, prompts, size, sampling, seeds)


def credited(prompt: Prompt, group: list[Response]) -> UpdateRow:
    """Make a group's row of the update: plain GRPO, one advantage for each response."""
    rewards = [reward_of(response.token_ids.tolist()) for response in group]
    advantages = torch.from_numpy(normalised_advantages(rewards, floor=0.0))
    segments = [
        CreditedSegment(
            token_ids=response.token_ids,
            old_logprobs=response.logprobs,
            advantages=advantage.expand(len(response.token_ids)),
            mask=torch.ones(len(response.token_ids), dtype=torch.bool),
            beta=torch.zeros(len(response.token_ids)),
            settled=False,
        )
        for advantage, response in zip(advantages, group, strict=True)
    ]
    return UpdateRow(prompt, segments)


class TrlTrainer(GRPOTrainer):
    """TRL's trainer, which also notes the time of its rollouts: that of ``_prepare_inputs``, once
    for each step of the optimizer. The rest of a step is its update."""

    prepared_s = 0.0

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        start = now(self.accelerator.device)
        inputs = super()._prepare_inputs(generation_batch)
        self.prepared_s += now(self.accelerator.device) - start
        return inputs


class Turns(TrainerCallback):
    """Times TRL's steps, and does one of ours after each."""

    def __init__(self, ours: Callable[[], None]) -> None:
        self.ours, self.times, self.start = ours, Times(), 0.0
        self.trainer: TrlTrainer | None = None

    def on_step_begin(self, *_: object, **__: object) -> None:
        assert self.trainer is not None
        self.trainer.prepared_s = 0.0
        self.start = now(self.trainer.accelerator.device)

    def on_step_end(self, *_: object, **__: object) -> None:
        assert self.trainer is not None
        whole = now(self.trainer.accelerator.device) - self.start
        self.times.rollout.append(self.trainer.prepared_s)
        self.times.update.append(whole - self.trainer.prepared_s)
        self.ours()


def trl_dataset(samples: list[Sample]) -> Dataset:
    """Return the samples as TRL reads them."""
    columns = {
        "prompt": [[{"role": "user", "content": QUESTION}] for _ in samples],
        "images": [[{"bytes": s.image.read(), "path": None}] for s in samples],
    }
    return Dataset.from_dict(columns).cast_column("images", List(Image()))


def activation_checkpointing(on: bool) -> dict[str, bool]:
    """Return the argument of GRPOConfig that sets it. Its name is newer than transformers 5.19."""
    names = {field.name for field in fields(GRPOConfig)}
    name = "activation_checkpointing"
    return {name if name in names else "gradient_checkpointing": on}


def take_turns(
    ours: OurStep, model: Any, processor: Any, steps: int, rows: int | None = None, **options: Any
) -> Times:
    """Return the times of ``steps`` steps of TRL; ``ours`` notes its own.

    ``model`` is a plain transformers model. ``rows`` is the number of responses that share a
    forward and backward pass of TRL's (None: all). ``options`` are further arguments of GRPOConfig.
    """
    run = ours.options
    responses = run.trainer.groups_per_step * run.rollout.group_size
    rows = rows or responses
    length = run.rollout.max_new_tokens
    arguments = GRPOConfig(
        **{
            "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": responses // rows,
            "num_generations": run.rollout.group_size,
            "max_completion_length": length,
            "generation_kwargs": {"min_new_tokens": length},
            "learning_rate": run.trainer.learning_rate,
            "max_steps": steps,
            "beta": 0.0,
            "bf16": run.model.dtype == "bfloat16",
            **activation_checkpointing(False),
            "use_cpu": ours.policy.device.type == "cpu",
            "save_strategy": "no",
            "report_to": "none",
            "logging_strategy": "no",
            "disable_tqdm": True,
            **options,
        }
    )
    turns = Turns(ours)
    turns.trainer = TrlTrainer(
        model=model,
        reward_funcs=rewards,
        args=arguments,
        train_dataset=trl_dataset(ours.samples),
        processing_class=processor,
        callbacks=[turns],
    )
    turns.trainer.remove_callback(PrinterCallback)
    turns.trainer.train()
    return turns.times
