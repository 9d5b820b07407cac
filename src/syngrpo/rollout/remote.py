"""Rollouts by a server (``syngrpo rollout-server``), with the weights of this run.

Before every rollout the first process of the run sends its weights, under a name that nobody else
uses; all processes send their prompts and get what was sampled by the weights of that name. A
server that is away is waited for; one that has lost the weights, because it was started anew, gets
them again, from whichever process needs them.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import save

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import Policy
from syngrpo.rollout.frames import framed
from syngrpo.rollout.native import Response
from syngrpo.rollout.rollout_wire import Request, pack_request, unpack_answer
from syngrpo.rollout.sampled import count_of, require_room, respond
from syngrpo.rollout.sampling import Sampling
from syngrpo.rollout.server_connection import Connection, Missing, State
from syngrpo.rollout.weight_stream import checkpoint_pieces
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKOFF_S, BACKOFF_MAX_S = 0.25, 10.0
"""Pause before the first retry, and the longest."""
PATIENCE_S = 600.0
"""How long a run waits for a server that is away, unless it is told otherwise."""


class RemoteRollout:
    """A rollout function: called as ``policy.rollout.rollout``, it means the same.

    The processes of a run make theirs together, and call them equally often. Raises InputError for
    a server that refuses the token, runs another type of weights, or stays away.
    """

    def __init__(
        self, policy: Policy, server: ServerAddress, patience_s: float = PATIENCE_S
    ) -> None:
        self._patience_s = patience_s
        self._connection = Connection(server)
        self._sends = not dist.is_initialized() or dist.get_rank() == 0
        self._run = _agreed(uuid.uuid4().hex[:12])
        self._rollouts = 0
        try:
            self._patiently(lambda: self._state(policy))
        except InputError:
            self.close()
            raise

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        """``group_size`` responses a prompt, by the policy's weights of now.

        Raises InputError for a prompt that leaves no room for ``sampling.max_new_tokens``, for a
        server that serves another model, and for one that stays away.
        """
        if len(seeds) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        self._rollouts += 1
        version = f"{self._run}-{self._rollouts}"
        request = Request(
            version,
            prompts,
            count_of(sampling, group_size),
            sampling,
            seeds,
            policy.banned,
            policy.stop_ids,
        )
        sends = self._sends

        def attempt() -> list[list[Response]]:
            nonlocal sends
            state = self._state(policy)
            for prompt in prompts:
                limit = "the rollout server's --max-length"
                require_room(policy, prompt, sampling, state.max_length, limit)
            if sends and state.version != version:
                self._connection.send_weights(version, framed(_pieces(policy)))
            if not prompts:
                return []
            try:
                answer = self._connection.roll_out(pack_request(request))
            except Missing as error:
                sends = True  # whoever was to do it has done it, and the server has been restarted
                raise Unavailable(str(error)) from None
            made_by, groups = unpack_answer(answer)
            if made_by != version or len(groups) != len(prompts):
                raise InputError(
                    f"rollout server {self._connection.url} answered {len(prompts)} prompts by "
                    f"version {version} with {len(groups)} groups by version {made_by}"
                )
            return [respond(policy, group, group_size) for group in groups]

        return self._patiently(attempt)

    def close(self) -> None:
        self._connection.close()

    def _state(self, policy: Policy) -> State:
        state = self._connection.state()
        dtype = str(policy.base.dtype).removeprefix("torch.")
        if state.dtype != dtype:
            raise InputError(
                f"rollout server {self._connection.url} computes in {state.dtype}, this run in "
                f"{dtype}; start it with --dtype {dtype}"
            )
        return state

    def _patiently(self, call: Callable[[], T]) -> T:
        """Tries until the server answers, or for as long as the user has patience."""
        pause = BACKOFF_S
        until: float | None = None
        while True:
            try:
                result = call()
            except Unavailable as error:
                now = time.monotonic()
                if until is None:
                    until = now + self._patience_s
                    log.warning("%s; trying again for %.0f s", error, self._patience_s)
                if now >= until:
                    raise InputError(
                        f"{error}, for {self._patience_s:.0f} s now; start it with syngrpo "
                        "rollout-server, then go on with --resume"
                    ) from None
                time.sleep(min(pause, until - now))
                pause = min(2 * pause, BACKOFF_MAX_S)
            else:
                if until is not None:
                    log.warning("rollout server %s answers again", self._connection.url)
                return result


def _agreed(name: str) -> str:
    """The first process's ``name``, in all processes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return name
    box = [name]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _pieces(policy: Policy) -> Iterator[bytes]:
    """The weights in the type they are sampled with, a block of the model at a time."""
    for piece in checkpoint_pieces(policy):
        yield save({name: _sent(tensor, policy.base.dtype) for name, tensor in piece.items()})


def _sent(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to("cpu", dtype).contiguous()
