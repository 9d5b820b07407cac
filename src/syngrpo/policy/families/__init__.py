"""Model families: the code that differs between models.

``base.py`` says what the rest of ``policy`` asks of a family. ``qwen.py`` handles all Qwen models,
whose vision tower and text model are called apart; ``generic.py`` handles any other
image-text-to-text model of transformers, which is called whole. ``policy.loading`` calls
``find_family``, which chooses by the checkpoint's model type. Start reading in ``base.py``.

A family of an installed package is found by an entry point of the group ``syngrpo.families`` whose
name is the ``model_type`` it handles, or by ``package.module:name`` in ``model.family``.
"""

from __future__ import annotations

from syngrpo.extensions import Registry, made, no_subclass
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
    problem=lambda name, found: no_subclass(found, Family),
)
"""``model_type`` of transformers, or ``generic`` → class of the family."""


def find_family(model_type: str, name: str | None = None) -> Family:
    """Return the family called ``name`` (``model.family``). Without a name, return the one that
    handles this ``model_type``, or the generic one if there is none.

    Raises InputError when there is no family of this name.
    """
    if name is None:
        name = model_type if model_type in FAMILIES else "generic"
        return made(f"family '{name}'", FAMILIES.get(name))
    return made(f"family '{name}'", FAMILIES.load(name))
