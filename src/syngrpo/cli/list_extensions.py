"""``syngrpo extensions``: lists all extensions, where each comes from, and which fail to load."""

from __future__ import annotations

from typing import Any

import typer

from syngrpo.extensions import Registry, no_instance

COMMANDS: Registry[typer.Typer] = Registry(
    "command group",
    "syngrpo.commands",
    {},
    problem=lambda name, found: no_instance(found, typer.Typer),
)
"""Groups of commands that installed packages add to ``syngrpo``."""


def extensions() -> None:
    """List all tasks, rewards, formats, methods, generators and the like that a configuration can
    name, with the package each comes from."""
    from rich.console import Console

    rows = [("kind", "name", "from", "target")]
    problems: dict[str, None] = {}  # in order; several packages may share one
    for registry in _registries():
        for found in registry.found():
            rows.append((registry.kind, found.name, found.source, found.target))
            if found.error is not None:
                problems[found.error] = None
    kind, name, source = (max(len(row[column]) for row in rows) for column in range(3))
    for row in rows:
        print(f"{row[0]:{kind}}  {row[1]:{name}}  {row[2]:{source}}  {row[3]}")
    console = Console()
    for problem in problems:
        console.print(f"cannot be loaded: {problem}", style="red", markup=False, soft_wrap=True)


def _registries() -> list[Registry[Any]]:
    from syngrpo.formats import FORMATS
    from syngrpo.method import METHODS
    from syngrpo.painting.describers import DESCRIBERS
    from syngrpo.painting.generators import GENERATORS
    from syngrpo.painting.judges import JUDGES
    from syngrpo.policy import MODELS
    from syngrpo.policy.families import FAMILIES
    from syngrpo.rollout import ENGINES
    from syngrpo.tasks import TASKS
    from syngrpo.tasks.rewards import REWARDS

    return [
        *(TASKS, REWARDS, FORMATS, METHODS, GENERATORS, DESCRIBERS, JUDGES),
        *(FAMILIES, MODELS, ENGINES, COMMANDS),
    ]
