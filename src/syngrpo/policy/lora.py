"""Puts low-rank adapters on a model: new ones for training, or saved ones of peft.

The reference of the KL is the model as the training found it. With new adapters this is the model
without them. A saved adapter belongs to it, so ``keep_adapter`` adds a frozen copy of the adapter,
beside the one that trains. ``reference_adapters`` switches to the reference and back.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)

from syngrpo.policy.families.base import Family
from syngrpo.policy.model_options import LoraOptions
from syngrpo.sample import InputError
from syngrpo.serving.wording import count, first_line

ADAPTER_CONFIG = "adapter_config.json"

TRAINED, REFERENCE = "default", "reference"
"""The names, inside a PeftModel, of the adapter that trains and of its frozen copy."""

OLD_NAMES = {r"^visual\.": "model.visual.", r"^model\.layers\.": "model.language_model.layers."}
"""Names of the parts of Qwen models in transformers before version 4.52 → their names since. Older
adapters have the old names."""


def new_adapter(
    model: Any, family: Family, lora: LoraOptions, freeze_vision: bool, seed: int
) -> PeftModel:
    """Wrap the plain transformers model, which is on the CPU, into new adapters. Only their weights
    train. ``seed`` is that of their first weights, which must be the same in all processes of a
    run, and in one that starts again."""
    options = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=family.lora_targets(model, freeze_vision)
    )
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        return get_peft_model(model, options)


def is_adapter(directory: Path) -> bool:
    """Return whether the directory holds a saved adapter and no model of its own."""
    return (directory / ADAPTER_CONFIG).is_file() and not (directory / "config.json").is_file()


def adapter_base(directory: Path) -> str:
    """Return the model an adapter was trained on, a directory or a hub name.

    A relative ``base_model_name_or_path`` is looked for beside the adapter, then in the working
    directory. Raises InputError when the adapter names no model, or one that cannot be found.
    """
    _require(directory)
    file = directory / ADAPTER_CONFIG
    try:
        name = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (json.JSONDecodeError, AttributeError):
        raise InputError(f"{file} is not a JSON object; save the adapter again") from None
    if not name:
        raise InputError(f"{file} names no base model; give the model and the adapter separately")
    for place in (directory / name, Path(name)):
        if (place / "config.json").is_file():
            return str(place)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists():
        return name
    raise InputError(
        f"adapter {directory} was trained on {name}, which does not exist; put the model there, or "
        "give the model and the adapter separately"
    )


def load_adapter(model: Any, directory: Path) -> PeftModel:
    """Wrap the plain transformers model into a saved adapter, which can be trained further.

    Raises InputError when the adapter is missing, is not inside the layers (such as prompt tuning),
    or does not fit the model: each of its weights must belong to a layer, and none may be missing.
    """
    _require(directory)
    options = PeftConfig.from_pretrained(str(directory))
    if options.is_prompt_learning:
        raise InputError(
            f"adapter {directory} is of type {options.peft_type.value}; only adapters inside the "
            "layers, such as LoRA, are supported"
        )
    options.base_model_name_or_path = model.name_or_path
    options.inference_mode = False
    if isinstance(options, LoraConfig):
        options.lora_dropout = 0.0  # see LoraOptions
    try:
        wrapped = get_peft_model(model, options)
        found = wrapped.load_adapter(
            str(directory), TRAINED, is_trainable=True, torch_device="cpu", key_mapping=OLD_NAMES
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise _misfit(directory, first_line(error)) from None
    if strays := [*found.missing_keys, *found.unexpected_keys]:
        raise _misfit(
            directory, f"{count(len(strays), 'weight')} missing or left over, such as {strays[0]}"
        )
    return wrapped


def keep_adapter(model: PeftModel) -> None:
    """Add a frozen copy of the adapter as it is now, under the name ``REFERENCE``. It is not used
    outside of ``reference_adapters``, and it is not saved.

    Raises InputError for an adapter of which peft cannot hold two, such as one with biases.
    """
    options = copy.deepcopy(model.peft_config[TRAINED])
    if isinstance(options, LoraConfig):
        options.init_lora_weights = True  # others, such as "pissa", would change the base weights
    try:
        model.add_adapter(REFERENCE, options)
    except ValueError as error:
        raise InputError(
            f"peft cannot keep a copy of this adapter as the reference of the KL "
            f"({first_line(error)}); merge it into the model and train model.lora, or set "
            "method.beta and method.scene_beta to 0"
        ) from None
    weights = get_peft_model_state_dict(model, adapter_name=TRAINED, save_embedding_layers=False)
    set_peft_model_state_dict(model, weights, adapter_name=REFERENCE)


@contextmanager
def reference_adapters(model: PeftModel) -> Iterator[None]:
    """Let the model compute with the copy of its adapter inside the block, or without any adapter
    if there is no copy. After the block the same weights train as before."""
    # peft sets the flags of all adapters, also of those in a frozen vision tower.
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        if REFERENCE in model.peft_config:
            model.set_adapter(REFERENCE, inference_mode=True)
            yield
        else:
            with model.disable_adapter():
                yield
    finally:
        model.set_adapter(TRAINED)
        for weight, trains in flags:
            weight.requires_grad_(trains)


def _misfit(directory: Path, reason: str) -> InputError:
    return InputError(
        f"adapter {directory} does not fit the model ({reason}); load it with the model it was "
        "trained on"
    )


def _require(directory: Path) -> None:
    if not (directory / ADAPTER_CONFIG).is_file():
        raise InputError(f"directory {directory} holds no adapter (no {ADAPTER_CONFIG})")
