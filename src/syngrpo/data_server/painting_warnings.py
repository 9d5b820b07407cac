"""Warns in words when no image comes from the workers of a run, or the gate refuses all of them.

Training goes on without new images then, so nobody would see it otherwise. ``DataClient`` and the
warnings of ``syngrpo train`` use this after every step; ``job_failures`` does the same for jobs
that raise an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from syngrpo.serving.wording import count

IDLE_STEPS, IDLE_S = 20, 60.0
"""Steps, and seconds of training, without any result of the workers after which nobody paints."""
REFUSED = 20
"""Images that the gate has rejected one after the other, after which it rejects everything."""


class PaintingWarnings:
    """Watches the jobs of one run.

    ``check`` says in the words of a message what the user should look at when nobody paints.
    ``reasons`` returns the number of rejected images by the gate's reason. ``waiting`` is the
    number of open jobs at the start; a run that goes on has those of before.
    """

    def __init__(
        self, check: str, reasons: Callable[[], Mapping[str, int]], waiting: int = 0
    ) -> None:
        self._check = check
        self._reasons = reasons
        self._waiting = float(waiting)
        self._idle_steps = self._refused = 0.0
        self._idle_s = 0.0
        self._given: set[str] = set()

    def step(self, counts: Mapping[str, float], seconds: float) -> list[str]:
        """Look at a finished step that took so many seconds, and return the warnings that were not
        given before. ``counts`` are numbers of jobs by the names of their metrics; a missing one
        is 0."""
        submitted, admitted, rejected, dead = (
            counts.get(f"synthesis/{name}", 0)
            for name in ("submitted", "admitted", "rejected", "dead")
        )
        ended = admitted + rejected + dead
        # Jobs that were submitted before this run went on may end, too.
        self._waiting = max(0, self._waiting + submitted - ended)
        self._idle_steps = 0 if ended or not self._waiting else self._idle_steps + 1
        self._idle_s = self._idle_s + seconds if self._idle_steps else 0.0
        self._refused = 0 if admitted else self._refused + rejected
        texts = []
        if self._idle_steps >= IDLE_STEPS and self._idle_s >= IDLE_S and self._first("idle"):
            texts.append(
                f"no worker has painted anything for {self._idle_steps:.0f} steps "
                f"({self._idle_s:.0f} s), and {count(int(self._waiting), 'description')} wait; "
                f"check {self._check}"
            )
        if self._refused >= REFUSED and self._first("refused"):
            texts.append(
                f"the gate has rejected the last {self._refused:.0f} images, most often as "
                f"{self._most_frequent()}; see docs/gate.md for its thresholds (synthesis.gate)"
            )
        return texts

    def _first(self, name: str) -> bool:
        """Return whether a warning was not given before, and remember that it is given now."""
        known = name in self._given
        self._given.add(name)
        return not known

    def _most_frequent(self) -> str:
        reasons = self._reasons()
        most = max(reasons, key=lambda reason: reasons[reason], default="unknown")
        return most.replace("_", " ")
