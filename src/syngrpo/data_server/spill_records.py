"""The records that wait in the spill files of a run: measurements, jobs and rewards.

A record is an object with one key, its kind, and the fields of that kind. ``require_records`` is
what a run asks before it goes on, ``repair_records`` what ``syngrpo pool repair`` does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from syngrpo.data_server.spill import Spill, read_waiting, require_whole
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.stored_samples import DescriptionReward, Observation
from syngrpo.sample import InputError
from syngrpo.serving.wording import count

T = TypeVar("T")

LARGEST = 2**63 - 1
"""The largest number that the database can hold."""
KINDS: Mapping[str, type] = {
    "observation": Observation,
    "job": JobRequest,
    "reward": DescriptionReward,
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
}
"""Annotation of a field → the types that a value read from JSON may have."""


def of_kind(records: Sequence[Mapping[str, Any]], kind: str, make: Callable[..., T]) -> list[T]:
    """Return the records of one kind, in order."""
    return [make(**record[kind]) for record in records if kind in record]


def require_records(path: Path, sample_ids: Callable[[], Collection[str]]) -> None:
    """Raise InputError unless everything that waits in a spill file is records about samples of the
    pool, whose ids ``sample_ids`` returns. Nothing is changed, and there need not be a file."""
    waiting = require_whole(path)
    records = [record for record in waiting if _is_record(record)]
    known = sample_ids() if records else ()
    strange = len(waiting) - len(records)
    lost = sum(not _is_about(record, known) for record in records)
    if not strange and not lost:
        return
    wrong = [f"{strange} are no records of this version"] if strange else []
    wrong += [f"{lost} are about samples that the pool has lost"] if lost else []
    raise InputError(
        f"of {count(len(waiting), 'record')} that wait in {path} {' and '.join(wrong)}; to go on "
        f"with the others, run: syngrpo pool repair {path.parent}"
    )


def repair_records(path: Path, aside: Path, samples: Collection[str]) -> list[str]:
    """Keep the records of a spill file that can be read and are about ``samples``, the ids in the
    pool, or about no sample. Return lines about it; none if these are all, or if there is no file.

    Otherwise the file as it was is kept in the folder ``aside``. If its head is damaged, records
    that were passed on already are kept, too: their receivers ignore them.
    """
    if not os.path.lexists(path):
        return []
    if not path.is_file():
        aside.mkdir(exist_ok=True)
        path.rename(aside / path.name)
        return [f"{path.name} is no file; moved what was there to {aside / path.name}"]
    waiting, bad = read_waiting(path.read_bytes())
    records = [record for record in waiting if _is_record(record)]
    kept = [record for record in records if _is_about(record, samples)]
    if not bad and len(kept) == len(waiting):
        return []
    aside.mkdir(exist_ok=True)
    shutil.copy2(path, aside / path.name)
    new = path.with_name(f"{path.name}.repaired")  # if killed, the old file is still there
    new.unlink(missing_ok=True)
    with closing(Spill(new)) as repaired:
        repaired.append(kept)
    os.replace(new, path)
    return [
        f"{path.name} keeps {count(len(kept), 'record')} that wait to be passed on; "
        f"{len(records) - len(kept)} are about lost samples, {len(waiting) - len(records)} are no "
        f"records of this version, {bad} bytes cannot be read; kept the old file as "
        f"{aside / path.name}"
    ]


def _is_record(record: Mapping[str, Any]) -> bool:
    """Return whether an object has one known kind, exactly its fields, and values that the database
    can hold."""
    kind = next(iter(record), "")
    if len(record) != 1 or kind not in KINDS or not isinstance(record[kind], dict):
        return False
    known = {field.name: str(field.type) for field in fields(KINDS[kind])}
    try:
        made = KINDS[kind](**record[kind])
    except TypeError:  # a field is missing, or there is another one
        return False
    values = {name: getattr(made, name) for name in known}
    if not all(isinstance(values[name], _TYPES[kind]) for name, kind in known.items()):
        return False
    numbers = [value for value in values.values() if isinstance(value, int | float)]
    return all(abs(number) <= LARGEST for number in numbers)  # false for NaN


def _is_about(record: Mapping[str, Any], samples: Collection[str]) -> bool:
    """Return whether a record is about one of these samples, or about none."""
    ((kind, values),) = record.items()
    return kind == "reward" or (values.get("sample_id") or values.get("parent_id")) in samples
