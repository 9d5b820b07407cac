"""The bounds in pyproject.toml are those that ``make test-oldest`` tests."""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def oldest() -> dict[str, SpecifierSet]:
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    given = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {one.name: one.specifier for one in given}


def test_the_oldest_version_of_transformers_is_the_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {one.name: one for one in map(Requirement, project["dependencies"])}
    (tested,) = oldest()["transformers"]
    bounds = {one.operator: one.version for one in needed["transformers"].specifier}
    assert tested.version.startswith(bounds[">="] + ".")


@pytest.mark.skipif(
    "build/oldest" not in os.environ.get("PYTHONPATH", ""), reason="for make test-oldest"
)
def test_the_oldest_versions_are_those_that_are_tested() -> None:
    for name, wanted in oldest().items():
        assert version(name) in wanted, name
