"""What ``attempts.jsonl`` says about the starts of a run, in words for a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syngrpo.pages.shown_text import shown_time


@dataclass(frozen=True)
class RunAttempt:
    """One start: when (UTC), on which host and device, which steps it has done, and what has
    changed since the attempt before, settings and versions of libraries. ``log`` is the part of the
    log with its messages, as places in bytes; None if that is not known, and as the end of the last
    attempt."""

    time: str
    place: str
    steps: str
    changes: tuple[str, ...]
    versions: Mapping[str, str]
    log: tuple[int | None, int | None]


def run_attempts(rows: Sequence[Mapping[str, Any]], last_step: int | None) -> list[RunAttempt]:
    """Return the attempts of a run in order. ``last_step`` is the last one that the run has
    finished, None before the first. What a row does not have is left out."""
    attempts: list[RunAttempt] = []
    for place, row in enumerate(rows):
        ends = [*(later.get("step") for later in rows[place + 1 :]), last_step]
        until = min((end for end in ends if isinstance(end, int)), default=None)
        versions = _versions(row)
        before = attempts[-1].versions if attempts else versions
        changes = [*_changed_settings(row), *_changed_versions(before, versions)]
        attempts.append(
            RunAttempt(
                shown_time(row.get("time", "")),
                _place(row),
                _steps(row, until),
                tuple(changes),
                versions,
                (_log_from(row), _log_from(rows[place + 1]) if place + 1 < len(rows) else None),
            )
        )
    return attempts


def _log_from(row: Mapping[str, Any]) -> int | None:
    start = row.get("log_from")
    return start if isinstance(start, int) and start >= 0 else None


def _place(row: Mapping[str, Any]) -> str:
    processes = row.get("processes")
    several = f"{processes} × " if isinstance(processes, int) and processes > 1 else ""
    return f"{row.get('host', '')}, {several}{row.get('device', '')}"


def _steps(row: Mapping[str, Any], until: int | None) -> str:
    """Return the steps that an attempt has kept: those that no later one has done again."""
    start, planned = row.get("step"), row.get("steps")
    if not isinstance(start, int):
        return ""
    if until is not None and until > start:
        return f"{start + 1:,}–{until:,} of {planned}"
    return f"none, from {start + 1:,} of {planned}"


def _changed_settings(row: Mapping[str, Any]) -> list[str]:
    changes = row.get("changes")
    return [
        f"{change.get('key')}: {_value(change.get('before'))} → {_value(change.get('now'))}"
        for change in (changes if isinstance(changes, list) else [])
        if isinstance(change, dict)
    ]


def _changed_versions(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = dict.fromkeys([*before, *now])
    return [
        f"{name} {before.get(name, 'not installed')} → {now.get(name, 'not installed')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _versions(row: Mapping[str, Any]) -> dict[str, str]:
    versions = row.get("versions")
    given = versions if isinstance(versions, dict) else {}
    python = {"python": str(row["python"])} if "python" in row else {}
    return python | {str(name): str(version) for name, version in given.items()}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
