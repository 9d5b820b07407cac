"""The section ``model``: short names of models, and reading it without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from syngrpo.policy import MODELS, NamedModel, model_directory


def test_a_short_name_is_the_model_of_an_installed_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = MODELS.get("starter")
    assert named.knows_format and (named.path / "config.json").is_file()
    assert model_directory("starter") == (str(named.path), True)
    monkeypatch.setitem(MODELS._loaded, "mine", NamedModel(tmp_path))
    assert model_directory("mine") == (str(tmp_path), False)


def test_everything_else_stays_as_it_is(tmp_path: Path) -> None:
    assert model_directory("Qwen/Qwen3-VL-4B-Instruct") == ("Qwen/Qwen3-VL-4B-Instruct", False)
    assert model_directory(tmp_path) == (str(tmp_path), False)
    assert model_directory("./starter") == ("./starter", False)


def test_options_are_read_without_torch() -> None:
    program = "import sys, syngrpo.policy as p; p.ModelOptions('x'); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr
