"""A pool whose files are lost, cut, overwritten or too old is told and repaired."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_integrity import check_consistent
from pool_samples import child, seed
from small_disk import run_on_a_small_disk

from syngrpo.cli.pool import pool_repair
from syngrpo.pool.database import VERSION
from syngrpo.pool.filesystem import PoolDamaged
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, Rejected
from syngrpo.pool.repair import contents, repair, sample_ids
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import InputError

SEEDS, FIRST, LATER = 30, 60, 20
"""Seeds, jobs before the checkpoint, and jobs after it. Every third job is rejected."""


def grow(pool: Pool, jobs: range) -> None:
    queue = JobQueue(
        pool, limit=99, lease_s=60, max_attempts=3, sampling=SamplingPolicy(max_unmeasured=999)
    )
    queue.submit([JobRequest(f"seed-{n % SEEDS}", f"wall {n}", n, "test") for n in jobs])
    leased = queue.lease("worker", len(jobs))
    ends = [child(job) if n % 3 else Rejected("size", {}) for n, job in enumerate(leased)]
    ended = [(job.id, end) for job, end in zip(leased, ends, strict=True)]
    assert all(queue.complete_all("worker", ended))
    pool.observe([Observation(f"seed-{n % SEEDS}", n, n, 0.5, 0.5) for n in jobs])


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with a copy of an earlier state, as a checkpoint has it."""
    directory = tmp_path_factory.mktemp("grown")
    with closing(Pool.open(directory)) as pool:
        pool.add_seeds(seed(n) for n in range(SEEDS))
        grow(pool, range(FIRST))
        pool.backup(directory / "copy.db")
        grow(pool, range(FIRST, FIRST + LATER))
    return directory


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def overwrite(file: Path) -> None:
    file.write_text("hello " * 5000)


def spoil_schema(file: Path) -> None:
    spoil_page(file, 1, b"\xaa" * 3000)


