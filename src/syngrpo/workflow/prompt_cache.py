"""The prompt cache: samples encoded for the policy once, and ahead of their use where possible."""

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
"""More would not help: only decoding and resizing release the interpreter lock."""


class PromptCache:
    """Encodes samples in threads of its own. The last ``kept`` prompts that were asked for stay in
    memory, as bytes: the parent of a settled description was often rolled out a few steps ago.

    ``style`` is the prompt style, see ``Task.prompt``.
    """

    def __init__(self, policy: Policy, style: PromptStyle, kept: int) -> None:
        self._policy = policy
        self._style = style
        self._kept = kept
        self._encoded: OrderedDict[str, Future[Prompt]] = OrderedDict()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prompts")

    def prefetch(self, samples: Iterable[Sample]) -> None:
        """Begin to encode these samples. Any thread may call this; ``take`` raises its errors."""
        for sample in samples:
            self._begin(sample)

    def take(self, samples: Sequence[Sample]) -> list[Prompt]:
        """Return the prompts of the samples; wait for those that are not ready.

        Raises InputError for the first whose image cannot be used, as ``encode`` does.
        """
        begun = [self._begin(sample) for sample in samples]
        # Copies: image features belong to the weights of this step and must not be kept.
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

    def text(self, sample: Sample) -> str:
        """Return the text beside the image."""
        return get_task(sample.task).prompt(sample, self._style)

    def _encode(self, sample: Sample) -> Prompt:
        return encode(self._policy, sample, self.text(sample))
