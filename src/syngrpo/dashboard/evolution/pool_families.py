"""Reads the families of a pool: the seeds, page by page, and one seed with all its descendants.

Every query has a limit and uses an index, or reads only the small table ``standing``, so that a
pool of 100,000 samples takes some milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from syngrpo.data_server.pool_jobs import SYNTHESIS
from syngrpo.pages.pool_gallery import view_words
from syngrpo.painting.frame import Frame
from syngrpo.painting.light import Light
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, select_samples
from syngrpo.sample import InputError, Sample

Order = Literal["children", "data", "painted"]
ORDERS: dict[Order, str] = {
    "children": "most children first",
    "painted": "last painted first",
    "data": "in the order of the data",
}
MOST_RELATIVES = 150
"""Largest number of members of a family that are read."""


@dataclass(frozen=True)
class SeedLine:
    """A seed in the list. ``children`` is the number of its active descendants, ``diversity`` its
    mean D, None before its first visit."""

    sample_id: str
    question: str
    children: int
    visits: int
    diversity: float | None


@dataclass(frozen=True)
class SeedPage:
    """A part of the list of seeds, from number ``first`` (0 for the first). ``more``: whether the
    list goes on after it."""

    lines: tuple[SeedLine, ...]
    first: int
    more: bool


@dataclass(frozen=True)
class Relative:
    """A member of a family.

    ``state`` is ``active``, ``retired`` (``reason`` says why) or ``quarantined``. ``visits`` are in
    the order of steps. The others are those of the job that made it, None or empty for a seed:
    ``reward`` is what its description has earned, ``settled`` the step in which it has, ``scores``
    are those of the gate, ``written_at`` is the version of the policy that wrote the description.
    """

    sample: Sample
    state: str
    reason: str | None
    visits: tuple[Observation, ...]
    reward: float | None
    settled: int | None
    scores: dict[str, float]
    written_at: int | None

    @property
    def view(self) -> str:
        """How the picture is seen and lit; "" for a seed, and if its columns do not say it."""
        made = self.sample.columns.get(SYNTHESIS, {})
        try:
            return view_words(Frame.of(made["frame"]), Light.of(made["light"]))
        except (KeyError, TypeError, ValueError):
            return ""


@dataclass(frozen=True)
class Family:
    """A seed and its descendants, each after its parent and before the parent's next child.
    ``total`` is the size of the family, more than ``members`` if it is very large."""

    members: tuple[Relative, ...]
    total: int

    @property
    def seed(self) -> Relative:
        return self.members[0]

    def get(self, sample_id: str) -> Relative | None:
        """Return the member of this id, None if it is not read or there is none."""
        return next((one for one in self.members if one.sample.id == sample_id), None)


def seed_page(pool: Pool, search: str, order: Order, first: int, count: int) -> SeedPage:
    """Return up to ``count`` seeds after the first ``first`` ones.

    ``search``: only seeds whose id or question holds this text, and the seed of the sample with
    this id; "" for all.
    """
    text = f"%{search.translate(_ESCAPED)}%"
    values = {"search": search, "text": text, "first": first, "count": count + 1}
    which = "t.depth = 0" if not search else _FOUND
    with pool.database.read() as connection:
        rows = connection.execute(_SEEDS.format(which=which, order=_ORDERED[order]), values)
        found = rows.fetchall()
    lines = tuple(SeedLine(*row) for row in found[:count])
    return SeedPage(lines, first, more=len(found) > count)


_ESCAPED = str.maketrans({"%": r"\%", "_": r"\_", "\\": r"\\"})
_ORDERED: dict[Order, str] = {
    "children": "children DESC, t.number",
    "painted": "COALESCE(c.last, 0) DESC, t.number",
    "data": "t.number",
}
_FOUND = r"""t.number IN (
    SELECT z.number FROM standing z JOIN samples y ON y.number = z.number
    WHERE z.depth = 0 AND (y.id LIKE :text ESCAPE '\'
        OR json_extract(y.body, '$.question') LIKE :text ESCAPE '\')
    UNION SELECT z.root FROM samples y JOIN standing z ON z.number = y.number WHERE y.id = :search
)"""
_SEEDS = """
WITH page AS MATERIALIZED (
    SELECT t.number AS number, COALESCE(c.children, 0) AS children,
        ROW_NUMBER() OVER (ORDER BY {order}) AS place
    FROM standing t LEFT JOIN (
        SELECT root, COUNT(*) AS children, MAX(number) AS last FROM standing
        WHERE depth > 0 AND state = 'active' GROUP BY root
    ) c ON c.root = t.number
    WHERE {which} ORDER BY place LIMIT :count OFFSET :first
)
SELECT s.id, COALESCE(json_extract(s.body, '$.question'), ''), page.children,
    t.visits, t.diversity_mean
FROM page JOIN samples s ON s.number = page.number JOIN standing t ON t.number = page.number
ORDER BY page.place
"""


def family_of(pool: Pool, sample_id: str, most: int = MOST_RELATIVES) -> Family:
    """Return the family that a sample belongs to, up to ``most`` members of it; the sample itself
    and its ancestors are among them. Raises InputError when the pool has no such sample."""
    with pool.database.read() as connection:
        row = connection.execute(_ROOT, (sample_id,)).fetchone()
        if row is None:
            raise InputError(f"pool {pool.directory} has no sample {sample_id}")
        number, root = row
        descendants = [one for (one,) in connection.execute(_DESCENDANTS, (root, -1)).fetchall()]
        numbers = descendants[:most]
        while number not in numbers and number != root:
            numbers.append(number)
            query = "SELECT parent FROM samples WHERE number = ?"
            (number,) = connection.execute(query, (number,)).fetchone()
        chosen = json.dumps(numbers)
        among = "s.number IN (SELECT value FROM json_each(?))"
        samples = {
            one.sample.id: one.sample
            for one in select_samples(connection, pool.images, among, (chosen,))
        }
        rows = connection.execute(_RELATIVES, (chosen,)).fetchall()
        visits = connection.execute(_VISITS, (chosen,)).fetchall()
    of_sample: dict[str, list[Observation]] = {}
    for name, *measured in visits:
        of_sample.setdefault(name, []).append(Observation(name, *measured))
    members = {row[0]: _relative(row, samples, of_sample) for row in rows}
    return Family(tuple(_in_order(list(members.values()))), len(descendants))


_ROOT = "SELECT number, root FROM samples JOIN standing USING (number) WHERE id = ?"
_DESCENDANTS = """
WITH RECURSIVE family (number, depth) AS (
    VALUES (?, 0)
    UNION ALL
    SELECT s.number, depth + 1 FROM samples s JOIN family f ON s.parent = f.number
    ORDER BY 2 DESC, 1
)
SELECT number FROM family LIMIT ?
"""
_RELATIVES = """
SELECT s.id, t.state, t.reason, j.reward, j.settled, j.scores, j.policy_version
FROM json_each(?) n JOIN samples s ON s.number = n.value JOIN standing t ON t.number = s.number
LEFT JOIN jobs j ON j.id = s.job ORDER BY s.number
"""
_VISITS = """
SELECT s.id, o.step, o.policy_version, o.diversity, o.accuracy
FROM json_each(?) n JOIN observations o ON o.sample = n.value JOIN samples s ON s.number = o.sample
ORDER BY o.step, o.number
"""


def _relative(
    row: Sequence[Any], samples: dict[str, Sample], visits: dict[str, list[Observation]]
) -> Relative:
    sample_id, state, reason, reward, settled, scores, version = row
    return Relative(
        sample=samples[sample_id],
        state=state,
        reason=reason,
        visits=tuple(visits.get(sample_id, ())),
        reward=reward,
        settled=settled,
        scores=json.loads(scores) if scores else {},
        written_at=version,
    )


def _in_order(members: list[Relative]) -> list[Relative]:
    """Return the members so that each comes after its parent, before the parent's next child."""
    children: dict[str | None, list[Relative]] = {}
    for one in members:
        children.setdefault(one.sample.parent, []).append(one)
    ordered: list[Relative] = []
    waiting = children.get(None, [])[:1]
    while waiting:
        one = waiting.pop()
        ordered.append(one)
        waiting += reversed(children.get(one.sample.id, ()))
    return ordered


@dataclass(frozen=True)
class EarnedDescription:
    """A description, its reward ρ and the mean D of its image; None where it is not known."""

    text: str
    reward: float | None
    diversity: float | None


def last_earned(pool: Pool, count: int) -> list[EarnedDescription]:
    """Return the descriptions of the ``count`` jobs that ended last, except dead ones."""
    with pool.database.read() as connection:
        rows = connection.execute(
            "SELECT j.description, j.reward, t.diversity_mean FROM jobs j "
            "LEFT JOIN samples s ON s.job = j.id LEFT JOIN standing t ON t.number = s.number "
            "WHERE j.cursor IS NOT NULL AND j.state IN ('admitted', 'rejected') "
            "ORDER BY j.cursor DESC LIMIT ?",
            (count,),
        ).fetchall()
    return [EarnedDescription(*row) for row in rows]
