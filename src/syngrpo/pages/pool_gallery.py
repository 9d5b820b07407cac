"""Reads what the report of a run shows of its pool: parents with the children painted from them,
the pictures with the highest and the lowest diversity, and descriptions in order of submission.

Every query has a limit, so that a pool of a million samples is read as fast as one of a thousand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from syngrpo.boxes import Similarity
from syngrpo.data_server.pool_jobs import SYNTHESIS
from syngrpo.pages.labelled_picture import Picture, sample_picture, words_beside_picture
from syngrpo.painting.frame import Frame
from syngrpo.painting.light import Light
from syngrpo.pool.database import FILE_NAME
from syngrpo.pool.pool_reading import open_to_read
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample

EDGE = 500
"""Largest number of descriptions that are read from each end of the run."""


@dataclass(frozen=True)
class Member:
    """A picture of the pool. ``diversity`` is its mean D over the visits, None before the first;
    ``scores`` are those of the gate, empty for a seed."""

    sample: Sample
    visits: int
    diversity: float | None
    scores: dict[str, float]

    @cached_property
    def picture(self) -> Picture:
        """The image with its answer; see ``sample_picture``."""
        return sample_picture(self.sample)

    @property
    def answer(self) -> str:
        """The answer in words if the picture does not show it, otherwise ""."""
        return words_beside_picture(self.sample)

    @property
    def view(self) -> str:
        """How the picture is seen and lit, as ``view_words`` says it; "" for a seed."""
        made = self.sample.columns.get(SYNTHESIS, {})
        if "frame" not in made:
            return ""
        return view_words(Frame.of(made["frame"]), Light.of(made["light"]))


def view_words(frame: Frame, light: Light) -> str:
    """Return how a picture is seen and lit, such as "size 0.64 at 12, 40 of 128 × 128 px ·
    brightness 0.30"; "" for one that is seen and lit as its seed.

    The size is a share of that in the seed; the two numbers after it are where the seed's upper
    left corner lies on the canvas.
    """
    seen, even = frame.transform, Light().lineage()
    words = []
    if seen != Similarity():
        (width, height), place = frame.size, f"{seen.right:.0f}, {seen.down:.0f}"
        words.append(f"size {seen.scale:.2f} at {place} of {width} × {height} px")
    words += [f"{name} {x:.2f}" for name, x in light.lineage().items() if x != even[name]]
    return " · ".join(words)


@dataclass(frozen=True)
class SeedFamily:
    """A picture and the pictures painted from it, oldest first."""

    parent: Member
    children: list[Member]


def open_pool(run_directory: Path) -> Pool | None:
    """Open the pool of a run for reading; None for a run that has none."""
    return open_to_read(run_directory) if (run_directory / FILE_NAME).is_file() else None


def families(pool: Pool, count: int, children: int) -> list[SeedFamily]:
    """Return up to ``count`` parents with up to ``children`` children each.

    Datasets take turns; within each, parents with the most measured children come first. Of the
    children of a parent, measured ones come first.
    """
    with pool.database.read() as connection:
        parents = connection.execute(_PARENTS, (count,)).fetchall()
    return [_family(pool, sample_id, children) for (sample_id,) in parents]


_PARENTS = """
SELECT id FROM (
    SELECT p.id, p.number, SUM(t.visits > 0) AS measured, COUNT(*) AS painted, ROW_NUMBER() OVER (
        PARTITION BY t.dataset ORDER BY SUM(t.visits > 0) DESC, COUNT(*) DESC, p.number
    ) AS turn
    FROM samples s JOIN standing t ON t.number = s.number JOIN samples p ON p.number = s.parent
    GROUP BY p.number
) ORDER BY turn, measured DESC, painted DESC, number LIMIT ?
"""


def extremes(pool: Pool, count: int) -> tuple[list[Member], list[Member]]:
    """Return the ``count`` measured synthetic samples with the highest mean diversity, and those
    with the lowest."""
    found = []
    for order in ("DESC", "ASC"):
        with pool.database.read() as connection:
            rows = connection.execute(
                "SELECT s.id, t.visits, t.diversity_mean FROM samples s "
                "JOIN standing t ON t.number = s.number WHERE t.depth > 0 AND t.visits > 0 "
                f"ORDER BY t.diversity_mean {order}, s.number LIMIT ?",
                (count,),
            ).fetchall()
        found.append([Member(pool.get(name), visits, mean, {}) for name, visits, mean in rows])
    return found[0], found[1]


def early_and_late_descriptions(pool: Pool) -> tuple[list[str], list[str]]:
    """Return submitted descriptions from the first and from the last third of the run, at most
    ``EDGE`` of each, in order of submission."""
    with pool.database.read() as connection:
        total = connection.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]
        part = min(EDGE, total // 3)
        query = "SELECT description FROM jobs ORDER BY number {} LIMIT ?"
        early = connection.execute(query.format("ASC"), (part,)).fetchall()
        late = connection.execute(query.format("DESC"), (part,)).fetchall()
    return [text for (text,) in early], [text for (text,) in reversed(late)]


def _family(pool: Pool, parent_id: str, limit: int) -> SeedFamily:
    parent = pool.get(parent_id)
    visits = pool.observations(parent_id)
    mean = sum(o.diversity for o in visits) / len(visits) if visits else None
    children = sorted(pool.children(parent_id), key=lambda child: child.visits == 0)[:limit]
    members = [
        Member(c.sample, c.visits, c.diversity_mean, _scores(pool, c.job_id)) for c in children
    ]
    return SeedFamily(Member(parent, len(visits), mean, {}), members)


def _scores(pool: Pool, job_id: str | None) -> dict[str, float]:
    with pool.database.read() as connection:
        row = connection.execute("SELECT scores FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return json.loads(row[0]) if row is not None and row[0] is not None else {}
