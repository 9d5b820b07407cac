"""Lets a policy answer held-out samples, greedily and by sampling, and scores its answers."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from syngrpo.boxes import CoordinateFrame
from syngrpo.evaluation.evaluation_result import EvaluationResult, summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.method.diversity import response_diversity
from syngrpo.method.response import parse_response
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response, require_finite
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError, Sample, with_pixels
from syngrpo.tasks import PromptStyle
from syngrpo.tasks.asking import prompt_of, scored_answer
from syngrpo.tasks.rewards import Reward, score_rewards

logger = logging.getLogger(__name__)

DIGEST_LENGTH = 32
"""Number of hexadecimal digits of the digests of images and prompts."""
LOG_EVERY_S = 60.0
"""Seconds between two lines in the log of a long evaluation."""


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
    rewards: Sequence[Reward] = (),
    progress: Callable[[int], None] | None = None,
    finished: Sequence[Prediction] = (),
    keep: Callable[[Sequence[Prediction]], None] | None = None,
    skip_unreadable: bool = False,
) -> EvaluationResult:
    """Let the policy give one greedy and ``samples_per_prompt`` sampled answers to every sample.

    The result does not depend on ``batch_size`` or the order of the samples, because every sample
    has random numbers of its own. Samples of ``finished`` predictions (by id) are not answered
    again. ``keep`` is called with every batch of new predictions, ``progress`` with the number of
    samples that were just answered. ``rewards`` are the user's own; one may replace the task's
    accuracy. With ``skip_unreadable``, samples whose image cannot be decoded are named in the log
    and left out. Raises InputError when there are no samples, an image cannot be decoded, or the
    task or a reward fails, and NotFinite for a model whose logits are not finite.
    """
    if not samples:
        raise InputError("no samples to evaluate on; check the data")
    ask = _Asker(
        policy, prompt_style, max_new_tokens, samples_per_prompt, temperature, seed, rewards
    )
    advance = _logged(progress or (lambda number: None), len(samples))
    known = {prediction.id: prediction for prediction in finished}
    predictions = [known.get(sample.id) for sample in samples]
    left = [place for place, prediction in enumerate(predictions) if prediction is None]
    if len(left) < len(samples):
        advance(len(samples) - len(left))
    for places in _batches(left, samples, batch_size):
        readable = {p: samples[p] for p in places}
        if skip_unreadable:
            readable = {p: sample for p in places if (sample := _readable(samples[p])) is not None}
        fresh = ask(list(readable.values())) if readable else []
        for place, prediction in zip(readable, fresh, strict=True):
            predictions[place] = prediction
        if keep is not None:
            keep(fresh)
        advance(len(places))
    found = [prediction for prediction in predictions if prediction is not None]
    if not found:
        raise InputError("no image of the samples to evaluate on can be read; check the data")
    return summarise(found)


def _logged(advance: Callable[[int], None], total: int) -> Callable[[int], None]:
    """Return a function that calls ``advance``, and writes to the log every ``LOG_EVERY_S`` how
    many of ``total`` samples are answered. A run writes nothing else while it evaluates: by these
    lines the dashboard knows that it goes on."""
    answered, told = 0, time.monotonic()

    def advance_and_log(number: int) -> None:
        nonlocal answered, told
        advance(number)
        answered += number
        if time.monotonic() - told >= LOG_EVERY_S:
            told = time.monotonic()
            logger.info("the evaluation has answered %d of %d samples", answered, total)

    return advance_and_log


def _readable(sample: Sample) -> Sample | None:
    """Return the sample with its image decoded; None, with a line in the log, if it cannot be."""
    try:
        return with_pixels(sample)
    except InputError as error:
        logger.warning("the evaluation leaves out sample %s: %s", sample.id, error)
        return None


def is_answer_to(prediction: Prediction, sample: Sample, style: PromptStyle) -> bool:
    """Return whether a prediction was made for exactly this sample, with the same image and
    prompt."""
    kind = _kind_of(sample)
    return (
        (prediction.id, prediction.task, prediction.question)
        == (sample.id, sample.task, sample.question)
        and (prediction.truth, prediction.kind) == (sample.answer, kind)
        and prediction.prompt == _digest(prompt_of(sample, style).encode())
        and prediction.image == _image_digest(sample)
    )


def _kind_of(sample: Sample) -> str | None:
    """Return the column ``kind`` as a text. Data of any task may have a column of this name; what
    is neither a text nor a number is no kind."""
    kind = sample.columns.get("kind")
    return str(kind) if isinstance(kind, str | int | float) else None


@dataclass(frozen=True)
class _Asker:
    """Gets the policy's answers to batches of samples: for each sample a greedy one and ``drawn``
    sampled ones."""

    policy: Policy
    style: PromptStyle
    max_new_tokens: int
    drawn: int
    temperature: float
    seed: int
    rewards: Sequence[Reward]

    def __call__(self, batch: Sequence[Sample]) -> list[Prediction]:
        texts = [prompt_of(sample, self.style) for sample in batch]
        prompts = [encode(self.policy, s, text) for s, text in zip(batch, texts, strict=True)]
        seeds = [_stream(self.seed, sample.id) for sample in batch]
        responses = self._responses(prompts, seeds, 1, temperature=0.0)
        if self.drawn:
            drawn = self._responses(prompts, seeds, self.drawn, self.temperature)
            responses = [[*best, *more] for best, more in zip(responses, drawn, strict=True)]
        return [
            _predict(sample, text, self._answers(sample, text, prompt.frame, group))
            for sample, text, prompt, group in zip(batch, texts, prompts, responses, strict=True)
        ]

    def _answers(
        self, sample: Sample, prompt: str, frame: CoordinateFrame, responses: Sequence[Response]
    ) -> list[Answer]:
        """Return the responses to a sample, read and scored, with the values of the user's
        rewards."""
        answers = [_answer(sample, frame, response.text) for response in responses]
        if not self.rewards:
            return answers
        texts = [answer.text for answer in answers]
        number = len(texts)
        values = score_rewards(self.rewards, [prompt] * number, texts, [sample] * number)
        answers = [
            replace(answer, rewards={name: given[place] for name, given in values.items()})
            for place, answer in enumerate(answers)
        ]
        for reward in self.rewards:
            if reward.replaces_accuracy:
                answers = [replace(a, accuracy=a.rewards[reward.name] or 0.0) for a in answers]
        return answers

    def _responses(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], number: int, temperature: float
    ) -> list[list[Response]]:
        sampling = Sampling(temperature, top_p=1.0, max_new_tokens=self.max_new_tokens)
        responses = rollout(self.policy, prompts, number, sampling, seeds)
        require_finite(prompts, responses)
        return responses


def _answer(sample: Sample, frame: CoordinateFrame, text: str) -> Answer:
    parsed = parse_response(text)
    scored = scored_answer(sample, parsed.answer, frame)
    return Answer(
        text,
        scored.prediction,
        scored.accuracy,
        parsed.well_formed,
        other_scale=scored.other_scale,
        outside=scored.outside,
    )


def _predict(sample: Sample, prompt: str, answers: Sequence[Answer]) -> Prediction:
    """Return the prediction for a sample. ``answers`` holds the greedy one and then the sampled
    ones."""
    best, *sampled = answers
    return Prediction(
        id=sample.id,
        task=sample.task,
        question=sample.question,
        truth=sample.answer,
        kind=_kind_of(sample),
        greedy=best,
        sampled=tuple(sampled),
        diversity=response_diversity([a.accuracy for a in sampled]) if sampled else 0.0,
        image=_image_digest(sample),
        prompt=_digest(prompt.encode()),
    )


def _batches(places: Sequence[int], samples: Sequence[Sample], size: int) -> Iterator[list[int]]:
    """Yield batches of prompts of similar length, so that there is little padding."""

    def length(place: int) -> tuple[int, int]:
        sample = samples[place]
        return sample.image.width * sample.image.height, len(sample.question)

    ordered = sorted(places, key=length)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _stream(seed: int, sample_id: str) -> int:
    """Return the seed of a sample's random numbers. It does not depend on the sample's place in the
    data."""
    digest = hashlib.sha256(f"{seed}:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _image_digest(sample: Sample) -> str:
    return sample.image.digest()[:DIGEST_LENGTH]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]
