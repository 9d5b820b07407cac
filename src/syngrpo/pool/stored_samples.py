"""Samples as the pool stores them, and the measurements of them.

``Pool`` returns ``PoolSample`` and ``PoolStats``, and records ``Observation``. The functions below
convert a sample to JSON and back without loss, and read and write the tables ``samples`` and
``standing`` inside a transaction of the caller.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.pool.image_store import ImageFiles
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample

JOB_STATES = ("queued", "leased", "admitted", "rejected", "dead")
_TUPLE = "__tuple__"
"""The key that marks a tuple in JSON, which has only arrays. A task's ground truth may hold both
tuples and lists."""


class SampleIdTaken(InputError):  # noqa: N818
    """The pool has another sample with this id."""


@dataclass(frozen=True)
class PoolSample:
    """A sample, with its measurements at the time when it was read.

    ``visits`` is the number of times that it was trained on; ``diversity_mean`` is the mean
    response diversity of these visits, None before the first. ``job_id`` is the id of the job that
    made a synthetic sample, None for a seed.
    """

    sample: Sample
    visits: int
    job_id: str | None
    diversity_mean: float | None


@dataclass(frozen=True)
class Observation:
    """One visit of a sample: the response diversity D and the mean accuracy of the group of
    responses, both in [0, 1]."""

    sample_id: str
    step: int
    policy_version: int
    diversity: float
    accuracy: float


@dataclass(frozen=True)
class DescriptionReward:
    """What the description of a job has earned: its reward ρ, and the step that settled it."""

    job_id: str
    step: int
    reward: float


@dataclass(frozen=True)
class PoolStats:
    """Counts of all samples and jobs; seed + synthetic = active + retired + quarantined.

    ``unmeasured``: active synthetic samples without a visit. ``depth_mean``: mean depth of the
    active samples, where a seed has depth 0. ``jobs``: number of jobs by state (queued, leased,
    admitted, rejected, dead). ``rejected``: number of rejected jobs by the gate's reason.
    """

    seed: int
    synthetic: int
    active: int
    retired: int
    quarantined: int
    unmeasured: int
    depth_mean: float
    jobs: dict[str, int]
    rejected: dict[str, int]

    @property
    def open_jobs(self) -> int:
        """Number of jobs that are queued or leased."""
        return self.jobs["queued"] + self.jobs["leased"]


def stats_from_tallies(tallies: dict[str, int]) -> PoolStats:
    """Return the statistics from the counts that the triggers of the database keep by name."""

    def total(*names: str) -> int:
        return sum(tallies.get(name, 0) for name in names)

    def both(state: str) -> int:
        return total(f"seed/{state}", f"synthetic/{state}")

    def every(kind: str) -> int:
        return total(f"{kind}/active", f"{kind}/retired", f"{kind}/quarantined")

    active = both("active")
    prefix = "rejected/"
    return PoolStats(
        seed=every("seed"),
        synthetic=every("synthetic"),
        active=active,
        retired=both("retired"),
        quarantined=both("quarantined"),
        unmeasured=total("unmeasured"),
        depth_mean=total("depth") / active if active else 0.0,
        jobs={state: total(f"job/{state}") for state in JOB_STATES},
        rejected={
            name.removeprefix(prefix): count
            for name, count in sorted(tallies.items())
            if name.startswith(prefix)
        },
    )


def pack(sample: Sample) -> str:
    """Return a sample as JSON text, without its id, parent, dataset and image bytes.

    Raises InputError when the answer or a column is not plain data (None, bool, int, finite float,
    str, list, tuple, dict with str keys).
    """
    try:
        return json.dumps(
            sample_fields(sample), allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"sample {sample.id} cannot be stored ({error}); "
            "its answer, boxes and columns must be plain finite data"
        ) from None


def sample_fields(sample: Sample) -> dict[str, Any]:
    """Return a sample as JSON data, without its id, parent, dataset and image bytes."""
    body = {
        "task": sample.task,
        "size": [sample.image.width, sample.image.height],
        "question": sample.question,
        "answer": _to_json(sample.answer),
        "objects": [
            {"label": thing.label, "box": thing.box}
            | ({"mask": thing.mask} if thing.mask is not None else {})
            for thing in sample.objects
        ],
    }
    if sample.description is not None:
        body["description"] = sample.description
    if sample.columns:
        body["columns"] = _to_json(sample.columns)
    return body


def unpack(
    body: str, sample_id: str, image: Path, parent: str | None, depth: int, dataset: str
) -> Sample:
    """Return the sample from the text that ``pack`` made. The file ``image`` is its image."""
    fields = json.loads(body)
    width, height = fields["size"]
    file = EncodedImage(width=width, height=height, path=image)
    return sample_from_fields(fields, sample_id, file, parent, depth, dataset)


def sample_from_fields(
    fields: dict[str, Any],
    sample_id: str,
    image: EncodedImage,
    parent: str | None,
    depth: int,
    dataset: str,
) -> Sample:
    """Return the sample from the data that ``sample_fields`` returned.

    Raises InputError when a column uses the key that marks tuples for something else.
    """
    return Sample(
        id=sample_id,
        task=fields["task"],
        image=image,
        question=fields["question"],
        answer=_from_json(fields["answer"]),
        objects=tuple(
            LabelledObject(thing["label"], tuple(thing["box"]), thing.get("mask"))
            for thing in fields["objects"]
        ),
        parent=parent,
        description=fields.get("description"),
        depth=depth,
        columns=_from_json(fields.get("columns", {})),
        dataset=dataset,
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return {_TUPLE: [_to_json(item) for item in value]}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, dict):
        return {_key(key): _to_json(item) for key, item in value.items()}
    return value


def _key(key: Any) -> str:
    if not isinstance(key, str) or key == _TUPLE:
        raise InputError(f"{key!r} cannot be stored as a key; use a text")
    return key


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if isinstance(value, dict):
        if _TUPLE in value:
            if not isinstance(value[_TUPLE], list):
                raise InputError(f"{_TUPLE} marks a tuple; it cannot be a key of a column")
            return tuple(_from_json(item) for item in value[_TUPLE])
        return {key: _from_json(item) for key, item in value.items()}
    return value


def add_seed(connection: sqlite3.Connection, sample: Sample, image: str) -> bool:
    """Add a seed unless the pool has it already. Return whether it was added.

    Raises SampleIdTaken when the pool has a sample with this id, but with other content or in
    another dataset.
    """
    body = pack(sample)
    known = connection.execute(
        "SELECT s.image, s.body, s.parent, d.name FROM samples s "
        "JOIN standing t ON t.number = s.number JOIN datasets d ON d.number = t.dataset "
        "WHERE s.id = ?",
        (sample.id,),
    ).fetchone()
    if known is None:
        insert_sample(connection, sample, image, body)
        return True
    *content, dataset = known
    if content != [image, body, None]:
        raise SampleIdTaken(
            f"sample {sample.id} is in the pool with other content; "
            "give it another id, or start a new run directory"
        )
    if dataset != sample.dataset:
        raise SampleIdTaken(
            f"sample {sample.id} is in the pool as one of dataset {dataset!r}, not "
            f"{sample.dataset!r}; give the source its old name, or start a new run directory"
        )
    return False


def insert_sample(
    connection: sqlite3.Connection,
    sample: Sample,
    image: str,
    body: str,
    parent: tuple[int, int] | None = None,
    job: str | None = None,
) -> None:
    """Add an active sample.

    ``image`` is the digest of its stored image, ``body`` the text that ``pack`` returned.
    ``parent`` holds the row numbers of the parent and of the parent's seed; a child gets the
    dataset of that seed. ``job`` is the id of the job that made the sample.
    """
    added = connection.execute(
        "INSERT INTO samples (id, parent, job, image, body, created) VALUES (?, ?, ?, ?, ?, ?)",
        (sample.id, parent and parent[0], job, image, body, time.time()),
    )
    number = added.lastrowid
    root = parent[1] if parent else number
    dataset = _dataset_of(connection, root) if parent else _dataset(connection, sample.dataset)
    connection.execute(
        "INSERT INTO standing (number, root, depth, dataset, state, changed) "
        "VALUES (?, ?, ?, ?, 'active', ?)",
        (number, root, sample.depth, dataset, next_change(connection)),
    )


def _dataset(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of the dataset with this name. Add the dataset if it is new."""
    connection.execute("INSERT INTO datasets (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    row = connection.execute("SELECT number FROM datasets WHERE name = ?", (name,)).fetchone()
    return row[0]


def _dataset_of(connection: sqlite3.Connection, number: int | None) -> int:
    query = "SELECT dataset FROM standing WHERE number = ?"
    return connection.execute(query, (number,)).fetchone()[0]


def next_change(connection: sqlite3.Connection) -> int:
    """Return the value of ``standing.changed`` for the rows that this write transaction changes. It
    is higher than all values that a reader can have read."""
    return connection.execute("SELECT COALESCE(MAX(changed), 0) + 1 FROM standing").fetchone()[0]


def select_known(connection: sqlite3.Connection, ids: Collection[str]) -> set[str]:
    """Return those of these ids that are the ids of samples, in any state."""
    rows = connection.execute(
        "SELECT id FROM samples WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return {name for (name,) in rows.fetchall()}


_SELECT = """
SELECT s.id, p.id, s.image, s.body, s.job, t.depth, d.name, t.visits, t.diversity_mean
FROM samples s JOIN standing t ON t.number = s.number JOIN datasets d ON d.number = t.dataset
LEFT JOIN samples p ON p.number = s.parent
"""


def select_samples(
    connection: sqlite3.Connection, images: ImageFiles, where: str, values: tuple[Any, ...]
) -> list[PoolSample]:
    """Return the samples that fulfil the SQL condition ``where`` with its ``values``, oldest first.

    The condition may name the tables ``s`` (samples), ``t`` (standing), ``d`` (datasets) and ``p``
    (the parent's row of samples).
    """
    rows = connection.execute(f"{_SELECT} WHERE {where} ORDER BY s.number", values)
    return [
        PoolSample(
            sample=unpack(body, sample_id, images.path(image), parent, depth, dataset),
            visits=visits,
            job_id=job,
            diversity_mean=mean,
        )
        for sample_id, parent, image, body, job, depth, dataset, visits, mean in rows.fetchall()
    ]
