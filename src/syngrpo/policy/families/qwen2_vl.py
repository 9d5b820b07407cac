"""Qwen2-VL."""

from __future__ import annotations

from syngrpo.policy.families.qwen import Qwen


class Qwen2VL(Qwen):
    """Qwen2-VL (arXiv 2409.12191): coordinates from 0 to 1000, relative to the image."""

    name = "qwen2_vl"
    vision_linear = r"attn\.(qkv|proj)|mlp\.fc\d"
