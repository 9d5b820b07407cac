"""Synthesis from random descriptions, without a reward for them, for comparison.

It shows the effect of new images alone: descriptions that the policy writes are not used.
"""

from __future__ import annotations

from typing import ClassVar

from syngrpo.method.base import Method


class RandomScene(Method):
    """GRPO on images painted from random descriptions, which the describer named by
    ``synthesis.describer`` writes."""

    paints: ClassVar[bool] = True

    @property
    def random_descriptions(self) -> int:
        return self.options.descriptions_per_group
