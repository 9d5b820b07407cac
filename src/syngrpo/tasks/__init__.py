"""The perception tasks: what is asked about an image, and how the answer is read and scored.

- ``base``: the ``Task`` protocol, with defaults for what most tasks share. Start reading here.
- ``rec``, ``ovd``, ``isr``: the built-in tasks, one file each.
- ``asking``: the functions by which all other folders call the task of a sample.
- ``answer_reading`` parses a model's answer, with the notations of ``box_notation``, or with
  ``asked_form`` where it is written exactly as asked for; ``labels`` checks a user's labels.
- ``average_precision``: COCO's average precision of one image, a reward. ``detection_metrics``:
  that of a data set.
- ``rewards``: rewards that a user adds to the accuracy of the task. ``vlm_r1_rewards``: the
  built-in ones.

The formats read samples with a task, the workflow and the evaluation prompt and score with it, the
painter asks it what an image must keep, and the pages draw its answers. A task is found by its name
in ``TASKS``; nothing outside this folder knows a task by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, get_args

from syngrpo.extensions import Registry, no_instance
from syngrpo.sample import InputError
from syngrpo.tasks.base import AsksFor, Constraints, Mark, PromptStyle, SetMetrics, Task

__all__ = [
    "TASKS",
    "AsksFor",
    "Constraints",
    "Mark",
    "PromptStyle",
    "SetMetrics",
    "Task",
    "default_task",
    "get_task",
    "load_task",
    "tasks_that_ask",
]


_NAME = re.compile(r"[\w.-]+")


def _problem(name: str, task: Any) -> str | None:
    if (problem := no_instance(task, Task)) is not None:
        return f"{problem}; write a subclass of it"
    called, asks_for = getattr(task, "name", None), getattr(task, "asks_for", None)
    if not isinstance(called, str) or not _NAME.fullmatch(called):
        return f"has the name {called!r}; a name has letters, digits, '_', '-' and '.'"
    if asks_for not in get_args(AsksFor):
        return f"has asks_for {asks_for!r}; it is one of {', '.join(get_args(AsksFor))}"
    if ":" not in name and called != name:
        return f"has the name '{called}'; give the class and its entry point one name"
    return None


TASKS: Registry[Task] = Registry(
    "task",
    "syngrpo.tasks",
    {
        "rec": "syngrpo.tasks.rec:ReferringExpression",
        "ovd": "syngrpo.tasks.ovd:OpenVocabularyDetection",
        "ovd-vlm-r1": "syngrpo.tasks.ovd:VLM_R1_DETECTION",
        "isr": "syngrpo.tasks.isr:IndoorSceneReasoning",
    },
    problem=_problem,
    instances=True,
)

_DEFAULTS: dict[AsksFor, str] = {"object": "rec", "classes": "ovd", "question": "isr"}


def get_task(name: str) -> Task:
    """Return the task with this short name. Raises InputError when there is none."""
    return TASKS.get(name)


def load_task(name: str) -> Task:
    """Return the task that the configuration or the command line names: by a short name or as
    ``package.module:Task``. Afterwards ``get_task`` finds it by its own name, which its samples
    have.

    Raises InputError when it cannot be imported, or when another task already has that name.
    """
    task = TASKS.load(name)
    if ":" in name and (task.name not in TASKS or TASKS.get(task.name) is not task):
        if task.name in TASKS:
            raise InputError(
                f"task '{name}' has the name '{task.name}' of another task; give it another name"
            )
        TASKS.add(task.name, task)
    return task


def default_task(asks_for: AsksFor) -> str:
    """Return the name of the built-in task for questions of this kind, for data that does not name
    a task."""
    return _DEFAULTS[asks_for]


def tasks_that_ask(asked: Collection[AsksFor]) -> list[str]:
    """Return the names of all tasks whose questions are of one of these kinds."""
    names = []
    for name in TASKS.names():
        try:
            if TASKS.get(name).asks_for in asked:
                names.append(name)
        except InputError:  # the package is broken; ``syngrpo extensions`` says why
            continue
    return names
