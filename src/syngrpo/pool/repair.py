"""Repairs a pool whose database is damaged, gone, or older than a checkpoint's copy of it.

``repair`` is what ``syngrpo pool repair`` does. It deletes nothing, except orphans if it is told
to: what it replaces is moved into a folder. Nothing else may have the pool open.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from syngrpo.pool.database import (
    FILE_NAME,
    IMAGES,
    Database,
    NoPool,
    database_files,
    read_only,
)
from syngrpo.pool.filesystem import PoolDamaged
from syngrpo.pool.image_store import is_intact, is_whole
from syngrpo.pool.mending import mend
from syngrpo.pool.salvage import DAMAGE, copy_rows, readable_rows, unusable_row
from syngrpo.pool.store import GONE, Pool
from syngrpo.serving.wording import count, first_line

REBUILDING, REBUILT = f"{FILE_NAME}.rebuilding", f"{FILE_NAME}.rebuilt"
"""The folder in which a new database is made, and its name when it is complete."""
_DIGEST = re.compile("[0-9a-f]{64}")


def repair(
    directory: Path, aside: Path, copies: Sequence[Path] = (), delete_orphans: bool = False
) -> list[str]:
    """Repair the pool in a directory. Return lines that say what was wrong and what was done about
    it, none if nothing was. ``aside`` is a folder for what is replaced, which need not exist.

    ``copies`` are backups of the pool (those in its checkpoints), the newest first. The rows of the
    first one that can be read and those that the database itself still holds become the new
    database. Then every image is compared with its digest. Raises InputError for a pool of another
    version.
    """
    lines = []
    wrong = _find_damage(directory, copies, thorough=True)
    if wrong is not None:
        lines.append(f"{FILE_NAME} {wrong}")
        lines += _rebuild(directory, copies, aside)
    (directory / REBUILT).unlink(missing_ok=True)  # of a repair that was killed, and is not needed
    with closing(Pool(directory)) as pool:
        with pool.database.write() as connection:
            lines += mend(connection)
        lines += _check_images(pool, aside)
        lines += _orphans(pool, delete_orphans)
    return lines


def contents(directory: Path) -> str:
    """Return the numbers of seeds, synthetic samples and jobs of a pool in words."""
    with closing(Pool(directory)) as pool:
        stats = pool.stats()
    seeds, synthetic = count(stats.seed, "seed"), count(stats.synthetic, "synthetic sample")
    return f"{seeds}, {synthetic} and {count(sum(stats.jobs.values()), 'job')}"


def require_sound(directory: Path, copies: Sequence[Path] = ()) -> None:
    """Raise PoolDamaged, with what ``repair`` can bring back, if the database is lost, damaged, or
    older than the newest of the ``copies``. Nothing is changed."""
    wrong = _find_damage(directory, copies)
    if wrong is None:
        return
    file = directory / FILE_NAME
    sources = {f"{FILE_NAME} itself": file} | {f"the copy {copy}": copy for copy in copies[:1]}
    found = {name: readable_rows(path) for name, path in sources.items() if path.is_file()}
    left = [
        f"{count(rows['samples'], 'sample')} and {count(rows['jobs'], 'job')} can be read from "
        f"{name}"
        for name, rows in found.items()
        if rows["samples"]
    ]
    images = count(sum(1 for _ in image_files(directory)), "image")
    left.append(f"{images} of unknown labels are left" if not left else f"{images} are left")
    raise PoolDamaged(directory, f"{FILE_NAME} {wrong}; {', '.join(left)}")


def sample_ids(directory: Path) -> set[str]:
    """Return the ids of all samples of a pool."""
    with closing(Pool(directory)) as pool, pool.database.read() as connection:
        return {name for (name,) in connection.execute("SELECT id FROM samples")}


def _find_damage(directory: Path, copies: Sequence[Path], thorough: bool = False) -> str | None:
    """Return what is wrong with the database in a few words, None if nothing is. With
    ``thorough`` the indices are compared with the tables, and every value is looked at."""
    file = directory / FILE_NAME
    if not file.exists():
        return "is missing"
    if not file.is_file():
        return "is no file"
    if not file.stat().st_size:
        return "is empty"
    try:
        with closing(Database(directory)) as database:
            found = database.damage(thorough)
            with database.read() as connection:
                if found is None and thorough:
                    found = unusable_row(connection)
                if found is not None:
                    return f"is damaged ({found})"
                own = _samples(connection)
    except (PoolDamaged, NoPool) as error:
        cause = error.__cause__
        return f"is damaged ({first_line(cause)[:200] if cause else 'it is no pool'})"
    for copy in copies:
        with closing(read_only(copy)) as connection:
            try:
                known = _samples(connection)
            except DAMAGE:
                continue
        if own < known:  # samples are never deleted
            return f"has {count(own, 'sample')}, fewer than the {known} in {copy}"
        return None
    return None


def _samples(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("SELECT COUNT(*) FROM samples").fetchone()[0]
    return number


def _rebuild(directory: Path, copies: Sequence[Path], aside: Path) -> list[str]:
    """Make a new database of what can be read, move the old one aside, and put the new one in its
    place.

    The old one is moved only when the new one is complete. So a repair that is killed loses
    nothing: the next one begins anew, or goes on if the old database has been moved already.
    """
    file, rebuilt = directory / FILE_NAME, directory / REBUILT
    lines = []
    if rebuilt.exists() and not file.exists():
        found = ["found the new database of a repair that was interrupted"]
    else:
        found = _build(directory, copies, aside)
    for old in database_files(directory):  # first the database, then the files beside it
        aside.mkdir(exist_ok=True)
        old.rename(aside / old.name)
        lines.append(f"kept the old file as {aside / old.name}")
    os.replace(rebuilt, file)
    return [*lines, *found]


def _build(directory: Path, copies: Sequence[Path], aside: Path) -> list[str]:
    """Write a new database of what can be read to the file ``REBUILT``, which is complete or
    absent. ``aside`` is where the old database will be."""
    folder, old = directory / REBUILDING, directory / FILE_NAME
    shutil.rmtree(folder, ignore_errors=True)  # of a repair that was killed
    lines = []
    try:
        with closing(Database(folder, anew=True)) as database:
            with database.write() as connection:
                connection.execute("PRAGMA defer_foreign_keys = ON")  # until mend has run
                for source in [*copies, old]:
                    rows = copy_rows(source, connection) if source.is_file() else {}
                    if rows:
                        name = aside / FILE_NAME if source == old else source
                        found = (
                            f"{count(rows['samples'], 'sample')} and {count(rows['jobs'], 'job')}"
                        )
                        lines.append(f"read {found} from {name}")
                mend(connection)
            database.checkpoint()
        os.replace(folder / FILE_NAME, directory / REBUILT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return lines


def _check_images(pool: Pool, aside: Path) -> list[str]:
    """Compare every image with its digest. Move damaged files aside; let samples whose image is
    missing rest, and wake those whose image is there again.

    A seed is left as it is: when training goes on, ``Pool.add_seeds`` writes its image again and
    wakes it.
    """
    with pool.database.read() as connection:
        rows = connection.execute(
            "SELECT s.id, s.image, t.depth, t.state "
            "FROM samples s JOIN standing t ON t.number = s.number ORDER BY s.number"
        ).fetchall()
    missing = []
    for name, digest, depth, state in rows:
        if _is_intact(pool.images.path(digest), aside):
            continue
        missing.append(name)
        if depth > 0 and state == "active":
            pool.quarantine(name, f"image file {pool.images.path(digest)} {GONE}")
    back = pool.wake()
    lines = []
    if missing:
        lines.append(
            f"the images of {count(len(missing), 'sample')} are missing or damaged, such as that "
            f"of {missing[0]}: synthetic ones are no longer drawn, seeds get theirs back from the "
            "data when the run goes on"
        )
    if back:
        lines.append(f"{count(len(back), 'sample')} with an image again can be drawn again")
    return lines


def _is_intact(path: Path, aside: Path) -> bool:
    """Return whether an image file is intact. Move what is in its place aside, unless that is an
    empty file."""
    if is_intact(path):
        return True
    if is_whole(path) or (os.path.lexists(path) and not path.is_file()):
        (aside / IMAGES).mkdir(parents=True, exist_ok=True)
        path.rename(aside / IMAGES / path.name)
    return False


def _orphans(pool: Pool, delete: bool) -> list[str]:
    """Find image files that belong to no sample, and delete them if that is asked for."""
    with pool.database.read() as connection:
        known = {digest for (digest,) in connection.execute("SELECT image FROM samples")}
    found = [path for path in image_files(pool.directory) if path.name not in known]
    if not found:
        return []
    megabytes = sum(path.stat().st_size for path in found) / 1e6
    for path in found if delete else ():
        path.unlink()
    what = "deleted" if delete else "--delete-orphans deletes them"
    return [f"{count(len(found), 'image')} of no sample ({megabytes:.1f} MB): {what}"]


def image_files(directory: Path) -> Iterator[Path]:
    """Yield the image files of a pool: those that are named by their digest."""
    for path in sorted((directory / IMAGES).glob("??/*")):
        if _DIGEST.fullmatch(path.name):
            yield path
