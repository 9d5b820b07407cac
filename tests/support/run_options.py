"""Options of a run for tests that build one without a configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syngrpo.config import options_from
from syngrpo.workflow.run_options import RunOptions

SECTIONS: dict[str, dict[str, Any]] = {
    "model": {"path": "starter"},
    "data": {"train": [{"format": "rooms", "split": "train", "count": 24}]},
    "synthesis": {"generator": "rooms", "describer": "rooms"},
}


def run_options(sections: Mapping[str, Mapping[str, Any]] | None = None) -> RunOptions:
    """The starter on 24 rooms, changed by ``sections``: section → key → value."""
    given = sections or {}
    names = {*SECTIONS, *given}
    return options_from(
        {name: SECTIONS.get(name, {}) | dict(given.get(name, {})) for name in names}
    )
