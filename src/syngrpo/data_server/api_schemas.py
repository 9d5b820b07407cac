"""The pydantic models of the HTTP API: the content of requests and of answers.

Requests are checked against their models. The models of answers only document them.

A request may be wrong in hundreds of thousands of places, and the event loop waits while pydantic
lists them. So a list is checked up to its first wrong item, and of unknown keys one is named.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    model_validator,
)

from syngrpo.data_server.sample_wire import LONGEST_RESPONSE, PROTOCOL
from syngrpo.data_server.synthesis_options import RUN_PATTERN
from syngrpo.formats.source import USUAL_LIMIT
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.painting_request import PaintingOptions
from syngrpo.painting.refused_pictures import MOST_BYTES, SIDE
from syngrpo.picture_decoding import MAX_PIXELS
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.stored_samples import PoolStats
from syngrpo.tasks.labels import shown

DESCRIPTION = 4_000
"""Most characters of a description."""
TEXT = 64_000
"""Most characters of a question, of a prompt or of a traceback."""
COUNTS = 4 << 20
"""Most characters of the codes of a sample's masks together."""
NAME = 512
"""Most characters of an id, a class name or a generator's fingerprint."""
BATCH = 256
"""Most jobs, samples, observations or results in one request."""
SCORES = 100
"""Most scores of a result."""
INTEGER = 2**63 - 1
"""The largest integer that the database can hold."""

DIGEST_PATTERN = "^[0-9a-f]{64}$"
WITHOUT_NUL = r"^[^\x00]*$"
"""Names and columns have no NUL, because SQLite ends a text there when it looks for it."""

RunName = Annotated[str, Field(pattern=RUN_PATTERN, description="The name of a run.")]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN, description="sha256, hexadecimal.")]
Name = Annotated[str, Field(min_length=1, max_length=NAME, pattern=WITHOUT_NUL)]
Whole = Annotated[int, Field(ge=0, le=INTEGER)]
Share = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel):
    """A model that refuses unknown keys, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"there is no key {shown(key)}")
        return data


def _few(most: int) -> BeforeValidator:
    """Return a check that an object holds at most so many keys, those of objects in it included."""

    def check(data: Any) -> Any:
        waiting, keys = [data], 0
        while waiting:
            one = waiting.pop()
            if isinstance(one, dict):
                keys += len(one)
                if keys > most:
                    raise ValueError(f"there are more than {most} keys")
                waiting += one.values()
        return data

    return BeforeValidator(check)


OPTION_KEYS = _few(1000)


class Problem(BaseModel):
    """Why a request was refused, in one line."""

    error: str


class JobOptions(Model):
    """How a run's jobs are queued, painted and judged."""

    queue_limit: int = Field(default=256, ge=1, le=10_000_000, description="most open jobs")
    lease_s: float = Field(
        default=30.0, gt=0, le=86_400, description="seconds until a lease expires"
    )
    max_attempts: int = Field(default=3, ge=1, le=1000, description="attempts until a job is dead")
    max_image_pixels: int = Field(
        default=USUAL_LIMIT, ge=1, le=MAX_PIXELS, description="largest area of a picture in pixels"
    )
    policy: Annotated[SamplingPolicy, OPTION_KEYS] = Field(
        default=SamplingPolicy(), description="the run's pool section"
    )
    thresholds: Annotated[GateThresholds, OPTION_KEYS] = Field(
        default=GateThresholds(), description="thresholds of the gate"
    )
    painting: Annotated[PaintingOptions, OPTION_KEYS] = Field(
        default=PaintingOptions(), description="how images are composed, seen and lit"
    )

    @model_validator(mode="after")
    def _finite(self) -> JobOptions:
        json.dumps(self.model_dump(mode="python"), allow_nan=False)
        return self


class RunInfo(BaseModel):
    """A run on the server. Its ``identity`` changes if the server loses the data of the run;
    ``protocol`` is the version of this API."""

    run: str
    identity: str
    protocol: int


class SubmittedJob(Model):
    """A job to paint new surroundings. Jobs with the same first four fields are the same job."""

    parent_id: Name
    description: str = Field(max_length=DESCRIPTION)
    seed: Whole
    generator: Name
    policy_version: Whole | None = None
    response: str | None = Field(default=None, max_length=LONGEST_RESPONSE)
    bundle: Name | None = Field(
        default=None, description="name of the bundle of jobs that this one belongs to"
    )
    bundle_size: int | None = Field(
        default=None, ge=1, le=BATCH, description="number of jobs in the bundle"
    )

    @model_validator(mode="after")
    def _both(self) -> SubmittedJob:
        if (self.bundle is None) != (self.bundle_size is None):
            raise ValueError("give both bundle and bundle_size, or neither")
        return self


class SubmittedJobs(Model):
    jobs: Annotated[list[SubmittedJob], FailFast()] = Field(min_length=1, max_length=BATCH)


class Submitted(BaseModel):
    """What the queue did with submitted jobs. Jobs with a parent in ``missing_parents`` were
    ignored: upload the parents and submit these jobs again."""

    accepted: list[str]
    duplicates: list[str]
    dropped: int
    refused: int
    missing_parents: list[str]


class RunLengthMask(Model):
    """A mask as COCO run lengths. ``size`` is [height, width]."""

    size: tuple[Whole, Whole]
    counts: str


class Labelled(Model):
    """One labelled object. The box is (x1, y1, x2, y2) in pixels."""

    label: str = Field(max_length=NAME)
    box: tuple[float, float, float, float]
    mask: RunLengthMask | None = None


