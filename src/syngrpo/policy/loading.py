"""Loads a model for training or evaluation from a directory or from the Hugging Face hub.

``load_policy`` does it all; ``read_model_files`` reads everything but the weights.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig
from transformers.utils import logging as transformers_logging

from syngrpo.policy.compat_transformers import checkpoint_activations, reads_images
from syngrpo.policy.families import find_family
from syngrpo.policy.families.base import Family, SplitFamily
from syngrpo.policy.lora import adapter_base, is_adapter, load_adapter, new_adapter
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import Coordinates, LoraOptions
from syngrpo.policy.shared_prefix import SHARED_PREFIX, has_varlen
from syngrpo.policy.trial import try_out
from syngrpo.sample import InputError
from syngrpo.serving.devices import parse_device
from syngrpo.serving.wording import first_line

logger = logging.getLogger(__name__)

LARGE = 1_000_000_000
"""Number of weights from which a model's activations are not kept, unless the user says so."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_policy(
    path: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    lora: LoraOptions | None = None,
    freeze_vision: bool = False,
    gradient_checkpointing: bool | None = None,
    max_pixels: int | None = None,
    adapter: Path | None = None,
    cuda_graphs: bool = True,
    family: str | None = None,
    coordinates: Coordinates | None = None,
    seed: int = 0,
) -> Policy:
    """Load a checkpoint directory or a model of the hub.

    ``dtype`` is one of DTYPES. With ``lora`` only adapters train; otherwise all weights do, those
    of the vision tower unless ``freeze_vision``. ``gradient_checkpointing`` None: on for LARGE
    models. ``max_pixels`` limits the area of a resized image. ``adapter`` is a directory saved by
    peft, put on top of the model; if ``path`` is such a directory, the model that the adapter names
    is loaded with it. ``family`` and ``coordinates`` are those of ``ModelOptions``. ``seed`` is
    that of the first weights of new adapters.

    Raises InputError for a missing directory, a model that is no image-text-to-text model or cannot
    be trained, coordinates that are not known, an unknown family, dtype or device, an adapter that
    does not fit, or an adapter together with ``lora``.
    """
    weights, target = _dtype(dtype), parse_device(device, "model.device")
    source, adapter = _sources(path, adapter, lora)
    driver, config, processor = read_model_files(source, family, max_pixels)
    written = _coordinates(driver, config, source, coordinates)
    try:
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=weights)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the weights of model {source} cannot be read ({first_line(error)}); copy or download "
            "the model again"
        ) from error
    shares_prefix = _prepare(model, driver, source, gradient_checkpointing)
    stop_ids = _stop_ids(model, processor.tokenizer)
    banned = torch.tensor(driver.banned_token_ids(config, processor.tokenizer))
    trained = _trained_part(model, driver, adapter, lora, freeze_vision, seed)
    policy = Policy(
        trained.to(target).train(),
        processor,
        driver,
        banned.to(target),
        stop_ids,
        written,
        shares_prefix,
        shares_prefix and has_varlen(config.get_text_config(), target, weights),
        cuda_graphs,
        adapter is not None,
    )
    if not isinstance(driver, SplitFamily):
        try_out(policy, source)
    return policy


def model_files(
    path: str | Path, family: str | None = None, max_pixels: int | None = None
) -> tuple[Family, Any, Any]:
    """Return ``read_model_files`` of the model that ``load_policy`` would load from ``path``."""
    source, _ = _sources(path, None, None)
    return read_model_files(source, family, max_pixels)


