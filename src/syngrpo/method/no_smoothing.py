"""Syn-GRPO without diversity smoothing, for comparison: ρ is D itself, clipped."""

from __future__ import annotations

from typing import ClassVar

from syngrpo.method.syn_grpo import SynGrpo


class SynGrpoNoSmoothing(SynGrpo):
    """D is compared with nothing, so that a description measured late looks worse than the same
    one measured early."""

    smoothing: ClassVar[bool] = False
