"""Synthesis from descriptions drawn at random, without any reward for them, for comparison.

It shows what evolving images bring by themselves: the policy's own descriptions are not used.
"""

from __future__ import annotations

from typing import ClassVar

from syngrpo.method.base import Method


class RandomScene(Method):
    """The describer named by ``synthesis.describer`` writes the descriptions."""

    paints: ClassVar[bool] = True

    @property
    def random_descriptions(self) -> int:
        return self.options.descriptions_per_group
