"""docs/extending.md shows the code of examples/plugin as it is, and its snippets are valid."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from syngrpo.config import load_config
from syngrpo.formats import FORMATS
from syngrpo.method import METHODS
from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.generators import GENERATORS
from syngrpo.painting.judges import JUDGES
from syngrpo.policy.families import FAMILIES
from syngrpo.tasks import TASKS
from syngrpo.tasks.rewards import REWARDS

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
PAGE = (PLUGIN.parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"\]\(\.\./examples/plugin/(\S+)\):\n\n```\w+\n(.*?)\n```", PAGE, re.DOTALL)
REGISTRIES = (TASKS, REWARDS, GENERATORS, DESCRIBERS, JUDGES, FORMATS, METHODS, FAMILIES)
BASE = {
    "model:": "model.path=starter",
    "train:": "data.train=[{format: rooms, split: train}]",
    "generator:": "synthesis.generator=noop",
    "describer:": "synthesis.describer=photographs",
}
"""What a whole configuration needs besides, where a snippet does not have it."""


def entry_points() -> dict[str, dict[str, str]]:
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points: dict[str, dict[str, str]] = project["entry-points"]
    return points


def test_every_module_is_shown_as_it_is() -> None:
    for name, code in SHOWN:
        assert code == (PLUGIN / name).read_text(encoding="utf-8").strip(), (
            f"docs/extending.md shows another {name}; copy the file into the page"
        )
    modules = {path.name for path in (PLUGIN / "src").rglob("*.py")} - {"__init__.py"}
    assert {Path(name).name for name, _ in SHOWN} == modules | {"pointing.yaml"}


def test_the_entry_points_are_shown_as_they_are() -> None:
    shown = re.search(r"```toml\n(# One group.*?)\n```", PAGE, re.DOTALL)
    assert shown is not None
    assert tomllib.loads(shown[1])["project"]["entry-points"] == entry_points()


def test_the_package_has_an_extension_of_every_kind() -> None:
    assert entry_points().keys() == {registry.group for registry in REGISTRIES}
    for registry in REGISTRIES:
        assert f"`{registry.group}`" in PAGE


@pytest.mark.parametrize("snippet", re.findall(r"```yaml\n(.*?)\n```", PAGE, re.DOTALL))
def test_the_snippets_are_valid_configurations(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``package.module:name`` in place of the short names, as nothing is installed here."""
    monkeypatch.syspath_prepend(PLUGIN / "src")
    for points in entry_points().values():
        for name, target in points.items():
            snippet = re.sub(rf"(?<=: ){name}\b", target, snippet)
    assert "syngrpo_pointing." in snippet
    file = tmp_path / "config.yaml"
    file.write_text(snippet, encoding="utf-8")
    assert load_config(file, [value for key, value in BASE.items() if key not in snippet])
