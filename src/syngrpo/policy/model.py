"""``Policy``, the model in training. Rollout, update, evaluation and checkpoints share one."""

from __future__ import annotations

import copy
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from syngrpo.policy.compat_transformers import block_classes
from syngrpo.policy.families.base import Family
from syngrpo.policy.lora import TRAINED, keep_adapter, reference_adapters
from syngrpo.policy.model_options import Coordinates
from syngrpo.policy.sharding import Sharding

ADAPTER = "adapter"
"""The folder of LoRA adapters, inside that of the saved model."""


@dataclass
class Policy:
    """A model in training, with everything that is needed to compute with it.

    ``model`` is the module that the optimizer trains (a PeftModel with LoRA); ``base`` is always
    the plain transformers model inside. ``banned`` are token ids that are never sampled,
    ``stop_ids`` those that end a response. ``coordinates``: how the model writes boxes.
    ``shares_prefix``: whether a prompt is computed once for all responses of its group; otherwise
    each response has a padded row. ``varlen``: whether packed rows use the kernel for variable
    lengths; ``cuda_graphs``: whether a GPU records and replays the steps of a rollout.
    ``adapter_loaded``: whether the adapters were saved by an earlier training. ``reference`` is the
    frozen copy that ``keep_reference`` made of a model without adapters, if any. After ``shard``
    the weights are spread over processes (``sharding``), and only ``run`` and ``whole`` may use
    them.
    """

    model: nn.Module
    processor: Any
    family: Family
    banned: torch.Tensor
    stop_ids: tuple[int, ...]
    coordinates: Coordinates = "pixels"
    shares_prefix: bool = True
    varlen: bool = False
    cuda_graphs: bool = True
    adapter_loaded: bool = False
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
        """Copy the current weights as the KL reference: of a model with a loaded adapter only those
        of the adapter, and nothing with new adapters, because the model without them is the
        reference. Call this before ``shard`` and before the weights of a checkpoint are loaded.

        Raises InputError for an adapter that cannot be copied.
        """
        if isinstance(self.model, PeftModel):
            if self.adapter_loaded:
                keep_adapter(self.model)
        else:
            shared = {id(p): p for p in self.model.parameters() if not p.requires_grad}
            self.reference = copy.deepcopy(self.model, shared).requires_grad_(False)

    def shard(self, mesh: DeviceMesh, float32: bool) -> None:
        """Spread all weights over the processes of the mesh. Call this last, before training.

        A frozen vision tower stays whole on each process, so that each can run it on its own images
        without waiting for the others. With ``float32`` the trained weights become float32.
        """
        tower = self.family.vision_parameters(self.base)
        self.sharding = Sharding(
            self.model,
            self.reference,
            block_classes(self.base),
            [] if any(p.requires_grad for p in tower) else tower,
            mesh,
            self.base.dtype,
            float32,
        )

    @contextmanager
    def whole(self) -> Iterator[Policy]:
        """Yield a policy with all weights in this process, to sample from, evaluate or save: this
        policy itself if it is not sharded. All processes must enter the block together."""
        if self.sharding is None:
            yield self
            return
        with self.sharding.whole() as model:
            yield replace(self, model=model, reference=None, sharding=None)

    def run(self, call: Callable[[], Tensor], reference: bool = False) -> Tensor:
        """Return ``call()``, which computes with the model (or with the reference).

        If the policy is sharded, all processes must call this together and equally often.
        """
        return call() if self.sharding is None else self.sharding.compute(call, reference)

    @contextmanager
    def as_reference(self) -> Iterator[Any]:
        """Yield the plain transformers model that is the reference inside the ``with`` block."""
        if isinstance(self.model, PeftModel):
            with reference_adapters(self.model):
                yield self.base
        elif self.reference is not None:
            yield self.reference
        else:
            raise RuntimeError("no reference: call keep_reference() before the first update")

    @property
    def saved_bytes(self) -> int:
        """The bytes of the weights that ``save`` writes, about."""
        return sum(weight.nbytes for weight in self.base.parameters())

    def save(self, directory: Path) -> None:
        """Write weights (adapters merged), configuration, tokenizer and image processor; adapters
        also by themselves, in the folder ``adapter``.

        Raises OSError (ENOSPC) when the disk has no room for the weights. This is checked before,
        because safetensors raises an error without the system's number.
        """
        directory.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(directory).free < self.saved_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))
        model = self.base
        if isinstance(self.model, PeftModel):
            # A copy: merging and unmerging in place would round the base weights. On the CPU,
            # because the device may have no room for a second model.
            copies = {
                id(weight): nn.Parameter(weight.detach().to("cpu", copy=True), weight.requires_grad)
                for weight in self.model.parameters()
            }
            model = copy.deepcopy(self.model, copies).merge_and_unload()
        model.save_pretrained(directory)
        self.processor.save_pretrained(directory)
        if isinstance(self.model, PeftModel):
            self.model.save_pretrained(str(directory / ADAPTER), selected_adapters=[TRAINED])
        _follow_umask(directory)


def _follow_umask(directory: Path) -> None:
    """Give all files below a folder the mode of the folder, which was made by the umask. Those of
    safetensors have 0600 otherwise, and others of the group could not read the model."""
    for file in directory.rglob("*"):
        if file.is_file():
            file.chmod(directory.stat().st_mode & 0o666)
