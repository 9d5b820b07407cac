"""Warns in words when the metrics of a run show that it learns nothing, or loses what it knew.

Without these warnings such a run ends with an ordinary summary. ``run`` calls
``RunWarnings.step`` after every step, in the main process. Each warning is given once.
``data_server.painting_warnings`` looks at what the workers paint, ``data_server.job_failures`` at
jobs that raise an error.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from syngrpo.data_server.painting_warnings import PaintingWarnings
from syngrpo.method.language import FAULTS, Fault
from syngrpo.workflow.run_options import RunOptions

logger = logging.getLogger(__name__)

WINDOW = 10
"""Steps whose mean is looked at, because single steps have few responses; of a shorter run all."""
MOST = 0.5
"""Share of the responses from which it is most of them."""
KEPT = 0.5
"""Share of its best mean below which the format counts as lost, if that was above ``MOST``."""
NEVER = 0.05
"""Share of well-formed responses below which the format counts as never learnt."""
PHANTOMS = 0.25
"""Share of groups from which wrong answers that are told apart are many."""
ALIKE = 0.95
"""Share of groups from which nearly all have answers that score the same."""

WORDING: Mapping[Fault, tuple[str, str]] = MappingProxyType(
    {
        "too_long": ("max_description_words", "has more words than"),
        "repetitive": ("max_repetition", "repeats a larger share of its words than"),
        "garbled": ("max_garbled", "has a larger share of characters that are no text than"),
    }
)
"""The option that a fault of the wording is beyond, and how."""

Record = Mapping[str, Any]


class RunWarnings:
    """Watches the metrics of one run.

    ``reasons`` returns the number of rejected images by the gate's reason; ``waiting`` is the
    number of open jobs at the start.
    """

    def __init__(
        self, options: RunOptions, reasons: Callable[[], Mapping[str, int]], waiting: int = 0
    ) -> None:
        self._options = options
        url = options.server.url
        self._painting = PaintingWarnings(
            "the workers beside this run; log.txt has their messages"
            if url is None
            else f"syngrpo worker --server {url}",
            reasons,
            waiting,
        )
        self._window = min(WINDOW, options.trainer.steps)
        self._last: deque[Record] = deque(maxlen=self._window)
        self._best_format = 0.0
        self._given: set[str] = set()

    def step(self, metrics: Record) -> None:
        """Look at a finished step; ``metrics`` is its line of ``metrics.jsonl``."""
        self._last.append(metrics)
        texts = self._painting.step(metrics, metrics["time/step_s"])
        for name, text in self._of_responses():
            if name not in self._given:
                self._given.add(name)
                texts.append(text)
        for text in texts:
            logger.warning("step %d: %s", metrics["step"], text)

    def _of_responses(self) -> Iterator[tuple[str, str]]:
        if len(self._last) < self._window:
            return
        over = "step" if self._window == 1 else f"{self._window} steps"
        cut, form = self._mean("rollout/cut_share"), self._mean("reward/format")
        phantoms = self._mean("diversity/phantom_groups")
        limit = self._options.rollout.max_new_tokens
        if cut >= MOST:
            yield (
                "cut",
                f"{cut:.0%} of the responses of the last {over} are cut at "
                f"rollout.max_new_tokens {limit}; a response without its end mostly has no "
                "answer and teaches nothing: raise the limit, or ask for shorter responses",
            )
        if self._other_scale() >= MOST:
            yield (
                "scale",
                f"{self._other_scale():.0%} of the answers of the last {over} have boxes "
                "between 0 and 1 or outside the image, on another scale than that of "
                f"model.coordinates ({self._options.model.coordinates or 'that of its family'}); "
                "set the scale in which this model writes boxes (docs/families.md)",
            )
        yield from self._of_format(form, over)
        many = phantoms >= PHANTOMS and len(self._last) == WINDOW
        if many and self._options.method.phantom_weight:
            yield (
                "phantoms",
                f"in {phantoms:.0%} of the groups of the last {over} all answers are "
                "wrong, and only format or custom rewards tell the responses apart, which teaches "
                "the form of wrong answers; use easier data or a stronger model, or lower "
                "method.phantom_weight",
            )
        self._best_format = max(self._best_format, form)
        yield from self._of_signal()

    def _of_format(self, form: float, over: str) -> Iterator[tuple[str, str]]:
        lost = self._best_format >= MOST and form < KEPT * self._best_format
        never = max(form, self._best_format) < NEVER
        fault, share = self._wording()
        if (lost or never) and share >= MOST * (1 - form):
            option, beyond = WORDING[fault]
            yield (
                "format",
                f"{share:.0%} of the responses of the last {over} are not well formed because "
                f"their description {beyond} method.{option} "
                f"{getattr(self._options.method, option)} allows; raise the limit, or hold "
                "descriptions with a larger method.scene_beta",
            )
        elif lost:
            yield (
                "format",
                f"the policy loses the response format: {form:.0%} of the responses of the last "
                f"{over} are well formed, {self._best_format:.0%} at best; go on from an "
                "earlier checkpoint with a lower trainer.learning_rate, or begin with a larger "
                "method.beta or trainer.groups_per_step",
            )
        elif never:
            yield (
                "format",
                f"{form:.0%} of the responses of the last {over} have the response format; "
                "use data.prompt_style full, or a model that was trained on the format",
            )

    def _of_signal(self) -> Iterator[tuple[str, str]]:
        if len(self._last) < WINDOW:
            return
        alike = self._mean("diversity/zero_variance_groups")
        left_out = self._mean("off_policy_fraction")
        if alike >= ALIKE:
            yield (
                "alike",
                f"in {alike:.0%} of the groups of the last {WINDOW} steps all answers score the "
                f"same (reward/accuracy {self._mean('reward/accuracy'):.2f}), which teaches no "
                "answer; use harder data if that is near 1 and easier data if it is near 0, or "
                "raise rollout.group_size or rollout.temperature",
            )
        if left_out >= MOST:
            yield (
                "off-policy",
                f"{left_out:.0%} of the tokens of the last {WINDOW} steps are left out of the "
                f"update by {' or '.join(self._leaving_out())}; raise the limit, or lower "
                "trainer.learning_rate, trainer.updates_per_rollout or rollout.async_steps",
            )

    def _leaving_out(self) -> Iterator[str]:
        """Yield the options that leave tokens out."""
        method, rollout = self._options.method, self._options.rollout
        if method.off_policy_threshold is not None:
            yield f"method.off_policy_threshold {method.off_policy_threshold:g}"
        if rollout.importance.endswith("mask"):
            yield f"rollout.importance {rollout.importance} with tis_cap {rollout.tis_cap:g}"

    def _other_scale(self) -> float:
        """Return the share of the answers of the last steps whose boxes are on another scale."""
        return self._mean("reward/other_scale") / self._responses()

    def _wording(self) -> tuple[Fault, float]:
        """Return the most frequent fault of the wording, and the share of the responses of the last
        steps that have it."""
        found = {fault: self._mean(f"description/{fault}") for fault in FAULTS}
        worst = max(FAULTS, key=found.__getitem__)
        return worst, found[worst] / self._responses()

    def _responses(self) -> float:
        """Return the mean number of responses of the last steps, those of groups that were refilled
        included: a step's tokens divided by the mean length of its responses."""
        numbers = [
            row["tokens_per_s"] * row["time/step_s"] / row["rollout/length_mean"]
            for row in self._last
            if row["tokens_per_s"] and row["rollout/length_mean"]
        ]
        return sum(numbers) / len(numbers) if numbers else 1.0

    def _mean(self, name: str) -> float:
        """Return the mean of a metric over the last steps; 0 where none has it."""
        values = [row[name] for row in self._last if row.get(name) is not None]
        return sum(values) / len(values) if values else 0.0