def overwrite_at(file: Path, place: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(data)


def spoil_page(file: Path, page: int, data: bytes) -> None:
    overwrite_at(file, (page - 1) * 4096 + 100, data)


def another_database(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE other (x)")


def forget_the_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 0")


def drop_samples(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE samples")


def in_place_of_it(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "lost": Path.unlink,
    "emptied": lambda file: os.truncate(file, 0),
    "cut": cut,
    "overwritten": overwrite,
    "spoilt": spoil_schema,
    "another database": another_database,
    "a table is lost": drop_samples,
    "the version is lost": forget_the_version,
    "another format": lambda file: overwrite_at(file, 44, b"\0\0\0\x09"),
    "a folder": in_place_of_it,
}


def require_sound(directory: Path) -> None:
    """What a run does before it goes on."""
    with closing(Pool.open(directory)) as pool:
        if (damage := pool.database.damage()) is not None:
            raise PoolDamaged(directory, damage)


def counts(directory: Path) -> tuple[int, int]:
    with closing(Pool.open(directory)) as pool:
        stats = pool.stats()
        return stats.seed, stats.synthetic


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_with_the_command_and_repaired(
    tmp_path: Path, grown: Path, damage: str
) -> None:
    whole, early = counts(grown), FIRST - FIRST // 3
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    DAMAGES[damage](run / "pool.db")
    with pytest.raises(InputError, match=f"syngrpo pool repair {run}") as caught:
        require_sound(run)
    assert "\n" not in str(caught.value)
    lines = repair(run, run / "damaged-1", [run / "copy.db"])
    assert lines[0].startswith("pool.db is ")
    check_standing(run)
    seeds, synthetic = counts(run)
    assert seeds == SEEDS and early <= synthetic <= whole[1]
    assert contents(run).startswith(f"{seeds} seeds, {synthetic} synthetic samples and ")
    assert (run / "damaged-1").exists() or damage in ("lost", "emptied")
    with closing(Pool.open(run)) as pool:
        assert pool.database.damage() is None
        assert pool.add_seeds(seed(n) for n in range(SEEDS)) == 0
        grow(pool, range(200, 206))  # the pool goes on


def check_standing(run: Path) -> None:
    """What ``check_consistent`` demands, except that cursors may have gaps and jobs be lost."""
    with closing(sqlite3.connect(run / "pool.db")) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        cursors = db.execute("SELECT number FROM jobs WHERE cursor > 0 ORDER BY cursor").fetchall()
        copy = run / "checked"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checked", "damaged-*"))
    with closing(sqlite3.connect(copy / "pool.db")) as db, db:
        db.execute("UPDATE jobs SET cursor = NULL")
        db.execute("UPDATE samples SET job = NULL WHERE job NOT IN (SELECT id FROM jobs)")
        for cursor, row in enumerate(cursors, start=1):
            db.execute("UPDATE jobs SET cursor = ? WHERE number = ?", (cursor, *row))
    check_consistent(copy)
    shutil.rmtree(copy, ignore_errors=True)


def test_repairing_a_sound_pool_changes_nothing(tmp_path: Path, grown: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    with closing(sqlite3.connect(run / "pool.db")) as db:
        before = list(db.iterdump())
    assert repair(run, run / "damaged-1", [run / "copy.db"]) == []
    with closing(sqlite3.connect(run / "pool.db")) as db:
        assert list(db.iterdump()) == before
    assert not (run / "damaged-1").exists()


def test_the_command_says_what_to_do_next(
    tmp_path: Path, grown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "a run"
    shutil.copytree(grown, run)
    held = "30 seeds, 53 synthetic samples and 80 jobs"

    def said() -> list[str]:
        pool_repair(run)
        return capsys.readouterr().out.splitlines()

    def lose_a_picture() -> None:
        next((run / "images").glob("??/*")).unlink()

    assert said() == [f"the pool is whole: {held}; nothing to do"]
    lose_a_picture()
    assert said()[1:] == [f"pool.db holds {held}"]
    (run / "config.yaml").touch()
    lose_a_picture()
    assert said()[1:] == [
        f"pool.db holds {held}",
        f"now resume with: syngrpo train '{run}/config.yaml' --run-dir '{run}' --resume",
    ]
    (run / "config.yaml").unlink()
    (run / "run.json").touch()
    lose_a_picture()
    assert said()[-1] == f"now start the data server again: syngrpo serve --pool {tmp_path} …"


def test_a_folder_with_pictures_of_a_users_data_is_no_pool(tmp_path: Path) -> None:
    (tmp_path / "images" / "cats").mkdir(parents=True)
    (tmp_path / "images" / "cats" / "1.jpg").touch()
    with pytest.raises(InputError, match="holds neither a run nor a pool"):
        pool_repair(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("jobs", "scores", b'{"size": 0.97\xff\x80}'),
        ("jobs", "scores", b'{"size": 0.97'),
        ("samples", "body", b'{"task": "rec", '),
        ("samples", "body", b"\xff\xfe"),
        ("observations", "diversity", 7.5),
    ],
)
def test_a_changed_value_within_a_sound_file_is_found_and_repaired(
    tmp_path: Path, grown: Path, table: str, column: str, value: bytes | float
) -> None:
    """SQLite's own check sees nothing, and yet a run could not go on."""
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    with closing(sqlite3.connect(run / "pool.db")) as db, db:
        written = "?" if isinstance(value, float) else "CAST(? AS TEXT)"
        query = f"UPDATE {table} SET {column} = {written} WHERE number = 5"
        db.execute(query, (value,))
    with closing(Pool.open(run)) as pool:
        assert pool.database.damage(thorough=True) is None
    lines = repair(run, run / "damaged-1", [run / "copy.db"])
    assert lines[0].startswith("pool.db is damaged (") and "\n" not in lines[0]
    check_standing(run)
    assert counts(run) == counts(grown)
    assert repair(run, run / "damaged-2", [run / "copy.db"]) == []


def test_a_pool_older_than_the_copy_is_brought_up_to_it(tmp_path: Path, grown: Path) -> None:
    """As after an earlier version of syngrpo has silently made a lost pool anew."""
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    with closing(Pool.anew(run)) as pool:
        pool.add_seeds(seed(n) for n in range(SEEDS))
        grow(pool, range(300, 303))
    lines = repair(run, run / "damaged-1", [run / "copy.db"])
    assert lines[0] == f"pool.db has 32 samples, fewer than the 70 in {run / 'copy.db'}"
    assert counts(run) == (SEEDS, 40)


def test_without_any_copy_what_the_file_still_holds_is_kept(tmp_path: Path, grown: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    with closing(sqlite3.connect(run / "pool.db")) as db:
        query = "SELECT pageno FROM dbstat WHERE name = 'samples' AND pagetype = 'leaf'"
        pages = [number for (number,) in db.execute(query)]
    spoil_page(run / "pool.db", pages[len(pages) // 2], b"\xaa" * 3000)
    lines = repair(run, run / "damaged-1")
    check_standing(run)
    assert any(line.endswith(f"from {run / 'damaged-1' / 'pool.db'}") for line in lines)
    whole = SEEDS + 53
    assert whole - 20 <= sum(counts(run)) < whole


KILLED = """
import os, pathlib, signal, sys
from syngrpo.pool import repair as module

left = int(sys.argv[2])

def killed_before(call):
    def counted(*arguments, **more):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*arguments, **more)
    return counted

for place, name in ((module, "copy_rows"), (pathlib.Path, "rename"), (os, "replace")):
    setattr(place, name, killed_before(getattr(place, name)))
run = pathlib.Path(sys.argv[1])
module.repair(run, run / "damaged-1")
"""
"""Repairs a pool, and is killed before it copies rows or moves a file for the n-th time."""


def test_a_repair_that_is_killed_at_any_point_loses_nothing(tmp_path: Path, grown: Path) -> None:
    """There is no copy in a checkpoint: only the damaged file has the rows."""
    ends = []
    for moment in range(20):
        run = tmp_path / f"run-{moment}"
        shutil.copytree(grown, run)
        (run / "copy.db").unlink()
        with closing(sqlite3.connect(run / "pool.db")) as db, db:
            db.execute("UPDATE jobs SET scores = '{' WHERE number = 5")
        (run / "pool.db-journal").touch()  # a file beside the database, which is moved, too
        command = [sys.executable, "-c", KILLED, str(run), str(moment)]
        ends.append(subprocess.run(command, check=False).returncode)
        pool_repair(run)
        check_standing(run)
        assert counts(run) == counts(grown), f"killed at move {moment}"
        assert not [*run.glob("pool.db.*")]
        if ends[-1] == 0:
            break
    assert len(ends) >= 5 and set(ends[:-1]) == {-signal.SIGKILL} and ends[-1] == 0


FULL_DISK = """
import os, shutil, sys
from pathlib import Path
from syngrpo.pool.repair import repair
from syngrpo.sample import InputError

damaged, run = Path(sys.argv[1]), Path(sys.argv[2])
shutil.copy(damaged, run / "pool.db")
try:
    repair(run, run / "damaged-1")
except InputError as error:
    assert "disk full" in str(error), error
else:
    raise AssertionError("there was room")
assert (run / "pool.db").read_bytes() == damaged.read_bytes()
assert sorted(os.listdir(run)) == [".pool.lock", "pool.db"], os.listdir(run)
"""


def test_a_full_disk_leaves_the_old_database(tmp_path: Path, grown: Path) -> None:
    damaged, disk = tmp_path / "damaged.db", tmp_path / "disk"
    shutil.copy(grown / "pool.db", damaged)
    with closing(sqlite3.connect(damaged)) as db, db:
        db.execute("UPDATE jobs SET scores = '{' WHERE number = 5")
    disk.mkdir()
    size = f"{damaged.stat().st_size // 1024 + 250}k"
    command = [sys.executable, "-c", FULL_DISK, str(damaged), str(disk)]
    done = run_on_a_small_disk(disk, size, command)
    assert done.returncode == 0, done.stderr


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None)
def test_any_damage_ends_in_a_consistent_pool(
    tmp_path_factory: pytest.TempPathFactory, grown: Path, chance: random.Random
) -> None:
    run = tmp_path_factory.mktemp("any") / "run"
    shutil.copytree(grown, run)
    file = run / "pool.db"
    with file.open("r+b") as opened:
        for _ in range(chance.randint(1, 6)):
            opened.seek(chance.randrange(file.stat().st_size))
            opened.write(chance.randbytes(chance.choice([1, 40, 4096])))
        # The number of the format: with a larger one it may be a pool of a later version.
        opened.seek(60)
        opened.write(VERSION.to_bytes(4, "big"))
    repair(run, run / "damaged-1", [run / "copy.db"])
    check_standing(run)
    assert counts(run)[0] == SEEDS and counts(run)[1] >= 40
    shutil.rmtree(run, ignore_errors=True)


def test_a_retired_sample_stays_retired_when_its_picture_is_lost_and_found(tmp_path: Path) -> None:
    """As an active one it would keep a place of its seed's children that nothing frees."""
    with closing(Pool.open(tmp_path)) as pool:
        pool.add_seeds([seed(0), seed(1)])
        grow(pool, range(2))  # the first is rejected
        (drawn,) = pool.samples("synthetic")
        visit = Observation(drawn.sample.id, 1, 0, 0.5, 0.5)
        pool.observe([visit], SamplingPolicy(max_visits=1))
        picture = drawn.sample.image.path
    saved = picture.read_bytes()
    picture.unlink()
    assert "the images of 1 sample are missing" in repair(tmp_path, tmp_path / "damaged-1")[0]
    picture.write_bytes(saved)
    repair(tmp_path, tmp_path / "damaged-2")
    with closing(Pool.open(tmp_path)) as pool:
        assert (pool.stats().retired, pool.stats().quarantined) == (1, 0)


def test_missing_and_damaged_pictures_rest_until_they_are_back(tmp_path: Path, grown: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    with closing(Pool.open(run)) as pool:
        first, second, third = [one.sample for one in pool.samples("synthetic")][:3]
        lamp = pool.get("seed-0")
    saved = {path: path.read_bytes() for s in (first, second, lamp) for path in [s.image.path]}
    first.image.path.unlink()
    second.image.path.write_bytes(b"another picture")
    lamp.image.path.unlink()
    lamp.image.path.mkdir()  # what is no file is moved aside, too
    lines = repair(run, run / "damaged-1")
    assert f"the images of 3 samples are missing or damaged, such as that of {lamp.id}" in lines[0]
    assert (
        run / "damaged-1" / "images" / second.image.path.name
    ).read_bytes() == b"another picture"
    with closing(Pool.open(run)) as pool:
        quarantined = [one.sample.id for one in pool.samples("synthetic", "quarantined")]
        assert quarantined == [first.id, second.id] and third.id not in quarantined
        assert (
            pool.add_seeds([seed(0)]) == 0
            and pool.get("seed-0").image.read() == saved[lamp.image.path]
        )
    first.image.path.write_bytes(saved[first.image.path])
    assert "1 sample with an image again can be drawn again" in " ".join(
        repair(run, run / "damaged-2")
    )


def test_orphans_are_counted_and_deleted_on_request(tmp_path: Path, grown: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    with closing(Pool.restore(run, run / "copy.db")):
        pass
    files = sorted((run / "images").glob("??/*"))
    lines = repair(run, run / "damaged-1")
    assert lines[0].startswith("13 images of no sample (0.0 MB): --delete-orphans deletes them")
    assert sorted((run / "images").glob("??/*")) == files
    repair(run, run / "damaged-1", delete_orphans=True)
    assert len(sorted((run / "images").glob("??/*"))) == len(files) - 13 == len(sample_ids(run))
