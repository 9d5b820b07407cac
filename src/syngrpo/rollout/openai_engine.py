"""The openai engine: a server that the user already runs samples the responses (vLLM, SGLang).

Before every rollout the first process of the run writes its weights into ``rollout.weights_folder``
(``weight_folder``) and asks the server to load them from there. Then all processes send their
prompts as chat completions (``openai_server``). The responses to a prompt that end at a text
(``Sampling.stop_at``) are a request of their own. The server applies the chat template and cuts the
picture itself, so every answer is checked: the prompt's tokens must be those of the training
forward pass. When the engine starts it samples two responses and compares their log-probabilities
with the model's own.

A server that does not answer is asked again for ``rollout.server_patience_s``. It may have been
restarted with the weights it was started with, so it loads those of the rollout again before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import Lock

import torch
import torch.distributed as dist

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.forward import split_family
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.policy.trial import trial_sample
from syngrpo.rollout.base import (
    Response,
    SampledTokens,
    Waiting,
    distinct_responses,
    group_responses,
    in_all_processes,
    parts_by_stop,
    require_room,
    require_seeds,
    to_response,
)
from syngrpo.rollout.openai_server import Completions, OpenAIServer, RequestedResponses
from syngrpo.rollout.remote_engine import RemoteEngine, daemon_threads
from syngrpo.rollout.rollout_options import RolloutOptions
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.weight_folder import WeightFolder
from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import read_token
from syngrpo.serving.http_client import ServerAddress
from syngrpo.serving.timeline import traced

AT_ONCE = 128
"""Requests that are sent at the same time. A prompt has one or two."""
PROBE_TOKENS = 16
"""Tokens of each of the two responses that are compared when the engine starts."""
PROBE_SIZE = (64, 64)
"""Width and height of their picture in pixels."""
TOLERANCE = {torch.float32: 0.01}
"""Largest mean difference of log-probabilities in nats that the start allows, by type."""
HALF_TOLERANCE = 0.2
"""The same for all other types."""


class OpenAIEngine(RemoteEngine):
    """Gives the weights to a server by a shared folder, and returns the responses it samples.

    The responses of a server differ from the native engine's for the same seed. Entropies are
    estimated by −log p of the sampled tokens, because the API returns no more.
    """

    server_kind = "server"
    remedy = "start it, or check rollout.server"

    def __init__(self, policy: Policy, options: RolloutOptions) -> None:
        """Connect to the server, load the policy's weights into it, and compare two responses.

        Raises InputError when the address, the token or the folder is wrong; when the server has
        another model, no call that loads weights, or returns no token ids or log-probabilities;
        when these are not those of the policy; and for a model that can only be called whole.
        """
        self._family = split_family(policy)
        several = dist.is_initialized() and dist.get_world_size() > 1
        if several and options.async_steps:
            raise InputError(
                "rollout.engine openai samples ahead of training in a run of one process only; set "
                "rollout.async_steps to 0, or use a syngrpo rollout-server"
            )
        assert options.weights_folder is not None  # checked by ``check``
        token = in_all_processes(lambda: read_token(options.server_token_file))
        self._server = OpenAIServer(ServerAddress(str(options.server), token))
        self._url = self._server.url
        super().__init__(policy, options)
        self._senders = daemon_threads(AT_ONCE, "completions")
        self._loading = Lock()
        self._folder: WeightFolder | None = None
        folder = options.weights_folder
        try:
            self._folder = in_all_processes(lambda: WeightFolder(folder, writes=self._sends))
            trained = policy.base.name_or_path
            self._model = self._repeat(lambda: self._server.model(options.server_model, trained))
            self._repeat(self._server.find_route)
            self._probe(policy, Sampling(options.temperature, options.top_p, PROBE_TOKENS))
        except InputError:
            self.close()
            raise

    @classmethod
    def check(cls, options: RolloutOptions) -> None:
        if options.server is None:
            raise InputError(
                f"rollout.engine {options.engine_name} needs the address of a server with an "
                "OpenAI API; set rollout.server to http://host:port"
            )
        if options.weights_folder is None:
            raise InputError(
                f"rollout.engine {options.engine_name} gives the weights to the server as files; "
                "set rollout.weights_folder to a folder that both reach by the same path"
            )

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        version = self._sent(policy)
        sampled = self._sample(policy, version, prompts, group_size, sampling, seeds)
        return group_responses(policy, prompts, sampled, group_size, sampling)

    def start(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> Waiting:
        """Write the weights, and let the server load them and sample in a thread; see
        ``base.Engine``."""
        version = self._written(policy)

        def load_and_sample() -> list[list[SampledTokens]]:
            self._load(version)
            return self._sample(policy, version, prompts, group_size, sampling, seeds)

        return self._beside(load_and_sample, policy, prompts, group_size, sampling)

    def close(self) -> None:
        """Close the connections and delete the weights. Rollouts that were started fail, and are
        not waited for. If the server is loading weights, wait until it has, because it would fail
        without them."""
        with self._loading:
            self._server.close()
        self._thread.close()
        self._senders.close()
        if self._folder is not None:
            self._folder.close()

    @traced("copy weights")
    def _written(self, policy: Policy) -> str:
        """Write the weights, in the first process, and return the name of their version."""
        assert self._folder is not None
        version = self._new_version()
        if self._sends:
            self._folder.write(policy, version)
        return version

    def _sent(self, policy: Policy) -> str:
        """Write the weights and let the server load them, in the first process, and wait for that
        in the others. Return the name of their version. Raises the first process's InputError in
        all."""

        def send() -> str:
            version = self._written(policy)
            if self._sends:
                self._load(version)
            return version

        return in_all_processes(send)

    @traced("send weights")
    def _load(self, version: str) -> None:
        """Let the server load this version, as soon as it answers."""
        self._repeat(lambda: self._load_once(version))

    def _load_once(self, version: str) -> None:
        """Let the server load this version, and delete those before it."""
        assert self._folder is not None
        with self._loading:
            self._server.load_weights(self._folder.path(version), version)
            # All processes have finished the rollout before, because this one comes after it.
            number = int(version.rpartition("-")[2])
            ahead = range(number, self._rollouts + 1)
            self._folder.keep(tuple(f"{self._run}-{one}" for one in ahead))

    @traced("sample on the server")
    def _sample(
        self,
        policy: Policy,
        version: str,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[SampledTokens]]:
        """Return the responses to every prompt, without the repetitions of greedy decoding."""
        require_seeds(prompts, seeds)
        for prompt in prompts:
            if self._model.max_length is not None:
                limit = "the server's --max-model-len"
                require_room(policy, prompt, sampling, self._model.max_length, limit)
        count = distinct_responses(sampling, group_size)
        asked = [
            (number, RequestedResponses(seed + first, size, stop_at))
            for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
            for first, size, stop_at in parts_by_stop(prompt, sampling, count)
        ]
        completed = self._complete(policy, version, prompts, asked, sampling)
        groups: list[list[SampledTokens]] = [[] for _ in prompts]
        for (number, responses), part in zip(asked, completed, strict=True):
            self._check(policy, prompts[number], responses.stop_at, part, sampling.max_new_tokens)
            groups[number] += part.responses
        return groups

    def _complete(
        self,
        policy: Policy,
        version: str,
        prompts: Sequence[Prompt],
        asked: Sequence[tuple[int, RequestedResponses]],
        sampling: Sampling,
    ) -> list[Completions]:
        """Send all requests at the same time, until the server has answered all of them with the
        weights of this version. ``asked``: the number of the prompt, and what to ask for."""
        request = partial(
            self._server.request,
            self._model,
            sampling=sampling,
            banned=policy.banned.tolist(),
            stop_ids=policy.stop_ids,
        )
        failed = False

        def complete(one: tuple[int, RequestedResponses]) -> Completions:
            prompt = prompts[one[0]]
            picture = self._family.picture(prompt.image, policy.processor.image_processor)
            return self._server.complete(request(picture, prompt.question, one[1]))

        def attempt() -> list[Completions]:
            nonlocal failed
            if failed:  # it may have been restarted, and have the weights of its start
                self._load_once(version)
            failed = True
            completed = self._senders.map(complete, asked, chunksize=1)
            self._server.require_version(version, completed)
            return completed

        return self._repeat(attempt)

    def _check(
        self,
        policy: Policy,
        prompt: Prompt,
        stop_at: str | None,
        group: Completions,
        max_new_tokens: int,
    ) -> None:
        """Raise InputError unless the server has sampled from this prompt, without banned tokens,
        and ended each response where it had to."""
        placeholder = policy.base.config.image_token_id
        if not _same_prompt(prompt.input_ids.tolist(), placeholder, group):
            raise InputError(
                f"server {self._server.url} makes other tokens of the prompt of sample "
                f"{prompt.sample_id} than this run; start it with the model, the chat template and "
                "the image size (model.max_pixels) of this run"
            )
        banned, vocabulary = policy.banned.cpu(), policy.base.config.get_text_config().vocab_size
        for response in group.responses:
            ids = response.token_ids
            if response.logprobs.isnan().any():
                raise InputError(
                    f"server {self._server.url} returned a response to sample {prompt.sample_id} "
                    "without a log-probability for each of its tokens; use a server that returns "
                    "those with which it samples (vLLM, SGLang)"
                )
            if int(ids.max()) >= vocabulary or torch.isin(ids, banned).any():
                raise InputError(
                    f"server {self._server.url} sampled a token that this model never writes, in "
                    f"spite of logit_bias; its model or its sampling is another than {self._model}"
                )
            if len(ids) < max_new_tokens and not to_response(policy, response, stop_at).finished:
                raise InputError(
                    f"server {self._server.url} returns a response to sample {prompt.sample_id} "
                    f"without the tokens that ended it (a stop token"
                    + (f" or {stop_at!r}" if stop_at is not None else "")
                    + "); use a server that returns all tokens it samples (vLLM, SGLang)"
                )

    def _probe(self, policy: Policy, sampling: Sampling) -> None:
        """Sample two responses, and compare their log-probabilities with the policy's.

        Raises InputError when they differ: the server then has other weights, or reports the
        log-probabilities of another distribution.
        """
        version = self._sent(policy)
        prompt = encode(policy, trial_sample(*PROBE_SIZE), "?")
        ((first, second),) = self._sample(policy, version, [prompt], 2, sampling, [1])
        theirs = torch.cat([first.logprobs, second.logprobs])
        ours, plain = (
            _own_logprobs(policy, prompt, [first, second], temperature)
            for temperature in (sampling.temperature, 1.0)
        )
        away, away_plain = float((theirs - ours).abs().mean()), float((theirs - plain).abs().mean())
        limit = TOLERANCE.get(policy.base.dtype, HALF_TOLERANCE)
        if 2 * away_plain < away and away_plain <= limit:
            raise InputError(
                f"server {self._server.url} returns log-probabilities at temperature 1, not at "
                f"rollout.temperature {sampling.temperature}; start vLLM with --logprobs-mode "
                "processed_logprobs, or set rollout.temperature to 1"
            )
        if not away <= limit:
            raise InputError(
                f"server {self._server.url} returns log-probabilities that differ from this "
                f"model's by {away:.3f} on average; start it with this model and "
                f"--dtype {str(policy.base.dtype).removeprefix('torch.')}"
                + (", and set rollout.top_p to 1" if sampling.top_p < 1 else "")
            )


def _same_prompt(ours: list[int], placeholder: int, group: Completions) -> bool:
    """Return whether the server's prompt is ours, as far as the server tells.

    The placeholders of an image may be numbers of the server's own, or be written once.
    """
    if group.prompt_length is not None and group.prompt_length != len(ours):
        return False
    theirs = group.prompt_ids
    if theirs is None:
        return True
    if len(theirs) == len(ours):
        return all(a in (b, placeholder) for a, b in zip(ours, theirs, strict=True))
    pairs = zip(ours, [-1, *ours[:-1]], strict=True)
    once = [token for token, before in pairs if not token == before == placeholder]
    return once == theirs


@torch.no_grad()
def _own_logprobs(
    policy: Policy, prompt: Prompt, group: Sequence[SampledTokens], temperature: float
) -> torch.Tensor:
    """Return the policy's log-probabilities of the tokens of all responses of a group."""
    row = PackedRow(prompt, [Segment(one.token_ids) for one in group])
    (segments,) = segment_logprobs(policy, [row], temperature)
    return torch.cat([segment.logprobs.cpu() for segment in segments])
