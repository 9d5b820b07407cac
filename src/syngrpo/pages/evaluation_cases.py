"""Single answers of an evaluation as pages show them: the picture with ground truth and answer, the
answers in words, and the worst and the best of them.

``templates/evaluation_parts.html`` draws a ``Case``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syngrpo.evaluation.predictions import Prediction
from syngrpo.pages.labelled_picture import Picture, answer_words, answered_picture
from syngrpo.sample import EncodedImage, Sample

LONGEST_TEXT = 20_000
"""Largest number of characters of a response that a page holds."""
LONGEST_LINE = 600
"""Largest number of characters of a question and of an answer in words."""


@dataclass(frozen=True)
class CaseAnswer:
    """A greedy answer in words. ``style`` is the class of its marks in ``style.css``; ``name`` is
    that of the model, "" if there is only one. ``sampled`` is the mean accuracy of the model's
    sampled answers, None without any."""

    name: str
    style: str
    words: str
    text: str
    accuracy: float
    sampled: float | None


@dataclass(frozen=True)
class Case:
    """A sample of an evaluation with one or two answers. ``picture`` is None, and ``problem`` says
    why, when the sample is not there."""

    id: str
    question: str
    kind: str | None
    truth: str
    answers: tuple[CaseAnswer, ...]
    picture: Picture | None
    problem: str = ""


def evaluation_case(
    predictions: Mapping[str, Prediction],
    sample: Sample | None,
    href: str | None = None,
    problem: str = "",
) -> Case:
    """Return the case of a sample with the predictions of one or two models (name → prediction).

    With ``href``, the picture names the image by this address; otherwise the image is embedded.
    Without the ``sample`` there is no picture, and ``problem`` says why. Raises InputError for an
    answer that the task cannot draw or write.
    """
    first, *others = predictions.values()
    known = sample if sample is not None else _without_image(first)
    picture = None
    if sample is not None:
        second = others[0].greedy.prediction if others else None
        picture = answered_picture(sample, first.truth, first.greedy.prediction, href, second)
    answers = tuple(
        CaseAnswer(
            name if others else "",
            style,
            _shortened(answer_words(known, one.greedy.prediction), LONGEST_LINE),
            _shortened(one.greedy.text, LONGEST_TEXT),
            one.greedy.accuracy,
            sampled_accuracy(one),
        )
        for (name, one), style in zip(predictions.items(), ("found", "second"), strict=False)
    )
    truth = _shortened(answer_words(known, first.truth), LONGEST_LINE)
    question = _shortened(first.question, LONGEST_LINE)
    return Case(first.id, question, first.kind, truth, answers, picture, problem)


def worst_and_best(
    predictions: Sequence[Prediction], number: int
) -> tuple[list[Prediction], list[Prediction]]:
    """Return up to ``number`` of the worst and of the best predictions; none is in both."""
    ordered = sorted(predictions, key=rank)
    half = (len(ordered) + 1) // 2
    return ordered[: min(number, half)], ordered[half:][::-1][:number]


def rank(prediction: Prediction) -> tuple[float, float, str]:
    """Return a key that sorts predictions from the worst to the best, by greedy, then by sampled
    accuracy. Ties are broken by a digest of the id, so that neighbours do not all come from the
    start of the data."""
    digest = hashlib.sha256(prediction.id.encode(errors="replace")).hexdigest()
    return prediction.greedy.accuracy, sampled_accuracy(prediction) or 0.0, digest


def sampled_accuracy(prediction: Prediction) -> float | None:
    """Return the mean accuracy of the sampled answers, None without any."""
    accuracies = [answer.accuracy for answer in prediction.sampled]
    return sum(accuracies) / len(accuracies) if accuracies else None


def _without_image(prediction: Prediction) -> Sample:
    """Return a sample that stands for the one of a prediction, to write its answers."""
    p = prediction
    return Sample(p.id, p.task, EncodedImage(1, 1), p.question, p.truth, ())


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + " …"
