"""The perception tasks, one class each."""

from __future__ import annotations

from syngrpo.sample import InputError
from syngrpo.tasks.base import Constraints, PromptStyle, Task
from syngrpo.tasks.isr import IndoorSceneReasoning
from syngrpo.tasks.ovd import OpenVocabularyDetection
from syngrpo.tasks.rec import ReferringExpression

__all__ = ["TASKS", "Constraints", "PromptStyle", "Task", "get_task"]

_ALL: tuple[Task, ...] = (
    ReferringExpression(),
    OpenVocabularyDetection(),
    OpenVocabularyDetection(vlm_r1_labels=True),
    IndoorSceneReasoning(),
)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """The task of that name. Raises InputError when there is none."""
    task = TASKS.get(name)
    if task is None:
        raise InputError(f"unknown task {name!r}; use one of: {', '.join(sorted(TASKS))}")
    return task
