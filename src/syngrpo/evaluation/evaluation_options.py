"""The options of evaluation during training. A configuration nests them."""

from __future__ import annotations

from dataclasses import dataclass

from syngrpo.options import option


@dataclass(frozen=True)
class EvaluationOptions:
    """How a run measures its accuracy on held-out samples. It always does before the first step and
    after the last."""

    every: int = option(0, "steps between evaluations; 0: only before and after training", ge=0)
    samples_per_prompt: int = option(
        4, "responses sampled per prompt for the sampled accuracy; 0: greedy only", ge=0
    )
    batch_size: int = option(32, "samples answered at a time", ge=1)
