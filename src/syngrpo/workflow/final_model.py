"""Writes the trained model of a run, with the settings that it has to be asked with.

``final/`` loads with plain transformers: merged weights, processor (which has the limits of the
image size), tokenizer. LoRA adapters are kept beside them in ``final/adapter``. The file
``trained_with.json`` says how the model was asked in training. ``syngrpo evaluate`` uses it,
wherever the folder lies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from syngrpo.evaluation.trained_with import TRAINED_WITH
from syngrpo.policy.model import Policy
from syngrpo.serving.atomic_files import atomic_directory
from syngrpo.workflow.run_options import RunOptions


def save_final(directory: Path, policy: Policy, options: RunOptions) -> None:
    """Write the directory, complete or not at all. Raises InputError when the disk is full."""
    with atomic_directory(directory, policy.saved_bytes) as target:
        policy.save(target)
        text = json.dumps(_trained_with(policy, options), indent=2, ensure_ascii=False)
        (target / TRAINED_WITH).write_text(text + "\n", encoding="utf-8")


def _trained_with(policy: Policy, options: RunOptions) -> dict[str, Any]:
    """Return the settings with which the model was asked, by section as in a configuration.

    Limits of the image size that the processor does not have are None.
    """
    images, family = policy.processor.image_processor, policy.family
    return {
        "model": {
            "path": options.model.path,
            "family": options.model.family,
            "coordinates": policy.coordinates,
            "max_pixels": family.most_pixels(images),
            "min_pixels": family.least_pixels(images),
        },
        "data": {"prompt_style": options.data.prompt_style},
        "rollout": {
            "max_new_tokens": options.rollout.max_new_tokens,
            "temperature": options.rollout.temperature,
        },
    }
