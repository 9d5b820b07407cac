"""What a painter is asked for, and what it returns: plain data without a pool or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syngrpo.options import option
from syngrpo.painting.frame import Frame, FrameOptions
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.light import Light, LightOptions
from syngrpo.pool.jobs import Job, Rejected
from syngrpo.sample import EncodedImage, Sample
from syngrpo.tasks import Constraints


@dataclass(frozen=True, kw_only=True)
class PaintingOptions:
    """How a picture is put together from kept and painted pixels, and how it is seen and lit."""

    feather: int | None = option(
        None,
        "pixels around kept objects over which they fade into the painted surroundings; "
        "null: chosen by the image's size",
        ge=0,
    )
    max_side: int = option(
        1024,
        "largest side in pixels that the generator is asked to paint, or to encode and decode for "
        "round_trip",
        ge=16,
    )
    round_trip: float = option(
        0.0,
        "share of each kept pixel's value that is taken from the original after it went through "
        "the generator's autoencoder; 0: kept pixels stay exact",
        ge=0,
        le=1,
    )
    frame: FrameOptions = option(FrameOptions, "from where new pictures are seen")
    light: LightOptions = option(LightOptions, "light and camera of new pictures")
    decoys: bool = option(
        True,
        'whether a description may ask for further things ("two stools stand around"); false: this '
        'part becomes "nothing else stands around" in the prompt of the generator',
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PaintingOptions:
        """Return the options from plain values, as ``dataclasses.asdict`` returns them."""
        frame, light = dict(values["frame"]), LightOptions(**values["light"])
        least, most = frame.pop("scale")
        nested = {"frame": FrameOptions(scale=(least, most), **frame), "light": light}
        return cls(**{**values, **nested})


@dataclass(frozen=True)
class PaintingRequest:
    """One job with everything that a painter needs to do it.

    ``source`` is the seed sample whose surroundings are painted anew: the job's parent, or the seed
    that it descends from. Pictures are always painted from a seed, so that repeated shrinking and
    dimming cannot add up. ``constraints`` say which of its objects must stay. ``siblings`` are
    perceptual hashes (see ``gate.perceptual_hash``) of the parent, if it is synthetic, and of its
    other children. ``thresholds`` are those of the gate.
    """

    job: Job
    source: Sample
    constraints: Constraints
    siblings: Sequence[bytes] = ()
    thresholds: GateThresholds = field(default_factory=GateThresholds)
    painting: PaintingOptions = field(default_factory=PaintingOptions)


@dataclass(frozen=True)
class Painted:
    """A picture that passed the gate.

    ``image`` is the picture as it will be stored, ``prompt`` the text that the generator was given,
    ``hash`` the picture's perceptual hash and ``scores`` every score of the gate. ``frame`` says
    where the source lies in the picture, ``light`` how it is lit.
    """

    image: EncodedImage
    prompt: str
    hash: bytes
    scores: dict[str, float]
    frame: Frame
    light: Light = field(default_factory=Light)


Result = Painted | Rejected
