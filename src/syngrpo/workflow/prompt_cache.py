"""Encodes samples into prompts in background threads, and keeps the prompts of the last steps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.model import Policy
from syngrpo.sample import EncodedImage, Sample
from syngrpo.serving.timeline import traced
from syngrpo.tasks import PromptStyle
from syngrpo.tasks.asking import prompt_of

THREADS = 2
"""Number of threads. More do not help, because only decoding and resizing release the interpreter
lock."""


class PromptCache:
    """Encodes samples in threads of its own, and keeps the ``kept`` prompts that were used last.

    They are kept because the parent of a settled description was often rolled out a few steps ago.
    A prompt belongs to the id and the image of its sample, because a method may change the image.
    Images in them are bytes. ``style`` is the prompt style, see ``Task.prompt``.
    """

    def __init__(self, policy: Policy, style: PromptStyle, kept: int) -> None:
        self._policy = policy
        self._style = style
        self._kept = kept
        self._encoded: OrderedDict[tuple[str, EncodedImage], Future[Prompt]] = OrderedDict()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prompts")

    def prefetch(self, samples: Iterable[Sample]) -> None:
        """Begin to encode these samples. Any thread may call this; ``take`` raises the errors."""
        for sample in samples:
            self._begin(sample)

    def take(self, samples: Sequence[Sample]) -> list[Prompt]:
        """Return the prompts of the samples. Wait for those that are not ready.

        Raises InputError for the first sample whose task fails or whose image cannot be used.
        """
        begun = [self._begin(sample) for sample in samples]
        # Return copies: the policy stores image features on a prompt, which are only valid for the
        # weights of this step, and the trainer how many responses go on.
        return [replace(future.result()) for future in begun]

    def _begin(self, sample: Sample) -> Future[Prompt]:
        key = (sample.id, sample.image)
        with self._lock:
            future = self._encoded.pop(key, None)
            if future is None:
                future = self._threads.submit(self._encode, sample)
            self._encoded[key] = future
            if len(self._encoded) > self._kept:
                self._encoded.popitem(last=False)
            return future

    def text(self, sample: Sample) -> str:
        """Return the text beside the image."""
        return prompt_of(sample, self._style)

    @traced("encode prompt")
    def _encode(self, sample: Sample) -> Prompt:
        return encode(self._policy, sample, self.text(sample))
