"""Qwen3.5, dense and mixture of experts."""

from __future__ import annotations

from syngrpo.policy.families.qwen import Qwen


class Qwen35(Qwen):
    """Qwen3.5: coordinates from 0 to 1000, relative to the image, as in Qwen3-VL.

    Three of four decoder layers are gated delta nets (arXiv 2412.06464). Their recurrent state
    runs through the whole sequence: responses packed behind one prompt would read each other.
    """

    name = "qwen3_5"
    shares_prefix = False
    language_linear = (
        r"self_attn\.\w+_proj|mlp\.(shared_expert\.)?\w+_proj|linear_attn\.(in_proj_\w+|out_proj)"
    )
    vision_linear = r"attn\.(qkv|proj)|mlp\.linear_fc\d"
