"""A sample as rows of the database, and back, exactly."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from syngrpo.pool.image_store import ImageFiles
from syngrpo.pool.records import PoolSample
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample

_TUPLE = "__tuple__"  # JSON has one kind of array, a task's ground truth may hold two


def pack(sample: Sample) -> str:
    """Everything but id, parent, dataset and image bytes as JSON.

    Raises InputError when the answer or a column is not plain data (None, bool, int, finite float,
    str, list, tuple, dict with str keys).
    """
    try:
        return json.dumps(
            fields_of(sample), allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"sample {sample.id} cannot be stored ({error}); "
            "its answer, boxes and columns must be plain finite data"
        ) from None


def fields_of(sample: Sample) -> dict[str, Any]:
    """Everything but id, parent, dataset and image bytes as JSON data."""
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
    """The sample that was packed, its image now the pool's file."""
    fields = json.loads(body)
    width, height = fields["size"]
    file = EncodedImage(width=width, height=height, path=image)
    return from_fields(fields, sample_id, file, parent, depth, dataset)


def from_fields(
    fields: dict[str, Any],
    sample_id: str,
    image: EncodedImage,
    parent: str | None,
    depth: int,
    dataset: str,
) -> Sample:
    """The reverse of ``fields_of``. Raises InputError for an array that is marked as a tuple and
    is none."""
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
                raise InputError(f"{_TUPLE} marks an array; it cannot be a key of a column")
            return tuple(_from_json(item) for item in value[_TUPLE])
        return {key: _from_json(item) for key, item in value.items()}
    return value


def add_seed(connection: sqlite3.Connection, sample: Sample, image: str) -> bool:
    """Adds a seed unless it is there; True when it was not. Raises InputError when its id is taken
    by other content, or by a sample of another dataset."""
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
        raise InputError(
            f"sample {sample.id} is in the pool with other content; "
            "give it another id, or start a new run directory"
        )
    if dataset != sample.dataset:
        raise InputError(
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
    """Adds an active sample; ``parent`` is (number of the parent, number of its seed), whose
    dataset it gets."""
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
    """The number of a dataset, known or new."""
    connection.execute("INSERT INTO datasets (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    row = connection.execute("SELECT number FROM datasets WHERE name = ?", (name,)).fetchone()
    return row[0]


def _dataset_of(connection: sqlite3.Connection, number: int | None) -> int:
    query = "SELECT dataset FROM standing WHERE number = ?"
    return connection.execute(query, (number,)).fetchone()[0]


def next_change(connection: sqlite3.Connection) -> int:
    """The value of ``standing.changed`` for rows this write transaction touches: above all that a
    reader can have seen."""
    return connection.execute("SELECT COALESCE(MAX(changed), 0) + 1 FROM standing").fetchone()[0]


_SELECT = """
SELECT s.id, p.id, s.image, s.body, s.job, t.depth, d.name, t.visits, t.diversity_mean
FROM samples s JOIN standing t ON t.number = s.number JOIN datasets d ON d.number = t.dataset
LEFT JOIN samples p ON p.number = s.parent
"""


def select_samples(
    connection: sqlite3.Connection, images: ImageFiles, where: str, values: tuple[Any, ...]
) -> list[PoolSample]:
    """The samples that fulfil a condition on s (samples), t (standing), d (datasets) and p (the
    parent), by order of admission."""
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
