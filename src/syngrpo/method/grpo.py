"""GRPO (arXiv 2402.03300) on the user's images alone. Every other method is compared with it."""

from __future__ import annotations

from syngrpo.method.base import Method


class Grpo(Method):
    """Plain GRPO, without synthesis: the base class makes its decisions already."""
