"""The house: what `lint-imports` does not check of the order of the source."""

import importlib.util
import re
import tomllib
from collections import Counter
from html import escape
from pathlib import Path
from textwrap import wrap
from types import ModuleType

import grimp
import pytest

import syngrpo

SOURCE = Path(syngrpo.__file__).parent
ROOT = SOURCE.parent.parent


def picture() -> ModuleType:
    """docs/house.py, which draws the picture."""
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOUSE = picture()


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Sets of modules that import each other in a circle (Tarjan 1972), imports inside functions
    and those of a package's ``__init__`` included."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for imported in graph.find_modules_directly_imported_by(module):
            if imported not in index:
                visit(imported)
            if imported in stack:
                low[module] = min(low[module], low[imported])
        if low[module] == index[module]:
            place = stack.index(module)
            found.append(set(stack[place:]))
            del stack[place:]

    for module in sorted(graph.modules):
        if module not in index:
            visit(module)
    return [circle for circle in found if len(circle) > 1]


def test_every_folder_stands_in_the_contract_and_every_floor_of_it_exists() -> None:
    there = {path.stem for path in SOURCE.iterdir() if path.suffix in (".py", "")}
    assert {*HOUSE.floors(), *HOUSE.NO_FLOOR} == there - {"__init__", "__pycache__"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(grimp.build_graph("syngrpo", "syngrpo_rooms", cache_dir=None)) == []


def test_the_name_of_a_module_occurs_once() -> None:
    names = Counter(path.stem for path in SOURCE.parent.glob("syngrpo*/**/*.py"))
    several = {name for name, count in names.items() if count > 1}
    assert several <= {"__init__", "__main__", "base"}


def test_files_beside_the_modules_are_package_data() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = ("syngrpo", "syngrpo_rooms")
    installed = {
        path
        for package, patterns in project["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in (ROOT / "src" / package.replace(".", "/")).glob(pattern)
    }
    there = {path for package in packages for path in (ROOT / "src" / package).rglob("*.*")}
    assert installed == {path for path in there if path.suffix not in (".py", ".pyc")}


@pytest.mark.parametrize("floor", HOUSE.floors())
def test_the_picture_shows_each_floor_with_the_first_line_of_its_docstring(floor: str) -> None:
    svg = HOUSE.PICTURE.read_text(encoding="utf-8")
    line = HOUSE.first_line("syngrpo", floor)
    assert line, f"{floor} has no docstring"
    shown = [HOUSE.floor_label(floor), *wrap(line, HOUSE.WRAP, break_on_hyphens=False)]
    missing = [text for text in shown if escape(text, quote=False) not in svg]
    assert not missing, "run: python docs/house.py"


PAGES = [
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "benchmarks/*.md",
        "examples/**/*.md",
        "experiments/**/*.md",
    )
    for path in sorted(ROOT.glob(pattern))
]
BASES = (ROOT, ROOT / "src", ROOT / "src" / "syngrpo")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_and_the_modules_it_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    modules = re.findall(r"(?<![\w/.-])((?:\w+/)+\w+\.py)\b", prose)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [name for name in modules if not any((base / name).exists() for base in BASES)]
    assert not missing
