"""Syn-GRPO without diversity smoothing, for comparison: ρ is D itself, clipped.

With ``method.credit`` parent or siblings it is the difference to D of the parent, or to the mean of
the siblings.
"""

from __future__ import annotations

from typing import ClassVar

from syngrpo.method.syn_grpo import SynGrpo


class SynGrpoNoSmoothing(SynGrpo):
    """Syn-GRPO that rewards a description with D itself.

    D falls during training, so a description that is measured late gets a smaller reward than the
    same one measured early.
    """

    smoothing: ClassVar[bool] = False
