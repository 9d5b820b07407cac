"""The section ``logging.responses``: which responses of a run are kept, and how many."""

from __future__ import annotations

import re
from dataclasses import dataclass

from syngrpo.options import option

_KEEP = re.compile(r"all|none|([1-9][0-9]*)-per-step")


@dataclass(frozen=True)
class ResponseOptions:
    """Which responses are written to ``responses/`` in the run directory."""

    keep: str = option(
        "all",
        "which responses are written to responses/ in the run directory; all; none; or N-per-step, "
        "such as 8-per-step: those to N samples of each step, chosen at random",
    )
    tokens: float = option(
        0.1,
        "share of the samples of a step, at least one, whose responses are kept with the text, "
        "advantage, entropy and log-probabilities of every token; 0: none",
        ge=0,
        le=1,
    )
    max_gb: float = option(
        10.0, "gigabytes that responses/ may take; beyond, the oldest are removed", gt=0
    )

    def __post_init__(self) -> None:
        if not _KEEP.fullmatch(self.keep):
            raise ValueError(
                f"keep {self.keep!r} is not allowed: should be all, none, or a number of samples "
                "such as 8-per-step"
            )

    def groups_kept(self, count: int) -> int:
        """Return of how many of the ``count`` groups of a step the responses are kept."""
        match = _KEEP.fullmatch(self.keep)
        if match is not None and match[1]:
            return min(int(match[1]), count)
        return count if self.keep == "all" else 0

    def groups_with_tokens(self, count: int) -> int:
        """Return of how many of the ``count`` groups that are kept every token is kept, too."""
        return max(1, round(self.tokens * count)) if self.tokens and count else 0
