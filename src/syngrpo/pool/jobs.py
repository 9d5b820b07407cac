"""The plain data of synthesis jobs: what is asked for, leased, handed in, and reported."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from syngrpo.sample import Sample

EndState = Literal["admitted", "rejected", "dead"]


@dataclass(frozen=True)
class JobRequest:
    """New surroundings to paint. The first four fields together are the idempotency key.

    ``policy_version`` and ``response`` are of the policy that wrote the description, for the record
    alone; None where nobody wrote it.
    """

    parent_id: str
    description: str
    seed: int
    generator: str
    """Fingerprint of the generator: the same request to another generator is another job."""
    policy_version: int | None = None
    response: str | None = None

    @property
    def id(self) -> str:
        """sha256 of the idempotency key, hexadecimal."""
        key = json.dumps([self.parent_id, self.description, self.seed, self.generator])
        return hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True)
class Job:
    """A leased job; ``attempts`` counts this one."""

    id: str
    parent_id: str
    description: str
    seed: int
    generator: str
    attempts: int


@dataclass(frozen=True)
class SubmitResult:
    """Ids taken and ids known already; how many found the queue full (``dropped``) or a parent
    that may not have more children (``refused``)."""

    accepted: list[str]
    duplicates: list[str]
    dropped: int
    refused: int


@dataclass(frozen=True)
class Admitted:
    """The gate let the image pass. The sample names the job's parent as its own."""

    sample: Sample
    scores: dict[str, float]


@dataclass(frozen=True)
class Rejected:
    """The gate refused the image; a short reason out of few, and every score."""

    reason: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``reason``: the gate's, or the last line of the error of a dead job."""

    cursor: int
    job_id: str
    state: EndState
    sample_id: str | None
    reason: str | None


@dataclass(frozen=True)
class EndedJob:
    """All that is known of a job that ended, so that another pool can record it too.

    ``error`` is the traceback of the last failed attempt, ``sample`` that of an admitted job.
    """

    cursor: int
    request: JobRequest
    state: EndState
    attempts: int
    reason: str | None
    error: str | None
    scores: dict[str, float]
    sample: Sample | None
