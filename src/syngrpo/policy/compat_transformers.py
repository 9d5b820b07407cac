"""Every use of undocumented interfaces of transformers by the policy.

Checked with transformers 5.17.0 and 5.23.0; the allowed range is 5.17 to 6 (pyproject.toml;
``make test-oldest`` tests its lower end). When something breaks with a new version, look here
first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def register_attention(name: str, attention: Callable[..., Any]) -> None:
    """Let models choose ``attention`` by this name. It gets the masks that SDPA gets."""
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)


def choose_attention(model: Any, name: str) -> None:
    """Let this model, or this part of one, use a registered attention."""
    # The public method would look for the package flash_attn if the name has "flash" in it.
    model.config._attn_implementation = name


def plain_attention(*arguments: Any, **options: Any) -> tuple[torch.Tensor, None]:
    """Attend as transformers does with its implementation ``sdpa``."""
    return sdpa_attention_forward(*arguments, **options)


def reads_images(model_type: str) -> bool:
    """Return whether ``AutoModelForImageTextToText`` loads models of this type."""
    return model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def block_classes(model: Any) -> set[str]:
    """Return the names of the classes of a model's layers: the modules that must not be split when
    its weights are spread over devices."""
    return set(model._no_split_modules or ())


def checkpoint_activations(model: Any) -> None:
    """Let the model compute its activations again in the backward pass instead of keeping them."""
    # transformers 5.17 to 5.19 have only the older method, which is deprecated later.
    older = model.gradient_checkpointing_enable
    getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})


def checkpoints_activations(model: Any) -> bool:
    """Return whether ``checkpoint_activations`` was called."""
    # The model's own properties for this have other names before transformers 5.20.
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def deeper_features(outputs: Any) -> list[tuple[torch.Tensor, ...]]:
    """Return the features of further vision layers (DeepStack), a tuple for each such layer with
    one tensor (T, D) for each image. ``outputs`` are those of ``get_image_features``; [] for
    families without such features."""
    sizes = [len(states) for states in outputs.pooler_output]
    # In transformers 5.17 those of all images are in one tensor.
    return [
        tuple(layer.split(sizes)) if isinstance(layer, torch.Tensor) else tuple(layer)
        for layer in getattr(outputs, "deepstack_features", None) or []
    ]


def row_positions(
    model: Any, input_ids: torch.Tensor, mask: torch.Tensor, inputs: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Return the positions that the model itself would give the tokens of padded rows.

    ``input_ids`` and ``mask`` are (R, N), ``inputs`` the other arguments that the model is called
    with. The result is (R, N), or (3, R, N) for a model with three-part rotary positions.
    """
    own = getattr(model.base_model, "get_rope_index", None)
    if own is None:
        return (mask.cumsum(-1) - 1).clamp(min=0)
    known = inspect.signature(own).parameters
    given = {"attention_mask": mask, **inputs}
    positions: torch.Tensor = own(input_ids, **{k: v for k, v in given.items() if k in known})[0]
    return positions
