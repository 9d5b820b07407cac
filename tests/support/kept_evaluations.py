"""A run with the answers of two evaluations of a real set, as ``syngrpo train`` keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.evaluation.run_evaluations import keep_predictions
from syngrpo.sample import Sample
from syngrpo_rooms.dataset import rooms_samples

COUNT = 30
SOURCE = {"format": "rooms", "task": "rec", "split": "test", "count": COUNT}


def asked_samples() -> list[Sample]:
    return list(rooms_samples("test", COUNT, task="rec"))


def predicted(sample: Sample, accuracy: float, text: str = "<answer>…</answer>") -> Prediction:
    """A prediction that is the truth, with any accuracy."""
    answer = Answer(text, sample.answer, accuracy, True)
    return Prediction(
        id=sample.id,
        task=sample.task,
        question=sample.question,
        truth=sample.answer,
        kind=sample.columns.get("kind"),
        greedy=answer,
        sampled=(answer, replace(answer, accuracy=0.0)),
        diversity=0.1,
        image=sample.image.digest()[:32],
    )


def keep_answers(
    run: Path, steps: Sequence[int], accuracy: Callable[[int, int], float], text: str = "…"
) -> None:
    """Keep the answers of evaluations at ``steps``. ``accuracy`` is called with the step and the
    place of the sample. The configuration of the run gets the set, called ``test``."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text()) if path.exists() else {}
    path.write_text(yaml.safe_dump({**config, "evaluation": {"sets": {"test": SOURCE}}}))
    for step in steps:
        made = [predicted(s, accuracy(step, i), text) for i, s in enumerate(asked_samples())]
        result = summarise(made)
        keep_predictions(run, step, "test", result, {"prompt_style": "brief"}, {"device": "cpu"})
        with (run / "evaluation.jsonl").open("a") as file:
            file.write(json.dumps(result.record(step, "test")) + "\n")
