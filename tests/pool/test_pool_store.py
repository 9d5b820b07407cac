"""Samples in the pool: adding, reading, backups, and disks that fail."""

import dataclasses
import errno
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pool_samples import child, picture, seed
from pycocotools import mask as coco_mask

from syngrpo.data_server.spill import Spill
from syngrpo.pool.database import FILE_NAME
from syngrpo.pool.filesystem import explain_disk_errors, filesystem_type
from syngrpo.pool.filesystem import refuse_network_filesystem as refuse
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample


def add_child(pool: Pool, parent: str, number: int = 0) -> str:
    queue = JobQueue(
        pool, limit=10, lease_s=60, max_attempts=3, sampling=SamplingPolicy(max_depth=9)
    )
    queue.submit([JobRequest(parent, f"a red wall {number}", number, "test")])
    (job,) = queue.lease("worker", 1)
    outcome = child(job, depth=pool.get(parent).depth + 1)
    assert queue.complete(job.id, "worker", outcome)
    return outcome.sample.id


def test_a_sample_comes_back_exactly(tmp_path: Path) -> None:
    mask = coco_mask.encode(np.asfortranarray(np.eye(6, 8, dtype=np.uint8)))
    code = {"size": [6, 8], "counts": mask["counts"].decode()}
    sample = Sample(
        id="ü/1",
        task="ovd",
        image=picture(1),
        question="chairs\n“and” lamps",
        answer=[("chair", (1.0, 2.0, 3.25, 4.1)), {"nested": [1, (2, None)]}],
        objects=(
            LabelledObject("chair", (0.1, 0.2, 8.0, 6.0), code),
            LabelledObject("x", (0,) * 4),
        ),
        columns={"kind": "relation", "difficulty": 0.5, "tuple": (1, 2), "none": None},
    )
    pool = Pool.open(tmp_path)
    assert pool.add_seeds([sample]) == 1
    stored = pool.get("ü/1")
    assert dataclasses.replace(stored, image=sample.image) == sample
    assert stored.image.read() == sample.image.read()
    assert (stored.image.width, stored.image.height) == (8, 6)
    assert (stored.image.decode() == sample.image.decode()).all()


def test_the_umask_says_who_may_write_the_files(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with closing(Pool.open(tmp_path / "run")) as pool:
            pool.add_seeds([seed(1)])
            pool.backup(tmp_path / "run" / "copy.db")
            Spill(tmp_path / "run" / "spill.jsonl").close()
            files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
            modes = {file.name: oct(file.stat().st_mode & 0o777) for file in files}
    finally:
        os.umask(before)
    assert modes.keys() > {FILE_NAME, f"{FILE_NAME}-wal", "copy.db", "spill.jsonl"}
    assert set(modes.values()) == {"0o664"}


def test_images_are_copied_not_decoded_and_shared_by_content(tmp_path: Path) -> None:
    file = tmp_path / "user" / "no-image.png"
    file.parent.mkdir()
    file.write_bytes(b"not decoded")
    image = EncodedImage(width=8, height=6, path=file)
    pool = Pool.open(tmp_path / "run")
    pool.add_seeds(dataclasses.replace(seed(n), image=image) for n in range(3))
    file.unlink()
    assert pool.get("seed-2").image.read() == b"not decoded"
    stored = [path for path in (tmp_path / "run" / "images").rglob("*") if path.is_file()]
    assert [path.name for path in stored] == [EncodedImage(8, 6, b"not decoded").digest()]


def test_seeds_are_added_once(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path)
    assert pool.add_seeds(seed(n) for n in range(600)) == 600
    assert pool.add_seeds(seed(n) for n in range(601)) == 1
    assert Pool.open(tmp_path).stats().seed == 601


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (dataclasses.replace(seed(1), question="other"), "seed-1 is in the pool with other"),
        (dataclasses.replace(seed(1), image=picture(2)), "seed-1 is in the pool with other"),
        (dataclasses.replace(seed(2), parent="seed-1"), "seed-2 has a parent"),
        (dataclasses.replace(seed(2), answer=(0.0, 0.0, float("nan"), 1.0)), "seed-2 cannot be"),
        (dataclasses.replace(seed(2), columns={"a": object()}), "seed-2 cannot be stored"),
        (
            dataclasses.replace(seed(2), image=EncodedImage(8, 6, path=Path("gone.png"))),
            "gone.png of sample seed-2",
        ),
    ],
)
def test_bad_seeds_are_refused_by_name(tmp_path: Path, sample: Sample, says: str) -> None:
    pool = Pool.open(tmp_path)
    pool.add_seeds([seed(1)])
    with pytest.raises(InputError, match=says) as raised:
        pool.add_seeds([sample])
    assert "\n" not in str(raised.value)
    assert pool.stats().seed == 1


