"""Calculates how much memory one training step takes.

Weights and optimizer states are counted. What the backward pass needs is *measured* on the CPU, at
the real width: one layer and two, a short prompt with short responses, in bfloat16, through our own
packed attention. It grows in proportion to tokens and layers, so the real setting is a multiple of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.gpu_step.shapes import Shape
from benchmarks.gpu_step.work import BF16, FP32, Work
from syngrpo.policy.distribution import LOGITS_BYTES
from syngrpo.policy.families import FAMILIES
from syngrpo.policy.lora import new_adapter
from syngrpo.policy.shared_prefix import SHARED_PREFIX, PackedLayout
from syngrpo.workflow.optimizer import STEP_BYTES

PROMPT, GROUP, OWN = 14, 8, 5
"""Tokens of the short prompt, number of responses, and tokens of each, in the proportion of the
real ones."""

SIDE = 8
"""Patches along a side of the small image: one window."""


def saved_bytes(run: Callable[[], Any], weights: Iterable[torch.Tensor]) -> int:
    """Return the bytes that autograd keeps for the backward pass of ``run``, each piece of memory
    counted once; ``weights`` are not counted."""
    known = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output kept as it is would keep the pass that made it, for ever

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = run()  # alive until the sum is made, or an address would be used twice
    total = sum(kept.values())
    del outputs
    return total


@dataclass(frozen=True)
class Memory:
    """Bytes of one training step of ``work``."""

    work: Work

    @property
    def weights(self) -> int:
        return BF16 * self.work.parameters + FP32 * self.work.adapters

    @property
    def gradients(self) -> int:
        return self.work.trained * (BF16 if self.work.lora is None else FP32)

    @property
    def optimizer(self) -> int:
        """Two moments, and master weights where the weights are in bfloat16."""
        masters = FP32 if self.work.lora is None else 0
        return self.work.trained * (masters + 2 * FP32)

    @property
    def reference(self) -> int:
        """The frozen copy for the KL term. With adapters there is none: they are switched off
        instead."""
        return BF16 * self.work.parameters if self.work.lora is None else 0

    @cached_property
    def text_token(self) -> tuple[int, int]:
        """Bytes kept for one token by one decoder layer, and by what is around the layers."""
        one, two = self._text_layers(1), self._text_layers(2)
        tokens = PROMPT + GROUP * OWN
        return (two - one) // tokens, (2 * one - two) // tokens

    @cached_property
    def vision_patch(self) -> tuple[int, int]:
        """Bytes kept for one patch by one vision block, and by what is around the blocks (without
        the mergers of deeper blocks); nothing if the tower is frozen."""
        if self.work.lora is not None:
            return 0, 0
        one, two = self._vision_blocks(1), self._vision_blocks(2)
        return (two - one) // SIDE**2, (2 * one - two) // SIDE**2

    def activations(self, groups: int, checkpointing: bool) -> int:
        """Bytes kept for the backward pass of this many groups in one micro-batch. With
        checkpointing: the input of every layer, and one layer's own while it is computed again."""
        text, vision, setting = self.work.shape.text, self.work.shape.vision, self.work.setting
        tokens = groups * (self.work.prompt + setting.group * (setting.new_tokens - 1))
        patches = groups * self.work.patches
        layers, blocks = text["num_hidden_layers"], vision["depth"]
        (in_layer, around_layers), (in_block, around_blocks) = self.text_token, self.vision_patch
        around = tokens * around_layers + patches * around_blocks
        if not checkpointing:
            return around + tokens * layers * in_layer + patches * blocks * in_block
        inputs = BF16 * tokens * layers * text["hidden_size"]
        if self.work.lora is None:
            inputs += BF16 * patches * blocks * vision["hidden_size"]
        return around + inputs + max(tokens * in_layer, patches * in_block)

    @property
    def head(self) -> int:
        """A chunk of logits with the tensors derived from it, and the gradient of the head's
        weights before it is added to the rest."""
        own = BF16 * self.work.head_matrix if self.work.lora is None else 0
        return 4 * LOGITS_BYTES + own

    @property
    def rollout(self) -> int:
        """Keys and values at the end of a rollout."""
        setting = self.work.setting
        cached = setting.prompts * self.work.prompt + setting.rows * setting.new_tokens
        return cached * self.work.kv_bytes

    @property
    def step(self) -> int:
        """Float32 gradients while the master weights are updated, beside everything but
        activations: of the largest weight, or of as many as STEP_BYTES allow."""
        if self.work.lora is not None:
            return 0
        return STEP_BYTES + FP32 * self.work.head_matrix

    def peak(self, groups: int, checkpointing: bool, reference: bool = False) -> int:
        """The most that exists at once, without the space of the allocator and of kernels."""
        stays = self.weights + self.optimizer + (self.reference if reference else 0)
        update = self.gradients + self.activations(groups, checkpointing) + self.head
        return stays + max(self.rollout, update, self.gradients + self.step)

    def _text_layers(self, count: int) -> int:
        family = FAMILIES.get(self.work.shape.kind.config_class.model_type)()
        model = _cut(self.work.shape, count).empty().to(torch.bfloat16)
        if self.work.lora is not None:
            new_adapter(model, family, self.work.lora, freeze_vision=True, seed=0)
        decoder = family.text_model(model)
        decoder.embed_tokens = nn.Identity()  # large, and not what is measured
        decoder = _zeros(decoder)
        decoder.set_attn_implementation(SHARED_PREFIX)
        tokens, width = PROMPT + GROUP * OWN, self.work.shape.text["hidden_size"]
        embeddings = torch.zeros(1, tokens, width, dtype=torch.bfloat16)
        inputs = {
            "inputs_embeds": embeddings.requires_grad_(),  # as layers below would have it
            "position_ids": torch.zeros(3, 1, tokens, dtype=torch.long),
            "layout": PackedLayout([PROMPT], [[OWN] * GROUP], torch.device("cpu")),
        }
        return saved_bytes(lambda: decoder(**inputs, use_cache=False), decoder.parameters())

    def _vision_blocks(self, count: int) -> int:
        family = FAMILIES.get(self.work.shape.kind.config_class.model_type)()
        model = _cut(self.work.shape, count).empty().to(torch.bfloat16)
        family.prepare(model)
        tower = _zeros(family.vision_tower(model))
        patches = torch.zeros(SIDE**2, tower.patch_embed.proj.weight[0].numel())
        grid = torch.tensor([[1, SIDE, SIDE]])
        return saved_bytes(lambda: tower(patches, grid_thw=grid), tower.parameters())


def _cut(shape: Shape, count: int) -> Shape:
    """The same architecture with this many layers and vision blocks."""
    return replace(
        shape,
        text={**shape.text, "num_hidden_layers": count},
        vision={**shape.vision, "depth": count},
    )


def _zeros(module: Any) -> Any:
    """The same module on the CPU with all weights zero."""
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.zero_()
    return module
