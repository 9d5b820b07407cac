"""The losses of the starter's supervised training: language modelling, and perception.

The forward pass runs the model's own modules (``compat_qwen``), arranged for many pictures of one
size: the vision blocks in one batch (transformers loops over the pictures), the language model on
packed rows (the picture once, then one segment for each question). A test shows that it equals the
plain forward pass.

Three auxiliary losses let the model learn perception from scratch within minutes. From each visual
token a head predicts the class, colour, size and box of the thing that covers its cell: once at the
output of the vision tower, once half-way through the language model. And one attention head of the
language model is trained to attend to the thing that the next word is about. The prediction heads
are not part of the saved checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from syngrpo_rooms.scenes import LABELS
from syngrpo_rooms.starter.architecture import GRID, PATCH
from syngrpo_rooms.starter.compat_qwen import (
    Rotary,
    encode_patches,
    first_head_scores,
    language_layers,
    normed,
    rotary_of,
    run_layer,
)
from syngrpo_rooms.starter.training_batches import BACKGROUND, COLOURS, IGNORED, TrainingBatch

CELLS = GRID * GRID
POINTING_LAYER = 2
"""The layer of the language model whose first attention head is trained to attend to things."""
NUMBER_SPREAD = 1.5
"""Standard deviation, in pixels, of the target distribution over neighbouring numbers."""


class DenseHead(nn.Module):
    """Predicts for each visual token the class of the thing that covers it (or background), and
    that thing's colour, size and box."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = [len(LABELS) + 1, len(COLOURS), 2, 4]
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, hidden: Tensor, batch: TrainingBatch) -> Tensor:
        """Return the summed loss for the hidden states (N, cells, width)."""
        label, colour, large, box = self.linear(self.norm(hidden)).float().split(self.sizes, -1)
        strongest, owner = batch.cover.max(dim=1)
        covered = strongest > 0.12
        wanted = torch.where(covered, batch.label.gather(1, owner), BACKGROUND)
        loss = F.cross_entropy(label.flatten(0, 1), wanted.flatten())
        flat = covered.flatten()
        index = owner.flatten()[flat]
        scene = torch.arange(len(owner)).repeat_interleave(owner.shape[1])[flat.cpu()]
        loss = loss + F.cross_entropy(colour.flatten(0, 1)[flat], batch.colour[scene, index])
        loss = loss + F.cross_entropy(large.flatten(0, 1)[flat], batch.large[scene, index])
        return loss + 5 * F.l1_loss(box.flatten(0, 1)[flat].sigmoid(), batch.boxes[scene, index])


@dataclass
class Losses:
    """Means over the batch. ``total`` is minimised; the others are detached, for the log."""

    total: Tensor
    language: Tensor
    dense: Tensor
    pointing: Tensor


