"""The lineage of samples, which says where they come from in a run: as a column of exported
samples, and as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from syngrpo.sample import Sample

LINEAGE = "lineage"
"""The key of the lineage in ``Sample.columns``."""


@dataclass(frozen=True)
class Lineage:
    """What a run knows about one of its samples, in addition to parent, description and depth.

    ``root``: the id of the seed sample that it descends from; ``dataset``: the data source of that
    sample; ``state``: active or retired; ``admitted``: when it joined the pool, UTC. ``visits``:
    how often it was rolled out; ``diversity`` and ``accuracy``: the means over these visits;
    ``step`` and ``policy_version``: those of the first visit, None before it.

    The other fields say how it was painted; they are None or empty for a seed sample. ``job``: the
    id of the job; ``generator``: the generator's fingerprint; ``seed`` and ``prompt``: what it was
    given; ``scores``: those of the gate; ``written_by``: the version of the policy that wrote the
    description; ``response``: the whole response that held the description.
    """

    root: str
    dataset: str
    state: str
    admitted: str
    visits: int = 0
    diversity: float | None = None
    accuracy: float | None = None
    step: int | None = None
    policy_version: int | None = None
    job: str | None = None
    generator: str | None = None
    seed: int | None = None
    prompt: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    written_by: int | None = None
    response: str | None = None


FIELDS = tuple(entry.name for entry in fields(Lineage))


def with_lineage(sample: Sample, lineage: Lineage) -> Sample:
    """Return the sample with its lineage as one of its columns, which every format writes."""
    return replace(sample, columns=sample.columns | {LINEAGE: asdict(lineage)})


def lineage_of(sample: Sample) -> dict[str, Any] | None:
    """Return the lineage in a sample's columns as a plain dict; None when there is none."""
    value = sample.columns.get(LINEAGE)
    return value if isinstance(value, dict) and tuple(value) == FIELDS else None


def score_names(samples: Sequence[Sample]) -> list[str]:
    """Return the names of all gate scores in the lineages of the samples, sorted."""
    found = (lineage_of(sample) or {"scores": {}} for sample in samples)
    return sorted({name for lineage in found for name in lineage["scores"]})


def write_lineage(samples: Sequence[Sample], images: Mapping[str, str], path: Path) -> None:
    """Write the lineages as a CSV table, one line a sample, with gate scores as columns
    ``score_…``.

    ``images``: sample id → its written image, relative to the table. Every sample must have a
    lineage.
    """
    scores = score_names(samples)
    plain = [name for name in FIELDS if name != "scores"]
    own = ["id", "parent", "depth", "task", "question", "description", "image"]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*own, *plain, *(f"score_{name}" for name in scores)])
        for sample in samples:
            lineage = lineage_of(sample)
            assert lineage is not None
            table.writerow(
                [
                    *(sample.id, sample.parent, sample.depth, sample.task, sample.question),
                    *(sample.description, images.get(sample.id)),
                    *(lineage[name] for name in plain),
                    *(lineage["scores"].get(name) for name in scores),
                ]
            )
