"""All words of the rooms world, from which the starter model's tokenizer is built."""

from __future__ import annotations

from syngrpo_rooms import descriptions, questions, reasoning


def vocabulary() -> list[str]:
    """Every word of questions, answers and descriptions, lower case, sorted."""
    return sorted(questions.words() | reasoning.words() | descriptions.words())
