"""Chooses the tokens that the losses ``clip_cov`` and ``kl_cov`` treat apart (arXiv 2505.22617).

The entropy of a policy falls by the covariance of log-probability and advantage, and a few tokens
make up most of it. ``kl_cov`` chooses those where it is largest; ``clip_cov`` chooses at random
among those where it lies between two bounds.

The learner calls ``choose_tokens`` once a step, before any pass. The covariance is that over all
fresh tokens of the step and all processes, and so does not depend on how the step is split. It is
computed from the log-probabilities of sampling, which the responses have already.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from syngrpo.method.loss_options import LossOptions
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

Chosen = dict[CreditedSegment, Tensor]
"""The chosen tokens, bool (L,), of each fresh segment."""


def choose_tokens(
    rows: Sequence[UpdateRow], options: LossOptions, processes: Processes, seed: Sequence[int]
) -> Chosen:
    """Return the chosen tokens; {} for a loss that treats no token apart. All processes call this
    together. ``seed`` is that of the update."""
    choice = options.loss_form.chosen
    if choice is None:
        return {}
    segments = dict(_fresh(rows))
    covariances = _covariances(list(segments), processes)
    if choice == "hold":
        scores = covariances
    else:
        low, high = options.covariance_low, options.covariance_high
        scores = {
            segment: torch.where(
                (low < values) & (values < high), _random(segments[segment], values, seed), -np.inf
            )
            for segment, values in covariances.items()
        }
    tokens = sum(int(_known(segment).sum()) for segment in segments)
    wanted = max(1, int(options.covariance_share * sum(processes.gather([tokens]))))
    least = _nth_largest(list(scores.values()), wanted, processes)
    if least == 0:  # without any advantage all covariances are 0: then none is chosen
        return {segment: values > 0 for segment, values in scores.items()}
    return {segment: values.isfinite() & (values >= least) for segment, values in scores.items()}


def _fresh(rows: Sequence[UpdateRow]) -> Iterator[tuple[CreditedSegment, tuple[int, int]]]:
    """Yield each fresh segment, and two numbers that are its own in every run."""
    for row in rows:
        key = zlib.crc32(row.prompt.sample_id.encode())
        for place, segment in enumerate(row.segments):
            if not segment.settled:
                yield segment, (key, place)


def _covariances(
    segments: Sequence[CreditedSegment], processes: Processes
) -> dict[CreditedSegment, Tensor]:
    """Return (A − mean A)·(log p − mean log p) of each token, −inf where it is not in the loss or
    its log-probability of sampling is not known."""
    sums = np.zeros(3)
    for segment in segments:
        known = _known(segment)
        sums += (
            float(known.sum()),
            float(segment.advantages[known].double().sum()),
            float(segment.old_logprobs[known].double().sum()),
        )
    count, advantages, logprobs = np.sum(processes.gather([sums]), axis=0)
    means = advantages / max(count, 1.0), logprobs / max(count, 1.0)
    return {
        segment: ((segment.advantages - means[0]) * (segment.old_logprobs - means[1])).masked_fill(
            ~_known(segment), -torch.inf
        )
        for segment in segments
    }


def _known(segment: CreditedSegment) -> Tensor:
    return segment.mask & segment.old_logprobs.isfinite()


def _random(key: tuple[int, int], like: Tensor, seed: Sequence[int]) -> Tensor:
    numbers = np.random.default_rng([*seed, *key]).random(len(like))
    return torch.from_numpy(numbers).to(like.dtype)


def _nth_largest(scores: Sequence[Tensor], wanted: int, processes: Processes) -> float:
    """Return the score that ``wanted`` tokens of all processes reach; −inf if there are fewer."""
    here = torch.cat([values[values.isfinite()] for values in scores] or [torch.zeros(0)])
    best = here.topk(min(wanted, len(here))).values.tolist()
    everywhere = sorted(processes.gather(best), reverse=True)
    return everywhere[wanted - 1] if len(everywhere) >= wanted else -np.inf
