"""What a rollout engine is, and what all engines use.

The trainer calls a ``Rollout`` and gets ``Response``s. ``Engine`` is the base class of all engines.
``IncrementalEngine`` is the protocol of an engine that accepts further prompts while it samples; a
rollout server needs one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

from syngrpo.policy.encode import Prompt, require_context, size_of
from syngrpo.policy.model import Policy
from syngrpo.policy.spans import decode
from syngrpo.rollout.rollout_options import RolloutOptions
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.serving import wording

T = TypeVar("T")


class NotFinite(InputError):  # noqa: N818
    """The logits of the model are NaN or infinite, so that no token can be sampled from them."""


@dataclass(frozen=True, eq=False)
class SampledTokens:
    """A response whose tokens are not decoded to text yet; fields as in ``Response``."""

    token_ids: torch.Tensor
    logprobs: torch.Tensor
    entropy: torch.Tensor


@dataclass(frozen=True, eq=False)
class Response(SampledTokens):
    """One sampled response; tensors on the CPU.

    ``token_ids`` int64 (L,), with the end token if it was reached; ``logprobs`` and ``entropy``
    float32 (L,) of the sampling distribution, in nats; ``text`` without special tokens.
    ``finished``: it ends with an end token, or with the text at which it had to stop.
    """

    text: str
    finished: bool


class Rollout(Protocol):
    """Samples responses. The trainer calls it once a step."""

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        """Sample ``group_size`` responses to each prompt with the policy's current weights.

        The responses to a prompt are determined by the prompt, its seed (``seeds`` has one a
        prompt) and the weights; they do not depend on the other prompts of the call or their order.
        Raises InputError for a prompt that leaves no room for ``sampling.max_new_tokens``.
        """
        ...


Waiting = Callable[[], list[list[Response]]]
"""Waits for the responses of a rollout that was started, and returns them."""


class Engine(ABC):
    """One way to sample responses, registered in ``syngrpo.rollout.ENGINES``. An instance is a
    ``Rollout``.

    Every process of a run makes one, all at the same time, and calls it equally often.
    ``samples_beside``: whether it has weights of its own, so that it can sample while those of the
    policy change (``start``).
    """

    samples_beside: ClassVar[bool] = False

    @classmethod
    def check(cls, options: RolloutOptions) -> None:
        """Raise InputError when the engine cannot work with these options in this process.

        By default an engine samples in the trainer's process and refuses ``rollout.server``.
        """
        if options.async_steps and not cls.samples_beside:
            raise InputError(
                f"rollout.engine {options.engine_name} samples with the weights that an update "
                f"changes, so rollout.async_steps {options.async_steps} cannot be done; set it to "
                "0, or rollout.server to the address of a rollout server"
            )
        if options.server is not None:
            raise InputError(
                f"rollout.engine {options.engine_name} samples in the trainer's process and "
                f"rollout.server {options.server} in another; leave one of them out"
            )

    @abstractmethod
    def __init__(self, policy: Policy, options: RolloutOptions) -> None:
        """Start the engine. The weights of ``policy`` may change later; their shapes stay."""

    @abstractmethod
    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]: ...

    def start(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> Waiting:
        """Begin a rollout with the policy's present weights, and return what waits for it.

        The weights may change meanwhile. Rollouts are done in the order in which they were started.
        Only an engine with ``samples_beside`` has this.
        """
        raise NotImplementedError(f"{type(self).__name__} does not sample beside the trainer")

    def close(self) -> None:
        """Free the memory and connections of the engine. It is not called again afterwards."""
        return


class IncrementalEngine(Protocol):
    """An engine that accepts further prompts while it samples. One thread calls it.

    ``max_length``: largest number of tokens of a prompt and its response together.
    """

    max_length: int

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replace all weights; names are those of a checkpoint. No prompt may be unfinished."""

    def begin(self, policy: Policy, temperature: float) -> None:
        """Set the temperature and the banned tokens (the policy's) of all prompts added from now
        on. No prompt may be unfinished."""

    def add(self, policy: Policy, prompt: Prompt, sampling: Sampling, count: int, seed: int) -> int:
        """Start ``count`` responses to a prompt, which end at the policy's ``stop_ids``. They need
        not go on where ``sampling.stops`` ends them (see ``parts_by_stop``), but may. Return the
        prompt's number, by which ``step`` and ``drop`` know it. The policy's weights are not used.
        """

    def step(self) -> dict[int, list[SampledTokens]]:
        """Sample one token or more for every unfinished response. Return the responses to the
        prompts that became finished, by the prompt's number."""

    def drop(self, numbers: Iterable[int]) -> None:
        """Stop sampling for these prompts and free their memory."""


def distinct_responses(sampling: Sampling, group_size: int) -> int:
    """Return how many responses of a group to sample: one if decoding is greedy, because all would
    be equal, otherwise all."""
    return group_size if sampling.temperature > 0 else 1


