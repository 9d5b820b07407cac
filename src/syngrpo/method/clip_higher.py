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


class GrpoClipHigher(Grpo):
    """GRPO whose ``clip_high`` is 0.28 unless given.

    Raises ValueError when ``clip_high`` is not above ``clip_low``.
    """

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"clip_high": 0.28})

    def __init__(self, options: MethodOptions, steps: int) -> None:
        super().__init__(options, steps)
        low, high = options.clip_range
        if low is None or high is None or high <= low:
            raise ValueError(f"{options.name} needs clip_high > clip_low; remove clip_high")
