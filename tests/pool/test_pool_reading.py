"""A pool is read where nothing can be written."""

import json
import os
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pool_samples import seed
from small_disk import run_on_a_small_disk

from syngrpo.cli.pool import pool_export, pool_stats
from syngrpo.pool.filesystem import PoolDamaged
from syngrpo.pool.pool_reading import open_to_read
from syngrpo.pool.repair import repair
from syngrpo.pool.store import Pool


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    states = {path: path.stat() for path in folder.rglob("*")}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}


def test_a_directory_that_cannot_be_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while another process has it open, whose last transactions are not in pool.db yet."""
    with closing(Pool.open(tmp_path)) as pool:
        pool.add_seeds(seed(n) for n in range(4))
        before = files(tmp_path)
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        with closing(open_to_read(tmp_path)) as copy:
            assert copy.directory == tmp_path
            assert copy.stats() == pool.stats()
            first = copy.get("seed-0")
            assert first.image.read() == pool.get("seed-0").image.read()
        assert files(tmp_path) == before


def test_a_command_that_reads_removes_no_picture(tmp_path: Path) -> None:
    """Also not one that a process has written and was killed before it had a row."""
    run = tmp_path / "run"
    with closing(Pool.open(run)) as pool:
        pool.add_seeds(seed(n) for n in range(2))
        with suppress(KeyError), pool.adding([seed(5)]) as (digest,):
            raise KeyError("as if it was killed")
        left = pool.images.path(digest)
    pool_stats(run)
    pool_export(run, out=tmp_path / "out", seeds=True)
    repair(run, tmp_path / "aside")
    assert left.exists()
    Pool.open(run).close()
    assert not left.exists(), "one that writes removes it"


@pytest.mark.parametrize("damage", ["lost", "emptied", "a folder"])
def test_a_command_that_reads_tells_of_a_lost_database_and_changes_nothing(
    tmp_path: Path, damage: str
) -> None:
    run, file = tmp_path / "run", tmp_path / "run" / "pool.db"
    with closing(Pool.open(run)) as pool:
        pool.add_seeds(seed(n) for n in range(4))
    if damage == "emptied":
        os.truncate(file, 0)
        (run / "pool.db-wal").write_bytes(b"what SQLite would delete")
    else:
        file.unlink()
    if damage == "a folder":
        file.mkdir()
    before = files(run)
    told: list[str] = []
    for read in (pool_stats, lambda run: pool_export(run, out=tmp_path / "out")):
        with pytest.raises(PoolDamaged, match=f"run: syngrpo pool repair {run}$") as caught:
            read(run)
        told.append(str(caught.value))
    assert told[0] == told[1] and files(run) == before
    what = "is no file" if damage == "a folder" else "is missing or empty"
    assert told[0].startswith(f"pool {run}: pool.db {what}; ")


READING = """
import subprocess, sys
from pathlib import Path
from made_up_run import write_run
folder = Path(sys.argv[1])
run, out = write_run(folder / "run", 4, 8), sys.argv[2]
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
def syngrpo(*arguments):
    subprocess.run([sys.executable, "-m", "syngrpo", *arguments], check=True)
syngrpo("pool", "stats", run)
syngrpo("pool", "export", run, "--out", out + "/samples")
syngrpo("report", run, "--out", out + "/report.html")
"""


@pytest.mark.slow
def test_commands_read_a_run_on_a_disk_that_cannot_be_written(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-c", READING, str(tmp_path), str(out)]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = run_on_a_small_disk(tmp_path, "40m", ["env", f"PYTHONPATH={paths}", *command])
    assert done.returncode == 0, done.stderr
    stats, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert stats["seed"] > 0
    assert (out / "samples" / "data.jsonl").exists()
    assert "<html" in (out / "report.html").read_text()
