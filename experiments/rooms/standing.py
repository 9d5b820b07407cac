"""Says how far every cell is, and when the others will be done."""

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
    """How far a cell is. ``why`` says why it is outdated or impossible, or which step it has
    reached. ``share`` in [0, 1] is done. ``seconds`` is the time that a finished cell took."""

    state: State
    why: str = ""
    share: float = 0.0
    seconds: float | None = None


def standing(matrix: Matrix, cell: Cell, folders: Folders) -> Standing:
    """Return how far one cell is."""
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
        return _on_its_way("running", cell, folders, steps)
    if why:
        return Standing("outdated", "; ".join(why))
    if folders.run(cell).exists():
        return _on_its_way("interrupted", cell, folders, steps)
    return Standing("to come")


def _on_its_way(state: State, cell: Cell, folders: Folders, steps: int) -> Standing:
    if cell.method == STARTER:
        return Standing(state)
    done = steps_done(folders, cell)
    return Standing(state, f"step {done} of {steps}", done / steps)


def seconds_left(
    standings: Mapping[Cell, Standing], running: Mapping[Cell, float], jobs: int
) -> float | None:
    """Return the seconds until all cells are done with ``jobs`` at once; None while nothing is
    known.

    A cell is expected to take as long as finished ones of the same task and method, else of the
    same method, else any trained cell. Before a cell is finished, the time is extrapolated from
    those ``running`` (cell → seconds so far).
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
    """Return how many cells are in each state, without the states that no cell is in."""
    numbers = Counter(one.state for one in standings)
    return {state: numbers[state] for state in get_args(State) if state in numbers}
