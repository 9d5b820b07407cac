"""The rooms of the house and the one direction in which they may import each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import syngrpo

SOURCE = Path(syngrpo.__file__).parent
FLOORS = (
    "__main__",
    "cli",
    "cluster",
    "run",
    "dashboard",
    "evaluation",
    "grpo",
    "config",
    "policy",
    "diversity",
    "synthesis",
    "pool",
    "rooms",
    "formats",
    "tasks",
    "boxes",
    "sample",
)
"""From top to bottom. A module imports from its own room and from the floors below it."""

FLOOR = {room: number for number, room in enumerate(FLOORS)}
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


def room_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Names of our own modules that a file imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            module = node.module or ""
            names = [f"{module}.{a.name}" for a in node.names] if module == "syngrpo" else [module]
        else:
            continue
        yield from ((name, node.lineno) for name in names if name.split(".")[0] == "syngrpo")


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(module) for module in MODULES} - {"__init__"}
    assert rooms <= FLOOR.keys(), f"no floor for {sorted(rooms - FLOOR.keys())}"
    assert len(rooms) > 10


@pytest.mark.parametrize("room", FLOORS)
def test_imports_only_point_down(room: str) -> None:
    upward = []
    for module in MODULES:
        if room_of(module) != room:
            continue
        for name, line in imported(SOURCE / module):
            target = name.split(".")[1] if "." in name else "__init__"
            if target != room and FLOOR.get(target, -1) <= FLOOR[room]:
                upward.append(f"{module}:{line} imports {name}")
    assert not upward


def test_modules_of_a_room_do_not_import_each_other_in_a_circle() -> None:
    graph = {module_name(m): {n for n, _ in imported_at_the_top(SOURCE / m)} for m in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"circle: {' → '.join([*path, name])}"
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert len(done) > 50


def module_name(module: Path) -> str:
    parts = ("syngrpo", *module.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_at_the_top(path: Path) -> Iterator[tuple[str, int]]:
    """What is imported when the module is: not inside functions, not for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = {n.lineno for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)}
    return ((name, line) for name, line in imported(path) if line in lines)


def test_only_what_runs_reads_the_configuration() -> None:
    readers = {
        room_of(module)
        for module in MODULES
        if any(name.startswith("syngrpo.config") for name, _ in imported(SOURCE / module))
    }
    assert readers <= {"cli", "cluster", "run", "dashboard", "evaluation", "grpo", "config"}
