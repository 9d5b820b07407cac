"""Writes kept responses to ``responses/`` of a run, in a background thread.

``add`` takes the responses of a step and never waits. A file is written when it holds enough steps,
when the last one was written ``LATEST_S`` ago, and on ``flush``, which the run calls before it
saves a checkpoint: so a resumed run has the responses of every step up to its checkpoint. A file
appears under its name when it is complete.

What cannot be written is counted (``take_lost``) and said once; training goes on.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock

import pyarrow.parquet as pq

from syngrpo.responses.response_files import file_for, response_files
from syngrpo.responses.response_rows import KeptResponse, TokenTexts, table_of
from syngrpo.serving.atomic_files import atomic_file
from syngrpo.serving.timeline import span
from syngrpo.serving.wording import count, first_line

logger = logging.getLogger(__name__)

STEPS_A_FILE = 10
CHARACTERS_A_FILE = 2**25
"""A file is written when its texts are this long."""
ROWS_TOGETHER = 2048
"""Rows that a reader of a single step must read together, at the least."""
LATEST_S = 30.0
"""Seconds after the last file when the next step is written at once, so that a page can show it
while the run goes on. Steps that take longer have a file each."""
WAITING_FILES = 4
"""Files that may wait for the disk. The responses of further steps are lost."""


class ResponseWriter:
    """Writes the responses of one run. One thread of the caller uses it.

    ``directory`` is ``responses/`` of the run, ``rewards`` are the names of the custom rewards,
    ``max_bytes`` is what all files may take.
    """

    def __init__(
        self,
        directory: Path,
        token_texts: TokenTexts,
        rewards: Sequence[str] = (),
        max_bytes: float = float("inf"),
    ) -> None:
        self._directory = directory
        self._token_texts = token_texts
        self._rewards = tuple(rewards)
        self._max_bytes = max_bytes
        self._next: list[KeptResponse] = []
        self._characters = 0
        self._written_at = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="responses")
        self._waiting: deque[Future[None]] = deque()
        self._lock = Lock()
        self._lost = 0
        self._told: set[str] = set()

    def add(self, responses: Sequence[KeptResponse]) -> None:
        """Take all kept responses of the next step. Does not wait for the disk."""
        if not responses:
            return
        self._next += responses
        self._characters += sum(len(one.text) for one in responses)
        steps = self._next[-1].step - self._next[0].step + 1
        due = steps >= STEPS_A_FILE or self._characters >= CHARACTERS_A_FILE
        if due or time.monotonic() - self._written_at >= LATEST_S:
            self._begin()

    def flush(self) -> None:
        """Return when everything that was added is written, or lost."""
        self._begin(even_if_many_wait=True)
        while self._waiting:
            self._waiting.popleft().result()

    def take_lost(self) -> int:
        """Return the number of responses that could not be written since the last call."""
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def close(self) -> None:
        """Write what was added, and end the thread."""
        self.flush()
        self._thread.shutdown()

    def _begin(self, even_if_many_wait: bool = False) -> None:
        """Hand the responses that were added to the thread."""
        batch, self._next, self._characters = self._next, [], 0
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        if not batch:
            return
        self._written_at = time.monotonic()
        if len(self._waiting) >= WAITING_FILES and not even_if_many_wait:
            self._lose(batch, "the disk is slower than training")
        else:
            self._waiting.append(self._thread.submit(self._write, batch))

    def _write(self, batch: list[KeptResponse]) -> None:
        """Write one file. Runs in the thread."""
        first, last = batch[0].step, batch[-1].step
        with span("write responses", first_step=first, last_step=last):
            self._write_file(batch)

    def _write_file(self, batch: list[KeptResponse]) -> None:
        try:
            if not self._directory.exists():
                self._directory.mkdir()
            table = table_of(batch, self._rewards, self._token_texts)
            target = file_for(self._directory, batch[0].step, batch[-1].step)
            with atomic_file(target, durable=True, expected_bytes=table.nbytes) as temporary:
                pq.write_table(table, temporary, ROWS_TOGETHER, compression="zstd")
        except Exception as error:  # what is only looked at must not end the training
            logger.debug("responses cannot be written", exc_info=error)
            self._lose(batch, first_line(error))
            return
        with suppress(OSError):  # the next file tries again
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        """Remove the oldest files while all files together take more than ``max_bytes``."""
        sizes = [(file.path, file.path.stat().st_size) for file in response_files(self._directory)]
        total = sum(size for _, size in sizes)
        for path, size in sizes[:-1]:
            if total <= self._max_bytes:
                return
            path.unlink()
            total -= size
            self._tell(
                "removed",
                f"{self._directory} takes more than logging.responses.max_gb "
                f"{self._max_bytes / 1e9:g}: the responses of the oldest steps are removed from "
                "now on",
            )

    def _lose(self, batch: Sequence[KeptResponse], reason: str) -> None:
        with self._lock:
            self._lost += len(batch)
        self._tell(
            "lost",
            f"{count(len(batch), 'response')} of step {batch[0].step} and later cannot be kept in "
            f"{self._directory} ({reason}); training goes on, and responses/lost in metrics.jsonl "
            "counts them",
        )

    def _tell(self, what: str, line: str) -> None:
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        logger.warning("%s", line)