class SupervisedStarter(nn.Module):
    """The model with the heads that only training uses."""

    def __init__(
        self, model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.prefix: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.numbers: Tensor
        self.number_value: Tensor
        model.set_attn_implementation("eager")
        text_config: Any = model.config.text_config
        width = text_config.hidden_size
        self.vision_head = DenseHead(width)
        self.language_head = DenseHead(width)
        tokenizer = processor.tokenizer
        prefix = f"<|im_start|>user\n<|vision_start|>{'<|image_pad|>' * CELLS}<|vision_end|>"
        self.register_buffer("prefix", torch.tensor(tokenizer.encode(prefix)), persistent=False)
        mean, std = (
            torch.tensor(v)
            for v in (processor.image_processor.image_mean, processor.image_processor.image_std)
        )
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        numbers = torch.tensor([tokenizer.convert_tokens_to_ids(str(n)) for n in range(225)])
        self.register_buffer("numbers", numbers, persistent=False)
        value = torch.full((len(tokenizer),), -1)
        value[numbers] = torch.arange(225)
        self.register_buffer("number_value", value, persistent=False)

    def visual_tokens(self, images: Tensor) -> Tensor:
        """Encode pictures: uint8 (N, H, W, 3) → (N, cells, width), equal to the model's
        ``get_image_features``."""
        count = len(images)
        pixels = (images.float() / 255 - self.mean) / self.std
        patches = pixels.reshape(count, GRID, PATCH, GRID, PATCH, 3).permute(0, 1, 3, 5, 2, 4)
        return encode_patches(self.model, patches.reshape(count, CELLS, 3, PATCH * PATCH), GRID)

    def _layout(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions (3, N, T) and the additive mask (N, 1, T, T) of packed rows: the
        prefix with the picture, then the segments that ``part`` (N, T - prefix) numbers."""
        count, length = part.shape
        prefix = len(self.prefix)
        start = prefix - CELLS - 1
        picture = torch.arange(prefix).repeat(3, 1)
        cell = torch.arange(CELLS)
        picture[0, start : start + CELLS] = start
        picture[1, start : start + CELLS] = start + cell // GRID
        picture[2, start : start + CELLS] = start + cell % GRID
        picture[:, prefix - 1] = start + GRID
        order = torch.arange(length).expand(count, -1)
        begins = torch.ones_like(part, dtype=torch.bool)
        begins[:, 1:] = part[:, 1:] != part[:, :-1]
        within = order - torch.where(begins, order, 0).cummax(dim=1).values
        text = (start + GRID + 1 + within).expand(3, -1, -1)
        positions = torch.cat([picture[:, None].expand(-1, count, -1), text], dim=2)
        group = torch.cat([torch.full((count, prefix), -1), part], dim=1)
        seen = (group[:, None, :] == -1) | (group[:, None, :] == group[:, :, None])
        causal = torch.ones(prefix + length, prefix + length, dtype=torch.bool).tril()
        mask = torch.where(seen & causal, 0.0, torch.finfo(torch.bfloat16).min)
        return positions, mask[:, None]

    def forward(self, batch: TrainingBatch, auxiliary: float = 1.0) -> Losses:
        """Return the losses of one batch; ``auxiliary`` is the weight of the perception losses."""
        embed = self.model.get_input_embeddings()
        visual = self.visual_tokens(batch.images)
        prefix = embed(self.prefix).expand(len(visual), -1, -1)
        start = len(self.prefix) - CELLS - 1
        text = embed(batch.tokens)
        hidden = torch.cat([prefix[:, :start], visual, prefix[:, -1:], text], dim=1)
        positions, mask = self._layout(batch.part)
        rotary = rotary_of(self.model, hidden, positions)
        image = slice(start, start + CELLS)
        dense = self.vision_head(visual, batch)
        pointing = hidden.new_zeros(())
        for index, layer in enumerate(language_layers(self.model)):
            if index == POINTING_LAYER:
                dense = dense + self.language_head(hidden[:, image], batch)
                pointing = self._pointing(layer, hidden, rotary, image, batch)
            hidden = run_layer(layer, hidden, mask, rotary)
        hidden = normed(self.model, hidden)[:, len(self.prefix) :]
        learned = batch.labels != IGNORED
        logits = self.model.lm_head(hidden[learned]).float()
        loss = self._language_loss(logits, batch.labels[learned])
        total = loss + auxiliary * (dense + 0.5 * pointing)
        return Losses(total, loss.detach(), dense.detach(), pointing.detach())

    def _language_loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Cross entropy. The target of a number is spread over its neighbours: nearly right
        counts."""
        value = self.number_value[wanted]
        number = value >= 0
        log_probs = F.log_softmax(logits, dim=-1)
        words = -log_probs[~number].gather(1, wanted[~number, None]).sum()
        grid = torch.arange(len(self.numbers), device=wanted.device)
        distance = (grid[None] - value[number, None]).float() / NUMBER_SPREAD
        soft = F.softmax(-0.5 * distance**2, dim=-1)
        numbers = -(log_probs[number][:, self.numbers] * soft).sum()
        return (words + numbers) / len(wanted)

    def _pointing(
        self,
        layer: Any,
        hidden: Tensor,
        rotary: Rotary,
        image: slice,
        batch: TrainingBatch,
    ) -> Tensor:
        """Return −log of the share of one head's attention that goes to the thing's cells, among
        all cells, as the mean over the places where the next word is about a thing."""
        cover = batch.cover > 0.12
        row, column = (batch.points != IGNORED).nonzero(as_tuple=True)
        wanted = cover[row, batch.points[row, column]]
        visible = wanted.any(-1)
        if not visible.any():
            return hidden.new_zeros(())
        row, column, wanted = row[visible], column[visible], wanted[visible]
        text = slice(len(self.prefix), None)
        scores = first_head_scores(layer, hidden, rotary, text, image)
        log_attention = F.log_softmax(scores[row, column].float(), dim=-1)
        return -torch.logsumexp(log_attention.masked_fill(~wanted, float("-inf")), dim=-1).mean()
