"""A rollout server in this process, whose engine is the native rollout instead of vLLM."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import httpx
import torch
import uvicorn
from service_process import until

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import SampledTokens
from syngrpo.rollout.native import rollout
from syngrpo.rollout.server.engine_loop import EngineLoop
from syngrpo.rollout.server.model_outline import ExpectedWeights, ModelOutline, load_outline
from syngrpo.rollout.server.rollout_app import RolloutApi, create_app
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.weight_stream import checkpoint_weights
from syngrpo.serving.listening import listen
from syngrpo_rooms.starter import STARTER_DIR


class OneStepEngine:
    """An ``IncrementalEngine`` that finishes in one step everything that was added.

    Its first weights are zeros, which no trainer has. ``told`` lists the calls it got, and
    ``sampled`` is the number of tokens of all its responses.
    """

    max_length = 512

    def __init__(self) -> None:
        self._policy = load_policy(STARTER_DIR)
        self._own = checkpoint_weights(self._policy)
        with torch.no_grad():
            for tensor in self._own.values():
                tensor.zero_()
        self._added: dict[int, Any] = {}
        self._last = 0
        self.told: list[str] = []
        self.sampled = 0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        assert not self._added
        self.told.append("weights")
        with torch.no_grad():
            for name, tensor in weights:
                self._own[name].copy_(tensor)

    def begin(self, policy: Policy, temperature: float) -> None:
        assert not self._added
        self.told.append(f"begin {temperature}")

    def add(self, policy: Policy, prompt: Prompt, sampling: Sampling, count: int, seed: int) -> int:
        self.told.append("add")
        self._last += 1
        rules = replace(self._policy, banned=policy.banned, stop_ids=policy.stop_ids)
        self._added[self._last] = (rules, [prompt], count, sampling, [seed])
        return self._last

    def step(self) -> dict[int, list[SampledTokens]]:
        if not self.goes_on.wait(0.01):
            return {}
        added, self._added = self._added, {}
        groups = {number: rollout(*asked)[0] for number, asked in added.items()}
        self.sampled += sum(len(r.token_ids) for group in groups.values() for r in group)
        return {
            number: [SampledTokens(r.token_ids, r.logprobs, r.entropy) for r in group]
            for number, group in groups.items()
        }

    def drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.told.append("drop")
            del self._added[number]


@dataclass
class Server:
    """A running server, and the parts that tests look into."""

    url: str
    engine: OneStepEngine
    loop: EngineLoop

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, trust_env=False, **options)


@cache
def outline() -> ModelOutline:
    return load_outline(STARTER_DIR, "float32", "cpu")


@contextmanager
def rollout_server(port: int = 0, token: str | None = None) -> Iterator[Server]:
    """Serve the starter model until the block ends."""
    engine = OneStepEngine()
    loop = EngineLoop(engine)
    app = create_app(RolloutApi(loop, outline(), ExpectedWeights(outline()), "starter"), token)
    listener = listen("127.0.0.1", port)
    http = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    serving = threading.Thread(target=http.run, args=([listener],), daemon=True)
    serving.start()
    working = threading.Thread(target=loop.run, args=(serving.is_alive,), daemon=True)
    working.start()
    try:
        until(lambda: http.started, "the server")
        yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", engine, loop)
    finally:
        http.should_exit = True
        serving.join(20)
        working.join(20)
        assert not (serving.is_alive() or working.is_alive())
