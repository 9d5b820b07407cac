"""What several sampled answers to one question are worth together.

``pass@k`` is the probability that one of k answers is a hit, ``best@k`` the expected accuracy of
the best of k answers. Both are the mean over all draws of k of the sampled answers, which is an
unbiased estimate (for ``pass@k`` Chen et al. 2021, arXiv 2107.03374).
``majority`` is the accuracy of the answer that is given most often (self-consistency, arXiv
2203.11171), for tasks that say when two answers are the same (``Task.same_as``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import comb

from syngrpo.evaluation.predictions import Answer
from syngrpo.tasks import Task

PASS, BEST, MAJORITY = "sampled/pass@", "sampled/best@", "sampled/majority"
"""The names of the metrics; k follows on the first two."""


def draws(count: int) -> list[int]:
    """Return the k for which metrics are computed: the powers of two from 2 to below the number of
    answers, and this number."""
    powers = [2**power for power in range(1, count.bit_length()) if 2**power < count]
    return [*powers, count] if count > 1 else []


def repeated_titles(names: Iterable[str]) -> dict[str, str]:
    """Return name → title of those among the metrics ``names`` that tables show: of several answers
    together, for the largest k that there is."""
    found = set(names)
    most = max((int(one.removeprefix(BEST)) for one in found if one.startswith(BEST)), default=0)
    titles = {
        f"{PASS}{most}": f"sampled pass@{most}",
        f"{BEST}{most}": f"sampled best@{most}",
        MAJORITY: "sampled majority",
    }
    return {name: title for name, title in titles.items() if name in found}


def pass_at(accuracies: Sequence[float], k: int, hit: float) -> float:
    """Return the probability that one of k answers has at least the accuracy ``hit``."""
    missed = sum(accuracy < hit for accuracy in accuracies)
    return 1.0 - comb(missed, k) / comb(len(accuracies), k)


def best_at(accuracies: Sequence[float], k: int) -> float:
    """Return the expected largest accuracy of k answers."""
    # The i-th smallest accuracy is the largest of k in C(i, k - 1) draws.
    ways = (comb(i, k - 1) * value for i, value in enumerate(sorted(accuracies)))
    return sum(ways) / comb(len(accuracies), k)


def majority(answers: Sequence[Answer], task: Task) -> float:
    """Return the accuracy of the most frequent answer; where several are equally frequent, the mean
    of them. Answers that cannot be read do not count; without any other the accuracy is 0."""
    groups: dict[object, list[float]] = {}
    for answer in answers:
        if answer.prediction is not None:
            groups.setdefault(task.same_as(answer.prediction), []).append(answer.accuracy)
    most = max(map(len, groups.values()), default=0)
    winners = [sum(own) / len(own) for own in groups.values() if len(own) == most]
    return sum(winners) / len(winners) if winners else 0.0
