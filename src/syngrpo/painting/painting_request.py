"""What a painter is asked for, and what it returns: plain data without a pool or a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from syngrpo.options import option
from syngrpo.painting.gate import GateThresholds
from syngrpo.pool.jobs import Job, Rejected
from syngrpo.sample import EncodedImage, Sample
from syngrpo.tasks import Constraints


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """How a picture is put together from kept and painted pixels."""

    feather: int | None = option(
        None,
        "pixels around kept objects over which they fade into the painted surroundings; "
        "null: chosen by the image's size",
        ge=0,
    )
    max_side: int = option(
        1024, "largest side in pixels that the generator is asked to paint", ge=16
    )
    round_trip: float = option(
        0.0,
        "share of each kept pixel's value that is taken from the original after it went through "
        "the generator's autoencoder; 0: kept pixels stay exact",
        ge=0,
        le=1,
    )
    displacement: float = option(
        0.0,
        "share of the width by which all labelled objects of a picture, and their labels, may move "
        "sideways together; leave it at 0 for questions that ask where something is",
        ge=0,
        lt=1,
    )


@dataclass(frozen=True)
class PaintingRequest:
    """One job with everything that a painter needs to do it.

    ``parent`` is the sample whose surroundings are painted anew; ``constraints`` say which of its
    objects must stay. ``siblings`` are perceptual hashes (see ``gate.perceptual_hash``) of the
    parent's other children. ``thresholds`` are those of the gate.
    """

    job: Job
    parent: Sample
    constraints: Constraints
    siblings: Sequence[bytes] = ()
    thresholds: GateThresholds = field(default_factory=GateThresholds)
    canvas: Canvas = field(default_factory=Canvas)


@dataclass(frozen=True)
class Painted:
    """A picture that passed the gate.

    ``image`` is the picture as it will be stored, ``prompt`` the text that the generator was given,
    ``hash`` the picture's perceptual hash and ``scores`` every score of the gate. The objects stand
    ``right`` pixels further right than the parent's (further left where it is negative).
    """

    image: EncodedImage
    prompt: str
    hash: bytes
    scores: dict[str, float]
    right: int = 0


Result = Painted | Rejected
