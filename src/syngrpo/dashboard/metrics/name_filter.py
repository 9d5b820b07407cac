"""Chooses the metrics whose names fit a regular expression.

The expression comes from an address or is typed, and all pages wait while it is searched for: so
its length and its time are limited.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import regex

from syngrpo.dashboard.metrics.metric_curves import MetricKey
from syngrpo.sample import InputError

LONGEST_PATTERN = 500
"""Largest number of characters of a regular expression."""
PATTERN_S = 0.3
"""Seconds that a regular expression may take for all names."""


def fitting_metrics(keys: Sequence[MetricKey], pattern: str) -> list[MetricKey]:
    """Return the metrics whose names have a part that fits the pattern, in letters of either case.
    Raises InputError for a pattern that is no regular expression, or is too long or too slow."""
    if len(pattern) > LONGEST_PATTERN:
        raise InputError(f"A regular expression has at most {LONGEST_PATTERN} characters here.")
    try:
        compiled = regex.compile(pattern, regex.IGNORECASE)
        until, fitting = time.monotonic() + PATTERN_S, []
        for key in keys:
            left = max(0.0, until - time.monotonic())  # a negative time would be no limit
            if compiled.search(key.name, timeout=left):
                fitting.append(key)
        return fitting
    except (regex.error, ValueError) as error:
        raise InputError(f"This is no regular expression: {error}.") from None
    except (TimeoutError, RecursionError):
        raise InputError("This regular expression takes too long; write a simpler one.") from None
