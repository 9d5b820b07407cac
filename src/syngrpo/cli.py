"""The commands. Nothing heavy is imported before a command needs it.

Exit status: 0 ok; 2 wrong usage or input, with one line on standard error that says what and where;
1 anything else, with the traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from syngrpo.sample import Sample

USAGE_ERROR = 2

app = typer.Typer(
    help="Syn-GRPO: reinforcement learning for visual perception on data that keeps evolving.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets in our JSONL format.")
pool_app = typer.Typer(help="The evolving training set of a run.")
rooms_app = typer.Typer(help="The embedded world of small indoor scenes.")
app.add_typer(data_app, name="data")
app.add_typer(pool_app, name="pool")
app.add_typer(rooms_app, name="rooms")

Split = Annotated[str, typer.Option(help="train, test, ood, dev or broad.")]
Count = Annotated[int, typer.Option(min=1, help="Number of samples.")]
Seed = Annotated[int, typer.Option(min=0, help="Other seeds give other scenes.")]
Size = Annotated[int, typer.Option(min=64, max=512, help="Side of an image in pixels.")]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, for example configs/demo.yaml.")],
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run lives. Default: runs/CONFIG-TIME.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --run-dir.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: trainer.steps=16.")
    ] = None,
) -> None:
    """Train a model as the config file says."""
    from syngrpo.config import load_config

    resolved = load_config(config, overrides or [])
    directory = run_dir if run_dir is not None else _new_run_directory(config, resume)

    from syngrpo.run import train as run_training

    run_training(resolved, directory, resume)


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help='Model directory, or "starter".')],
    data: Annotated[list[str], typer.Option(help="A JSONL file, or rooms:test; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Directory for metrics and predictions.")],
    count: Annotated[int, typer.Option(min=1, help="Samples of each rooms:SPLIT.")] = 500,
    prompt_style: Annotated[
        Literal["full", "brief"] | None, typer.Option(help="Default: as the model was trained.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length limit of a response.")
    ] = None,
    samples_per_prompt: Annotated[
        int, typer.Option(min=0, help="Responses for the sampled accuracy; 0: greedy only.")
    ] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of sampling.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
) -> None:
    """Measure a model's accuracy on data sets."""
    import torch

    from syngrpo.evaluation import evaluate_command

    evaluate_command(
        model,
        data,
        out,
        count=count,
        prompt_style=prompt_style,
        max_new_tokens=max_new_tokens,
        samples_per_prompt=samples_per_prompt,
        batch_size=batch_size,
        seed=seed,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        dtype=dtype,
    )


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run.")],
) -> None:
    """Write RUN_DIR/report.html: curves, and pictures of parents with their children."""
    from syngrpo.dashboard.report import write_report

    print(write_report(run_dir))


@app.command()
def doctor() -> None:
    """Say what this machine has: versions, processors, GPUs, disk."""
    for name, value in _machine():
        print(f"{name:>14}  {value}")


@data_app.command("rooms")
def data_rooms(
    out: Annotated[Path, typer.Option(help="Directory for data.jsonl and images/.")],
    split: Split = "train",
    count: Count = 500,
    seed: Seed = 0,
    size: Size = 128,
) -> None:
    """Write a split of the rooms world as JSONL with images."""
    from syngrpo.formats.jsonl import write_jsonl

    samples = _rooms(split, count, seed, size)
    write_jsonl(samples, out / "data.jsonl", out / "images")
    print(f"{len(samples)} samples in {out / 'data.jsonl'}")


@data_app.command("check")
def data_check(
    file: Annotated[Path, typer.Argument(help="A JSONL file.")],
    images: Annotated[
        Path | None, typer.Option(help="Its image folder. Default: the file's folder.")
    ] = None,
) -> None:
    """Check every row and decode every image of a JSONL file."""
    from collections import Counter

    from syngrpo.formats.jsonl import read_jsonl

    samples = read_jsonl(file, images, decode=True)
    tasks = Counter(sample.task for sample in samples)
    pictures = {sample.image.path for sample in samples}
    objects = sum(len(sample.objects) for sample in samples)
    listed = ", ".join(f"{count} {task}" for task, count in sorted(tasks.items()))
    print(f"{file}: ok, {listed} samples, {len(pictures)} images, {objects} labelled objects")


