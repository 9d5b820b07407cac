"""An error in a user's task is one line that names the task, the method and the sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data, write_data
from failing_task import failing, giving
from quick_runs import CONFIG, overrides
from rich.console import Console

from syngrpo.boxes import CoordinateFrame
from syngrpo.cli.train import run_training
from syngrpo.config import load_config
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.pages.labelled_picture import sample_picture, words_beside_picture
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import TASKS
from syngrpo.tasks.asking import constraints_of, prompt_of, scored_answer
from syngrpo_rooms.dataset import rooms_samples

SAMPLE = replace(rooms_samples("train", 1, size=64)[0], task="failing")
FRAME = CoordinateFrame(64, 64, 64, 64)
BOX = "[1, 2, 30, 40]"


def measured(sample: Sample) -> Any:
    answer = Answer(BOX, sample.answer, 1.0, True)
    return summarise([Prediction("a", "failing", "it", sample.answer, None, answer, (), 0.0)])


CALLS: dict[str, Callable[[Sample], Any]] = {
    "prompt": lambda sample: prompt_of(sample, "full"),
    "read": lambda sample: scored_answer(sample, BOX, FRAME),
    "to_original": lambda sample: scored_answer(sample, BOX, FRAME),
    "score": lambda sample: scored_answer(sample, BOX, FRAME),
    "constraints": constraints_of,
    "marks": sample_picture,
    "words": words_beside_picture,
    "set_metrics": measured,
}
"""What calls a method of the task."""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Make a task known by its name, as if the configuration had named it."""
    return lambda task: monkeypatch.setitem(TASKS._loaded, task.name, task)


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("error", [KeyError("no such\nlevel"), SystemExit(3)])
def test_a_method_that_raises_is_named_with_the_sample(
    known: Callable[[Any], None], method: str, error: BaseException
) -> None:
    task = failing(method, error)
    if method == "words":  # they are asked for where no mark shows the answer
        type(task).marks = lambda self, answer: []  # type: ignore[method-assign]
    known(task)
    where = "1 sample" if method == "set_metrics" else f"sample {SAMPLE.id}"
    with pytest.raises(InputError) as caught:
        CALLS[method](SAMPLE)
    text = str(caught.value)
    assert text.startswith(f"task failing failed in {method} on {where} ({type(error).__name__}: ")
    assert text.endswith(")") and "failing_task.py line " in text and "\n" not in text
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("method", ["ground_truth", "objects_from_answer"])
def test_a_method_that_raises_on_a_row_is_told_with_its_place(
    known: Callable[[Any], None], method: str, tmp_path: Path
) -> None:
    objects = SAMPLE.objects[:1] if method == "ground_truth" else ()
    write_data([replace(SAMPLE, objects=objects)], tmp_path / "one.jsonl")
    text = (tmp_path / "one.jsonl").read_text()
    (tmp_path / "one.jsonl").write_text(text.replace(', "objects": []', ""))
    known(failing(method, ValueError("bad")))
    with pytest.raises(InputError, match=rf"one.jsonl:1: task failing failed in {method} on "):
        read_data(tmp_path / "one.jsonl")


def test_an_input_error_of_a_task_stays_as_it_is(known: Callable[[Any], None]) -> None:
    known(failing("prompt", InputError("question is empty; write one")))
    with pytest.raises(InputError, match=r"^question is empty; write one$"):
        prompt_of(SAMPLE, "brief")


@pytest.mark.parametrize(
    ("method", "value", "wanted"),
    [
        ("prompt", None, "a text"),
        ("score", float("nan"), "a number from 0 to 1"),
        ("score", 3, "a number from 0 to 1"),
        ("constraints", None, "Constraints"),
    ],
)
def test_what_a_method_must_not_return_is_named(
    known: Callable[[Any], None], method: str, value: Any, wanted: str
) -> None:
    known(giving(method, value))
    told = f"task failing gave {value} from {method} for sample {SAMPLE.id}; it must return"
    with pytest.raises(InputError, match=f"^{told} {wanted}$"):
        CALLS[method](SAMPLE)


def test_a_run_ends_with_the_line_and_its_log_has_the_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(TASKS, "_loaded", dict(TASKS._loaded))  # forgets the task afterwards
    named = "[{format: rooms, split: train, count: 4, task: 'failing_task:Unscored'}]"
    options = load_config(CONFIG, overrides(data__train=named))
    with pytest.raises(InputError, match=r"^task unscored failed in score on sample rooms-un"):
        run_training(options, tmp_path / "run", resume=False, console=Console(quiet=True))
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "task unscored failed in score" in log
    assert 'raise KeyError("no such\\nlevel")' in log
