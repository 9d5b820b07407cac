"""The reward ``brevity``: the shorter a response, the better."""

from __future__ import annotations

from typing import Any

LONGEST = 400


def brevity(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """Return 1 for an empty response, 0 from ``LONGEST`` characters on, linear in between.

    The signature is that of TRL's reward functions. ``columns`` holds one list for each column of
    the data, one value for each completion; the ground truth is there as ``ground_truth``.
    """
    return [max(0.0, 1 - len(completion) / LONGEST) for completion in completions]