@pool_app.command("stats")
def pool_stats(
    directory: Annotated[Path, typer.Argument(help="The directory of a run or of a pool.")],
) -> None:
    """Count seed and synthetic samples, jobs, and reasons of rejection."""
    import json
    from dataclasses import asdict

    from syngrpo.pool.store import Pool
    from syngrpo.sample import InputError

    if not (directory / "pool.db").is_file():
        raise InputError(f"there is no pool.db in {directory}; name the directory of a run")
    print(json.dumps(asdict(Pool.open(directory).stats()), indent=2))


@rooms_app.command("starter")
def rooms_starter(
    out: Annotated[Path, typer.Option(help="Directory for the model, its log and state.")],
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw scenes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads that train.")] = 1,
) -> None:
    """Make the bundled starter model from nothing, by its recipe.

    One to two hours on two cores; run it again to go on where it stopped.
    """
    import json

    from syngrpo.rooms.starter.recipe import Recipe, make_starter

    recipe = Recipe(seed=seed, workers=workers, threads=threads)
    make_starter(out, recipe, report=lambda record: print(json.dumps(record), flush=True))


@rooms_app.command("show")
def rooms_show(
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    split: Split = "train",
    count: Count = 24,
    seed: Seed = 0,
    size: Size = 128,
) -> None:
    """Draw samples of a split on one sheet, with their questions and answers."""
    from syngrpo.formats.contact_sheet import contact_sheet

    samples = _rooms(split, count, seed, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(samples).save(out, format="PNG")
    print(f"{len(samples)} samples in {out}")


def _new_run_directory(config: Path, resume: bool) -> Path:
    import os
    from datetime import datetime

    from syngrpo.sample import InputError

    if resume:
        raise InputError("--resume needs --run-dir, the run to go on with")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("several processes need --run-dir, so that they agree on it")
    return Path("runs") / f"{config.stem}-{datetime.now():%Y%m%d-%H%M%S}"


def _rooms(split: str, count: int, seed: int, size: int) -> list[Sample]:
    from typing import cast

    from syngrpo.rooms.dataset import rooms_samples
    from syngrpo.rooms.surroundings import Split as SplitName

    return rooms_samples(cast(SplitName, split), count, seed=seed, size=size)


def _machine() -> Iterator[tuple[str, str]]:
    import os
    import platform
    import shutil
    from importlib.metadata import version

    from syngrpo.pool.filesystem import filesystem_type

    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package in ("syngrpo", "torch", "torchvision", "transformers", "accelerate", "peft"):
        yield package, version(package)
    import torch

    yield "cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}"
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        yield f"gpu {index}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.is_available():
        yield "gpu", "none that torch can use"
    disk = shutil.disk_usage(".")
    kind = filesystem_type(Path(".")) or "unknown filesystem"
    yield "disk here", f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free, {kind}"


def main() -> NoReturn:
    """The entry point: runs a command, tells the user's mistakes in one line."""
    try:
        status = app(prog_name="syngrpo", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "syngrpo"
        problem = error.format_message().replace("Value error, ", "")
        _fail(f"{problem} ({command} --help says more)")
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        message = _fault_of_user(error)
        if message is None:
            raise
        _fail(message)
    sys.exit(status if isinstance(status, int) else 0)


def _fault_of_user(error: Exception) -> str | None:
    """The line for an error that the user can fix, None for any other."""
    from syngrpo.sample import InputError

    if isinstance(error, InputError):
        return str(error)
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; free some space or write elsewhere, then run again"
    return None


def _fail(message: str) -> NoReturn:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(USAGE_ERROR)


if __name__ == "__main__":
    main()
