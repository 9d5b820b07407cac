"""What Ray Train's controller says of ranks that have failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayActorError
from ray.train import UserCallback
from ray.util.queue import Queue

from syngrpo.workflow.on_ray.messages import Died


@dataclass(frozen=True)
class Obituaries(UserCallback):
    """Called in Ray Train's controller when ranks have failed, before it starts all again."""

    outbox: Queue

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        self.outbox.put(Died({rank: _reason(e) for rank, e in worker_exceptions.items()}))


def _reason(error: Exception) -> str:
    """The last line of a rank's traceback, or that there is nobody left to have one."""
    if isinstance(getattr(error, "health_check_failure", error), RayActorError):
        return "its process or its node is gone"
    return [line.strip() for line in str(error).splitlines() if line.strip()][-1]
