"""Held-out accuracy of a policy, greedy and sampled, measured by letting it answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.boxes import CoordinateFrame
from syngrpo.diversity.response import response_diversity
from syngrpo.evaluation.metrics import Interval, bootstrap_interval, by_kind, per_sample
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import Policy
from syngrpo.policy.rollout import Response, Sampling, rollout
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import PromptStyle, get_task
from syngrpo.tasks.response import parse_response


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of one set of samples; the names are those of ``evaluation.metrics.per_sample``.

    Besides: ``greedy/unreadable``, a count of answers without a prediction, and ``samples``.
    ``intervals`` are 95 % bootstrap intervals of the means; ``kinds`` are the metrics by the
    column ``kind`` of the samples, where they have one.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    kinds: dict[str, dict[str, float]]
    predictions: tuple[Prediction, ...]

    def record(self, step: int, set_name: str) -> dict[str, Any]:
        """The line of ``evaluation.jsonl``."""
        return {
            "step": step,
            "set": set_name,
            "metrics": self.metrics,
            "intervals": self.intervals,
            "kinds": self.kinds,
        }


def evaluate(
    policy: Policy,
    samples: Sequence[Sample],
    *,
    prompt_style: PromptStyle,
    max_new_tokens: int,
    batch_size: int = 32,
    samples_per_prompt: int = 4,
    temperature: float = 1.0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> EvaluationResult:
    """Lets the policy answer every sample once greedily and ``samples_per_prompt`` times sampled.

    The result does not depend on ``batch_size`` or the order of the samples: every sample draws
    from its own random stream. ``progress`` is called with the number of samples just done.
    Raises InputError when there are no samples or an image cannot be decoded.
    """
    if not samples:
        raise InputError("no samples to evaluate on; check the data")
    greedy = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=max_new_tokens)
    sampling = Sampling(temperature=temperature, top_p=1.0, max_new_tokens=max_new_tokens)
    predictions: list[Prediction] = []
    for batch in _batches(samples, batch_size):
        prompts = [encode(policy, s, get_task(s.task).prompt(s, prompt_style)) for s in batch]
        seeds = [_stream(seed, sample.id) for sample in batch]
        best = rollout(policy, prompts, 1, greedy, seeds)
        drawn: list[list[Response]] = [[] for _ in batch]
        if samples_per_prompt:
            drawn = rollout(policy, prompts, samples_per_prompt, sampling, seeds)
        predictions += map(_predict, batch, prompts, best, drawn)
        if progress is not None:
            progress(len(batch))
    return summarise(predictions)


def summarise(predictions: Sequence[Prediction], seed: int = 0) -> EvaluationResult:
    """Metrics, intervals and kinds of at least one prediction."""
    tasks = {prediction.task for prediction in predictions}
    columns = per_sample(predictions, tasks.pop() if len(tasks) == 1 else "")
    metrics: dict[str, float] = {name: float(values.mean()) for name, values in columns.items()}
    metrics["greedy/unreadable"] = sum(p.greedy.prediction is None for p in predictions)
    metrics["samples"] = len(predictions)
    return EvaluationResult(
        metrics=metrics,
        intervals={name: bootstrap_interval(v, seed=seed) for name, v in columns.items()},
        kinds=by_kind(predictions, columns),
        predictions=tuple(predictions),
    )


def append_evaluation(path: Path, result: EvaluationResult, step: int, set_name: str) -> None:
    """Adds one line to ``evaluation.jsonl``; the folder must exist."""
    line = json.dumps(result.record(step, set_name)) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def truncate_evaluations(path: Path, step: int) -> None:
    """Drops what was measured after ``step``, from which a run goes on; no file is no error."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")


def _predict(
    sample: Sample, prompt: Prompt, best: Sequence[Response], drawn: Sequence[Response]
) -> Prediction:
    sampled = tuple(_answer(sample, prompt.frame, response.text) for response in drawn)
    return Prediction(
        id=sample.id,
        task=sample.task,
        question=sample.question,
        truth=sample.answer,
        kind=sample.columns.get("kind"),
        greedy=_answer(sample, prompt.frame, best[0].text),
        sampled=sampled,
        diversity=response_diversity([a.accuracy for a in sampled]) if sampled else 0.0,
    )


def _answer(sample: Sample, frame: CoordinateFrame, text: str) -> Answer:
    task, parsed = get_task(sample.task), parse_response(text)
    read = task.read(parsed.answer) if parsed.answer is not None else None
    prediction = task.to_original(read, frame) if read is not None else None
    return Answer(text, prediction, task.score(prediction, sample), parsed.well_formed)


def _batches(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _stream(seed: int, sample_id: str) -> int:
    """A random stream of the sample's own, the same wherever it comes in the data."""
    digest = hashlib.sha256(f"{seed}:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
