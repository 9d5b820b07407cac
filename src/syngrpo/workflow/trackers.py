"""Sends metrics, and tables of groups with pictures, to the programs in ``logging.trackers``.

``run`` opens ``trackers`` in every process; only the main process sends anything. Accelerate starts
each program; a table is made in the form that the program has for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from syngrpo.responses.drawn_answers import AnsweredGroup, drawn_answers
from syngrpo.workflow.processes import Processes

TABLE = "responses"
COLUMNS = ("sample", "task", "question", "picture", "D", "accuracy", "answers", "descriptions")
LONGEST = 400
"""Characters of a text in a table."""


class Trackers:
    """The programs that one run sends its metrics to; none without an accelerator."""

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self._accelerator = accelerator

    def log(self, record: Mapping[str, Any], step: int) -> None:
        """Send the metrics of a step, without those that have no value."""
        if self._accelerator is not None:
            known = {k: v for k, v in record.items() if v is not None and k != "step"}
            self._accelerator.log(known, step=step)

    def log_groups(self, groups: Sequence[AnsweredGroup], step: int) -> None:
        """Send a table of groups with their pictures, on which the answers are drawn."""
        if self._accelerator is None or not groups:
            return
        for tracker in self._accelerator.trackers:
            _SEND[tracker.name](tracker, groups, step)


@contextmanager
def trackers(names: Sequence[str], processes: Processes, directory: Path) -> Iterator[Trackers]:
    """Start the programs of these names, and end them after the block."""
    if not names or not processes.is_main:
        yield Trackers()
        return
    accelerator = Accelerator(
        cpu=processes.device.type == "cpu", log_with=list(names), project_dir=directory
    )
    accelerator.init_trackers("curves")
    try:
        yield Trackers(accelerator)
    finally:  # end_training() would also destroy the process group
        for tracker in accelerator.trackers:
            tracker.finish()


def _to_tensorboard(tracker: Any, groups: Sequence[AnsweredGroup], step: int) -> None:
    """TensorBoard has no tables: a text with a Markdown table, and a picture for each row."""
    names = [name for name in COLUMNS if name != "picture"]
    lines = [f"| {' | '.join(['picture', *names])} |", "|---" * (len(names) + 1) + "|"]
    for number, group in enumerate(groups):
        cells = [escape(value, quote=False).replace("|", "&#124;") for value in _words(group)]
        lines.append(f"| {number} | {' | '.join(cells)} |".replace("\n", "<br>"))
        pixels = np.asarray(drawn_answers(group))
        tracker.writer.add_image(f"{TABLE}/{number}", pixels, step, dataformats="HWC")
    tracker.writer.add_text(TABLE, "\n".join(lines), step)
    tracker.writer.flush()


def _to_wandb(tracker: Any, groups: Sequence[AnsweredGroup], step: int) -> None:
    import wandb

    rows = [_row(group, wandb.Image(drawn_answers(group))) for group in groups]
    tracker.run.log({TABLE: wandb.Table(columns=list(COLUMNS), data=rows)}, step=step)


def _to_trackio(tracker: Any, groups: Sequence[AnsweredGroup], step: int) -> None:
    """Trackio shows texts as Markdown, in which ``<`` would begin a tag."""
    import trackio

    rows = [
        [
            escape(cell, quote=False).replace("\n", "<br>") if isinstance(cell, str) else cell
            for cell in _row(group, trackio.Image(drawn_answers(group)))
        ]
        for group in groups
    ]
    tracker.run.log({TABLE: trackio.Table(columns=list(COLUMNS), data=rows)}, step=step)


_SEND = {"tensorboard": _to_tensorboard, "wandb": _to_wandb, "trackio": _to_trackio}


def _row(group: AnsweredGroup, picture: Any) -> list[Any]:
    """Return the cells of COLUMNS."""
    sample, task, question, _, _, answers, descriptions = _words(group)
    accuracy = sum(group.accuracies) / len(group.accuracies)
    return [sample, task, question, picture, group.diversity, accuracy, answers, descriptions]


def _words(group: AnsweredGroup) -> list[str]:
    """Return the cells of COLUMNS without the picture, as texts."""
    sample = group.sample
    answers = [
        f"{accuracy:.2f}: {_short(answer or '(no answer)')}"
        for accuracy, answer in zip(group.accuracies, group.answers, strict=True)
    ]
    accuracy = sum(group.accuracies) / len(group.accuracies)
    return [
        sample.id,
        sample.task,
        _short(sample.question),
        f"{group.diversity:.2f}",
        f"{accuracy:.2f}",
        "\n".join(answers),
        "\n".join(_short(text) for text in group.descriptions),
    ]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
