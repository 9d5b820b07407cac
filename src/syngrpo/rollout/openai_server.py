"""Talks to a server that samples over the OpenAI API: vLLM (``vllm serve``) or SGLang.

``OpenAIServer`` finds out which model it serves and how its weights are replaced, sends pictures
and questions as chat completions, and reads token ids and log-probabilities from the answers. The
fields were read in the sources of vLLM 0.32.0 and of SGLang at commit 004c82e (autumn 2026).

The OpenAI API itself knows no token ids. Both servers return them for ``return_token_ids``; older
ones of SGLang put them into ``meta_info``, and older ones of vLLM write ``token_id:17`` in place of
a token's text.
"""

from __future__ import annotations

import base64
import io
import logging
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from syngrpo.rollout.base import SampledTokens
from syngrpo.rollout.remote_engine import ANSWER_S, KEEP_ALIVE, STATE_S
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.serving.http_client import HttpClient, ServerAddress, Unavailable

log = logging.getLogger(__name__)

LATER = (408, 425, 429, 502, 503, 504)
"""Statuses after which the same request may succeed later."""
VLLM, SGLANG = "/collective_rpc", "/update_weights_from_disk"
"""The routes by which weights are replaced; the first is vLLM's, the second SGLang's."""
SET_VERSION, VERSION = "/update_weight_version", "/weight_info"
"""Routes of vLLM for the name of its weights. SGLang says it in each answer."""
VLLM_CACHES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
"""Routes of vLLM that clear what it has computed with the old weights."""
MOST_LOGPROB = 0.01
"""A log-probability may be above 0 by this much, because of rounding."""
_EXTRAS = ("return_token_ids", "return_tokens_as_token_ids")
_SGLANG_EXTRAS = ("return_token_ids", "return_prompt_token_ids", "return_meta_info")
_KEPT_STOP = {VLLM: "include_stop_str_in_output", SGLANG: "no_stop_trim"}
"""Keep the text that ended a response in its text. Neither server takes it from the tokens."""
_PLAIN_SAMPLING = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Sample from the model's whole distribution. Both servers take what a request leaves out from the
model's ``generation_config.json`` (in that of Qwen2.5-VL: top_k 1, repetition_penalty 1.05)."""
_PREFIX = "token_id:"


class ServerFailed(Exception):  # noqa: N818
    """The server answered with status 500."""


class TokenRefused(Exception):  # noqa: N818
    """The server asks for another token."""


@dataclass(frozen=True)
class ServedModel:
    """A model that a server serves: the ``name`` that requests use, the ``source`` from which it
    was loaded, and the largest number of tokens of a prompt and its response together. The last two
    are None where the server does not say it."""

    name: str
    source: str | None
    max_length: int | None


@dataclass(frozen=True)
class RequestedResponses:
    """Responses to ask for in one request: ``count`` of them, which end with the token that
    completes ``stop_at``, if that is not None. vLLM gives response i the seed ``seed + i``."""

    seed: int
    count: int
    stop_at: str | None = None


@dataclass(frozen=True, eq=False)
class Completions:
    """The responses to one request, without entropies.

    ``prompt_ids``: the token ids of the prompt as the server made it, or None; ``prompt_length``
    their number, or None. ``version``: the name of the weights, where the server says it.
    """

    responses: list[SampledTokens]
    prompt_ids: list[int] | None
    prompt_length: int | None
    version: str | None


