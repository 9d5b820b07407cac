"""Single answers on the page: picture, question, truth, answer, what the model wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from syngrpo.evaluation.predictions import Prediction
from syngrpo.pages.evaluation_pictures import picture
from syngrpo.sample import Sample
from syngrpo.tasks.ovd import DETECTION

LONGEST_TEXT = 3000
"""Characters of a response, at most."""

_LEGEND = (
    "<p class='legend'><span><i class='truth'></i>truth</span>"
    "<span><i class='found'></i>greedy answer</span></p>"
)


def case_section(
    title: str, predictions: Sequence[Prediction], samples: Mapping[str, Sample]
) -> str:
    """A heading and one figure a prediction; "" without any. ``samples`` are by id."""
    if not predictions:
        return ""
    figures = "".join(_figure(p, samples[p.id]) for p in predictions)
    legend = _LEGEND if any(_has_boxes(p) for p in predictions) else ""
    return f"<h2>{escape(title)}</h2>{legend}<div class='cases'>{figures}</div>"


def _figure(prediction: Prediction, sample: Sample) -> str:
    answer = prediction.greedy
    text = answer.text if len(answer.text) <= LONGEST_TEXT else answer.text[:LONGEST_TEXT] + " …"
    facts = [f"score <b>{answer.accuracy:.2f}</b>"]
    if prediction.sampled:
        sampled = [one.accuracy for one in prediction.sampled]
        facts.append(f"sampled <b>{sum(sampled) / len(sampled):.2f}</b>")
    if prediction.kind:
        facts.append(escape(prediction.kind))
    listed = "".join(f"<span class='fact'>{fact}</span>" for fact in facts)
    return (
        f"<figure>{picture(sample, prediction)}<figcaption><b>{escape(prediction.question)}</b>"
        f"<span class='facts'>{listed}</span>"
        f"<span class='truth'>{escape(_shown(prediction.task, prediction.truth))}</span>"
        f"<span class='found'>{escape(_shown(prediction.task, answer.prediction))}</span>"
        f"<pre>{escape(text)}</pre><span class='id'>{escape(prediction.id)}</span>"
        "</figcaption></figure>"
    )


def _shown(task: str, value: Any) -> str:
    """Truth or answer in a few words."""
    if value is None:
        return "unreadable"
    if task == "rec":
        return ", ".join(f"{number:.0f}" for number in value)
    if task in DETECTION:
        labels = [thing["label"] for thing in value]
        counted = [f"{labels.count(label)} {label}" for label in dict.fromkeys(labels)]
        return ", ".join(counted) or "none"
    return str(value)


def _has_boxes(prediction: Prediction) -> bool:
    return prediction.task == "rec" or prediction.task in DETECTION
