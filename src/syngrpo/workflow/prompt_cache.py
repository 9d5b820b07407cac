"""Samples as the policy reads them: encoded once, and ahead of their use where they are known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.model import Policy
from syngrpo.sample import Sample
from syngrpo.tasks import PromptStyle, get_task

THREADS = 2
"""Decoding and resizing leave the interpreter to others; the rest of the work does not."""


class Prompts:
    """Encodes samples in threads of its own. The ``kept`` that were asked for last stay in memory,
    as bytes: the parent of a settled description was often rolled out a few steps ago."""

    def __init__(self, policy: Policy, style: PromptStyle, kept: int) -> None:
        self._policy = policy
        self._style = style
        self._kept = kept
        self._encoded: OrderedDict[str, Future[Prompt]] = OrderedDict()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prompts")

    def prefetch(self, samples: Iterable[Sample]) -> None:
        """Begins to encode them; any thread may call this. What goes wrong is told by ``take``."""
        for sample in samples:
            self._begin(sample)

    def take(self, samples: Sequence[Sample]) -> list[Prompt]:
        """The samples' prompts; waits for what is not ready.

        Raises InputError for the first whose image cannot be used, as ``encode`` does.
        """
        begun = [self._begin(sample) for sample in samples]
        # A copy: image features are of this step's weights, and are not to be kept.
        return [replace(future.result()) for future in begun]

    def _begin(self, sample: Sample) -> Future[Prompt]:
        with self._lock:
            future = self._encoded.pop(sample.id, None)
            if future is None:
                future = self._threads.submit(self._encode, sample)
            self._encoded[sample.id] = future
            if len(self._encoded) > self._kept:
                self._encoded.popitem(last=False)
            return future

    def _encode(self, sample: Sample) -> Prompt:
        return encode(self._policy, sample, get_task(sample.task).prompt(sample, self._style))
