"""The commands ``python -m experiments.rooms``.

They run the experiment, show how much of it is done, write the report, and make the further
measurements.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.console import Console
from rich.table import Table

from experiments.rooms.matrix import SETS, Folders, Matrix, Split, chosen
from experiments.rooms.settings import SETTINGS
from syngrpo.sample import InputError

USAGE_ERROR, INTERRUPTED = 2, 130

app = typer.Typer(
    help="The experiment: three tasks, twelve methods, several seeds on the rooms world.\n\n"
    "run trains and measures every cell, report writes RESULTS.md from the finished cells. A cell "
    "is a task, a method and a training seed. A finished cell leaves "
    "results/TASK-METHOD-SEED.json, which holds all that the report needs. So runs/ can be "
    "deleted, and several machines can run different cells. The settings that may be tuned are in "
    "settings.py. Tune with --split dev, which measures on surroundings that no other split has "
    "and writes to dev/.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)

SplitOption = Annotated[
    Literal["held-out", "dev"],
    typer.Option(
        help="held-out: measure on test, ood, hard and ood-hard. dev: for tuning, on dev and "
        "dev-hard; results go to dev/."
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        help="Training seeds: 0,1,2,3,4. Without it those of settings.py, which has more for some "
        "methods."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override a key in every cell: trainer.steps=100; may be repeated. A command without "
        "it treats results made with it as outdated.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for runs, results and the report instead of experiments/rooms."),
]
Part = Annotated[
    Literal["longer", "images"] | None,
    typer.Option(
        help="A further part of the experiment, with fewer methods and three seeds, in a folder of "
        "its name. longer: twice as many steps; a cell goes on from the same cell of the whole if "
        "that is done and still has its directory in runs/. images: 200 seed images instead of 20."
    ),
]
ENDS = ("early", "late")


@app.command()
def run(
    jobs: Annotated[int, typer.Option(min=1, help="Number of cells at once.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each cell.")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A part of the matrix: task=rec,method=grpo,seed=0; may be repeated."),
    ] = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete a run's directory once its result is written.")
    ] = False,
    split: SplitOption = "held-out",
    seeds: Seeds = None,
    overrides: Overrides = None,
    part: Part = None,
    out: Out = None,
) -> None:
    """Run the cells that are not done, and resume those that were interrupted.

    After Ctrl-C or a kill the same command resumes; only the steps since a run's last checkpoint
    are lost. Several of these commands may run at once, also on the same cells. If a cell fails, it
    is named, and the others go on; the next command tries it again. The output of a cell is in
    runs/CELL.log.
    """
    from experiments.rooms.runner import Runner

    whole, place = _matrix(split, seeds, overrides), _folders(split, out)
    matrix, folders = _part(whole, place, part)
    cells = chosen(matrix.cells(), only or [])
    continued = whole.part("longer").cells() if part is None else []
    shorter = place if part == "longer" else None
    runner = Runner(matrix, folders, cells, jobs, threads, discard, continued, shorter)
    try:
        failed = runner.run()
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print(runner.progress())
    for cell, why in failed.items():
        print(f"failed: {cell.name}: {why}", file=sys.stderr)
    raise typer.Exit(1 if failed else 0)


@app.command()
def status(
    split: SplitOption = "held-out",
    seeds: Seeds = None,
    overrides: Overrides = None,
    part: Part = None,
    out: Out = None,
) -> None:
    """Show how much of every cell is done, and which cells are outdated or cannot be run, and
    why."""
    from experiments.rooms.standing import counted, standing

    matrix, folders = _part(_matrix(split, seeds, overrides), _folders(split, out), part)
    found = {cell: standing(matrix, cell, folders) for cell in matrix.cells()}
    table = Table("task", "method", *(f"seed {seed}" for seed in matrix.settings.all_seeds))
    for task in matrix.settings.tasks:
        for method in matrix.settings.methods:
            row = [s for c, s in found.items() if (c.task, c.method) == (task, method)]
            cells = [f"{s.state} {s.share:.0%}" if 0 < s.share < 1 else s.state for s in row]
            table.add_row(task, method, *cells)
        table.add_section()
    console = Console()
    console.print(table)
    for reason in dict.fromkeys(f"{s.state}: {s.why}" for s in found.values() if s.why):
        names = [cell.name for cell, s in found.items() if f"{s.state}: {s.why}" == reason]
        console.print(f"{', '.join(names)} {reason}", markup=False, soft_wrap=True)
    counts = [f"{number} {state}" for state, number in counted(found.values()).items()]
    console.print(", ".join(counts), highlight=False)


@app.command()
def report(
    split: SplitOption = "held-out",
    seeds: Seeds = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Write RESULTS.md and its plots from the finished cells, and name those that are missing."""
    from experiments.rooms.report import write_report

    print(write_report(_matrix(split, seeds, overrides), _folders(split, out)))


