"""When a request to a server may go out, and how long to wait after one that failed.

Everything in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class TokenBucket:
    """Lets ``per_minute`` requests through in a minute, of which ``burst`` may go at once.

    ``clock`` tells a time in seconds that only grows.
    """

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._tokens = self._burst
        self._clock = clock
        self._last = clock()

    def reserve(self) -> float:
        """Takes one token, and how long to wait until it is there.

        Tokens may be owed: who comes next waits behind all that have reserved before.
        """
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate) - 1
        self._last = now
        return max(0.0, -self._tokens / self._rate)


@dataclass(frozen=True)
class Backoff:
    """Pauses that double from ``first`` up to ``longest``."""

    first: float
    longest: float

    def pause(self, attempt: int, retry_after: float | None, chance: float) -> float:
        """After failed attempt number ``attempt`` (from 0): what the server asked for, if it did,
        and a share of 1/2 to 1 of the pause, by ``chance`` in [0, 1), so that clients that failed
        together do not come back together."""
        grown = self.longest
        if attempt < 64:  # further doublings of a float overflow
            grown = min(grown, self.first * 2**attempt)
        return (retry_after or 0.0) + grown * (1 + chance) / 2


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """What a Retry-After header says, seconds or a date (RFC 9110, 10.2.3); None for nonsense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
