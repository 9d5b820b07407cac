"""Files with one JSON object a line, as crashes and editors leave them."""

import os
from pathlib import Path

import pytest

from syngrpo.sample import InputError
from syngrpo.serving.json_lines import read_lines, remove_after


def test_no_file_is_no_line(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none") == [] and remove_after(tmp_path / "none", 3) == []
    assert not (tmp_path / "none").exists()


def test_nothing_and_everything_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n')
    assert remove_after(file, 1) == [{"step": 1}] and file.read_text() == '{"step": 1}\n'
    assert remove_after(file, 0) == [] and file.read_bytes() == b""


BROKEN = [
    b"nonsense",
    b"[1]",
    b"",
    b"\xff\xfe",
    b"\0\0",
    b"[" * 100_000,
    b'{"a": 1}',
    b'{"step": "2"}',
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    for read in (read_lines, lambda path: remove_after(path, 3)):
        with pytest.raises(
            InputError, match=r"metrics\.jsonl line 2 is not the JSON object of a step"
        ):
            read(file)


@pytest.mark.parametrize("end", [b'{"step": 2', b'{"step": 2, "a": "\xc3', b"\0\0\0"])
def test_an_incomplete_last_line_is_left_out(tmp_path: Path, end: bytes) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n' + end)
    assert read_lines(file) == [{"step": 1}]
    assert remove_after(file, 5) == [{"step": 1}] and file.read_bytes() == b'{"step": 1}\n'


def test_a_complete_last_line_counts_without_its_line_feed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n{"step": 2}')
    assert read_lines(file) == [{"step": 1}, {"step": 2}]
    assert (
        remove_after(file, 2) == read_lines(file)
        and file.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    )


def test_what_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        for read in (read_lines, lambda path: remove_after(path, 3)):
            with pytest.raises(InputError, match=f"{path} is no file; move it away"):
                read(path)