def read_model_files(
    source: str, family: str | None = None, max_pixels: int | None = None
) -> tuple[Family, Any, Any]:
    """Return a model's family, configuration and processor, without loading its weights.

    ``source`` is a directory or a hub name; ``family`` and ``max_pixels`` are those of
    ``ModelOptions``. Raises InputError when something is missing, or the model is no
    image-text-to-text model of transformers.
    """
    transformers_logging.disable_progress_bar()  # it would break into the lines of ours
    try:
        model_type = str(PreTrainedConfig.get_config_dict(source)[0].get("model_type"))
        if not reads_images(model_type):
            raise InputError(
                f"model {source} is of type {model_type!r}, which is no image-text-to-text model "
                "of this version of transformers; choose one that takes an image and writes text "
                "(docs/families.md)"
            )
        driver = find_family(model_type, family)
        config = AutoConfig.from_pretrained(source)
        processor = AutoProcessor.from_pretrained(source)
    except (OSError, ImportError) as error:
        reason = first_line(error)
        raise InputError(
            f"model {source} cannot be loaded ({reason}); check model.path or --model"
        ) from None
    except (AttributeError, TypeError, RecursionError) as error:  # a file of another form
        reason = first_line(error)
        raise InputError(
            f"the files of model {source} cannot be read ({reason}); copy or download them again"
        ) from error
    if max_pixels is not None:
        driver.limit_pixels(processor.image_processor, max_pixels)
    return driver, config, processor


def _coordinates(family: Family, config: Any, source: str, said: Coordinates | None) -> Coordinates:
    known = said or family.known_coordinates(config.model_type)
    if known is None:
        raise InputError(
            f"how model {source} (type {config.model_type}) writes coordinates is not known; set "
            "model.coordinates to pixels, resized, 0-1000 or 0-1 (docs/families.md)"
        )
    return known


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is unknown; use one of {', '.join(DTYPES)}")
    return DTYPES[name]


def _sources(
    path: str | Path, adapter: Path | None, lora: LoraOptions | None
) -> tuple[str, Path | None]:
    """Return the directory or hub name of the model, and the adapter's directory if there is
    one."""
    if not is_adapter(Path(path)):
        source = _source(path)
    elif adapter is None:
        source, adapter = adapter_base(Path(path)), Path(path)
    else:
        raise InputError(f"{path} is itself an adapter; give the model it was trained on")
    if adapter and lora:
        raise InputError(f"adapter {adapter} has a rank of its own; leave out model.lora")
    return source, adapter


def _source(path: str | Path) -> str:
    if (Path(path) / "config.json").is_file():
        return str(path)
    if Path(path).is_dir():
        raise InputError(
            f"directory {path} holds no model (no config.json); check model.path or --model"
        )
    if isinstance(path, Path) or not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise InputError(f"model directory {path} does not exist; check model.path or --model")
    return path


def _prepare(model: Any, family: Family, source: str, gradient_checkpointing: bool | None) -> bool:
    """Set up a model that was just loaded; return whether it can share a group's prompt."""
    family.prepare(model)
    shares_prefix = _can_share_prefix(model.config, family, source)
    if shares_prefix:
        family.text_model(model).set_attn_implementation(SHARED_PREFIX)
    if gradient_checkpointing is None:
        gradient_checkpointing = model.num_parameters() >= LARGE
    if gradient_checkpointing:
        checkpoint_activations(model)
    return shares_prefix


def _trained_part(
    model: Any,
    family: Family,
    adapter: Path | None,
    lora: LoraOptions | None,
    freeze_vision: bool,
    seed: int,
) -> nn.Module:
    """Return the module that the optimizer trains: the model itself, or the model with adapters."""
    trained: nn.Module = model
    if adapter:
        trained = load_adapter(model, adapter)
    elif lora:
        trained = new_adapter(model, family, lora, freeze_vision, seed)
    if freeze_vision:  # also adapters inside the vision tower
        for parameter in family.vision_parameters(model):
            parameter.requires_grad_(False)
    return trained


def _can_share_prefix(config: Any, family: Family, source: str) -> bool:
    """Return whether the responses of a group can share one computation of their prompt: all layers
    must be full attention. Log a warning if they cannot."""
    layers = getattr(config.get_text_config(), "layer_types", None)
    others = sorted(set(layers or ["full_attention"]) - {"full_attention"})
    if family.shares_prefix and not others:
        return True
    logger.warning(
        "model %s (%s) cannot share a prompt between the responses of a group%s: every response is "
        "computed in a padded row of its own, which is slower",
        source,
        family.name,
        f", because it has layers of kind {', '.join(others)}" if others else "",
    )
    return False


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return tuple(sorted({i for i in [*ids, tokenizer.eos_token_id] if i is not None}))
