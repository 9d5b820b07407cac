"""What differs between model families.

``base.py`` says what the rest of ``policy`` asks of a family, ``qwen.py`` drives all Qwens, whose
vision tower and text model are called apart, and ``generic.py`` any other image-text-to-text model
of transformers, which is called whole. ``find_family`` chooses by the checkpoint's model type.

A family of an installed package is found by an entry point of the group ``syngrpo.families`` whose
name is the ``model_type`` it drives, and by ``package.module:name`` in ``model.family``.
"""

from __future__ import annotations

from syngrpo.extensions import Registry
from syngrpo.policy.families.base import Family

FAMILIES: Registry[type[Family]] = Registry(
    "family",
    "syngrpo.families",
    {
        "qwen2_vl": "syngrpo.policy.families.qwen:Qwen2VL",
        "qwen2_5_vl": "syngrpo.policy.families.qwen:Qwen25VL",
        "qwen3_vl": "syngrpo.policy.families.qwen:Qwen3VL",
        "qwen3_vl_moe": "syngrpo.policy.families.qwen:Qwen3VL",
        "qwen3_5": "syngrpo.policy.families.qwen:Qwen35",
        "qwen3_5_moe": "syngrpo.policy.families.qwen:Qwen35",
        "generic": "syngrpo.policy.families.generic:GenericFamily",
    },
)
"""transformers' ``model_type``, or ``generic``, → class of the family."""


def find_family(model_type: str, name: str | None = None) -> Family:
    """Return the family called ``name`` (``model.family``), else the one that drives models of this
    ``model_type``, else the generic one.

    Raises InputError when there is no family of this name.
    """
    if name is not None:
        return FAMILIES.load(name)()
    return FAMILIES.get(model_type if model_type in FAMILIES else "generic")()
