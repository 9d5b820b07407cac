"""Converts samples, jobs and results to JSON data and back, for the HTTP API of a data server.

The server checks and documents the same data with the models of ``api_schemas``; the functions here
need no pydantic. Images are sent as their encoded bytes: in base64 within JSON, or in an answer of
their own that is requested by the image's digest.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from syngrpo.data_server.job_exchange import Leased
from syngrpo.formats.sample_rows import checked_sample
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.painting_request import PaintingOptions, Result
from syngrpo.pool.jobs import EndedJob, Job, JobRequest, Rejected
from syngrpo.pool.stored_samples import sample_fields, sample_from_fields
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.serving.wording import one_line
from syngrpo.tasks import Constraints

PROTOCOL = 2
"""The version of the HTTP API of a data server. A change that a trainer, a worker or the server
would misread raises it."""
SMALL_IMAGE = 64 << 10
"""Images of at most this many bytes are sent within JSON, which costs less than another request."""

LONGEST_RESPONSE = 64_000
"""Most characters of a response in a job. Of a longer one only the end is sent, where its
description is."""

Data = dict[str, Any]
_PLAIN = ("cursor", "state", "attempts", "reason", "error", "scores")


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def sample_data(sample: Sample) -> Data:
    """Return a sample as data, without the bytes of its image. Raises InputError for values that
    JSON cannot hold."""
    whose = {"id": sample.id, "parent": sample.parent, "depth": sample.depth}
    return {**whose, "dataset": sample.dataset, **sample_fields(sample)}


def sample_from(data: Mapping[str, Any], image: EncodedImage) -> Sample:
    """Check the ``data`` that ``sample_data`` returned and return the sample.

    Raises InputError when it is no sample that a file could hold.
    """
    try:
        where = (data["parent"], data["depth"], data["dataset"])
        sample = sample_from_fields(dict(data), data["id"], image, *where)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the data are not those of a sample ({one_line(error)})") from None
    return checked_sample(sample)


def unread_image(data: Mapping[str, Any], content: bytes) -> EncodedImage:
    """Return an image with the size given in the sample's ``data``. Its bytes are not parsed."""
    width, height = data["size"]
    return EncodedImage(width, height, data=content)


def digest_of(sample: Sample) -> str:
    """Return the digest of the image of a pool's sample, which is the name of its file."""
    assert sample.image.path is not None
    return sample.image.path.name


def leased_data(leased: Leased) -> Data:
    """Return a lease as data. It contains the source's image if that is small. A worker fetches a
    large image by its digest, unless it has it from an earlier job."""
    source = sample_data(leased.source) | {"image": digest_of(leased.source), "content": None}
    content = leased.source.image.read()
    if len(content) <= SMALL_IMAGE:
        source["content"] = to_base64(content)
    return {
        "run": leased.run,
        "job": asdict(leased.job),
        "source": source,
        "constraints": asdict(leased.constraints),
        "siblings": [to_base64(one) for one in leased.siblings],
        "thresholds": asdict(leased.thresholds),
        "painting": asdict(leased.painting),
        "lease_s": leased.lease_s,
    }


def leased_from(data: Mapping[str, Any], source: Sample) -> Leased:
    """Return the lease from the ``data`` that ``leased_data`` returned. ``source`` is the seed with
    its image."""
    constraints: Data = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in data["constraints"].items()
    }
    return Leased(
        job=Job(**data["job"]),
        source=source,
        constraints=Constraints(**constraints),
        siblings=[base64.b64decode(one) for one in data["siblings"]],
        thresholds=GateThresholds(**data["thresholds"]),
        painting=PaintingOptions.of(data["painting"]),
        lease_s=data["lease_s"],
        run=data["run"],
    )


def result_data(leased: Leased, result: Result) -> Data:
    """Return the result that a worker hands in for a job, as data."""
    whose: Data = {"run": leased.run, "job": leased.job.id, "scores": result.scores}
    if isinstance(result, Rejected):
        copy = None if result.picture is None else to_base64(result.picture)
        return whose | {"reason": result.reason, "picture": copy}
    picture = {"image": to_base64(result.image.read()), "hash": to_base64(result.hash)}
    how = {"frame": result.frame.lineage(), "light": result.light.lineage()}
    return whose | {"painted": {**picture, "prompt": result.prompt, **how}}


def ended_data(job: EndedJob, images: bool) -> Data:
    """Return an ended job as data. With ``images`` it contains the bytes of its sample's image. A
    job whose image cannot be read is dead."""
    sample = None
    plain = {name: getattr(job, name) for name in _PLAIN}
    if job.sample is not None:
        sample = sample_data(job.sample) | {"image": digest_of(job.sample), "content": None}
        try:
            sample["content"] = to_base64(job.sample.image.read()) if images else None
        except OSError as error:
            line = f"image {job.sample.image.path} cannot be read ({error.strerror})"
            sample, plain = None, plain | {"state": "dead", "error": line}
    more = {"id": job.request.id, "request": asdict(job.request), "sample": sample}
    return plain | more


def ended_from(data: Mapping[str, Any]) -> EndedJob:
    """Return the job from the ``data`` that ``ended_data`` returned with images."""
    row = data["sample"]
    sample = None
    if row is not None:
        sample = sample_from(row, unread_image(row, base64.b64decode(row["content"])))
    plain = {name: data[name] for name in _PLAIN}
    return EndedJob(**plain, request=JobRequest(**data["request"]), sample=sample)


def parent_data(sample: Sample) -> Data:
    """Return a seed as data, with the bytes of its image."""
    return sample_data(sample) | {"content": to_base64(sample.image.read())}


def requests_data(requests: Sequence[JobRequest]) -> list[Data]:
    """Return the jobs to submit as data."""
    return [
        asdict(one) | {"response": one.response and one.response[-LONGEST_RESPONSE:]}
        for one in requests
    ]
