"""From the model type of a checkpoint to its family."""

from __future__ import annotations

from syngrpo.policy.families.base import Family
from syngrpo.policy.families.qwen2_5_vl import Qwen25VL
from syngrpo.policy.families.qwen2_vl import Qwen2VL
from syngrpo.policy.families.qwen3_5 import Qwen35
from syngrpo.policy.families.qwen3_vl import Qwen3VL
from syngrpo.sample import InputError

FAMILIES: dict[str, Family] = {
    "qwen2_vl": Qwen2VL(),
    "qwen2_5_vl": Qwen25VL(),
    "qwen3_vl": Qwen3VL(),
    "qwen3_vl_moe": Qwen3VL(),
    "qwen3_5": Qwen35(),
    "qwen3_5_moe": Qwen35(),
}
"""transformers' ``model_type`` → family."""


def get_family(model_type: str) -> Family:
    """The family of a ``model_type``. Raises InputError for an unknown one."""
    if model_type not in FAMILIES:
        raise InputError(
            f"model type {model_type!r} is not supported (supported: "
            f"{', '.join(sorted(FAMILIES))}); choose such a model, or add one class with the "
            "methods of Family and one entry in FAMILIES (syngrpo/policy/families/registry.py, "
            "docs/families.md)"
        )
    return FAMILIES[model_type]
