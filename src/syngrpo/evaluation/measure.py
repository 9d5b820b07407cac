"""Held-out accuracy of a policy, greedy and sampled, measured by letting it answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.boxes import CoordinateFrame
from syngrpo.evaluation.bootstrap import Interval
from syngrpo.evaluation.bootstrap import intervals as bootstrap_intervals
from syngrpo.evaluation.predictions import Answer, Prediction, samples_digest
from syngrpo.evaluation.statistics import Part, Statistics, kinds, parts, sample_lines
from syngrpo.method.diversity import response_diversity
from syngrpo.method.response import parse_response
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import PromptStyle, get_task

DIGEST_LENGTH = 32


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of one set of samples; the names are those of ``evaluation.metrics.Statistics``.

    Besides: ``greedy/unreadable``, a count of answers without a prediction, and ``samples``. In a
    set of several tasks each task has its own metrics, their names starting with "rec/" and so
    on; the plain names are over all tasks. ``kinds`` are the metrics by the column ``kind`` of the
    samples, where they have one. ``intervals`` and ``kind_intervals`` are 95 % bootstrap ones.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    kinds: dict[str, dict[str, float]]
    kind_intervals: dict[str, dict[str, Interval]]
    predictions: tuple[Prediction, ...]

    def record(self, step: int, set_name: str) -> dict[str, Any]:
        """The line of ``evaluation.jsonl``. ``samples`` tells whether two lines are about the same
        samples, ``per_sample`` holds the values of each, in order (see ``sample_lines``)."""
        return {
            "step": step,
            "set": set_name,
            **self.summary(),
            "samples": samples_digest(self.predictions),
            "per_sample": sample_lines(self.predictions),
        }

    def summary(self) -> dict[str, Any]:
        """All metrics and intervals, plain data."""
        return {
            "metrics": self.metrics,
            "intervals": self.intervals,
            "kinds": self.kinds,
            "kind_intervals": self.kind_intervals,
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
    finished: Sequence[Prediction] = (),
    keep: Callable[[Sequence[Prediction]], None] | None = None,
) -> EvaluationResult:
    """Lets the policy answer every sample once greedily and ``samples_per_prompt`` times sampled.

    The result does not depend on ``batch_size`` or the order of the samples: every sample draws
    from its own random stream. Samples of ``finished`` predictions (by id) are not asked again;
    ``keep`` is called with every batch of new ones; ``progress`` with the number of samples just
    done. Raises InputError when there are no samples or an image cannot be decoded.
    """
    if not samples:
        raise InputError("no samples to evaluate on; check the data")
    ask = _Asker(policy, prompt_style, max_new_tokens, samples_per_prompt, temperature, seed)
    advance = progress or (lambda number: None)
    known = {prediction.id: prediction for prediction in finished}
    predictions = [known.get(sample.id) for sample in samples]
    left = [place for place, prediction in enumerate(predictions) if prediction is None]
    if len(left) < len(samples):
        advance(len(samples) - len(left))
    for places in _batches(left, samples, batch_size):
        fresh = ask([samples[place] for place in places])
        for place, prediction in zip(places, fresh, strict=True):
            predictions[place] = prediction
        if keep is not None:
            keep(fresh)
        advance(len(places))
    return summarise([prediction for prediction in predictions if prediction is not None])


def summarise(predictions: Sequence[Prediction], seed: int = 0) -> EvaluationResult:
    """Metrics, intervals and kinds of at least one prediction."""
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for part in parts(predictions):
        values, ranges = _measure(predictions, part, seed)
        metrics |= {part.key(name): value for name, value in values.items()}
        intervals |= {part.key(name): interval for name, interval in ranges.items()}
    of_kinds = {part.name: _measure(predictions, part, seed) for part in kinds(predictions)}
    return EvaluationResult(
        metrics=metrics,
        intervals=intervals,
        kinds={name: values for name, (values, _) in of_kinds.items()},
        kind_intervals={name: ranges for name, (_, ranges) in of_kinds.items()},
        predictions=tuple(predictions),
    )


def prompt_text(sample: Sample, style: PromptStyle) -> str:
    """What the model is asked beside the image."""
    return get_task(sample.task).prompt(sample, style)


def is_answer_to(prediction: Prediction, sample: Sample, style: PromptStyle) -> bool:
    """Whether a prediction was made for exactly this sample, image and prompt included."""
    kind = sample.columns.get("kind")
    return (
        (prediction.id, prediction.task, prediction.question)
        == (sample.id, sample.task, sample.question)
        and (prediction.truth, prediction.kind) == (sample.answer, kind)
        and prediction.prompt == _digest(prompt_text(sample, style).encode())
        and prediction.image == _image_digest(sample)
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


def _measure(
    predictions: Sequence[Prediction], part: Part, seed: int
) -> tuple[dict[str, float], dict[str, Interval]]:
    chosen = [predictions[i] for i in part.indices]
    statistics = Statistics(chosen, part.task)
    values = statistics.all()
    ranges = bootstrap_intervals(statistics.values, statistics.units, statistics.biased, seed=seed)
    intervals = {
        name: interval
        for name, interval in zip(statistics.names, ranges, strict=True)
        if interval is not None and name in values
    }
    values["greedy/unreadable"] = sum(p.greedy.prediction is None for p in chosen)
    values["samples"] = len(chosen)
    return values, intervals


@dataclass(frozen=True)
class _Asker:
    """Samples → predictions, a batch at a time."""

    policy: Policy
    style: PromptStyle
    max_new_tokens: int
    drawn: int
    temperature: float
    seed: int

    def __call__(self, batch: Sequence[Sample]) -> list[Prediction]:
        texts = [prompt_text(sample, self.style) for sample in batch]
        prompts = [encode(self.policy, s, text) for s, text in zip(batch, texts, strict=True)]
        seeds = [_stream(self.seed, sample.id) for sample in batch]
        best = self._answers(prompts, seeds, 1, temperature=0.0)
        drawn: list[list[Response]] = [[] for _ in batch]
        if self.drawn:
            drawn = self._answers(prompts, seeds, self.drawn, self.temperature)
        return list(map(_predict, batch, texts, prompts, best, drawn))

    def _answers(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], number: int, temperature: float
    ) -> list[list[Response]]:
        sampling = Sampling(temperature, top_p=1.0, max_new_tokens=self.max_new_tokens)
        return rollout(self.policy, prompts, number, sampling, seeds)


def _predict(
    sample: Sample, text: str, prompt: Prompt, best: Sequence[Response], drawn: Sequence[Response]
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
        image=_image_digest(sample),
        prompt=_digest(text.encode()),
    )


def _answer(sample: Sample, frame: CoordinateFrame, text: str) -> Answer:
    task, parsed = get_task(sample.task), parse_response(text)
    read = task.read(parsed.answer) if parsed.answer is not None else None
    prediction = task.to_original(read, frame) if read is not None else None
    return Answer(text, prediction, task.score(prediction, sample), parsed.well_formed)


def _batches(places: Sequence[int], samples: Sequence[Sample], size: int) -> Iterator[list[int]]:
    """Prompts of similar length share a batch: no row waits for, or is padded to, a longer one."""

    def length(place: int) -> tuple[int, int]:
        sample = samples[place]
        return sample.image.width * sample.image.height, len(sample.question)

    ordered = sorted(places, key=length)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _stream(seed: int, sample_id: str) -> int:
    """A random stream of the sample's own, the same wherever it comes in the data."""
    digest = hashlib.sha256(f"{seed}:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _image_digest(sample: Sample) -> str:
    return sample.image.digest()[:DIGEST_LENGTH]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]
