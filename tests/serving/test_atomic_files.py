"""Files and directories that are complete or absent."""

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_disk import run_on_a_small_disk

from syngrpo.formats.export import new_directory
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import (
    atomic_directory,
    atomic_file,
    atomic_write,
    disk_full_error,
    make_directory,
    remove_unfinished,
)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_directory_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "final"
    for content in ("old", "new"):
        with atomic_directory(final) as temporary:
            (temporary / content).write_text(content)
    assert names(tmp_path) == ["final", "final/new"]
    with pytest.raises(KeyError), atomic_directory(final) as temporary:
        (temporary / "partial").write_text("x")
        raise KeyError("stop")
    assert names(tmp_path) == ["final", "final/new"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path, durable: bool) -> None:
    target = tmp_path / "folder" / "file.json"
    atomic_write(target, "older", durable=durable)
    atomic_write(target, b"old \xff", durable=durable)
    with pytest.raises(KeyError), atomic_file(target, durable=durable) as temporary:
        temporary.write_text("partial")
        raise KeyError("stop")
    assert target.read_bytes() == b"old \xff"
    atomic_write(target, "ä", durable=durable)
    assert target.read_bytes() == "ä".encode()
    assert names(tmp_path) == ["folder", "folder/file.json"]


KILLED = """
import os, signal, sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from syngrpo.serving.atomic_files import atomic_directory, atomic_file
folder = Path(sys.argv[1])
with atomic_file(folder / "file") as temporary, atomic_directory(folder / "directory") as other:
    temporary.write_text("partial")
    (other / "partial").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_can_be_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    left = [re.sub("-.*-", "-", name) for name in names(tmp_path)]
    assert left == [".unfinished-file", ".unfinished-directory", ".unfinished-directory/partial"]
    remove_unfinished(tmp_path)
    assert names(tmp_path) == []


def test_the_next_writer_removes_what_killed_ones_left_of_its_target(tmp_path: Path) -> None:
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    atomic_write(tmp_path / "file", "whole")
    left = [re.sub("-.*-", "-", name) for name in names(tmp_path)]
    assert left == [".unfinished-directory", ".unfinished-directory/partial", "file"]
    with atomic_directory(tmp_path / "directory"):
        assert len(list(tmp_path.glob(".unfinished-*"))) == 1
    assert names(tmp_path) == ["directory", "file"]


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    atomic_write(tmp_path / ("n" * 250 + ".json"), "{}")
    assert [len(name) for name in names(tmp_path)] == [255]


WRITING = """
import sys
from pathlib import Path
from syngrpo.serving.atomic_files import atomic_directory, atomic_write
for _ in range(200):
    atomic_write(Path(sys.argv[1]) / "file", sys.argv[2] * 10_000)
with atomic_directory(Path(sys.argv[1]) / sys.argv[2]) as directory:
    (directory / "file").write_text(sys.argv[2])
"""


def test_several_writers_of_one_file_leave_it_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITING, tmp_path, name], stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    while any(writer.poll() is None for writer in writers):
        if target.exists():
            assert target.read_text() in ("a" * 10_000, "b" * 10_000)
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    assert names(tmp_path) == ["a", "a/file", "b", "b/file", "file"]


FULL = """
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from syngrpo.serving.atomic_files import DiskFull, atomic_write
target = Path(sys.argv[1]) / "file"
atomic_write(target, "old")
try:
    atomic_write(target, bytes(1_000_000))
except DiskFull as error:
    print(error)
assert target.read_text() == "old" and len(list(target.parent.iterdir())) == 1
"""


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    done = run_on_a_small_disk(tmp_path, "400k", [sys.executable, "-c", FULL, str(tmp_path)])
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    # Of 400 KiB, "old" takes a page of 4 KiB, and so does the folder's own.
    told = r"needs more than 1\.0 MB, 40\d kB are free; free some space or choose another directory"
    assert re.fullmatch(f"the disk is full: writing {tmp_path / 'file'} {told}", line)


SLOWLY = """
import sys
from pathlib import Path
from syngrpo.serving.atomic_files import DiskFull, atomic_file
try:
    with atomic_file(Path(sys.argv[1]) / "file") as path, path.open("wb") as file:
        while True:
            file.write(bytes(10_000))
            file.flush()
