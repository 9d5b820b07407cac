"""``syngrpo train`` and ``syngrpo report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.options import Processes, Restarts, TrainerRay, trainer_ranks


def train(
    config: Annotated[Path, typer.Argument(help="YAML file, for example configs/demo.yaml.")],
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run lives. Default: runs/CONFIG-TIME.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --run-dir.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: trainer.steps=16.")
    ] = None,
    ray: TrainerRay = None,
    processes: Processes = None,
    restarts: Restarts = None,
) -> None:
    """Train a model as the config file says."""
    from syngrpo.config import load_config

    resolved = load_config(config, overrides or [])
    directory = run_dir if run_dir is not None else _new_run_directory(config, resume)
    ranks = trainer_ranks(ray, processes, restarts)
    from syngrpo.workflow.run import train as run_training

    if ranks is not None:
        from syngrpo.workflow.on_ray.ray_launch import train_on_ray

        train_on_ray(run_training, resolved, directory, resume, ranks)
    else:
        run_training(resolved, directory, resume)


def report(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run.")],
) -> None:
    """Write RUN_DIR/report.html: curves, and pictures of parents with their children."""
    import sys

    from syngrpo.pages.run_data import load_own_tasks
    from syngrpo.pages.run_report import write_report

    for problem in load_own_tasks(run_dir):
        print("note:", problem, file=sys.stderr)
    print(write_report(run_dir))


def _new_run_directory(config: Path, resume: bool) -> Path:
    import os
    from datetime import datetime

    from syngrpo.sample import InputError

    if resume:
        raise InputError("--resume needs --run-dir, the run to go on with")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("several processes need --run-dir, so that they agree on it")
    return Path("runs") / f"{config.stem}-{datetime.now():%Y%m%d-%H%M%S}"
