"""``syngrpo pool``: the evolving training set of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

pool_app = typer.Typer(help="The evolving training set of a run.")


@pool_app.command("stats")
def pool_stats(
    directory: Annotated[Path, typer.Argument(help="The directory of a run or of a pool.")],
) -> None:
    """Count seed and synthetic samples, jobs, and reasons of rejection."""
    import json
    from dataclasses import asdict

    from syngrpo.pool.store import Pool
    from syngrpo.sample import InputError

    if not (directory / "pool.db").is_file():
        raise InputError(f"there is no pool.db in {directory}; name the directory of a run")
    print(json.dumps(asdict(Pool.open(directory).stats()), indent=2))
