"""Qwen3-VL, dense and mixture of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from syngrpo.policy.families.base import ImageFeatures
from syngrpo.policy.families.qwen import Qwen


class Qwen3VL(Qwen):
    """Qwen3-VL (arXiv 2511.21631): coordinates from 0 to 1000, relative to the image; features of
    several vision layers are added to the first decoder layers (DeepStack, arXiv 2406.04334).
    """

    name = "qwen3_vl"
    vision_linear = r"attn\.(qkv|proj)|mlp\.linear_fc\d"

    def deeper(self, images: Sequence[ImageFeatures], placeholders: torch.Tensor) -> dict[str, Any]:
        stack = [torch.cat(layer) for layer in zip(*(i.deeper for i in images), strict=True)]
        return {"visual_pos_masks": placeholders, "deepstack_visual_embeds": stack}