except DiskFull as error:
    print(error)
"""


def test_more_is_needed_than_what_is_free_after_the_partial_file_is_removed(
    tmp_path: Path,
) -> None:
    done = run_on_a_small_disk(tmp_path, "400k", [sys.executable, "-c", SLOWLY, str(tmp_path)])
    (line,) = done.stdout.splitlines()
    assert re.search(r"needs more than (4\d\d kB), \1 are free", line), line


def test_a_disk_without_room_for_another_file_and_a_quota_are_told(tmp_path: Path) -> None:
    many = (
        "import sys\nfrom pathlib import Path\nfrom syngrpo.serving.atomic_files import *\ntry:\n"
    )
    many += "    for n in range(99): atomic_write(Path(sys.argv[1]) / str(n), 'x')\n"
    many += "except DiskFull as error: print(error)"
    command = [sys.executable, "-c", many, str(tmp_path)]
    done = run_on_a_small_disk(tmp_path, "4m,nr_inodes=20", command)
    assert "the disk holds as many files as it can; delete some" in done.stdout, done.stderr
    quota = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert str(disk_full_error(tmp_path / "file", 2_500_000, quota)) == (
        f"the quota of the disk is used up: writing {tmp_path / 'file'} needs 2.5 MB; free some "
        "space or choose another directory"
    )


LOGGING = """
import logging, sys
from pathlib import Path
from syngrpo.serving.log_file import LogFile
folder = Path(sys.argv[1])
log = LogFile(folder / "log.txt")
logger = logging.getLogger("test")
logger.addHandler(log)
logger.warning("before")
filler = (folder / "filler").open("wb")
try:
    while True:
        filler.write(bytes(1000))
        filler.flush()
except OSError:
    pass
for _ in range(100):
    logger.warning("x" * 1000)
log.close()
"""


def test_a_log_on_a_full_disk_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    done = run_on_a_small_disk(tmp_path, "400k", [sys.executable, "-c", LOGGING, str(tmp_path)])
    assert done.returncode == 0
    reason = "cannot be written (No space left on device)"
    assert done.stderr.splitlines() == [f"{tmp_path / 'log.txt'} {reason}"]


def test_an_export_onto_what_cannot_be_renamed_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom syngrpo.formats.export import new_directory\n"
    )
    script += "with new_directory(Path(sys.argv[1])): print('written')"
    done = run_on_a_small_disk(tmp_path, "1m", [sys.executable, "-c", script, str(tmp_path)])
    assert done.stdout == "" and "because a disk is mounted there; name a new" in done.stderr
    monkeypatch.chdir(tmp_path)
    told = f"it is the working directory; .* such as {tmp_path / 'export'}"
    with pytest.raises(InputError, match=told), new_directory(Path()):
        pass
    with new_directory(Path("export")) as directory:
        (directory / "file").touch()
    assert names(tmp_path) == ["export", "export/file"]


@pytest.mark.skipif(not Path("/proc/mounts").exists(), reason="needs /proc")
@pytest.mark.parametrize("path", ["/proc/x", "/proc/x/y"])
@pytest.mark.parametrize("writing", [atomic_directory, new_directory])
def test_a_place_where_nothing_can_be_made_is_told_with_the_reason(
    path: str, writing: Callable[[Path], Any]
) -> None:
    """Nothing is free in /proc, but that is not why."""
    told = r"^/proc/x(/y)? cannot be created \(No such file or directory\); choose another path$"
    with pytest.raises(InputError, match=told), writing(Path(path)):
        pass


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file cannot be created \(File exists\)"):
        make_directory(tmp_path / "file")
