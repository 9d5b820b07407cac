"""GRPO with asymmetric clipping (DAPO, arXiv 2503.14476): unlikely tokens may grow faster."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from syngrpo.method.base import MethodOptions
from syngrpo.method.grpo import Grpo


class GrpoClipHigher(Grpo):
    """``clip_high`` is 0.28 unless given. Raises ValueError when it is not above ``clip_low``."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"clip_high": 0.28})

    def __init__(self, options: MethodOptions, steps: int) -> None:
        super().__init__(options, steps)
        if options.clip_high <= options.clip_low:
            raise ValueError(f"{options.name} needs clip_high > clip_low; remove clip_high")
