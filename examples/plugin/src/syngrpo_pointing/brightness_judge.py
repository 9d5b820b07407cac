"""The judge ``brightness``: rejects pictures whose new surroundings are too dark."""

from __future__ import annotations

from syngrpo.painting.judges.base import Candidate, Verdict


class BrightnessJudge:
    """Compares the mean brightness of what was painted with ``lowest``, in [0, 1]."""

    def __init__(self, lowest: float = 0.1) -> None:
        self.lowest = lowest

    def judge(self, candidate: Candidate) -> Verdict:
        """The score ``brightness`` is stored with the sample, or with the rejection."""
        around = candidate.child[~candidate.keep]
        brightness = float(around.mean()) / 255 if around.size else 1.0
        reason = "too_dark" if brightness < self.lowest else None
        return Verdict(reason, {"brightness": brightness})
