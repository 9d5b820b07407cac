"""Where a sample of a run comes from: the columns that exported samples carry, and their table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from syngrpo.sample import Sample

LINEAGE = "lineage"
"""The key in ``Sample.columns``."""


@dataclass(frozen=True)
class Lineage:
    """What a run knows of one of its samples, beside parent, description and depth.

    ``root``: the id of the seed it descends from; ``dataset``: that seed's data source; ``state``:
    active or retired; ``admitted``: when, UTC. ``visits``, ``diversity`` and ``accuracy``: how
    often it was rolled out, and the means over those visits; ``step`` and ``policy_version``: of
    the first visit. None before it. The rest is how it was made, None and empty for a seed: the
    job, the generator's fingerprint, its seed and prompt, the scores of the gate, and of the
    description the version of the policy that wrote it (``written_by``) and the whole ``response``.
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
    """The sample with its lineage among its columns, where every format keeps it."""
    return replace(sample, columns=sample.columns | {LINEAGE: asdict(lineage)})


def lineage_of(sample: Sample) -> dict[str, Any] | None:
    """The lineage among a sample's columns as a plain dict, None when there is none of our form."""
    value = sample.columns.get(LINEAGE)
    return value if isinstance(value, dict) and tuple(value) == FIELDS else None


def score_names(samples: Sequence[Sample]) -> list[str]:
    """The names of all gate scores, sorted."""
    found = (lineage_of(sample) or {"scores": {}} for sample in samples)
    return sorted({name for lineage in found for name in lineage["scores"]})


def write_lineage(samples: Sequence[Sample], images: Mapping[str, str], path: Path) -> None:
    """Writes the table, one line a sample, gate scores as columns ``score_…``.

    ``images`` gives the written image, relative to the table, by the sample's id. Every sample must
    have a lineage.
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
