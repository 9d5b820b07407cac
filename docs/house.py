"""Draws docs/house.svg: the folders of the source and the one direction in which they import.

    python docs/house.py [--png FILE]

The order of the floors is the contract that `lint-imports` checks, [tool.importlinter] in
pyproject.toml. The line on each floor is the first line of the folder's own docstring.
"""

from __future__ import annotations

import argparse
import ast
import textwrap
import tomllib
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "house.svg"

GROUPS = {
    "cli": ("for people", "#4c78a8"),
    "workflow": ("GRPO workflow", "#e08a3c"),
    "data_server": ("data server", "#54a24b"),
    "method": ("method, data, tasks", "#8e6bb0"),
    "serving": ("foundation", "#7f8790"),
}
"""By the topmost floor of each group: its title and colour."""

NO_FLOOR = {"__main__"}
"""Parts of the contract that only start a program."""

LEFT, RIGHT, ANNEX = 0.9, 12.3, 16.5
ARROW = {"arrowstyle": "-|>", "mutation_scale": 18, "color": "black"}
EXTENSIONS = "rewards, tasks, generators, judges, describers, model families, formats, methods"
FLOOR, GAP, WRAP = 0.62, 0.1, 84


def floors() -> list[str]:
    """The folders and modules of the house from top to bottom."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [layer.strip(" ()") for layer in layers if layer not in NO_FLOOR]


def first_line(package: str, module: str = "") -> str:
    """The first line of a module's or package's docstring, without its full stop."""
    path = ROOT / "src" / package / module
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def floor_label(module: str) -> str:
    """The name of a folder or a module as it stands in the picture."""
    return f"{module}/" if (ROOT / "src" / "syngrpo" / module).is_dir() else f"{module}.py"


def draw(axes: Axes) -> None:
    every = floors()
    top = len(every) * (FLOOR + GAP)
    title, color, group_top = "", "", 0.0
    for number, name in enumerate(every):
        y = top - (number + 1) * (FLOOR + GAP)
        if name in GROUPS:
            if title:
                _bracket(axes, title, color, y + FLOOR + GAP, group_top)
            (title, color), group_top = GROUPS[name], y + FLOOR
        _floor(axes, name, y, color)
    _bracket(axes, title, color, 0.0, group_top)
    _roof(axes, top)
    _imports(axes, top)
    _annexes(axes, top)
    axes.set_xlim(-1.0, ANNEX + 0.2)
    axes.set_ylim(-0.25, top + 1.35)
    axes.set_aspect("equal")
    axes.axis("off")


def _floor(axes: Axes, name: str, y: float, color: str) -> None:
    middle = y + FLOOR / 2
    _box(axes, LEFT, y, RIGHT - LEFT, FLOOR, color, 0.16)
    axes.text(LEFT + 0.2, middle, floor_label(name), va="center", weight="bold", size=11)
    lines = "\n".join(textwrap.wrap(first_line("syngrpo", name), WRAP, break_on_hyphens=False))
    axes.text(LEFT + 2.4, middle, lines, va="center", size=9, linespacing=1.15)


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, color: str, opacity: float
) -> None:
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", linewidth=1.2
    )
    shape.set(facecolor=(*matplotlib.colors.to_rgb(color), opacity), edgecolor=color)
    axes.add_patch(shape)


def _bracket(axes: Axes, title: str, color: str, low: float, high: float) -> None:
    """The title of a group, upright beside its floors."""
    x = LEFT - 0.14
    axes.plot([x, x], [low, high], color=color, linewidth=3, solid_capstyle="round")
    axes.text(
        x - 0.16,
        (low + high) / 2,
        title,
        rotation=90,
        va="center",
        ha="center",
        color=color,
        size=9,
    )


def _roof(axes: Axes, top: float) -> None:
    corners = [(LEFT - 0.3, top), ((LEFT + RIGHT) / 2, top + 1.15), (RIGHT + 0.3, top)]
    axes.add_patch(Polygon(corners, closed=True, facecolor="#f1ece4", edgecolor="#8a7f70", lw=1.2))
    axes.text((LEFT + RIGHT) / 2, top + 0.4, "syngrpo", ha="center", size=17, weight="bold")


def _imports(axes: Axes, top: float) -> None:
    axes.add_patch(
        FancyArrowPatch(
            (-0.35, top - 0.1), (-0.35, 0.1), arrowstyle="-|>", mutation_scale=18, color="black"
        )
    )
    axes.text(
        -0.62, top / 2, "imports only point down", rotation=90, va="center", ha="center", size=10
    )


def _annexes(axes: Axes, top: float) -> None:
    """What stands beside the house and is found through its registries."""
    x, width, height = RIGHT + 1.0, ANNEX - RIGHT - 1.0, 1.7
    texts = [
        ("syngrpo_rooms", first_line("syngrpo_rooms")),
        (
            "your package",
            "rewards, tasks, generators, judges, describers, model families, formats, methods",
        ),
    ]
    for (name, text), y in zip(texts, (top * 0.62, top * 0.34), strict=True):
        _box(axes, x, y, width, height, "#b8860b", 0.12)
        axes.text(x + width / 2, y + height - 0.3, name, ha="center", weight="bold", size=11)
        lines = "\n".join(textwrap.wrap(text, 30))
        axes.text(x + width / 2, y + height - 0.52, lines, ha="center", va="top", size=9)
        start, end = (x - 0.05, y + height / 2), (RIGHT + 0.08, y + height / 2)
        axes.add_patch(
            FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=18, color="black")
        )
    axes.text(
        x + width / 2,
        top * 0.34 - 0.2,
        "plug-ins: they import the house,\nit finds them by name\n(registries, entry points)",
        ha="center",
        va="top",
        size=9,
        style="italic",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--png", type=Path, help="also draw this file")
    png = parser.parse_args().png
    # Text stays text, so that the picture can be searched and a test can read it.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "house", "font.size": 9})
    figure, axes = plt.subplots(figsize=(14.6, 12))
    draw(axes)
    figure.savefig(PICTURE, bbox_inches="tight", metadata={"Date": None})
    if png is not None:
        figure.savefig(png, bbox_inches="tight", dpi=90)


if __name__ == "__main__":
    main()
