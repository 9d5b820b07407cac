"""``syngrpo pool``: prints, exports and repairs the evolving training set of a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syngrpo.cli.shared_options import UserTask, progress_bar
from syngrpo.serving.wording import count

if TYPE_CHECKING:
    from syngrpo.pool.store import Pool
    from syngrpo.sample import Sample

pool_app = typer.Typer(help="Look at, export and repair the evolving training set of a run.")

Directory = Annotated[Path, typer.Argument(help="The directory of a run or of a pool.")]


@pool_app.command("stats")
def pool_stats(directory: Directory) -> None:
    """Print the number of samples and jobs, and of rejections by reason, as JSON."""
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(_existing_pool(directory).stats()), indent=2))


@pool_app.command("export")
def pool_export(
    directory: Directory,
    out: Annotated[
        Path, typer.Option(help="The directory that is written; it must be new or empty.")
    ],
    format: Annotated[
        str, typer.Option(help="The format to write. syngrpo extensions lists them.")
    ] = "jsonl",
    seeds: Annotated[bool, typer.Option("--seeds", help="Write the seed samples as well.")] = False,
    task: UserTask = None,
) -> None:
    """Write the admitted synthetic samples, with their lineage, as a data set.

    Tasks of your own that the configuration of the run names are loaded without --task. It is for
    the pools of a data server, which have no configuration.
    """
    import sys

    from syngrpo.formats.export import write_dataset
    from syngrpo.pages.run_data import load_own_tasks
    from syngrpo.sample import InputError
    from syngrpo.tasks import load_task

    for name in task or []:
        load_task(name)
    for problem in load_own_tasks(directory):
        print("note:", problem, file=sys.stderr)
    pool = _existing_pool(directory)
    samples = _admitted(pool, seeds)
    if not samples:
        raise InputError(f"pool {directory} has no synthetic samples; --seeds exports the seeds")
    samples = _with_intact_images(samples, directory)
    with progress_bar("writing", len(samples)) as advance:
        write_dataset(samples, out, format, advance)
    pool.close()
    print(f"{count(len(samples), 'sample')} in {out}")


@pool_app.command("repair")
def pool_repair(
    directory: Directory,
    delete_orphans: Annotated[
        bool, typer.Option("--delete-orphans", help="Delete images that belong to no sample.")
    ] = False,
) -> None:
    """Repair a pool whose files are lost or damaged, from what they and the checkpoints still hold.

    What is replaced is kept in a new folder damaged-N. Nothing may use the run at the same time.
    """
    from syngrpo.data_server.async_client import SPILL_NAME
    from syngrpo.data_server.server_sink import OUTBOX_NAME
    from syngrpo.data_server.spill_records import repair_records
    from syngrpo.pool.database import FILE_NAME
    from syngrpo.pool.repair import contents, repair, sample_ids
    from syngrpo.workflow.checkpoint import saved_files
    from syngrpo.workflow.resuming import POOL_BACKUP

    numbers = itertools.count(1)
    aside = next(p for n in numbers if not (p := directory / f"damaged-{n}").exists())
    with _used_by_nobody_else(directory):
        copies = saved_files(directory / "checkpoints", POOL_BACKUP)
        lines = repair(directory, aside, copies, delete_orphans)
        known = sample_ids(directory)
        for name in (SPILL_NAME, OUTBOX_NAME):
            lines += repair_records(directory / name, aside, known)
        held = contents(directory)
    if not lines:
        print(f"the pool is whole: {held}; nothing to do")
        return
    for line in (*lines, f"{FILE_NAME} holds {held}", *_next_step(directory)):
        print(line)


def _next_step(directory: Path) -> list[str]:
    """Return a line with the command that goes on after a repair; none for a pool that belongs to
    neither a run nor a data server."""
    import shlex

    from syngrpo.data_server.served_run import RECORD

    config = directory / "config.yaml"
    if config.is_file():
        command = ["syngrpo", "train", str(config), "--run-dir", str(directory), "--resume"]
        return [f"now resume with: {shlex.join(command)}"]
    if (directory / RECORD).is_file():
        pools = shlex.quote(str(directory.parent))
        return [f"now start the data server again: syngrpo serve --pool {pools} …"]
    return []


@contextmanager
def _used_by_nobody_else(directory: Path) -> Iterator[None]:
    """Lock the directory of a run, or the data server's directory that holds the pool. Raises
    InputError for any other directory, and if another process has locked it."""
    from filelock import FileLock, Timeout

    from syngrpo.pool.database import FILE_NAME
    from syngrpo.pool.repair import image_files
    from syngrpo.sample import InputError
    from syngrpo.serving.directory_lock import used_alone
    from syngrpo.workflow.run_directory import RunDirectory

    if (directory / "config.yaml").is_file():
        with RunDirectory.open(directory, resume=True):
            yield
    elif (server := directory.parent / "server.lock").is_file():
        try:
            with FileLock(server, blocking=False):
                yield
        except Timeout:
            raise InputError(f"a data server uses {directory.parent}; stop it first") from None
    elif (directory / FILE_NAME).exists() or any(image_files(directory)):
        with used_alone(directory, "stop it first"):
            yield
    else:
        raise InputError(f"{directory} holds neither a run nor a pool; name the directory of a run")


def _existing_pool(directory: Path) -> Pool:
    from syngrpo.pool.database import FILE_NAME, IMAGES
    from syngrpo.pool.pool_reading import open_to_read
    from syngrpo.sample import InputError

    if not (directory / FILE_NAME).exists() and not any((directory / IMAGES).glob("??/*")):
        raise InputError(f"there is no {FILE_NAME} in {directory}; name the directory of a run")
    return open_to_read(directory)


def _admitted(pool: Pool, seeds: bool) -> list[Sample]:
    """Return the active and the retired samples with their lineage. Quarantined samples are left
    out, because their images cannot be read."""
    from dataclasses import replace

    from syngrpo.data_server.pool_jobs import SYNTHESIS
    from syngrpo.formats.lineage_columns import with_lineage

    samples = []
    for kind in ("seed", "synthetic") if seeds else ("synthetic",):
        for state in ("active", "retired"):
            for stored in pool.samples(kind, state):
                sample = stored.sample
                columns = dict(sample.columns)
                prompt = columns.pop(SYNTHESIS, {}).get("prompt")
                known = pool.lineage(sample.id, prompt)
                samples.append(with_lineage(replace(sample, columns=columns), known))
    return samples


def _with_intact_images(samples: list[Sample], directory: Path) -> list[Sample]:
    """Return the samples whose image file is as it was stored; say how many others there are.
    Raises InputError when none is left."""
    import sys

    from syngrpo.pool.image_store import is_intact
    from syngrpo.sample import InputError

    files = {path for sample in samples if (path := sample.image.path) is not None}
    intact = {path for path in files if is_intact(path)}
    kept = [sample for sample in samples if sample.image.path in intact]
    if not kept:
        raise InputError(
            f"no image of pool {directory} is whole; run: syngrpo pool repair {directory}"
        )
    if len(kept) < len(samples):
        lost = next(sample for sample in samples if sample.image.path not in intact)
        print(
            f"note: left out {count(len(samples) - len(kept), 'sample')} whose image is missing or "
            f"damaged, such as {lost.id}; syngrpo pool repair {directory} looks for more damage",
            file=sys.stderr,
        )
    return kept
