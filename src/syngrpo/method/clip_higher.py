"""GRPO with asymmetric clipping (clip-higher of DAPO, arXiv 2503.14476), for comparison.

The upper bound of the importance ratio is further from 1 than the lower one. So the probability of
unlikely tokens can grow more in one update.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from syngrpo.method.base import MethodOptions
from syngrpo.method.grpo import Grpo
from syngrpo.method.losses import LOSSES

TOKEN_LOSSES = tuple(name for name, form in LOSSES.items() if form.clip == LOSSES["grpo"].clip)
"""The losses that clip the ratio of each token at 0.2, as GRPO and DAPO do."""


class GrpoClipHigher(Grpo):
    """GRPO whose ``clip_high`` is 0.28 unless given.

    Raises ValueError when there is no ``clip_low`` or ``clip_high`` is not above it, and when
    ``clip_high`` is 0.28 with a loss whose ratio has other bounds: that of GSPO, the mean over a
    response, hardly leaves 1, and would never reach 1.28.
    """

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"clip_high": 0.28})

    def __init__(self, options: MethodOptions, steps: int) -> None:
        given = self.defaults["clip_high"]
        if options.loss not in TOKEN_LOSSES and options.clip_high == given:
            raise ValueError(
                f"clip_high {given:g} of {options.name} is for losses that clip the ratio of each "
                f"token at 0.2 ({', '.join(TOKEN_LOSSES)}), not for {options.loss}; set name to "
                "grpo, or loss to one of these"
            )
        super().__init__(options, steps)
        low, high = options.clip_range
        if low is None:
            raise ValueError(
                f"{options.name} needs a lower bound that is nearer to 1 than the upper one, and "
                f"loss {options.loss} has none; set clip_low, or name to grpo"
            )
        if high is None or high <= low:
            raise ValueError(f"{options.name} needs clip_high > clip_low; remove clip_high")
