"""GRPO (arXiv 2402.03300) on the images as they are: what every other method is compared with."""

from __future__ import annotations

from syngrpo.method.base import Method


class Grpo(Method):
    """No synthesis: the pool holds the user's samples alone."""