def of_first_process(value: T) -> T:
    """Return the first process's ``value`` in all processes, which must all call this."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


class ToldToAll(InputError):  # noqa: N818
    """An error that every process of the run has raised."""


def first_problem(problem: str | None, device: torch.device) -> str | None:
    """Return the first problem that a process has, in all processes; None if none has any. All
    call this, each with its own problem or None, wherever a process may have ended: calls that
    meet must be the same."""
    anybody = torch.tensor(int(problem is not None), device=device)
    dist.all_reduce(anybody, dist.ReduceOp.MAX)
    if not anybody:
        return None
    problems: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(problems, problem)
    return next(one for one in problems if one is not None)


def in_all_processes(work: Callable[[], T]) -> T:
    """Do some work in every process, which must all call this, and return its result. If it raises
    an InputError or OSError in one of them, all raise ToldToAll, so that none waits for a process
    that has ended. A process that ends elsewhere with ``Processes.tell`` also ends the others here.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return work()
    problem: str | None = None
    try:
        result = work()
    except (InputError, OSError) as error:
        problem = str(error)
    told = first_problem(problem, PartialState().device)
    if told is not None:
        raise ToldToAll(told)
    return result


def parts_by_stop(
    prompt: Prompt, sampling: Sampling, count: int
) -> list[tuple[int, int, str | None]]:
    """Return the responses to a prompt in parts that end alike, for an engine that samples each
    part by itself: the first response of the part, the number of them, and the text that ends
    them, as ``sampling.stops`` says. None: no text does."""
    going_on = count if sampling.stop_at is None else min(prompt.going_on, count)
    parts = [(0, going_on, None), (going_on, count - going_on, sampling.stop_at)]
    return [part for part in parts if part[1]]


def to_responses(
    policy: Policy,
    prompt: Prompt,
    group: Sequence[SampledTokens],
    group_size: int,
    sampling: Sampling,
) -> list[Response]:
    """Return the ``group_size`` responses to a prompt, decoded to text and cut after
    ``sampling.stop_at``; ``group`` are its ``distinct_responses``, which are repeated."""
    repeated = list(group) * (group_size // len(group))
    stops = [sampling.stops(prompt, place) for place in range(group_size)]
    return [to_response(policy, one, stop) for one, stop in zip(repeated, stops, strict=True)]


def group_responses(
    policy: Policy,
    prompts: Sequence[Prompt],
    groups: Sequence[Sequence[SampledTokens]],
    group_size: int,
    sampling: Sampling,
) -> list[list[Response]]:
    """Return the responses to every prompt; see ``to_responses``."""
    return [
        to_responses(policy, prompt, group, group_size, sampling)
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def to_response(policy: Policy, sampled: SampledTokens, stop_at: str | None) -> Response:
    """Return a response, decoded to text. It ends with the token that completes ``stop_at``."""
    token_ids = sampled.token_ids
    text = decode(policy.tokenizer, token_ids)
    if stop_at is None or stop_at not in text:
        finished = int(token_ids[-1]) in policy.stop_ids
        return Response(token_ids, sampled.logprobs, sampled.entropy, text, finished)
    length = 1 + bisect_left(
        range(1, len(token_ids)),
        True,
        key=lambda length: stop_at in decode(policy.tokenizer, token_ids[:length]),
    )
    kept = [values[:length].clone() for values in (token_ids, sampled.logprobs, sampled.entropy)]
    return Response(kept[0], kept[1], kept[2], decode(policy.tokenizer, kept[0]), finished=True)


def require_finite(prompts: Sequence[Prompt], groups: Sequence[Sequence[Response]]) -> None:
    """Raise NotFinite if responses were sampled from logits that are not finite. Whoever calls a
    ``Rollout`` calls this with its result."""
    for prompt, group in zip(prompts, groups, strict=True):
        if not all(response.entropy.isfinite().all() for response in group):
            raise NotFinite(
                f"the model's logits for sample {prompt.sample_id} are not finite: its weights "
                "have diverged, or need another dtype"
            )


def require_logprobs(
    engine: str, prompts: Sequence[Prompt], groups: Sequence[Sequence[Response]]
) -> None:
    """Raise InputError if the engine of this name returned a response without the log-probability
    of each of its tokens. An update would take them for those of the trained model."""
    for prompt, group in zip(prompts, groups, strict=True):
        for response in group:
            told, size = response.logprobs, len(response.token_ids)
            if told is None or len(told) != size or told.isnan().any():
                raise InputError(
                    f"rollout.engine {engine} returned a response of {wording.count(size, 'token')}"
                    f" to sample {prompt.sample_id} without a log-probability for each; let it "
                    "return those with which it sampled them, or choose another engine"
                )


def require_seeds(prompts: Sequence[Prompt], seeds: Sequence[int]) -> None:
    """Raise ValueError unless there is one seed a prompt."""
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")


def require_room(
    policy: Policy, prompt: Prompt, sampling: Sampling, max_length: int, setting: str
) -> None:
    """Raise InputError when prompt and response may be longer than the model's context, or than
    ``max_length``, which the user set by ``setting``."""
    size, new = size_of(policy, prompt), sampling.max_new_tokens
    require_context(policy, prompt.sample_id, size, new)
    if size.tokens + new > max_length:
        raise InputError(
            f"the prompt of sample {prompt.sample_id} has {size.tokens} tokens, with "
            f"rollout.max_new_tokens {new} more than {setting} {max_length}; set it to "
            f"{size.tokens + new}"
        )
