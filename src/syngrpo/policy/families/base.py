"""The base classes of model families: what the rest of ``policy`` asks of one.

Every family is a ``Family``; one whose vision tower and text model can be called apart is a
``SplitFamily``, which saves computing an image and a prompt again for each response.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from syngrpo.policy.model_options import Coordinates
from syngrpo.sample import Sample


@dataclass(frozen=True, eq=False)
class Encoded:
    """A prompt as a family's processor made it; tensors on the CPU.

    ``input_ids`` int64 (P,); ``image`` are the family's own tensors for the image, by name;
    ``resized`` is the width and height in pixels to which the image was stretched, None if it was
    cut into tiles, padded or cropped instead.
    """

    input_ids: torch.Tensor
    image: dict[str, torch.Tensor]
    resized: tuple[int, int] | None


@dataclass(frozen=True)
class PromptSize:
    """The number of tokens of a prompt, and the number of those that are placeholders of its
    image."""

    tokens: int
    image: int


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The vision tower's output for one image: ``states`` (n, d), one for each placeholder;
    ``deeper`` are features of the same shape that are added in later layers of the text model.
    """

    states: torch.Tensor
    deeper: tuple[torch.Tensor, ...] = ()


class Family(ABC):
    """One family of vision-language models. ``model`` is always the plain transformers model.

    ``name``: the name of the family in messages.
    ``shares_prefix``: whether its attention can run with the layouts of ``policy.shared_prefix``,
    so that a prompt is computed once for all its continuations. False if a layer carries a state
    through the sequence.
    ``coordinates``: how its models write coordinates, None if the user must say it.
    """

    name: str
    shares_prefix: bool = False
    coordinates: Coordinates | None = None

    def known_coordinates(self, model_type: str) -> Coordinates | None:
        """Return how models of this type write coordinates, None if the user must say it."""
        return self.coordinates

    def prepare(self, model: Any) -> None:  # noqa: B027
        """Replace slow parts of a model that was just loaded with faster ones that compute the
        same. Parameters keep their names and shapes."""

    @abstractmethod
    def limit_pixels(self, image_processor: Any, max_pixels: int) -> None:
        """Make the image processor shrink images to at most this area in pixels.

        Raises InputError when it cannot.
        """

    def most_pixels(self, image_processor: Any) -> int | None:
        """Return the area in pixels to which larger images are shrunk, None if it varies."""
        return None

    def least_pixels(self, image_processor: Any) -> int | None:
        """Return the area in pixels to which smaller images are enlarged, None if there is none."""
        return None

    @abstractmethod
    def read(self, processor: Any, config: Any, sample: Sample, chat: str) -> Encoded:
        """Decode the sample's image and encode it with ``chat``, the text of the chat template.

        Raises InputError for an image that cannot be decoded or that the processor refuses.
        """

    @abstractmethod
    def size(self, processor: Any, config: Any, sample: Sample, chat: str) -> PromptSize:
        """Return the size of the prompt that ``read`` would make, without decoding the image.

        Raises InputError as ``read`` does, except for an image that cannot be decoded.
        """

    @abstractmethod
    def pixels_per_token(self, image_processor: Any) -> int | None:
        """Return the area of the resized image that becomes one token, None if it varies."""

    @abstractmethod
    def change_pixels(
        self,
        image: dict[str, torch.Tensor],
        image_processor: Any,
        change: Callable[[torch.Tensor], torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Return a copy of ``Encoded.image`` with other colours: ``change`` maps the current ones,
        float32 in [-1, 1], to new ones of the same shape, which are rounded to one byte each."""

    @abstractmethod
    def text_model(self, model: Any) -> Any:
        """Return the decoder stack. Its output has ``last_hidden_state`` (rows, N, d)."""

    @abstractmethod
    def vision_parameters(self, model: Any) -> list[nn.Parameter]:
        """Return the weights that ``model.freeze_vision`` freezes."""

    @abstractmethod
    def banned_token_ids(self, config: Any, tokenizer: Any) -> list[int]:
        """Return the ids that must never be sampled: placeholders of images, and rows of the
        embedding matrix that belong to no token."""

    @abstractmethod
    def lora_targets(self, model: Any, freeze_vision: bool) -> str:
        """Return a regular expression over the names of the linear layers that get adapters."""


class SplitFamily(Family):
    """A family whose vision tower and text model are called apart.

    So the vision tower runs once for each image, however many responses the group has, and, if it
    is frozen, once for each sample of a step.
    """

    @abstractmethod
    def vision_tower(self, model: Any) -> nn.Module:
        """Return the module that computes features of images, projection included."""

    @abstractmethod
    def pixel_values(
        self, images: Sequence[dict[str, torch.Tensor]], image_processor: Any, device: torch.device
    ) -> torch.Tensor:
        """Return the processor's values for these ``Encoded.image``: float32 (patches, d)."""

    @abstractmethod
    def picture(self, image: dict[str, torch.Tensor], image_processor: Any) -> np.ndarray:
        """Return the resized image, uint8 (height, width, 3), from an ``Encoded.image``."""

    @abstractmethod
    def image_features(
        self, model: Any, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> list[ImageFeatures]:
        """Run the vision tower over I images, differentiably.

        ``pixel_values`` (patches, d) and ``image_grid_thw`` (I, 3) are the processor's.
        """

    @abstractmethod
    def embed(
        self, model: Any, input_ids: torch.Tensor, images: Sequence[ImageFeatures]
    ) -> dict[str, Any]:
        """Return keyword arguments of the text model for tokens and their images, differentiably.

        ``input_ids`` (R, N) holds one placeholder per image feature; ``images`` has one entry for
        each run of placeholders, in reading order. Raises an error when the numbers of placeholders
        and of features differ.
        """

    @abstractmethod
    def positions(
        self, model: Any, input_ids: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> torch.Tensor:
        """Return the rotary positions (3, P) of one prompt (P,). Tokens after the prompt continue
        at their maximum + 1."""

    def vision_parameters(self, model: Any) -> list[nn.Parameter]:
        return list(self.vision_tower(model).parameters())
