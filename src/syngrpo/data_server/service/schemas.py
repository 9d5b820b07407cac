"""The typed surface of the API: what is accepted, and what is documented."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

from syngrpo.data_server.service.limits import BATCH, DESCRIPTION, INTEGER, NAME, RESPONSE
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.painting_request import Canvas
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.stored_samples import PoolStats

RUN_PATTERN = "^[a-z0-9_-]{1,64}$"
DIGEST_PATTERN = "^[0-9a-f]{64}$"

RunName = Annotated[str, Field(pattern=RUN_PATTERN, description="The namespace of a run.")]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN, description="sha256, hexadecimal.")]
Name = Annotated[str, Field(min_length=1, max_length=NAME)]
Whole = Annotated[int, Field(ge=0, le=INTEGER)]
Share = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel):
    """Unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Problem(BaseModel):
    """Why a request was refused, in one line."""

    error: str


class RunOptions(Model):
    """How a run's jobs are queued, painted and judged."""

    queue_limit: int = Field(default=256, ge=1, le=10_000_000, description="open jobs, at most")
    lease_s: float = Field(default=30.0, gt=0, le=86_400, description="until a lease expires")
    max_attempts: int = Field(default=3, ge=1, le=1000, description="failures until a job is dead")
    policy: SamplingPolicy = Field(default=SamplingPolicy(), description="the run's pool section")
    thresholds: GateThresholds = Field(default=GateThresholds(), description="of the gate")
    canvas: Canvas = Field(default=Canvas(), description="how pictures are put together")

    @model_validator(mode="after")
    def _finite(self) -> RunOptions:
        json.dumps(self.model_dump(mode="python"), allow_nan=False)
        if self.canvas.max_side < 16 or not 0 <= self.canvas.round_trip <= 1:
            raise ValueError("canvas.max_side must be at least 16, canvas.round_trip in [0, 1]")
        if not 0 <= self.canvas.displacement < 1:
            raise ValueError("canvas.displacement must be in [0, 1)")
        return self


class RunInfo(BaseModel):
    """``identity`` changes when the run's data was lost and began anew."""

    run: str
    identity: str


class Job(Model):
    """New surroundings to paint. The first four fields are the idempotency key."""

    parent_id: Name
    description: str = Field(max_length=DESCRIPTION)
    seed: Whole
    generator: Name
    policy_version: Whole | None = None
    response: str | None = Field(default=None, max_length=RESPONSE)


class Jobs(Model):
    jobs: list[Job] = Field(min_length=1, max_length=BATCH)


class Submitted(BaseModel):
    """What became of submitted jobs. Those with a parent in ``missing_parents`` were not looked at:
    upload the parents and submit these again."""

    accepted: list[str]
    duplicates: list[str]
    dropped: int
    refused: int
    missing_parents: list[str]


class Mask(Model):
    """COCO run lengths of [height, width]."""

    size: tuple[Whole, Whole]
    counts: str


class Thing(Model):
    """One labelled object; the box is xyxy in pixels."""

    label: str
    box: tuple[float, float, float, float]
    mask: Mask | None = None


class Seed(Model):
    """A sample without a parent, with the encoded bytes of its image in base64."""

    id: Name
    parent: None = None
    depth: Literal[0] = 0
    dataset: str = Field(default="", max_length=NAME)
    task: Name
    size: tuple[Whole, Whole] = Field(description="width and height of the image in pixels")
    question: str
    answer: Any
    objects: list[Thing] = Field(max_length=10_000)
    description: str | None = None
    columns: dict[str, Any] = {}
    content: Base64Bytes

    @model_validator(mode="after")
    def _storable(self) -> Seed:
        plain = json.dumps([self.answer, self.columns], allow_nan=False, ensure_ascii=False)
        plain.encode()  # refuses half surrogates
        return self


class Seeds(Model):
    samples: list[Seed] = Field(min_length=1, max_length=BATCH)


class Added(BaseModel):
    added: int


class Observation(Model):
    """One visit of a sample by the trainer."""

    sample_id: Name
    step: Whole
    policy_version: Whole
    diversity: Share
    accuracy: Share


class Observations(Model):
    observations: list[Observation] = Field(min_length=1, max_length=BATCH)


class Observed(BaseModel):
    """Ids of samples that the server does not know, and need not know."""

    ignored: list[str]


class LeaseRequest(Model):
    worker: Name
    generator: Name = Field(description="fingerprint; only jobs for it are leased")
    count: int = Field(default=1, ge=1, le=64)
    wait_s: float = Field(default=0, ge=0, le=30, description="how long to wait for a job")


class LeasedJob(BaseModel):
    """A job and all that its worker needs. The parent's image is its ``content`` in base64, or,
    where it is not small, fetched by its digest ``image``."""

    run: str
    job: dict[str, Any]
    parent: dict[str, Any]
    constraints: dict[str, Any]
    siblings: list[str] = Field(description="perceptual hashes, base64")
    thresholds: dict[str, Any]
    canvas: dict[str, Any]
    lease_s: float


class Leases(BaseModel):
    leases: list[LeasedJob]


class Picture(Model):
    """A picture that passed the worker's gate."""

    image: Base64Bytes
    prompt: str = Field(max_length=RESPONSE)
    hash: Base64Bytes = Field(description="perceptual hash, 256 bytes")
    right: int = Field(default=0, description="pixels by which its objects moved to the right")


class Result(Model):
    """Exactly one of ``painted`` and ``reason``."""

    run: RunName
    job: Digest
    scores: dict[str, float] = Field(default={}, max_length=100)
    painted: Picture | None = None
    reason: str | None = Field(default=None, min_length=1, max_length=100)

    @model_validator(mode="after")
    def _one(self) -> Result:
        if (self.painted is None) == (self.reason is None):
            raise ValueError("give either painted or reason")
        if self.painted is not None and len(self.painted.hash) != 256:
            raise ValueError("a perceptual hash has 256 bytes")
        return self


class Results(Model):
    worker: Name
    results: list[Result] = Field(min_length=1, max_length=BATCH)


class Held(Model):
    run: RunName
    job: Digest


class HeldJobs(Model):
    worker: Name
    jobs: list[Held] = Field(min_length=1, max_length=BATCH)


class Failure(Model):
    worker: Name
    run: RunName
    job: Digest
    error: str = Field(max_length=RESPONSE, description="the traceback")


class Taken(BaseModel):
    """Jobs that the worker held; of others the lease was lost, and nothing changed."""

    jobs: list[str]


class SampleRow(BaseModel):
    """An admitted sample; ``image`` is a digest, ``content`` the bytes in base64 when asked for."""

    model_config = ConfigDict(extra="allow")

    id: str
    parent: str
    depth: int
    dataset: str
    task: str
    size: tuple[int, int]
    question: str
    answer: Any
    image: str
    content: str | None


class Ended(BaseModel):
    """A job that ended, and what came of it."""

    cursor: int
    id: str
    request: dict[str, Any]
    state: Literal["admitted", "rejected", "dead"]
    attempts: int
    reason: str | None
    error: str | None
    scores: dict[str, float]
    sample: SampleRow | None


class EndedJobs(BaseModel):
    jobs: list[Ended]


class RunStats(BaseModel):
    runs: dict[str, PoolStats]


class Health(BaseModel):
    status: Literal["ok"]
