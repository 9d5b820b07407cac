"""Loading a model for training, and saving it so that plain transformers can load it."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
)
from transformers.utils import logging as transformers_logging

from syngrpo.policy.attention import SHARED_PREFIX
from syngrpo.policy.families.base import Family
from syngrpo.policy.families.registry import get_family
from syngrpo.policy.lora import (
    adapter_base,
    is_adapter,
    load_adapter,
    new_adapter,
)
from syngrpo.policy.model_options import LoraOptions
from syngrpo.policy.sharding import Sharding
from syngrpo.policy.varlen import has_varlen
from syngrpo.sample import InputError
from syngrpo.serving.devices import parse_device

logger = logging.getLogger(__name__)

LARGE = 1_000_000_000
"""Weights of a model whose activations would take more memory than all else."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Policy:
    """A model in training with all that is needed to talk to it.

    ``model`` is what the optimizer sees (a PeftModel with LoRA); ``base`` is always the plain
    transformers model inside. ``banned`` are token ids that are never sampled, ``stop_ids`` end a
    response. With ``shares_prefix`` a group's prompt is computed once; without, rows are padded.
    ``varlen``: whether packed rows use the kernel for variable lengths (``policy.varlen``);
    ``cuda_graphs``: whether a GPU replays the steps of a rollout (``policy.graphs``).
    ``reference`` is the frozen copy that ``keep_reference`` made, if any. After ``shard`` the
    weights are spread over processes (``sharding``): ``run`` and ``whole`` are the ways to them.
    """

    model: nn.Module
    processor: Any
    family: Family
    banned: torch.Tensor
    stop_ids: tuple[int, ...]
    shares_prefix: bool = True
    varlen: bool = False
    cuda_graphs: bool = True
    reference: nn.Module | None = None
    sharding: Sharding | None = None

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def base(self) -> Any:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def device(self) -> torch.device:
        return self.base.device

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def keep_reference(self) -> None:
        """Remembers the weights of now as the KL reference. LoRA needs no copy: base weights."""
        if not isinstance(self.model, PeftModel):
            shared = {id(p): p for p in self.model.parameters() if not p.requires_grad}
            self.reference = copy.deepcopy(self.model, shared).requires_grad_(False)

    def shard(self, mesh: DeviceMesh, float32: bool) -> None:
        """Spreads all weights over the processes of the mesh; a frozen vision tower stays whole on
        each, so that everybody looks at their own images at any time. With ``float32`` the trained
        ones are float32 from now on. The last thing to be done to a policy before training."""
        tower = list(self.family.vision_tower(self.base).parameters())
        self.sharding = Sharding(
            self.model,
            self.reference,
            set(self.base._no_split_modules),
            [] if any(p.requires_grad for p in tower) else tower,
            mesh,
            self.base.dtype,
            float32,
        )

    @contextmanager
    def whole(self) -> Iterator[Policy]:
        """This policy with all its weights in one place, to sample from, to evaluate or to save;
        itself if it is not sharded. All processes enter the block together."""
        if self.sharding is None:
            yield self
            return
        with self.sharding.whole() as model:
            yield replace(self, model=model, reference=None, sharding=None)

    def run(self, call: Callable[[], Tensor], reference: bool = False) -> Tensor:
        """``call()``, which computes with the model (or the reference), wherever the weights are.
        Sharded, all processes do so together, and as often."""
        return call() if self.sharding is None else self.sharding.compute(call, reference)

    @contextmanager
    def as_reference(self) -> Iterator[Any]:
        """The plain transformers model that plays the reference, inside the ``with`` block."""
        if isinstance(self.model, PeftModel):
            with self.model.disable_adapter():
                yield self.base
        elif self.reference is not None:
            yield self.reference
        else:
            raise RuntimeError("no reference: call keep_reference() before the first update")

    def save(self, directory: Path) -> None:
        """Writes weights (adapters merged), configuration, tokenizer and image processor."""
        model = self.base
        if isinstance(self.model, PeftModel):
            # A copy: merging and unmerging in place would round the base weights.
            model = copy.deepcopy(self.model).merge_and_unload()
        model.save_pretrained(directory)
        self.processor.save_pretrained(directory)


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
) -> Policy:
    """Loads a checkpoint directory (or a hub name) for training.

    ``dtype`` is one of DTYPES. Gradients flow into the vision tower unless it is frozen; with
    ``lora`` only adapters train. ``gradient_checkpointing`` None means that of LARGE models.
    ``max_pixels`` bounds the area of a resized image. ``adapter`` is a directory saved by peft, put
    on top of the model; a ``path`` that is itself such a directory loads the model it was trained
    on below it. Raises InputError for a missing directory, an
    unknown family, dtype or device, an adapter that does not fit, or an adapter besides ``lora``.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    target = parse_device(device, "model.device")
    source, adapter = _sources(path, adapter)
    if adapter and lora:
        raise InputError(f"adapter {adapter} brings its own rank; leave out model.lora")
    config, family, processor, model = _read(source, DTYPES[dtype])
    if max_pixels is not None:
        processor.image_processor.size["longest_edge"] = max_pixels
    family.prepare(model)
    shares_prefix = _can_share_prefix(config, family, source)
    if shares_prefix:
        family.text_model(model).set_attn_implementation(SHARED_PREFIX)
    if gradient_checkpointing is None:
        gradient_checkpointing = model.num_parameters() >= LARGE
    if gradient_checkpointing:
        _checkpoint_activations(model)
    stop_ids = _stop_ids(model, processor.tokenizer)
    banned = torch.tensor(family.banned_token_ids(config, processor.tokenizer))
    trained: nn.Module = model
    if adapter:
        trained = load_adapter(model, adapter)
    elif lora:
        trained = new_adapter(model, family, lora, freeze_vision)
    if freeze_vision:  # also the part of an adapter that is in there
        family.vision_tower(model).requires_grad_(False)
    trained.to(target).train()
    varlen = shares_prefix and has_varlen(config.text_config, target, DTYPES[dtype])
    return Policy(
        trained,
        processor,
        family,
        banned.to(target),
        stop_ids,
        shares_prefix,
        varlen,
        cuda_graphs,
    )


def _read(source: str, dtype: torch.dtype) -> tuple[Any, Family, Any, Any]:
    """Configuration, family, processor and model."""
    transformers_logging.disable_progress_bar()  # they would tear up our own
    try:
        written, _ = PreTrainedConfig.get_config_dict(source)
        family = get_family(str(written.get("model_type")))
        config = AutoConfig.from_pretrained(source)
        processor = AutoProcessor.from_pretrained(source)
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"model {source} cannot be loaded ({reason}); check model.path") from None
    return config, family, processor, model


def _sources(path: str | Path, adapter: Path | None) -> tuple[str, Path | None]:
    """Where the model and the adapter are."""
    if not is_adapter(Path(path)):
        return _source(path), adapter
    if adapter is not None:
        raise InputError(f"{path} is itself an adapter; give the model it was trained on")
    return adapter_base(Path(path)), Path(path)


def _source(path: str | Path) -> str:
    if (Path(path) / "config.json").is_file():
        return str(path)
    if Path(path).is_dir():
        raise InputError(f"directory {path} holds no model (no config.json); check model.path")
    if isinstance(path, Path) or not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise InputError(f"model directory {path} does not exist; check model.path")
    return path


def _can_share_prefix(config: Any, family: Family, source: str) -> bool:
    """Whether every layer of this model can attend to a prompt it does not hold; says if not."""
    kinds = set(getattr(config.text_config, "layer_types", None) or ["full_attention"])
    others = sorted(kinds - {"full_attention"})
    if family.shares_prefix and not others:
        return True
    logger.warning(
        "model %s (%s) cannot share a group's prompt%s: every response is computed in a padded "
        "row of its own, which is slower",
        source,
        family.name,
        f", it has layers of kind {', '.join(others)}" if others else "",
    )
    return False


def _checkpoint_activations(model: Any) -> None:
    # transformers 5.18 and 5.19 know the older name alone; later it is deprecated.
    older = model.gradient_checkpointing_enable
    getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return tuple(sorted({i for i in [*ids, tokenizer.eos_token_id] if i is not None}))
