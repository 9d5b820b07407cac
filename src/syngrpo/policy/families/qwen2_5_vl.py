"""Qwen2.5-VL."""

from __future__ import annotations

from typing import Any

import torch

from syngrpo.boxes import CoordinateFrame
from syngrpo.policy.families.qwen import Qwen


class Qwen25VL(Qwen):
    """Qwen2.5-VL (arXiv 2502.13923): coordinates are absolute pixels of the resized image."""

    name = "qwen2_5_vl"
    vision_linear = r"attn\.(qkv|proj)|mlp\.\w+_proj"

    def frame(
        self, width: int, height: int, image_grid_thw: torch.Tensor, image_processor: Any
    ) -> CoordinateFrame:
        _, rows, columns = image_grid_thw.reshape(3).tolist()
        patch = image_processor.patch_size
        return CoordinateFrame(float(columns * patch), float(rows * patch), width, height)
