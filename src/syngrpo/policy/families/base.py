"""What the rest of the policy asks of a model family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from syngrpo.boxes import CoordinateFrame


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What the vision tower says about one image: ``states`` (n, d), one a placeholder; ``deeper``
    are features of the same shape that enter the text model above its first layer.
    """

    states: torch.Tensor
    deeper: tuple[torch.Tensor, ...] = ()


class Family(Protocol):
    """One family of vision-language models. ``model`` is always the plain transformers model.

    ``shares_prefix``: its attention can run with our layouts, so that a prompt is computed once for
    all that continues it. False where a layer carries a state through the sequence.
    """

    name: str
    shares_prefix: bool

    def prepare(self, model: Any) -> None:
        """After loading: exchanges slow parts for faster ones that compute the same.

        Parameters keep their names and shapes.
        """

    def text_model(self, model: Any) -> Any:
        """The decoder stack; called with ``inputs_embeds`` or ``input_ids`` and positions."""

    def vision_tower(self, model: Any) -> nn.Module:
        """Everything that ``freeze_vision`` freezes."""

    def image_features(
        self, model: Any, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> list[ImageFeatures]:
        """The vision tower over I images, differentiable.

        ``pixel_values`` (patches, d) and ``image_grid_thw`` (I, 3) are the processor's.
        """

    def embed(
        self, model: Any, input_ids: torch.Tensor, images: Sequence[ImageFeatures]
    ) -> dict[str, Any]:
        """Keyword arguments of the text model for tokens and their images, differentiable.

        ``input_ids`` (R, N) holds one placeholder per image feature; ``images`` has one entry for
        each run of placeholders, in reading order. Raises when their numbers differ.
        """

    def positions(
        self, model: Any, input_ids: torch.Tensor, image_grid_thw: torch.Tensor
    ) -> torch.Tensor:
        """Rotary positions (3, P) of one prompt (P,); what follows continues at their max + 1."""

    def frame(
        self, width: int, height: int, image_grid_thw: torch.Tensor, image_processor: Any
    ) -> CoordinateFrame:
        """How this family writes coordinates of an image of ``width`` x ``height`` pixels."""

    def banned_token_ids(self, config: Any, tokenizer: Any) -> list[int]:
        """Ids that may never be sampled: placeholders of images, and rows without a token."""

    def lora_targets(self, freeze_vision: bool) -> str:
        """A regular expression over module names: the linear layers that get adapters."""
