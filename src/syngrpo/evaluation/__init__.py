"""Metrics over a data set, with what every answer was."""

from syngrpo.evaluation.command import compare_command, evaluate_command
from syngrpo.evaluation.measure import EvaluationResult, append_evaluation, evaluate, summarise

__all__ = [
    "EvaluationResult",
    "append_evaluation",
    "compare_command",
    "evaluate",
    "evaluate_command",
    "summarise",
]