def test_observations_are_kept_and_counted_once(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path)
    pool.add_seeds([seed(1)])
    visits = [Observation("seed-1", step, step, d, 0.5) for step, d in enumerate((0.2, 0.8, 0.5))]
    pool.observe(visits)
    pool.observe(visits)  # replayed after a crash
    (drawn,) = pool.draw(1, SamplingPolicy(), np.random.default_rng(0))
    assert (drawn.visits, drawn.diversity_mean) == (3, pytest.approx(0.5))
    assert pool.observations("seed-1") == visits
    for bad in (float("nan"), 1.5, -0.1):
        with pytest.raises(InputError, match="outside"):
            pool.observe([visits[0], Observation("seed-1", 9, 9, bad, 0.5)])
    with pytest.raises(InputError, match="no sample nobody"):
        pool.observe([Observation("nobody", 0, 0, 0.5, 0.5)])
    assert len(pool.observations("seed-1")) == 3


def test_lineage_children_and_statistics(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path)
    pool.add_seeds([seed(1), seed(2)])
    first = add_child(pool, "seed-1")
    second = add_child(pool, first)
    assert [sample.id for sample in pool.ancestry(second)] == [second, first, "seed-1"]
    assert [sample.depth for sample in pool.ancestry(second)] == [2, 1, 0]
    (found,) = pool.children("seed-1")
    assert (found.sample.id, found.sample.parent) == (first, "seed-1")
    assert found.sample.description == "a red wall 0"
    assert found.job_id == JobRequest("seed-1", "a red wall 0", 0, "test").id
    assert [one.sample.id for one in pool.samples("synthetic")] == [first, second]
    assert [one.sample.id for one in pool.samples("seed")] == ["seed-1", "seed-2"]
    pool.observe([Observation(first, 1, 1, 0.0, 1.0)], SamplingPolicy(retire_after=1))
    assert [one.sample.id for one in pool.samples("synthetic", "retired")] == [first]
    stats = pool.stats()
    assert (stats.seed, stats.synthetic, stats.active, stats.retired) == (2, 2, 3, 1)
    assert (stats.unmeasured, stats.depth_mean) == (1, pytest.approx(2 / 3))
    assert stats.jobs == {"queued": 0, "leased": 0, "admitted": 2, "rejected": 0, "dead": 0}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_dead_image_is_quarantined_and_another_drawn(tmp_path: Path, damage) -> None:
    pool = Pool.open(tmp_path)
    pool.add_seeds(seed(n) for n in range(4))
    path = pool.get("seed-2").image.path
    assert path is not None
    damage(path)
    drawn = pool.draw(3, SamplingPolicy(), np.random.default_rng(0))
    assert {one.sample.id for one in drawn} == {"seed-0", "seed-1", "seed-3"}
    with pytest.raises(InputError, match="has 3 samples to draw from, a batch needs 4"):
        pool.draw(4, SamplingPolicy(), np.random.default_rng(0))
    assert pool.stats().quarantined == 1


