"""The native engine: samples a group of responses for every prompt with the trained model itself.

``rollout`` does it all. The vision tower and the prompt are computed once for each group; then all
responses of all groups are decoded together, one token a step (``decoding.SharedDecoder``, or
``policy.padded.PaddedDecoder`` for models whose layers cannot share a prompt). Rows that have
finished are removed from the batch from time to time; ``cuda_graphs.StepSchedule`` decides when.
A row has finished after an end token, or after the text at which it has to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from syngrpo.policy.distribution import scaled_logits
from syngrpo.policy.encode import Prompt, require_context, size_of
from syngrpo.policy.model import Policy
from syngrpo.policy.padded import PaddedDecoder
from syngrpo.policy.spans import decode
from syngrpo.rollout.base import Engine, Response, SampledTokens, require_seeds, to_response
from syngrpo.rollout.cuda_graphs import RecordedStep, StepSchedule
from syngrpo.rollout.decoding import SharedDecoder
from syngrpo.rollout.rollout_options import RolloutOptions
from syngrpo.rollout.token_sampling import Sampling, choose, draw_uniforms
from syngrpo.sample import InputError
from syngrpo.serving.timeline import span

logger = logging.getLogger(__name__)


class NativeEngine(Engine):
    """Samples with ``rollout``. It has no state of its own."""

    def __init__(self, policy: Policy, options: RolloutOptions) -> None:
        pass

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        return rollout(policy, prompts, group_size, sampling, seeds)


@torch.no_grad()
def rollout(
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: Sequence[int],
    schedule: StepSchedule | None = None,
) -> list[list[Response]]:
    """Sample ``group_size`` responses to each prompt; see ``base.Rollout``.

    The responses do not depend on ``schedule`` (None: the one that suits the device). When the
    device runs out of memory, the two halves of the prompts are sampled one after the other. Raises
    InputError when the memory does not suffice for a single prompt.
    """
    require_seeds(prompts, seeds)
    if not prompts:
        return []
    for prompt in prompts:
        size = size_of(policy, prompt)
        require_context(policy, prompt.sample_id, size, sampling.max_new_tokens)
    training = policy.model.training
    policy.model.eval()
    try:
        chosen = schedule or StepSchedule.of(policy.device, policy.cuda_graphs)
        return _decode_or_halve(policy, prompts, group_size, sampling, list(seeds), chosen)
    finally:
        policy.model.train(training)


def _decode_or_halve(
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: list[int],
    schedule: StepSchedule,
) -> list[list[Response]]:
    try:
        responses = _decode(policy, prompts, group_size, sampling, seeds, schedule)
        return [responses[i : i + group_size] for i in range(0, len(responses), group_size)]
    except torch.OutOfMemoryError:
        half = len(prompts) // 2
    # Free the memory of the failed attempt before trying again with fewer prompts. That is possible
    # only outside the except block, where no traceback refers to its tensors any more.
    keeping = any(prompt.will_train for prompt in prompts)
    for prompt in prompts:
        prompt.will_train, prompt.kept = False, None
    if policy.device.type == "cuda":
        torch.cuda.empty_cache()
    if keeping:
        logger.warning(
            "out of device memory while the pass over the prompts is kept for the update; going on "
            "without: set trainer.keep_prompts to false"
        )
        return _decode_or_halve(policy, prompts, group_size, sampling, seeds, schedule)
    if not half:
        raise InputError(
            f"out of device memory with {group_size} responses to sample {prompts[0].sample_id}; "
            f"set rollout.group_size to {max(group_size // 2, 2)}, or make rollout.max_new_tokens "
            f"({sampling.max_new_tokens}) or model.max_pixels smaller"
        )
    logger.warning(
        "out of device memory with %d groups of %d responses; sampling %d groups at a time: set "
        "trainer.groups_per_step to that number",
        len(prompts),
        group_size,
        len(prompts) - half,
    )
    return [
        group
        for part in (slice(None, half), slice(half, None))
        for group in _decode_or_halve(
            policy, prompts[part], group_size, sampling, seeds[part], schedule
        )
    ]


def _decode(
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: list[int],
    schedule: StepSchedule,
) -> list[Response]:
    """Sample all responses and return them in the order of the prompts."""
    steps = sampling.max_new_tokens
    decoder_type = SharedDecoder if policy.shares_prefix else PaddedDecoder
    with span("prefill", prompts=len(prompts)):
        decoder = decoder_type(policy, prompts, group_size, room=steps - 1)
    uniforms = draw_uniforms(seeds, group_size, steps)
    stops = [sampling.stops(prompt, place) for prompt in prompts for place in range(group_size)]
    rows = _SampledRows(policy, sampling, stops, uniforms)
    with span("decode", responses=len(stops)):
        rows.sample(decoder.states)
        _sample_to_end(rows, decoder, steps, schedule)
    return rows.responses()


def _sample_to_end(
    rows: _SampledRows,
    decoder: SharedDecoder | PaddedDecoder,
    steps: int,
    schedule: StepSchedule,
) -> None:
    """Sample until all rows have finished, or have as many tokens as ``steps``. Each has one."""
    step = RecordedStep(
        lambda: rows.sample(decoder.append(rows.last)),
        schedule.recorder if decoder.recordable else None,
    )
    done, count = 1, len(rows.last)
    while done < steps and len(running := rows.running(done)):
        if schedule.should_compact(count - len(running), count, done):
            decoder.keep(running)
            rows.keep(running)
            count = len(running)
            step.forget()
        until = min(done + schedule.check_every, steps)
        if decoder.reserve(until - 1, schedule.block):
            step.forget()
        for _ in range(done, until):
            step()
        done = until


class _SampledRows:
    """The tokens that were sampled so far for all rows, and the rows that are still in the batch.

    ``stops`` has the text that ends each row, or None.
    ``last`` (R,) are the newest tokens of the rows in the batch. ``sample`` changes tensors in
    place and does not depend on the value of a tensor, so that a step can be recorded.
    """

    def __init__(
        self,
        policy: Policy,
        sampling: Sampling,
        stops: Sequence[str | None],
        uniforms: torch.Tensor,
    ) -> None:
        rows = uniforms.shape[1]
        device, shape = policy.device, (rows, sampling.max_new_tokens)
        self._policy = policy
        self._stops = stops
        self._checked = 0
        self._head = policy.base.get_output_embeddings()
        self._banned, self._sampling = policy.banned, sampling
        self._stop_ids = torch.tensor(policy.stop_ids, dtype=torch.long, device=device)
        self._uniforms = uniforms.to(device)
        self._table = (
            torch.zeros(shape, dtype=torch.long, device=device),
            torch.zeros(shape, device=device),
            torch.zeros(shape, device=device),
        )
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._rows = torch.arange(rows, device=device)
        self._finished = torch.zeros(rows, dtype=torch.bool, device=device)
        self.last = torch.zeros(rows, dtype=torch.long, device=device)

    def sample(self, states: torch.Tensor) -> None:
        """Sample the next token of every row from the states (R, d) that predict it.

        A finished row is sampled further until it is removed; ``responses`` cuts these tokens off.
        """
        logits = scaled_logits(self._head, states, self._banned, self._sampling.temperature)
        sampled = choose(logits, self._sampling, self._uniforms[self._step, self._rows])
        for column, values in zip(self._table, sampled, strict=True):
            column[self._rows, self._step] = values
        self.last.copy_(sampled[0])
        self._finished |= (self.last[:, None] == self._stop_ids).any(-1)
        self._step += 1

    def running(self, done: int) -> torch.Tensor:
        """Return the unfinished rows, as ascending indices into the rows in the batch, when
        ``done`` tokens of each are sampled. Waits until the device has finished its work."""
        if any(self._stops):
            self._finish_at_text(done)
        return (~self._finished).nonzero()[:, 0]

    def _finish_at_text(self, done: int) -> None:
        """Mark the rows whose text has come to their ``stops`` since the last call as finished."""
        longest = max(len(stop) for stop in self._stops if stop is not None)
        first = max(self._checked - longest, 0)  # a token that writes text writes a character of it
        self._checked = done
        tokens = self._table[0][:, first:done].cpu()
        rows, finished = self._rows.tolist(), self._finished.tolist()
        for place, row in enumerate(rows):
            stop = None if finished[place] else self._stops[row]
            if stop is not None and stop in decode(self._policy.tokenizer, tokens[row]):
                self._finished[place] = True

    def keep(self, rows: torch.Tensor) -> None:
        """Remove all rows but these (indices into the rows in the batch)."""
        self._rows, self._finished = self._rows[rows], self._finished[rows]
        self.last = self.last[rows]

    def responses(self) -> list[Response]:
        """Return one response for each of the original rows, cut after its first stop token or the
        text at which it had to stop."""
        tokens, logprobs, entropy = (column.cpu() for column in self._table)
        ends = torch.isin(tokens, self._stop_ids.cpu())
        finished = ends.any(1)
        lengths = torch.where(finished, ends.int().argmax(1) + 1, tokens.shape[1])
        sampled = [
            SampledTokens(*(values[row, :length].clone() for values in (tokens, logprobs, entropy)))
            for row, length in enumerate(lengths.tolist())
        ]
        return [
            to_response(self._policy, one, stop)
            for one, stop in zip(sampled, self._stops, strict=True)
        ]
