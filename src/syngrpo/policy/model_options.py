"""The options of the configuration section ``model``, and models that have a short name.

This module imports neither torch nor transformers, so that reading a configuration stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from syngrpo.extensions import Registry, no_instance
from syngrpo.options import REQUIRED, option

Coordinates = Literal["pixels", "resized", "0-1000", "0-1"]
"""How a model writes coordinates: in pixels of the image as the data set has it, in pixels of the
image as the processor resized it, or relative to the image's width and height, from 0 to 1000 or
from 0 to 1. Always x before y, from the top left corner."""


@dataclass(frozen=True)
class NamedModel:
    """A model that ``model.path`` can name by a short name: one that an installed package has.

    ``path``: its directory in Hugging Face format. ``knows_format``: it was trained to write
    responses in this project's format, so its prompts need not explain it.
    """

    path: Path
    knows_format: bool = False


MODELS: Registry[NamedModel] = Registry(
    "model", "syngrpo.models", {}, problem=lambda name, found: no_instance(found, NamedModel)
)
"""Short name → NamedModel, from the entry points of installed packages."""


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adapters on every linear layer of the decoder (and of an unfrozen vision tower).

    They have no dropout, because the importance ratio of an unchanged policy must be exactly 1.
    """

    rank: int = option(64, "rank of the adapters", ge=1)
    alpha: int = option(128, "the output of the adapters is multiplied by alpha / rank", ge=1)


@dataclass(frozen=True)
class ModelOptions:
    """The model that is trained."""

    path: str = option(
        REQUIRED,
        "directory or hub name in Hugging Face format, or the short name of a model in an "
        "installed package (`syngrpo extensions` lists them)",
    )
    family: str | None = option(
        None,
        "the code that handles this kind of model: a name that `syngrpo extensions` lists, or "
        "package.module:name; null: chosen by the model type",
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "number format of weights and computation"
    )
    device: str = option(
        "auto", '"cpu", "cuda" or "cuda:1"; auto: the accelerator if there is one, else the CPU'
    )
    lora: LoraOptions | None = option(
        None, "low-rank adapters instead of full fine-tuning; null: all weights are trained"
    )
    freeze_vision: bool = option(False, "do not train the vision tower and its projection")
    gradient_checkpointing: bool | None = option(
        None,
        "compute activations again in the backward pass: slower, but a tenth of the memory for "
        "activations; null: for models of a billion weights or more",
    )
    max_pixels: int | None = option(
        None, "area in pixels to which larger images are shrunk; null: the model's own limit", ge=1
    )
    coordinates: Coordinates | None = option(
        None,
        "how the model writes coordinates: pixels (of the image in the data), resized (pixels of "
        "the image as the processor resizes it), 0-1000 or 0-1 (relative to its width and "
        "height); null: the way its family is known to, see docs/families.md",
    )


def model_directory(path: str | Path) -> tuple[str, bool]:
    """Return the directory or hub name of the model that ``model.path`` names, and whether the
    model knows the response format.

    A short name of ``MODELS`` becomes the directory of that model. Any other path is returned as it
    is, and its model does not know the format.
    """
    if isinstance(path, str) and path in MODELS:
        named = MODELS.get(path)
        return str(named.path), named.knows_format
    return str(path), False