def test_a_restored_pool_draws_what_it_drew(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path / "run")
    pool.add_seeds(seed(n) for n in range(40))
    rng = np.random.default_rng(5)
    for number in range(30):
        add_child(pool, f"seed-{number % 20}", number)
    for step in range(20):
        drawn = pool.draw(6, SamplingPolicy(), rng)
        pool.observe(
            [Observation(one.sample.id, step, step, rng.random(), 0.5) for one in drawn],
            SamplingPolicy(),
        )
    pool.backup(tmp_path / "pool.backup")
    position = rng.bit_generator.state
    stats, expected = pool.stats(), [pool.draw(6, SamplingPolicy(), rng) for _ in range(5)]

    add_child(pool, "seed-30", 99)
    pool.observe([Observation(f"seed-{n}", 99, 99, 0.9, 0.5) for n in range(40)])
    pool.close()
    restored = Pool.restore(tmp_path / "run", tmp_path / "pool.backup")
    rng.bit_generator.state = position
    assert restored.stats() == stats
    assert [restored.draw(6, SamplingPolicy(), rng) for _ in range(5)] == expected
    with restored.database.read() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_backup_is_one_complete_file(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path / "run")
    pool.add_seeds([seed(1)])
    (tmp_path / "backups").mkdir()
    backup = tmp_path / "backups" / "pool.backup"
    pool.backup(backup)
    pool.add_seeds([seed(2)])
    pool.backup(backup)
    assert [path.name for path in backup.parent.iterdir()] == ["pool.backup"]
    other = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "run" / "images", other / "images")
    assert Pool.restore(other, backup).get("seed-2").image.read() == seed(2).image.read()


def test_restore_refuses_what_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing does not exist"):
        Pool.restore(tmp_path / "run", tmp_path / "nothing")
    (tmp_path / "text").write_text("hello " * 500)
    with pytest.raises(InputError, match="text is not a SQLite database"):
        Pool.restore(tmp_path / "run", tmp_path / "text")
    sqlite3.connect(tmp_path / "empty").close()
    with pytest.raises(InputError, match="empty is not a pool"):
        Pool.restore(tmp_path / "run", tmp_path / "empty")


def test_other_formats_and_other_files_are_refused(tmp_path: Path) -> None:
    Pool.open(tmp_path / "later").close()
    with sqlite3.connect(tmp_path / "later" / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="has pool format 99"):
        Pool.open(tmp_path / "later")
    for name in ("text", "database"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / FILE_NAME).write_text("hello " * 500)
    with pytest.raises(InputError, match="not a SQLite database"):
        Pool.open(tmp_path / "text")
    with sqlite3.connect(tmp_path / "database" / FILE_NAME) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(InputError, match="is not a pool"):
        Pool.open(tmp_path / "database")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file cannot be used"):
        Pool.open(tmp_path / "file")


def test_a_full_disk_ends_in_one_line(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path)
    with pool.database.read() as connection:  # SQLite's own limit gives SQLite's own error
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(InputError, match=f"disk full while writing to pool {tmp_path}"):
        pool.add_seeds(seed(n) for n in range(300))
    assert pool.stats().seed == 0
    with (
        pytest.raises(InputError, match=f"disk full while writing to pool {tmp_path}") as raised,
        explain_disk_errors(tmp_path),
        open("/dev/full", "wb") as full,
    ):
        full.write(b"x")
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC


def test_network_filesystems_are_refused(tmp_path: Path) -> None:
    for name in ("data", "data/local", "with blank", "over"):
        (tmp_path / name).mkdir()
    mounts = tmp_path / "mounts"
    blank = f"{tmp_path}/with\\040blank"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        f"server:/export {tmp_path}/data nfs4 rw,relatime 0 0\n"
        f"/dev/sdb1 {tmp_path}/data/local xfs rw 0 0\n"
        f"me@host: {blank} fuse.sshfs rw 0 0\n"
        f"server:/export {tmp_path}/over nfs4 rw 0 0\n"
        f"tmpfs {tmp_path}/over tmpfs rw 0 0\n"
    )
    with pytest.raises(InputError, match=r"network filesystem \(nfs4\).*local disk"):
        refuse(tmp_path / "data" / "new" / "run", mounts)
    with pytest.raises(InputError, match=r"fuse\.sshfs"):
        refuse(tmp_path / "with blank", mounts)
    assert filesystem_type(tmp_path / "data" / "local", mounts) == "xfs"
    assert filesystem_type(tmp_path / "data-not", mounts) == "ext4"
    assert filesystem_type(tmp_path / "over", mounts) == "tmpfs"
    assert filesystem_type(tmp_path, tmp_path / "missing") is None
    refuse(tmp_path / "data" / "local", mounts)
    for kind in ("fuse.ceph-fuse", "fuse.moosefs"):
        mounts.write_text(f"server {tmp_path}/data {kind} rw 0 0\n")
        with pytest.raises(InputError, match=kind):
            refuse(tmp_path / "data", mounts)
