"""Checks before the first step that every sample fits the model's context and the token budget."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest

from syngrpo.policy.encode import prompt_size, require_context
from syngrpo.policy.families.base import PromptSize
from syngrpo.policy.model import Policy
from syngrpo.sample import InputError, Sample
from syngrpo.tasks.asking import prompt_of
from syngrpo.workflow.run_options import RunOptions

LOOKED_AT = 500
"""How many samples with the longest texts, and how many with the largest images, are checked.
Tokenizing a million questions would take minutes. Every step checks its own samples again."""


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
