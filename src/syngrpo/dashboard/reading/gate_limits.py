"""What the gate compares its scores with in a run: the thresholds of its configuration, in words.

The checks themselves are in ``painting.gate`` and ``painting.judges``; docs/gate.md explains them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from syngrpo.dashboard.reading.own_files import require_own
from syngrpo.data_server.served_run import RECORD
from syngrpo.pages.charts import number
from syngrpo.pages.run_data import RunData
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.judges.panel import JudgeOptions
from syngrpo.sample import InputError


@dataclass(frozen=True)
class ScoreLimit:
    """A score of the gate, and its limit in a run.

    ``reason`` is that of the rejections by this check; ``key`` is the setting, "" for a limit that
    is not set in a configuration; ``least``: whether the score must be at least the limit,
    otherwise at most. ``limit`` is None if this run has none.
    """

    score: str
    title: str
    reason: str
    key: str
    least: bool
    unit: str = ""
    limit: float | None = None

    @property
    def words(self) -> str:
        """The limit in words, such as "at least 6 grey levels"; "" without one."""
        if self.limit is None:
            return ""
        return f"at {'least' if self.least else 'most'} {number(self.limit)} {self.unit}".rstrip()

    def refuses(self, value: float) -> bool:
        """Return whether a score of this value is beyond the limit."""
        if self.limit is None:
            return False
        return value < self.limit if self.least else value > self.limit


_GATE, _JUDGES = "synthesis.gate", "synthesis.judges"
CHECKS = (
    ScoreLimit("boxes_outside", "labels outside of the picture", "box_bounds", "", False, "", 0.0),
    ScoreLimit("kept_difference", "change of kept pixels", "kept_pixels",
               f"{_GATE}.max_kept_difference", False, "grey levels"),
    ScoreLimit("background", "share of background", "background_unchanged",
               f"{_GATE}.min_background", True),
    ScoreLimit("change", "change of the background", "background_unchanged",
               f"{_GATE}.min_change", True, "grey levels"),
    ScoreLimit("distance_parent", "distance to the parent", "near_duplicate",
               f"{_GATE}.min_distance", True, "grey levels"),
    ScoreLimit("distance_sibling", "distance to the nearest sibling", "near_duplicate",
               f"{_GATE}.min_distance", True, "grey levels"),
    ScoreLimit("object_side", "smallest side of an object", "too_small",
               f"{_GATE}.min_object_side", True, "pixels"),
    ScoreLimit("object_fit", "IoU of a label with its object", "label_cropped",
               f"{_GATE}.min_object_fit", True),
    ScoreLimit("visibility", "contrast of the least visible object", "unseen",
               f"{_GATE}.min_visibility", True, "grey levels"),
    ScoreLimit("expansion", "growth of an object", "object_expansion",
               f"{_JUDGES}.max_expansion", False),
    ScoreLimit("continuation", "estimated growth of an object", "object_expansion",
               f"{_JUDGES}.max_continuation", False),
    ScoreLimit("phantoms", "new objects of a watched class", "phantom_instance", "", False),
    ScoreLimit("phantom_score", "score of the surest new object", "phantom_instance", "", False),
    ScoreLimit("recall", "share of objects found again", "recall", "", True),
    ScoreLimit("similarity", "similarity to the description", "", "", True),
)  # fmt: skip
"""The built-in checks, in the order in which they are made. Without the limits of a run."""

REASONS = {
    "size": "another size than its canvas",
    "box_bounds": "a label reaches out of the picture",
    "kept_pixels": "kept pixels have changed",
    "background_unchanged": "the background has hardly changed",
    "near_duplicate": "looks like its parent or a sibling",
    "too_small": "an object is too small for the model",
    "label_cropped": "a label does not fit its object",
    "unseen": "an object can hardly be seen",
    "object_expansion": "an object has grown",
    "phantom_instance": "a new object of a watched class",
    "recall": "an object is not found again",
    "empty_description": "nothing is left of the description",
    "canvas_too_large": "its canvas has too many pixels",
    "nothing_kept": "its question is about the surroundings, or no object is labelled",
    "nothing_known": "the generator knows none of its words",
}
"""The reasons of rejections in words."""


def reason_words(reason: str) -> str:
    """Return a reason in words; that of a user's own judge is its name."""
    return REASONS.get(reason, reason.replace("_", " "))


def score_title(name: str) -> str:
    """Return what a score is in words; that of a user's own judge is its name."""
    return next((one.title for one in CHECKS if one.score == name), name.replace("_", " "))


def score_limits(run: RunData) -> dict[str, ScoreLimit]:
    """Return the limits of a run by the names of their scores, in the order of the checks. What the
    configuration does not say has its default."""
    gate, judges = _thresholds(run), _section(run, "judges")
    found = {}
    for check in CHECKS:
        section, _, option = check.key.rpartition(".")
        if section == _GATE:
            check = _with_limit(check, gate, option, GateThresholds())
        elif section == _JUDGES:
            check = _with_limit(check, judges, option, JudgeOptions())
        found[check.score] = check
    return found


def _with_limit(
    check: ScoreLimit, values: Mapping[str, Any], option: str, default: object
) -> ScoreLimit:
    value = values.get(option, getattr(default, option))
    known = isinstance(value, int | float) and math.isfinite(value)
    return replace(check, limit=float(value) if known else None)


def _thresholds(run: RunData) -> Mapping[str, Any]:
    """Return the thresholds of a run, or of a run on a data server."""
    return _section(run, "gate") or served_options(run.directory).get("thresholds") or {}


def served_options(directory: Path) -> Mapping[str, Any]:
    """Return the options that a data server keeps for a run in its folder; {} for a folder of
    another kind, and if they cannot be read."""
    try:
        require_own(directory / RECORD)
        options = json.loads((directory / RECORD).read_text(encoding="utf-8"))["options"]
    except (InputError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return options if isinstance(options, dict) else {}


def _section(run: RunData, name: str) -> Mapping[str, Any]:
    found = run.setting("synthesis", name)
    return found if isinstance(found, dict) else {}