class SeedSample(Model):
    """A sample without a parent, with the encoded bytes of its image in base64.

    Its values are checked further as those of a row in a file are.
    """

    id: Name
    parent: None = None
    depth: Literal[0] = 0
    dataset: str = Field(default="", max_length=NAME)
    task: Name
    size: tuple[Whole, Whole] = Field(description="width and height of the image in pixels")
    question: str = Field(max_length=TEXT)
    answer: Any
    objects: Annotated[list[Labelled], FailFast()] = Field(max_length=10_000)
    description: str | None = Field(default=None, max_length=TEXT)
    columns: dict[str, Any] = {}
    content: Base64Bytes

    @model_validator(mode="after")
    def _of_bearable_size(self) -> SeedSample:
        if sum(len(one.mask.counts) for one in self.objects if one.mask is not None) > COUNTS:
            raise ValueError(f"the masks have more than {COUNTS} characters together")
        return self


class SeedSamples(Model):
    samples: Annotated[list[SeedSample], FailFast()] = Field(min_length=1, max_length=BATCH)


class Added(BaseModel):
    added: int


class ReportedObservation(Model):
    """One visit of a sample by the trainer."""

    sample_id: Name
    step: Whole
    policy_version: Whole
    diversity: Share
    accuracy: Share


class ReportedObservations(Model):
    observations: Annotated[list[ReportedObservation], FailFast()] = Field(
        min_length=1, max_length=BATCH
    )


class Observed(BaseModel):
    """The ids of reported samples that the server does not have. They are ignored."""

    ignored: list[str]


class LeaseRequest(Model):
    worker: Name
    generator: Name = Field(description="fingerprint of the worker's generator")
    count: int = Field(default=1, ge=1, le=64)
    wait_s: float = Field(default=0, ge=0, le=30, description="seconds to wait for a job")
    protocol: int = Field(default=PROTOCOL, description="the worker's version of this API")


class LeasedJob(BaseModel):
    """A job with all data that its worker needs. ``source`` is the seed that is painted anew. A
    small image of it is in ``content`` in base64; the worker fetches a larger one by its digest
    ``image``."""

    run: str
    job: dict[str, Any]
    source: dict[str, Any]
    constraints: dict[str, Any]
    siblings: list[str] = Field(description="perceptual hashes, base64")
    thresholds: dict[str, Any]
    painting: dict[str, Any]
    lease_s: float


class Leases(BaseModel):
    leases: list[LeasedJob]


class FrameData(Model):
    """Where the source lies in the picture: x becomes scale·x + right, y becomes scale·y + down, in
    pixels."""

    scale: float = Field(ge=0.001, le=1)
    right: float
    down: float
    size: tuple[Whole, Whole] = Field(description="width and height of the picture")
    horizon: float = Field(description="height of the horizon in pixels")


class LightData(Model):
    """The light and the camera of the picture."""

    brightness: float = Field(gt=0, le=1)
    haze: float = Field(ge=0, lt=1)
    glare: float = Field(ge=0, le=1)
    cast: float = Field(ge=-1, le=1)
    blur: float = Field(ge=0)
    grain: float = Field(ge=0)


class PaintedImage(Model):
    """An image that passed the worker's gate."""

    image: Base64Bytes
    prompt: str = Field(max_length=TEXT, pattern=WITHOUT_NUL)
    hash: Base64Bytes = Field(description="perceptual hash, 256 bytes")
    frame: FrameData
    light: LightData


class JobResult(Model):
    """The result of one job. It holds either ``painted`` or the ``reason`` of a rejection, perhaps
    with a small copy of the rejected picture."""

    run: RunName
    job: Digest
    scores: Annotated[dict[str, float], Field(max_length=SCORES), _few(SCORES)] = {}
    painted: PaintedImage | None = None
    reason: Annotated[Name, Field(max_length=100)] | None = None
    picture: Base64Bytes | None = Field(
        default=None, description=f"JPEG, at most {SIDE} pixels on a side, {MOST_BYTES} bytes"
    )

    @model_validator(mode="after")
    def _one(self) -> JobResult:
        if (self.painted is None) == (self.reason is None):
            raise ValueError("give either painted or reason")
        if self.picture is not None and self.painted is not None:
            raise ValueError("a painted image needs no small copy")
        if self.picture is not None and len(self.picture) > MOST_BYTES:
            raise ValueError(f"the small copy has more than {MOST_BYTES} bytes")
        if self.painted is not None and len(self.painted.hash) != 256:
            raise ValueError("a perceptual hash has 256 bytes")
        return self


class JobResults(Model):
    worker: Name
    results: Annotated[list[JobResult], FailFast()] = Field(min_length=1, max_length=BATCH)


class HeldJob(Model):
    run: RunName
    job: Digest


class HeldJobs(Model):
    worker: Name
    jobs: Annotated[list[HeldJob], FailFast()] = Field(min_length=1, max_length=BATCH)


class Failure(Model):
    worker: Name
    run: RunName
    job: Digest
    error: str = Field(max_length=TEXT, description="the traceback")


class Taken(BaseModel):
    """The jobs that the worker held. For other jobs the lease was lost, and nothing changed."""

    jobs: list[str]


class SampleRow(BaseModel):
    """An admitted sample. ``image`` is the digest of its image, ``content`` the bytes in base64 if
    the request asked for them."""

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
    """A job that ended, with its result."""

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
    """Jobs that ended. ``last`` is the cursor of the job of the run that ended last, 0 before the
    first; it is below a cursor that the client has seen if the server has lost jobs."""

    jobs: list[Ended]
    last: int


class RunStats(BaseModel):
    """The counts of the runs that serve, and why the others are offline, by name."""

    runs: dict[str, PoolStats]
    offline: dict[str, str] = {}


class Health(BaseModel):
    status: Literal["ok"]
