"""A server with the requests and answers of vLLM 0.32.0, or of SGLang (commit 004c82e), in this
process. It samples with the native rollout. ``make test-vllm`` uses vLLM itself.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from safetensors.torch import load_file
from service_process import until

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.rollout import base
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.weight_stream import checkpoint_weights
from syngrpo.sample import EncodedImage, Sample
from syngrpo.serving.listening import listen
from syngrpo_rooms.starter import STARTER_DIR

TOKEN = "correct-horse"
CACHES = ("reset_prefix_cache", "reset_mm_cache", "reset_encoder_cache")
GENERATION_CONFIG = {"top_k": 1, "repetition_penalty": 1.05}
"""How the server samples where a request does not say it, as in the file of Qwen2.5-VL."""
PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
PLAIN |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
"""How the native rollout samples. The double cannot sample otherwise, except greedily."""


class OpenAIDouble:
    """The server. ``faults`` are names of what it does wrong; ``told`` lists the calls it got,
    ``sampled`` the number of tokens of each response. Response i to a request has ``seed + i``.
    It answers requests for responses while ``goes_on`` is set.

    It starts with weights that are all zero, which no trainer has, unless ``trained``. As vLLM and
    SGLang, it samples by ``generation_config`` where a request does not say how.
    """

    def __init__(
        self,
        dialect: str = "vllm",
        models: tuple[str, ...] = ("starter",),
        trained: bool = False,
        generation_config: Mapping[str, Any] = GENERATION_CONFIG,
    ) -> None:
        self.dialect, self.models, self._trained = dialect, models, trained
        self._generation_config = dict(generation_config)
        self.faults: set[str] = set()
        self.told: list[str] = []
        self.pictures: list[bytes] = []
        self.sampled: list[int] = []
        self.url = ""
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._lock = threading.Lock()
        self._seed = 0
        self.restart()
        self.app = FastAPI(openapi_url=None)
        self.app.middleware("http")(self._guard)
        self.app.get("/v1/models")(self._list)
        self.app.get("/openapi.json")(self._routes)
        self.app.post("/v1/chat/completions")(self._complete)
        if dialect == "vllm":
            self.app.post("/collective_rpc")(self._collective_rpc)
            self.app.get("/weight_info")(lambda: {"weight_version": self.version})
            self.app.post("/update_weight_version")(self._set_version)
            for cache in CACHES:
                self.app.post(f"/{cache}")(lambda name=cache: self._cleared(name))
        else:
            self.app.post("/update_weights_from_disk")(self._update_weights_from_disk)

    def restart(self) -> None:
        """Forget the weights that were sent."""
        self.policy = load_policy(STARTER_DIR)
        self._own = checkpoint_weights(self.policy)
        self.version = "default"
        if not self._trained:
            with torch.no_grad():
                for tensor in self._own.values():
                    tensor.zero_()

    async def _guard(self, request: Request, answer: Any) -> Response:
        given = request.headers.get("authorization")
        if request.url.path.startswith("/v1") and given != f"Bearer {TOKEN}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        if "away" in self.faults:
            return JSONResponse({"error": {"message": "starting"}}, 503)
        if "restarts" in self.faults and request.url.path == "/v1/chat/completions":
            self.faults.remove("restarts")
            self.restart()
            return JSONResponse({"error": {"message": "starting"}}, 503)
        if "restarts unseen" in self.faults and request.url.path == "/v1/chat/completions":
            self.faults.remove("restarts unseen")
            self.restart()
        response: Response = await answer(request)
        return response

    def _list(self) -> Any:
        cards = [
            {"id": name, "root": f"/models/{name}", "parent": None, "max_model_len": 512}
            for name in self.models
        ]
        return {"object": "list", "data": cards}

    def _routes(self) -> Any:
        paths = {route.path: {} for route in self.app.routes}  # type: ignore[attr-defined]
        return {"paths": {} if "no update" in self.faults else paths}

    def _cleared(self, name: str) -> Any:
        self.told.append(name)
        return {"success": "busy" not in self.faults} if name == CACHES[0] else Response()

    def _collective_rpc(self, body: dict[str, Any]) -> Any:
        assert body["method"] == "reload_weights"
        return self._load(Path(body["kwargs"]["weights_path"])) or {"results": [None]}

    def _set_version(self, body: dict[str, Any]) -> Any:
        self.version = body["new_version"]
        return {"success": True, "new_version": self.version}

    def _update_weights_from_disk(self, body: dict[str, Any]) -> Any:
        assert body["flush_cache"] is True
        refused = self._load(Path(body["model_path"]))
        self.version = body["weight_version"]
        return refused or {"success": True, "message": "Succeeded", "num_paused_requests": 0}

    def _load(self, folder: Path) -> Response | None:
        if "cannot load" in self.faults:
            return Response("Internal Server Error", 500)
        assert (folder / "config.json").exists()
        self.told.append("weights")
        missing = set(self._own)
        with self._lock, torch.no_grad():
            for file in folder.glob("*.safetensors"):
                for name, tensor in load_file(file).items():
                    self._own[name].copy_(tensor)
                    missing.discard(name)
        assert not missing
        return None

    def _complete(self, body: dict[str, Any]) -> Any:
        image, text = body["messages"][0]["content"]
        data = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,"))
        self.pictures.append(data)
        self.goes_on.wait()
        sample = Sample("x", "", EncodedImage.from_bytes(data), "", None, ())
        rules = self._rules(body)
        question = text["text"] + " please" * ("other template" in self.faults)
        prompt = encode(rules, sample, question)
        sampling = Sampling(
            self._temperature(body),
            body.get("top_p", 1.0),
            body.get("max_tokens", 112),
            self._stop(body),
        )
        count = body.get("n", 1)
        with self._lock:
            self._seed += count
            seeds = [body.get("seed", self._seed) + i for i in range(count)]
            group = [one for (one,) in rollout(rules, [prompt] * count, 1, sampling, seeds)]
            if "raw" in self.faults:
                group = _at_temperature_1(rules, prompt, group)
            if "trims" in self.faults:
                group = [_without_last(one) for one in group]
            self.sampled += [len(one.token_ids) for one in group]
        return self._answer(body, prompt, group)

    def _temperature(self, body: dict[str, Any]) -> float:
        """Return the temperature of a request: 0 where its ``top_k`` is 1."""
        given = {key: body[key] for key in PLAIN if key in body}
        how = PLAIN | self._generation_config | given
        if how["top_k"] == 1:
            return 0.0
        assert how == PLAIN
        return float(body.get("temperature", 1.0))

    def _stop(self, body: dict[str, Any]) -> str | None:
        """Return the text at which the responses to a request end."""
        kept = "include_stop_str_in_output" if self.dialect == "vllm" else "no_stop_trim"
        assert ("stop" in body) == body.get(kept, False)
        (stop_at,) = body.get("stop", [None])
        return stop_at

    def _rules(self, body: dict[str, Any]) -> Policy:
        """Return the policy with the banned tokens and stop tokens of a request."""
        if "logit_bias" not in body:
            return self.policy
        assert set(body["logit_bias"].values()) == {-100.0}
        banned = torch.tensor([int(token) for token in body["logit_bias"]])
        if "no bias" in self.faults:
            banned = banned[:0]
        return replace(self.policy, banned=banned, stop_ids=self._ends(body))

    def _ends(self, body: dict[str, Any]) -> tuple[int, ...]:
        """Return the tokens that end a response: those of the request, and those of the model
        unless ``ignore_eos`` is set. In SGLang that ignores those of the request as well."""
        ignores = body.get("ignore_eos", False)
        if ignores and self.dialect == "sglang":
            return ()
        own = () if ignores else self.policy.stop_ids
        return (*body["stop_token_ids"], *own)

    def _answer(self, body: dict[str, Any], prompt: Prompt, group: Any) -> Any:
        ids = prompt.input_ids.tolist()
        choices = [self._choice(body, i, one) for i, one in enumerate(group)]
        written = sum(len(one.token_ids) for one in group)
        usage = {"prompt_tokens": len(ids), "completion_tokens": written}
        answer: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 0}
        answer |= {"model": body["model"], "choices": choices}
        answer["usage"] = usage | {"total_tokens": len(ids) + written}
        if self.dialect == "vllm" and body.get("return_token_ids"):
            answer["prompt_token_ids"] = ids
        if self.dialect == "sglang":
            answer["metadata"] = {"weight_version": self.version}
            if body.get("return_prompt_token_ids"):
                placeholder = self.policy.base.config.image_token_id
                hashed = [10**6 if token == placeholder else token for token in ids]
                for choice in choices:
                    choice["prompt_token_ids"] = hashed
        return answer

    def _choice(self, body: dict[str, Any], index: int, one: base.Response) -> dict[str, Any]:
        ids, logprobs = one.token_ids.tolist(), one.logprobs.tolist()
        named = self.dialect == "vllm" and body.get("return_tokens_as_token_ids")
        content = [
            {"token": f"token_id:{i}" if named else "word", "logprob": p}
            for i, p in zip(ids, logprobs, strict=True)
        ]
        if "null logprob" in self.faults:
            content[-1]["logprob"] = None
        choice: dict[str, Any] = {"index": index, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": one.text}
        if body.get("logprobs") and "no logprobs" not in self.faults:
            choice["logprobs"] = {"content": content}
        if "no ids" in self.faults:
            for word in content:
                word["token"] = "word"
        elif self.dialect == "sglang" and "old" in self.faults:
            pairs = [[p, i, None] for i, p in zip(ids, logprobs, strict=True)]
            choice["meta_info"] = {"output_token_logprobs": pairs}
        elif body.get("return_token_ids") and "old" not in self.faults:
            choice["token_ids"] = ids
        return choice


def _at_temperature_1(policy: Any, prompt: Prompt, group: Any) -> list[base.Response]:
    row = PackedRow(prompt, [Segment(one.token_ids) for one in group])
    with torch.no_grad():
        (scored,) = segment_logprobs(policy, [row], 1.0)
    return [replace(one, logprobs=s.logprobs) for one, s in zip(group, scored, strict=True)]


def _without_last(one: base.Response) -> base.Response:
    return replace(one, token_ids=one.token_ids[:-1], logprobs=one.logprobs[:-1])


@contextmanager
def served(double: OpenAIDouble) -> Iterator[OpenAIDouble]:
    """Serve it until the block ends; ``double.url`` is its address."""
    listener = listen("127.0.0.1", 0)
    double.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(double.app, log_level="error", timeout_graceful_shutdown=1)
    http = uvicorn.Server(config)
    serving = threading.Thread(target=http.run, args=([listener],), daemon=True)
    serving.start()
    try:
        until(lambda: http.started, "the server")
        yield double
    finally:
        http.should_exit = True
        serving.join(20)
        assert not serving.is_alive()