class OpenAIServer:
    """Sends HTTP requests to one server. Threads may share it.

    Every method raises Unavailable when the server does not answer, and InputError when it refuses
    the request or answers in another form.
    """

    def __init__(self, server: ServerAddress) -> None:
        self._http = HttpClient(
            server,
            "server",
            key="rollout.server",
            check="rollout.server",
            answer_s=ANSWER_S,
            later=LATER,
            refusals={401: TokenRefused, 403: TokenRefused, 500: ServerFailed},
            transport=httpx.HTTPTransport(
                socket_options=KEEP_ALIVE, limits=httpx.Limits(max_connections=None)
            ),
        )
        self.url = self._http.url
        self.route: str | None = None
        self._knows_version = False

    def model(self, wanted: str | None, trained: str) -> ServedModel:
        """Return the model to ask for: the one called ``wanted``, or else the only one, or the one
        that was loaded from ``trained``."""
        found = self._models()
        names = ", ".join(one.name for one in found) or "none"
        if wanted is not None:
            chosen = [one for one in found if one.name == wanted]
        else:
            same = [one for one in found if trained in (one.name, one.source)]
            chosen = same or (found if len(found) == 1 else [])
        if not chosen:
            asked = f"no model {wanted}" if wanted else f"several models, none of them {trained}"
            raise InputError(
                f"server {self.url} has {asked}, but {names}; set rollout.server_model to the name "
                "of the one to train"
            )
        return chosen[0]

    def _models(self) -> list[ServedModel]:
        try:
            answer = self._http.request("GET", "/v1/models", timeout=httpx.Timeout(STATE_S))
            return [_served(one) for one in answer.json()["data"] if not one.get("parent")]
        except TokenRefused:
            raise self._token_refused() from None
        except ServerFailed as error:  # it may be starting
            raise Unavailable(str(error)) from None
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            raise InputError(
                f"server {self.url} has no OpenAI API (no list of models at /v1/models); check "
                "rollout.server"
            ) from None

    def find_route(self) -> None:
        """Find the route by which weights are replaced. Raises InputError when there is none."""
        try:
            told = self._json("GET", "/openapi.json", timeout=httpx.Timeout(STATE_S)).get("paths")
        except InputError:
            told = None
        paths = told if isinstance(told, dict) else {}
        self.route = next((route for route in (VLLM, SGLANG) if route in paths), None)
        self._knows_version = self.route == VLLM and {SET_VERSION, VERSION} <= set(paths)
        if self.route is None:
            raise InputError(
                f"server {self.url} has no call that replaces its weights (neither {VLLM} nor "
                f"{SGLANG} in its /openapi.json); start vLLM with VLLM_SERVER_DEV_MODE=1 in its "
                "environment, or use SGLang"
            )

    def load_weights(self, folder: Path, version: str) -> None:
        """Let the server replace its weights by those in ``folder``, and forget what it has
        computed with others."""
        assert self.route is not None
        try:
            if self.route == SGLANG:
                body = {"model_path": str(folder), "weight_version": version, "flush_cache": True}
                told = self._object(self._http.request("POST", SGLANG, json=body), SGLANG)
                if told.get("success") is False:
                    raise ServerFailed(str(told.get("message")))
                return
            body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self._http.request("POST", VLLM, json=body)
            for route in VLLM_CACHES:
                answer = self._http.request("POST", route)
                if answer.content and self._object(answer, route).get("success") is False:
                    raise Unavailable(
                        f"server {self.url} still samples for somebody else, so that its cache "
                        "cannot be cleared"
                    )
            if self._knows_version:
                self._http.request("POST", SET_VERSION, json={"new_version": version})
        except (ServerFailed, InputError) as error:
            raise InputError(
                f"server {self.url} cannot load the weights in {folder} ({error}); it must see "
                "rollout.weights_folder under the same path, and serve a model of the same shapes"
            ) from None
        except TokenRefused:
            raise self._token_refused() from None

    def require_version(self, version: str, groups: Sequence[Completions]) -> None:
        """Raise Unavailable when these responses were not all sampled with the weights of this
        version, because the server was restarted or another run has loaded its own. A server that
        does not tell passes."""
        told = {group.version for group in groups}
        if self._knows_version:
            state = self._json("GET", VERSION, timeout=httpx.Timeout(STATE_S))
            told.add(_text(state.get("weight_version")))
        for other in told - {version, None}:
            raise Unavailable(
                f"server {self.url} sampled with weights {other} instead of {version} (it was "
                "restarted, or another run uses it)"
            )

    def complete(self, request: dict[str, Any]) -> Completions:
        """Return the responses to a request (``request``)."""
        answer = self._json("POST", "/v1/chat/completions", json=request)
        found = completions(answer, request["n"], f"server {self.url}")
        longest = max(len(one.token_ids) for one in found.responses)
        if longest > request["max_tokens"]:
            raise InputError(
                f"server {self.url} answers max_tokens: {request['max_tokens']} with a response of "
                f"{longest} tokens; use a server that keeps to it (vLLM, SGLang)"
            )
        return found

    def request(
        self,
        model: ServedModel,
        picture: np.ndarray,
        question: str,
        responses: RequestedResponses,
        *,
        sampling: Sampling,
        banned: Sequence[int],
        stop_ids: Sequence[int],
    ) -> dict[str, Any]:
        """Return the body of a chat completion: these responses to a picture, uint8 (height, width,
        3), and a question after it."""
        content = [
            {"type": "image_url", "image_url": {"url": _as_url(picture)}},
            {"type": "text", "text": question},
        ]
        body = {
            "model": model.name,
            "messages": [{"role": "user", "content": content}],
            "n": responses.count,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p if sampling.temperature > 0 else 1.0,
            "max_tokens": sampling.max_new_tokens,
            "logprobs": True,
            "logit_bias": {str(token): -100.0 for token in banned},
            "stop_token_ids": list(stop_ids),
            "skip_special_tokens": False,
            **_PLAIN_SAMPLING,
        }
        extras = [*(_SGLANG_EXTRAS if self.route == SGLANG else _EXTRAS)]
        if responses.stop_at is not None:
            body["stop"] = [responses.stop_at]
            extras.append(_KEPT_STOP[self.route or VLLM])
        body |= dict.fromkeys(extras, True)
        if self.route == SGLANG:
            # Its sampling_seed would be the same for all n, and its ignore_eos would switch off
            # stop_token_ids, too.
            return body
        # Only stop_token_ids and max_tokens end a response.
        return body | {"seed": responses.seed, "top_logprobs": 0, "ignore_eos": True}

    def close(self) -> None:
        self._http.close()

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            return self._object(self._http.request(method, path, **options), path)
        except TokenRefused:
            raise self._token_refused() from None
        except ServerFailed as error:
            raise Unavailable(str(error)) from None

    def _object(self, answer: httpx.Response, path: str) -> dict[str, Any]:
        """Return the JSON object in an answer."""
        try:
            found = answer.json()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InputError(
                f"server {self.url} answers {path} with something that is no JSON object; check "
                "rollout.server"
            )
        return found

    def _token_refused(self) -> InputError:
        return InputError(
            f"server {self.url} refuses the token; set rollout.server_token_file to a file with "
            "its --api-key"
        )


