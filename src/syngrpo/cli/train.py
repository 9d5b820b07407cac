"""``syngrpo train`` trains a model; ``syngrpo report`` writes the report of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syngrpo.cli.shared_options import (
    Overrides,
    Processes,
    Restarts,
    TrainerRay,
    require_dashboard,
    trainer_ranks,
)
from syngrpo.serving.garbage_collection import importing

if TYPE_CHECKING:
    from rich.console import Console

    from syngrpo.workflow.profiling import Profile
    from syngrpo.workflow.run_options import RunOptions


def train(
    config: Annotated[Path, typer.Argument(help="YAML file, for example configs/demo.yaml.")],
    run_dir: Annotated[
        Path | None, typer.Option(help="Directory of the run. Default: runs/CONFIG-TIME.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Resume the run in --run-dir.")] = False,
    overrides: Overrides = None,
    ray: TrainerRay = None,
    processes: Processes = None,
    restarts: Restarts = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show the run in the browser while it goes on.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Write a timeline of the first steps, a Chrome trace, to RUN_DIR/timeline/.",
        ),
    ] = False,
    profile_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Number of steps in the timeline of --profile. Default: 20."),
    ] = None,
    profile_kernels: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of these steps, from the third, in which PyTorch's profiler records every "
            "operation and CUDA kernel, too, in a file of its own.",
        ),
    ] = 0,
) -> None:
    """Train a model as the configuration file says."""
    if dashboard:
        require_dashboard()
    with importing():
        from syngrpo.config import load_config

        options = load_config(config, overrides or [])
    directory = run_dir if run_dir is not None else _new_run_directory(config, resume)
    ranks = trainer_ranks(ray, processes, restarts)
    profiled = _profile(profile, profile_steps, profile_kernels)
    if ranks is not None:
        from functools import partial

        from syngrpo.sample import InputError
        from syngrpo.workflow.on_ray.ray_launch import train_on_ray

        if dashboard:
            raise InputError(
                "--dashboard shows a run of this process; with --processes or --ray start "
                f"it in another terminal: syngrpo dashboard {directory}"
            )
        in_rank = partial(run_training, profile=profiled)
        train_on_ray(in_rank, options, directory, resume, ranks)
    else:
        run_training(options, directory, resume, dashboard=dashboard, profile=profiled)


def run_training(
    options: RunOptions,
    run_dir: Path,
    resume: bool,
    console: Console | None = None,
    dashboard: bool = False,
    profile: Profile | None = None,
) -> None:
    """Train with live progress. Then, in the main process, write the report and print the summary.

    A rank on a Ray cluster calls this, too, with a console of its own. With ``dashboard`` the run
    can be seen in the browser meanwhile; ``profile`` is what a timeline shows. Raises InputError as
    ``workflow.run.train`` does.
    """
    from contextlib import ExitStack
    from functools import partial

    import rich

    from syngrpo.pages.run_data import has_results
    from syngrpo.pages.run_report import write_report
    from syngrpo.pages.run_summary import print_summary
    from syngrpo.pages.training_progress import TrainingProgress
    from syngrpo.workflow.run import train as train_model

    beside = ExitStack()

    def show(steps: int, done: int, console: Console) -> TrainingProgress:
        if dashboard:
            from syngrpo.dashboard.beside_training import dashboard_beside

            say = partial(console.print, soft_wrap=True, markup=False, highlight=False)
            beside.enter_context(dashboard_beside(run_dir, say))
        return TrainingProgress(steps, start=done, console=console)

    with beside:
        is_main = train_model(options, run_dir, resume, show, console, profile)
    if is_main:
        if not has_results(run_dir):
            line = f"{run_dir} has lost metrics.jsonl and evaluation.jsonl: no report"
            (console or rich.get_console()).print(line)
            return
        write_report(run_dir)
        print_summary(run_dir, console)


def report(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run.")],
    out: Annotated[
        Path | None, typer.Option(help="The file that is written instead of RUN_DIR/report.html.")
    ] = None,
) -> None:
    """Write RUN_DIR/report.html: curves, and images with the images painted from them."""
    import sys

    from syngrpo.pages.run_data import load_own_tasks
    from syngrpo.pages.run_report import write_report

    for problem in load_own_tasks(run_dir):
        print(f"note: {problem}; its answers are shown as plain values", file=sys.stderr)
    print(write_report(run_dir, out))


def _profile(wanted: bool, steps: int | None, kernels: int) -> Profile | None:
    """Return what ``--profile`` asks for, None without it."""
    if not wanted and not kernels and steps is None:
        return None
    from syngrpo.sample import InputError
    from syngrpo.workflow.profiling import Profile

    if not wanted:
        given = f"--profile-kernels {kernels}" if kernels else f"--profile-steps {steps}"
        raise InputError(f"{given} needs --profile")
    return Profile(kernels=kernels) if steps is None else Profile(steps, kernels)


def _new_run_directory(config: Path, resume: bool) -> Path:
    import os
    from datetime import datetime

    from syngrpo.sample import InputError

    if resume:
        raise InputError("--resume needs --run-dir, the directory of the run to resume")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("several processes need --run-dir, so that they agree on it")
    return Path("runs") / f"{config.stem}-{datetime.now():%Y%m%d-%H%M%S}"
