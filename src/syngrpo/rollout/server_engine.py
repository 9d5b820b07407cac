"""The server engine: a rollout server samples the responses, with the weights of this run.

Before every rollout the first process of the run sends its weights, under a version name that
no other run uses. All processes then send their prompts with that name and get responses sampled
with exactly those weights. If the server does not answer, requests are repeated for
``rollout.server_patience_s``. A server that was restarted has no weights: the first process that
notices this sends them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx
import torch
from safetensors.torch import save

from syngrpo.policy.encode import Prompt
from syngrpo.policy.forward import split_family
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import (
    Response,
    SampledTokens,
    Waiting,
    distinct_responses,
    group_responses,
    in_all_processes,
    require_room,
    require_seeds,
)
from syngrpo.rollout.remote_engine import (
    ANSWER_S,
    KEEP_ALIVE,
    STATE_S,
    RemoteEngine,
)
from syngrpo.rollout.rollout_options import RolloutOptions
from syngrpo.rollout.server_messages import Request, pack_request, unpack_answer
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.weight_stream import checkpoint_pieces, frame
from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import read_token
from syngrpo.serving.http_client import HttpClient, ServerAddress, Unavailable
from syngrpo.serving.timeline import span, traced

LATER = (400, 408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed later. The server sends 400 for a stream that
was cut off."""


class ServerEngine(RemoteEngine):
    """Sends weights and prompts to a rollout server and returns the responses it samples."""

    server_kind = "rollout server"
    remedy = "start it with syngrpo rollout-server"

    def __init__(self, policy: Policy, options: RolloutOptions) -> None:
        """Connect to the server and check that it suits the policy.

        Raises InputError when its address or the token file is wrong, when it refuses the token,
        computes in another type than the policy or does not answer in time, and for a model that
        can only be called whole.
        """
        split_family(policy)
        token = in_all_processes(lambda: read_token(options.server_token_file))
        self._client = RolloutClient(ServerAddress(str(options.server), token))
        self._url = self._client.url
        super().__init__(policy, options)
        try:
            self._repeat(lambda: self._state(policy))
        except InputError:
            self.close()
            raise

    @classmethod
    def check(cls, options: RolloutOptions) -> None:
        if options.server is None:
            raise InputError(
                f"rollout.engine {options.engine_name} needs the address of a rollout server; "
                "set rollout.server to http://host:port"
            )

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        """Send weights and prompts to the server and return its responses; see ``base.Rollout``.
        Raises InputError also when the server has another model or does not answer in time."""
        request = self._request(policy, prompts, group_size, sampling, seeds)
        call = self._attempt(policy, request, lambda: frame(_pieces(policy)))
        return group_responses(policy, prompts, self._repeat(call), group_size, sampling)

    def start(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> Waiting:
        """Copy the weights to the host's memory, and send them and the prompts in a thread; see
        ``base.Engine``. Every process keeps a copy until its responses are there: it sends it when
        the server was restarted, or has got the weights of the next rollout already."""
        request = self._request(policy, prompts, group_size, sampling, seeds)
        with span("copy weights"):
            copied = list(frame(_pieces(policy)))
        call = self._attempt(policy, request, lambda: iter(copied))
        return self._beside(lambda: self._repeat(call), policy, prompts, group_size, sampling)

    def _request(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> Request:
        """Return a request for a new version of the weights."""
        require_seeds(prompts, seeds)
        return Request(
            self._new_version(),
            prompts,
            distinct_responses(sampling, group_size),
            sampling,
            seeds,
            policy.banned,
            policy.stop_ids,
        )

    def _attempt(
        self, policy: Policy, request: Request, weights: Callable[[], Iterator[bytes]]
    ) -> Callable[[], list[list[SampledTokens]]]:
        """Return what lets the server sample with these weights, and raises Unavailable when it may
        succeed later.

        The first process sends the weights if the server has others. Any other process does so
        when the server has refused its request for them.
        """
        sends, version, prompts = self._sends, request.version, request.prompts

        def attempt() -> list[list[SampledTokens]]:
            nonlocal sends
            state = self._state(policy)
            for prompt in prompts:
                limit = "the rollout server's --max-length"
                require_room(policy, prompt, request.sampling, state.max_length, limit)
            if sends and state.version != version:
                self._client.send_weights(version, weights())
            if not prompts:
                return []
            try:
                answer = self._client.roll_out(pack_request(request))
            except WeightsMissing as error:
                # They were sent, but the server was restarted since, or has got newer ones.
                sends = True
                raise Unavailable(str(error)) from None
            made_by, groups = unpack_answer(answer)
            if made_by != version or len(groups) != len(prompts):
                raise InputError(
                    f"rollout server {self._client.url} answered {len(prompts)} prompts by "
                    f"version {version} with {len(groups)} groups by version {made_by}"
                )
            return groups

        return attempt

    def close(self) -> None:
        """Close the connections. Rollouts that were started fail, and are not waited for."""
        self._client.close()
        self._thread.close()

    def _state(self, policy: Policy) -> ServerState:
        """Return the server's state. Raises InputError when it computes in another type."""
        state = self._client.state()
        dtype = str(policy.base.dtype).removeprefix("torch.")
        if state.dtype != dtype:
            raise InputError(
                f"rollout server {self._client.url} computes in {state.dtype}, this run in "
                f"{dtype}; start it with --dtype {dtype}"
            )
        return state


class WeightsMissing(Exception):  # noqa: N818
    """The server does not have the version of the weights that a request asks for."""


@dataclass(frozen=True)
class ServerState:
    """What a server reports about itself.

    ``max_length``: largest number of tokens of a prompt and its response together. ``version`` of
    its weights; None when it has none, or only a part of them.
    """

    dtype: str
    max_length: int
    version: str | None


class RolloutClient:
    """Sends HTTP requests to a rollout server. Every method raises Unavailable when the server does
    not answer, and InputError when it refuses the request."""

    def __init__(self, server: ServerAddress) -> None:
        self._http = HttpClient(
            server,
            "rollout server",
            key="rollout.server",
            check="rollout.server",
            answer_s=ANSWER_S,
            later=LATER,
            refusals={409: WeightsMissing},
            transport=httpx.HTTPTransport(socket_options=KEEP_ALIVE),
        )
        self.url = self._http.url

    def state(self) -> ServerState:
        answer = self._http.request("GET", "/v1/state", timeout=httpx.Timeout(STATE_S))
        try:
            told = answer.json()
            return ServerState(str(told["dtype"]), int(told["max_length"]), told["version"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.url} is no rollout server; check rollout.server") from None

    @traced("send weights")
    def send_weights(self, version: str, stream: Iterator[bytes]) -> None:
        """Replace the server's weights by those in ``stream``, under the name ``version``."""
        self._http.request("PUT", f"/v1/weights/{version}", content=stream)

    @traced("sample on the server")
    def roll_out(self, request: bytes) -> bytes:
        """Return the server's answer to a request (``server_messages``).

        Raises WeightsMissing when the server has another version of the weights.
        """
        return self._http.request("POST", "/v1/rollouts", content=request).content

    def close(self) -> None:
        self._http.close()


def _pieces(policy: Policy) -> Iterator[bytes]:
    """Yield the weights in the type that the server computes in, one block of the model at a
    time."""
    for piece in checkpoint_pieces(policy):
        yield save({name: _to_send(tensor, policy.base.dtype) for name, tensor in piece.items()})


def _to_send(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to("cpu", dtype).contiguous()