@app.command()
def labels(
    count: Annotated[int, typer.Option(min=1, help="Synthetic samples of each task.")] = 500,
    split: SplitOption = "held-out",
    seeds: Seeds = None,
    out: Out = None,
) -> None:
    """Check the labels of synthetic samples against the renderer, for the report.

    The samples are those of a run in runs/. For a task without such a run, they are painted now.
    """
    from experiments.rooms.labels import check_labels

    content = check_labels(_matrix(split, seeds, None), _folders(split, out), count)
    for task, one in content["tasks"].items():
        faults = ", ".join(f"{what} {number}" for what, number in one["faults"].items())
        print(f"{task}: {one['true']} of {one['checked']} true {faults} ({one['source']})")


@app.command()
def dependence(
    split: SplitOption = "held-out",
    seeds: Seeds = None,
    out: Out = None,
) -> None:
    """Measure what response diversity depends on, for the report.

    In the runs whose directories are in runs/, it is measured how much it depends on time, family,
    and the words of the description. With the starter, it is measured how much it depends on the
    words, in children that are painted for this alone, and whether it repeats; and how much it
    depends on other surroundings, in scenes rendered again. This takes a few minutes a task.
    """
    from experiments.rooms.dependence import measure_dependence

    content = measure_dependence(_matrix(split, seeds, None), _folders(split, out))
    for name, one in content["runs"].items():
        shares = ", ".join(f"{what} {one[what]:.3f}" for what in ("time", "family", "words"))
        print(f"{name}: {shares} of the variance of D")
    for task, one in content["words"].items():
        print(f"{task}: {one['children']} children, rejected: {one['rejected']}")
        for kind, by in one["diversity_of"].items():
            print(
                f"{task}, D of {kind}: words tell {by['words']:.3f} of its variance, "
                f"{by['words_within']:.3f} of that within families; reliability "
                f"{by['reliability']:.2f}; mean {by['mean']:.3f}"
            )


@app.command()
def wear(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs that painted.")],
) -> None:
    """Show whether descriptions got worse over a run.

    Prints how many properties of a room the first and the last tenth of the descriptions say, and
    how many words they have.
    """
    from experiments.rooms.wear import early_and_late, painted_descriptions

    out = Table("run", *(f"{what}, {end}" for what in ("said", "words") for end in ENDS))
    for run in runs:
        ends = early_and_late(painted_descriptions(run))
        said, words = [s.properties for s in ends], [s.words for s in ends]
        out.add_row(run.name, *(f"{value:.1f}" for value in [*said, *words]))
    Console().print(out)


def _matrix(split: str, seeds: str | None, overrides: list[str] | None) -> Matrix:
    """Return the matrix that the options of a command ask for. Raises InputError for seeds that are
    not whole numbers separated by commas."""
    assert split in SETS
    settings = SETTINGS
    if seeds is not None:
        try:
            numbers = tuple(dict.fromkeys(int(seed) for seed in seeds.split(",")))
        except ValueError:
            raise InputError(f"--seeds {seeds}: write it as 0,1,2") from None
        settings = replace(SETTINGS, seeds=numbers, further_seeds={})
    return Matrix(settings, cast(Split, split), tuple(overrides or ()))


def _folders(split: str, out: Path | None) -> Folders:
    return Folders.of(cast(Split, split)) if out is None else Folders(out.resolve())


def _part(matrix: Matrix, folders: Folders, name: str | None) -> tuple[Matrix, Folders]:
    return (matrix, folders) if name is None else (matrix.part(name), folders.part(name))


def main() -> None:
    """Run a command. An error of the user is printed on one line and ends with status 2."""
    try:
        status = app(prog_name="python -m experiments.rooms", standalone_mode=False)
    except typer.TyperException as error:
        sys.exit(_fail(error.format_message()))
    except InputError as error:
        sys.exit(_fail(str(error)))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return USAGE_ERROR


if __name__ == "__main__":
    main()
