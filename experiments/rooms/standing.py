"""Computes how much of each cell is done, and when all cells will be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from experiments.rooms.attempt import busy, steps_done
from experiments.rooms.matrix import Cell, Folders, Matrix
from experiments.rooms.result import outdated, read_result
from experiments.rooms.settings import STARTER
from syngrpo.sample import InputError

State = Literal["done", "running", "interrupted", "outdated", "to come", "impossible"]


@dataclass(frozen=True)
class Standing:
    """How much of a cell is done.

    ``why`` says why it is outdated or impossible, or which step it has reached. ``share`` in [0, 1]
    is the share of the steps that are done. ``seconds`` is the time that a finished cell took.
    """

    state: State
    why: str = ""
    share: float = 0.0
    seconds: float | None = None


def standing(matrix: Matrix, cell: Cell, folders: Folders) -> Standing:
    """Return how much of a cell is done, from the files that exist. A cell that this version
    cannot run is "impossible"."""
    try:
        steps = matrix.options(cell).trainer.steps
        path = folders.result(cell)
        result = read_result(path) if path.exists() else None
        why = outdated(result, matrix) if result is not None else []
    except InputError as error:
        return Standing("impossible", str(error))
    if result is not None and not why:
        return Standing("done", share=1.0, seconds=result.circumstances["seconds"])
    if busy(folders, cell):
        return _begun("running", cell, folders, steps)
    if why:
        return Standing("outdated", "; ".join(why))
    if folders.run(cell).exists():
        return _begun("interrupted", cell, folders, steps)
    return Standing("to come")


def _begun(state: State, cell: Cell, folders: Folders, steps: int) -> Standing:
    """Return the standing of a cell whose run has begun. ``steps`` are all steps of the run."""
    if cell.method == STARTER:
        return Standing(state)
    done = steps_done(folders, cell)
    return Standing(state, f"step {done} of {steps}", done / steps)


def seconds_left(
    standings: Mapping[Cell, Standing], running: Mapping[Cell, float], jobs: int
) -> float | None:
    """Return the estimated seconds until all cells are done, with ``jobs`` cells at once.

    A cell is expected to take as long as the known cells of the same task and method. If there are
    none, those of the same method count, or else all trained cells. Known cells are the finished
    ones, and those of ``running`` (cell → seconds so far) that are more than 5 % done, whose time
    is extrapolated. Returns None while there are no known cells.
    """
    known = {cell: s.seconds for cell, s in standings.items() if s.seconds is not None}
    for cell, seconds in running.items():
        if standings[cell].share > 0.05:
            known.setdefault(cell, seconds / standings[cell].share)
    left = 0.0
    for cell, one in standings.items():
        if one.state in ("done", "impossible"):
            continue
        whole = _expected(cell, known)
        if whole is None:
            return None
        left += whole * (1 - one.share)
    return left / jobs


def _expected(cell: Cell, known: Mapping[Cell, float]) -> float | None:
    """Return the seconds that a whole cell is expected to take. ``known`` is cell → seconds."""

    def alike(*fields: str) -> list[float]:
        return [
            seconds
            for other, seconds in known.items()
            if all(getattr(other, f) == getattr(cell, f) for f in fields)
        ]

    trained = [s for other, s in known.items() if other.method != STARTER]
    for found in (alike("task", "method"), alike("method"), trained):
        if found:
            return sum(found) / len(found)
    return None


def counted(standings: Iterable[Standing]) -> dict[State, int]:
    """Return state → number of cells in it, without the states that no cell is in."""
    numbers = Counter(one.state for one in standings)
    return {state: numbers[state] for state in get_args(State) if state in numbers}
