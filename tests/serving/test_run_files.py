"""Configurations that are damaged, or of another kind."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from syngrpo.sample import InputError
from syngrpo.serving.run_files import read_sections


def test_sections_are_read_from_yaml_and_json(tmp_path: Path) -> None:
    for name, text in (
        ("a.yaml", "model: {path: x}\ndata:\n"),
        ("a.json", '{"model": {"path": "x"}}'),
    ):
        (tmp_path / name).write_text(text)
        assert read_sections(tmp_path / name) == {"model": {"path": "x"}}


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "lost": (Path.unlink, "is missing$"),
    "pipe": (pipe, "is no file$"),
    "folder": (folder, "is no file$"),
    "no UTF-8": (lambda path: path.write_bytes(b"\xff"), r"cannot be read \(.*codec"),
    "zeros": (lambda path: path.write_bytes(bytes(50)), r"cannot be read \("),
    "cut off": (lambda path: path.write_text("model: {path: "), r"cannot be read \("),
    "empty": (lambda path: path.write_text(""), "it holds no sections"),
    "a list": (lambda path: path.write_text("[1, 2]"), "it holds no sections"),
    "a text": (lambda path: path.write_text("hello"), "it holds no sections"),
    "deep": (lambda path: path.write_text("[" * 3000), r"cannot be read \("),
    "no section": (lambda path: path.write_text("model: [1]"), "model is no section"),
}


@pytest.mark.parametrize("ending", ["yaml", "json"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_line(tmp_path: Path, name: str, ending: str) -> None:
    damage, said = DAMAGE[name]
    path = tmp_path / f"config.{ending}"
    path.write_text("{}")
    damage(path)
    if ending == "json" and name in ("empty", "a text", "no section"):
        said = r"cannot be read \("
    with pytest.raises(InputError, match=said) as told:
        read_sections(path)
    assert str(told.value).startswith(str(path)) and "\n" not in str(told.value)
