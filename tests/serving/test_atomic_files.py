"""Files and directories that are complete or absent."""

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
    assert names(tmp_path) == [
        ".unfinished-directory",
        ".unfinished-directory/partial",
        ".unfinished-file",
    ]
    remove_unfinished(tmp_path)
    assert names(tmp_path) == []


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
    assert line.startswith(f"the disk is full: writing {tmp_path / 'file'} needs more than")
    assert line.endswith("MB are free; free some space or choose another directory")


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
