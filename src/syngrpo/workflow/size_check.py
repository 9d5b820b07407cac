"""Checks before the first step that the model takes every image, and that every sample fits its
context and the token budget. No image is decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from heapq import nlargest
from typing import Any

from syngrpo.policy.encode import prompt_size, require_context
from syngrpo.policy.families.base import Family, PromptSize
from syngrpo.policy.model import Policy
from syngrpo.policy.refused_images import Refusal, refused_images
from syngrpo.sample import InputError, Sample
from syngrpo.tasks.asking import prompt_of
from syngrpo.workflow.run_options import RunOptions

logger = logging.getLogger(__name__)

Model = tuple[Family, Any, Any]
"""Family, configuration and processor of a model, as ``read_model_files`` returns them."""

LOOKED_AT = 500
"""How many samples with the longest texts, and how many with the largest images, are checked.
Tokenizing a million questions would take minutes. Every step checks its own samples again."""


def usable_samples(
    options: RunOptions, model: Model, seeds: list[Sample], held_out: dict[str, list[Sample]]
) -> tuple[list[Sample], dict[str, list[Sample]]]:
    """Return the seeds and the held-out samples whose images can be used.

    Raises InputError for the others; with ``data.on_bad_row`` "skip", they are logged and left out.
    A data set of which nothing is left is refused.
    """
    refused = refused_for_size(options, model, seeds, held_out)
    if not refused:
        return seeds, held_out
    told = "; ".join(refusal.told() for refusal in refused)
    if options.data.on_bad_row == "error":
        raise InputError(told)
    out = {id(sample) for refusal in refused for sample in refusal.samples}
    kept = [sample for sample in seeds if id(sample) not in out]
    left = {name: [s for s in held if id(s) not in out] for name, held in held_out.items()}
    empty = {sample.dataset for sample in seeds} - {sample.dataset for sample in kept}
    empty |= {name for name, held in left.items() if held_out[name] and not held}
    if empty:
        raise InputError(f"no sample of {min(empty)} can be used: {told}")
    logger.warning("left out %s", told)
    return kept, left


def refused_for_size(
    options: RunOptions, model: Model, seeds: Iterable[Sample], held_out: dict[str, list[Sample]]
) -> list[Refusal]:
    """Return the samples whose images are refused for their size, by the model or as seeds that are
    too large to paint from."""
    family, _, processor = model
    limit = None
    if options.synthesis.mode != "off":
        limit = options.data.image_limit(family.most_pixels(processor.image_processor))
    refused = refused_images(model, seeds, limit)
    for samples in held_out.values():
        refused += refused_images(model, samples)
    return refused


def check_sizes(options: RunOptions, policy: Policy, samples: Iterable[Sample]) -> None:
    """Raise InputError for a sample that is too large.

    A sample is too large if its prompt and a response of full length are longer than the model's
    context, or if its group needs more tokens than ``trainer.token_budget``. No image is decoded:
    its size is enough.
    """

    def text_of(sample: Sample) -> str:
        return prompt_of(sample, options.data.prompt_style or "full")

    different: dict[tuple[int, int, int, int], Sample] = {}  # by hash: a million texts are large
    for sample in samples:
        text, image = text_of(sample), sample.image
        different.setdefault((len(text), hash(text), image.width, image.height), sample)
    longest = nlargest(LOOKED_AT, different, key=lambda prompt: prompt[0])
    largest = nlargest(LOOKED_AT, different, key=lambda prompt: prompt[2] * prompt[3])
    for key in dict.fromkeys([*longest, *largest]):
        sample = different[key]
        size = prompt_size(policy, sample, text_of(sample))
        require_context(policy, sample.id, size, options.rollout.max_new_tokens)
        _require_budget(options, policy, sample, size)


def _require_budget(options: RunOptions, policy: Policy, sample: Sample, size: PromptSize) -> None:
    group, new = options.rollout.group_size, options.rollout.max_new_tokens
    needed = (1 if policy.shares_prefix else group) * size.tokens + group * new
    if needed > options.trainer.token_budget:
        raise InputError(
            f"a group of sample {sample.id} may have {needed} tokens (prompt {size.tokens}, "
            f"{group} responses of {new}), more than trainer.token_budget "
            f"{options.trainer.token_budget}; set trainer.token_budget to {needed} or more, or "
            "make rollout.group_size or rollout.max_new_tokens smaller"
        )
