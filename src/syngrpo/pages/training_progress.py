"""Shows the progress of a training run: a live bar in a terminal, plain lines in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from syngrpo.serving.wording import count

FACTS = (
    # title, metric, format
    ("reward", "reward/accuracy", "{:.3f}"),
    ("D seed", "diversity/response_seed", "{:.3f}"),
    ("D syn", "diversity/response_synthetic", "{:.3f}"),
    ("entropy", "entropy/token", "{:.2f}"),
    ("s/step", "time/step_s", "{:.2f}"),
)

_TASK_REWARD = "reward/accuracy/"


class _BarAndFacts(Progress):
    """A bar, and below it a line of facts, of which a narrow terminal shows the beginning."""

    facts = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.facts:
            yield Text(self.facts, no_wrap=True, overflow="ellipsis")


class TrainingProgress:
    """Shows the progress of a run of ``total`` steps that begins at step ``start``.

        with TrainingProgress(total) as progress:
            progress.step(line of metrics.jsonl)

    Prints to ``console``: a live bar in a terminal, elsewhere one plain line every ``every`` steps
    and one at the last step.
    """

    def __init__(
        self, total: int, *, start: int = 0, console: Console | None = None, every: int = 10
    ) -> None:
        self.console = console or Console()
        self.total, self.every = total, every
        self.admitted = self.rejected = 0
        self._bar = _BarAndFacts(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("step", total=total, completed=start)

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Show a finished step; ``metrics`` is its line of metrics.jsonl."""
        self.admitted += int(metrics.get("synthesis/admitted", 0))
        self.rejected += int(metrics.get("synthesis/rejected", 0))
        step, facts = int(metrics["step"]), self._facts(metrics)
        self._bar.facts = facts
        self._bar.update(self._task, completed=step)
        if not self.console.is_terminal and (step % self.every == 0 or step == self.total):
            self.message(f"step {step}/{self.total}  {facts}")

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, soft_wrap=True, markup=False)

    def evaluating(self, name: str, samples: int) -> Callable[[int], None]:
        """Show a second bar while a held-out set is evaluated.

        Call the returned function with the number of samples that were just answered. The bar is
        removed when all are answered.
        """
        if not self.console.is_terminal:
            self.message(f"evaluating {count(samples, 'sample')} of {name}")
        task = self._bar.add_task(escape(f"evaluate {name}"), total=samples)
        return lambda done: self._advance(task, done)

    def _advance(self, task: TaskID, done: int) -> None:
        self._bar.advance(task, done)
        if self._bar.tasks[self._bar.task_ids.index(task)].finished:
            self._bar.remove_task(task)

    def _facts(self, metrics: Mapping[str, Any]) -> str:
        parts = [
            f"{title} {style.format(metrics[name])}"
            for title, name, style in FACTS
            if metrics.get(name) is not None
        ]
        tasks = [name for name in metrics if name.startswith(_TASK_REWARD)]
        if len(tasks) > 1:
            rewards = [
                f"{name.removeprefix(_TASK_REWARD)} {metrics[name]:.3f}"
                for name in tasks
                if metrics[name] is not None
            ]
            parts.insert(1, f"({' '.join(rewards)})")
        if "synthesis/admitted" in metrics:
            parts.append(f"images +{self.admitted} -{self.rejected}")
        return "  ".join(parts)
