"""Renders the HTML templates of this folder (``templates/``) and writes pages.

Templates escape every value, so that a question, a description or an answer with HTML in it is
shown as text. A page needs no other file and no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from syngrpo.pages.charts import number
from syngrpo.serving.atomic_files import atomic_write


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Render ``templates/TEMPLATE`` with the values, write the page to ``path``, and return it.

    The page appears under its name when it is complete, so that nobody reads half of it.
    """
    atomic_write(path, render(template, **values))
    return path


def render(template: str, **values: Any) -> str:
    """Return a rendered template. Raises jinja2's UndefinedError when a value is missing."""
    return ENVIRONMENT.get_template(template).render(**values)


def stylesheet() -> str:
    """Return the look of all pages, CSS."""
    return render("style.css")


def _cell(value: float | None) -> str:
    """Return a metric for a table: integers unchanged, other numbers with three decimals."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


ENVIRONMENT = Environment(
    loader=PackageLoader("syngrpo.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {
    "number": number,
    "cell": _cell,
    "pixels": lambda value: f"{value:.1f}",
    "percent": lambda value: f"{value:.1%}",
    "direction": lambda change: "up" if change > 0 else "down" if change < 0 else "",
}
