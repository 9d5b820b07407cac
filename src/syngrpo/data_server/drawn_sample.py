"""A sample as a trainer uses it: what to ask, the picture, the truth, the score of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from syngrpo.boxes import CoordinateFrame
from syngrpo.pool.stored_samples import PoolSample
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import PromptStyle
from syngrpo.tasks.asking import ScoredAnswer, prompt_of, scored_answer

if TYPE_CHECKING:
    import torch

ModelCoordinates = Literal["0-1000", "0-1", "pixels"]
"""The units in which a model writes boxes: thousandths or shares of the sides of the image, or
pixels of the original image."""
FrameOf = Callable[["SampleAccess"], CoordinateFrame]
"""Says how a model writes the coordinates of a sample's picture, where that depends on its size."""
_UNITS = {"0-1000": 1000.0, "0-1": 1.0}


class SampleAccess:
    """What a trainer asks of a sample. The picture of ``sample`` is decoded already; ``sample`` is
    the whole record, with the labelled objects."""

    sample: Sample

    @property
    def id(self) -> str:
        return self.sample.id

    @property
    def task(self) -> str:
        """The name of the task: rec, ovd, isr, or one of the user's."""
        return self.sample.task

    @property
    def question(self) -> str:
        return self.sample.question

    @property
    def answer(self) -> Any:
        """The ground truth, in the form of the task. Boxes are in pixels of the picture."""
        return self.sample.answer

    @property
    def synthetic(self) -> bool:
        """Whether the picture was painted from a description."""
        return self.sample.parent is not None

    @property
    def pixels(self) -> np.ndarray:
        """The picture as RGB, uint8 (H, W, 3), read-only."""
        return self.sample.image.decode()

    def picture(self) -> Image.Image:
        """Return the picture as a PIL image, RGB."""
        return Image.fromarray(self.pixels)

    def tensor(self) -> torch.Tensor:
        """Return a copy of the picture as a torch tensor, uint8 (3, H, W). Needs PyTorch."""
        import torch

        return torch.from_numpy(self.pixels.copy()).permute(2, 0, 1)

    def encoded(self) -> bytes:
        """Return the encoded bytes of the picture: PNG, JPEG, … as it was stored."""
        return self.sample.image.read()

    def prompt(self, style: PromptStyle = "full") -> str:
        """Return the text to put beside the picture: the question, and with "full" how to write
        the response. Raises InputError when the task fails."""
        return prompt_of(self.sample, style)

    def scored(
        self,
        answer: str | None,
        coordinates: ModelCoordinates | CoordinateFrame | FrameOf = "pixels",
    ) -> ScoredAnswer:
        """Read and score an answer, the text inside ``<answer>…</answer>`` (None: there is none).

        ``coordinates`` are those in which the model writes boxes; a CoordinateFrame where it sees a
        resized picture, or a function that returns one for the sample. Raises InputError when the
        task fails.
        """
        return scored_answer(self.sample, answer, self.frame(coordinates))

    def frame(self, coordinates: ModelCoordinates | CoordinateFrame | FrameOf) -> CoordinateFrame:
        """Return the frame that relates the model's coordinates to the pixels of the picture."""
        if callable(coordinates):
            return coordinates(self)
        if isinstance(coordinates, CoordinateFrame):
            return coordinates
        width, height = self.sample.image.width, self.sample.image.height
        if coordinates == "pixels":
            return CoordinateFrame(float(width), float(height), width, height)
        if coordinates not in _UNITS:
            raise InputError(
                f"coordinates {coordinates!r} are not known; use 0-1000, 0-1, pixels, or a "
                "CoordinateFrame with the size of the resized picture"
            )
        return CoordinateFrame(_UNITS[coordinates], _UNITS[coordinates], width, height)


@dataclass(frozen=True)
class AskedSample(SampleAccess):
    """A sample that was asked in an earlier step."""

    sample: Sample


@dataclass(frozen=True)
class DrawnSample(PoolSample, SampleAccess):
    """One drawn sample. ``family`` is the id of the seed that it descends from; a seed's own id."""

    family: str = ""
