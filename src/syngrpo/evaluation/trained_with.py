"""Finds the settings of the run that trained a model, from the model's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from syngrpo.sample import InputError
from syngrpo.serving.run_files import read_sections

TRAINED_WITH = "trained_with.json"
"""The file in the folder of a trained model that says how it was asked in training."""


def settings_of(directory: Path) -> dict[str, Any]:
    """Return the settings of the run that trained the model (or the adapter) in a folder, by
    section as in a configuration; {} for any other model.

    They are in the folder itself or in the one above an adapter. Raises InputError for a file that
    cannot be read.
    """
    for file in (directory / TRAINED_WITH, directory.resolve().parent / TRAINED_WITH):
        if file.is_file():
            return _read(file)
    return {}


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_sections(file)
    except InputError as error:
        raise InputError(
            f"{error}; correct it, or move it away and give the settings as options"
        ) from None
