"""``syngrpo data``: data sets in and out."""

from __future__ import annotations

import typer

from syngrpo.cli.check import data_check
from syngrpo.cli.convert import convert

data_app = typer.Typer(help="Data sets.")
data_app.command("check")(data_check)
data_app.command("convert")(convert)
