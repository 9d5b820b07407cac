"""The only thing that the dashboard may change: dead jobs go back into the queue.

It needs ``syngrpo dashboard --allow-actions``, which needs a token. It is one transaction of the
job queue, so that it is safe beside a live run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing

from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.queue.queue_state import queue_settings
from syngrpo.pool.database import FILE_NAME, require_content
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.store import Pool

logger = logging.getLogger(__name__)


def requeue(view: View, job_ids: Sequence[str]) -> int:
    """Put dead jobs of the run that is shown back into its queue. Return how many were.

    Raises PermissionError if actions are not allowed, and InputError if the pool cannot be written
    or its jobs are those of a data server.
    """
    if not view.actions:
        raise PermissionError("start the dashboard with --allow-actions to requeue jobs")
    run = view.run
    require_content(run.directory / FILE_NAME)
    settings = queue_settings(run.data())
    with closing(Pool(run.directory)) as pool:
        queue = JobQueue(pool, settings.queue_limit, settings.lease_s, settings.max_attempts)
        requeued = queue.requeue_dead(job_ids)
    logger.info("%d dead jobs of run %s were put back into its queue", len(requeued), run.name)
    return len(requeued)
