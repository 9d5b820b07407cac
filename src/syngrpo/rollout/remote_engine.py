"""What the engines share that let a server sample: ``server_engine`` and ``openai_engine``."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from contextvars import copy_context
from multiprocessing.pool import ThreadPool
from typing import ClassVar, TypeVar

import torch.distributed as dist

from syngrpo.policy.encode import Prompt
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import (
    Engine,
    SampledTokens,
    Waiting,
    group_responses,
    of_first_process,
)
from syngrpo.rollout.rollout_options import RolloutOptions
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.serving.http_client import Unavailable, call_until_available
from syngrpo.serving.timeline import traced

T = TypeVar("T")

LONGEST_PAUSE_S = 10.0
"""Longest pause between two attempts, in seconds."""
STATE_S, ANSWER_S = 30.0, 3600.0
"""Seconds that the server may take to answer with its state, and with responses."""
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]
"""Socket options by which the loss of the server's host is noticed within 75 s, however long an
answer may take."""


class RemoteEngine(Engine):
    """An engine whose server samples, with weights that the first process of the run gives it.

    ``server_kind`` is what messages call the server, ``remedy`` what to do when it does not answer;
    ``_url`` is its address.
    """

    samples_beside = True
    server_kind: ClassVar[str]
    remedy: ClassVar[str]
    _url: str

    def __init__(self, policy: Policy, options: RolloutOptions) -> None:
        self._patience_s = options.server_patience_s
        self._sends = not dist.is_initialized() or dist.get_rank() == 0
        self._run = of_first_process(uuid.uuid4().hex[:12])
        self._rollouts = 0
        self._thread = daemon_threads(1, "rollouts")

    def _new_version(self) -> str:
        """Return the name of the weights of the next rollout, which no other run uses."""
        self._rollouts += 1
        return f"{self._run}-{self._rollouts}"

    def _repeat(self, call: Callable[[], T]) -> T:
        """Repeat the call until the server answers. Raises InputError when that takes too long."""
        try:
            return call_until_available(
                call,
                f"{self.server_kind} {self._url}",
                f"trying again for {self._patience_s:.0f} s",
                longest_pause_s=LONGEST_PAUSE_S,
                patience_s=self._patience_s,
            )
        except Unavailable as error:
            raise InputError(
                f"{error}, for {self._patience_s:.0f} s now; {self.remedy}, then go on with "
                "--resume"
            ) from None

    def _beside(
        self,
        call: Callable[[], list[list[SampledTokens]]],
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
    ) -> Waiting:
        """Let the call sample in a thread, after the rollouts that were started before."""
        asked = traced("sample ahead")(call)
        sampled = self._thread.apply_async(copy_context().run, (asked,))
        return lambda: group_responses(policy, prompts, sampled.get(), group_size, sampling)


def daemon_threads(count: int, name: str) -> ThreadPool:
    """Return threads of this name, which make calls in the order in which they are given.

    ``close`` lets them end after the calls that they still have, without waiting. Neither does the
    end of the process wait, unlike for a ThreadPoolExecutor: a server may take an hour to answer.
    """

    def begin() -> None:
        threading.current_thread().name = name

    return ThreadPool(count, begin)