def completions(answer: Any, count: int, server: str) -> Completions:
    """Return the ``count`` responses in the answer to a chat completion. Raises InputError, which
    names the ``server``, when token ids or log-probabilities are missing."""
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        responses = [_sampled(choice, server) for choice in choices]
        told = answer.get("prompt_token_ids") or choices[0].get("prompt_token_ids")
        prompt_ids = [operator.index(token) for token in told] if told else None
        length = (answer.get("usage") or {}).get("prompt_tokens")
        version = _text((answer.get("metadata") or {}).get("weight_version"))
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError):
        raise InputError(
            f"{server} answers a chat completion in another form than OpenAI's; check "
            "rollout.server"
        ) from None
    if len(responses) != count:
        raise InputError(
            f"{server} answers n: {count} with {len(responses)} responses; use a server that "
            "samples several (vLLM, SGLang)"
        )
    return Completions(responses, prompt_ids, length, version)


def _served(card: dict[str, Any]) -> ServedModel:
    length = card.get("max_model_len")
    return ServedModel(str(card["id"]), card.get("root"), int(length) if length else None)


def _sampled(choice: dict[str, Any], server: str) -> SampledTokens:
    """Return one response. Its entropies are estimated by −log p of the sampled tokens."""
    content = (choice.get("logprobs") or {}).get("content")
    if not content:
        raise InputError(
            f"{server} returns no log-probabilities for logprobs: true; use a server that does "
            "(vLLM, SGLang)"
        )
    ids = choice.get("token_ids")
    if ids is None and choice.get("meta_info"):
        ids = [token for _, token, *_ in choice["meta_info"]["output_token_logprobs"]]
    if ids is None and all(str(one["token"]).startswith(_PREFIX) for one in content):
        ids = [int(one["token"].removeprefix(_PREFIX)) for one in content]
    if ids is None:
        raise InputError(
            f"{server} returns no token ids for return_token_ids: true; use vLLM 0.11 or later, "
            "or SGLang"
        )
    if len(ids) != len(content):
        raise InputError(f"{server} returns {len(content)} log-probabilities for {len(ids)} tokens")
    if min(map(operator.index, ids)) < 0:
        raise ValueError("a negative token id")
    logprobs = torch.tensor([_number(one["logprob"]) for one in content], dtype=torch.float32)
    if (logprobs > MOST_LOGPROB).any():
        raise InputError(
            f"{server} returns the log-probability {float(logprobs.max()):.3g} for a token, and "
            "none is above 0; let it return natural logarithms of probabilities"
        )
    return SampledTokens(torch.tensor(ids, dtype=torch.long), logprobs, -logprobs)


def _text(version: Any) -> str | None:
    return None if version is None else str(version)


def _number(logprob: float | None) -> float:
    return math.nan if logprob is None else float(logprob)


def _as_url(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
