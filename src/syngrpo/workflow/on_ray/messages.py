"""What the ranks and Ray Train's controller tell the command that started them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Started:
    """Rank 0 is at work, as the process ``pid`` of the command's node."""

    pid: int


@dataclass(frozen=True)
class Printed:
    """Text for the terminal, control sequences included."""

    text: str


@dataclass(frozen=True)
class Refused:
    """What a rank found that the user has to put right; starting it again would not help."""

    error: Exception


@dataclass(frozen=True)
class Died:
    """Ranks that ended too early, and how each did, in one line."""

    reasons: dict[int, str]


Message = Started | Printed | Refused | Died
