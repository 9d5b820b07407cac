"""Compares sampling, log-probabilities and gradients on a device with plain transformers.

For both families of Qwen and for float32 and bfloat16, with random weights: some groups are
sampled with and without CUDA graphs, and one update of the learner is made from them. Plain
transformers compute the same loss in float32, one padded row a response, from the inputs that the
model's own processor makes. In bfloat16 the error of plain transformers in bfloat16 is measured
beside ours: rounding is no fault.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.against_trl import QUESTION, credited, make_samples
from benchmarks.gpu_step.checkpoint import save_checkpoint
from benchmarks.gpu_step.shapes import SHAPES, small
from syngrpo.config import options_from
from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.rollout.cuda_graphs import StepSchedule
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import Sample
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import UpdateRow

if TYPE_CHECKING:
    from benchmarks.gpu_check.parts import Scope

SIZES = ((320, 240), (200, 300), (448, 252))
GROUP, NEW_TOKENS = 4, 48
MOST_FLOAT32, MOST_TIMES, ROUNDING = 2e-4, 2.0, 0.01
"""Largest error in float32; in bfloat16 the largest multiple of the error of plain transformers,
and the error below which it is not looked at."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def correctness(scope: Scope) -> dict[str, Any]:
    """Return the errors for each family and type. Exits with a line when one is too large."""
    # The products of plain transformers and ours are to differ by rounding alone.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    found: dict[str, Any] = {}
    for name in ("qwen2.5-vl-3b", "qwen3-vl-4b"):
        with TemporaryDirectory() as folder:
            checkpoint = Path(folder)
            save_checkpoint(small(SHAPES[name]), checkpoint, torch.device("cpu"))
            for dtype in DTYPES:
                found[f"{name} small, {dtype}"] = one = errors(checkpoint, dtype, scope.device)
                print(name, dtype, one, flush=True)
    wrong = [name for name, one in found.items() if not acceptable(one)]
    if wrong:
        raise SystemExit(f"errors too large: { {name: found[name] for name in wrong} }")
    return {"errors": found}


def acceptable(found: dict[str, Any]) -> bool:
    """Return whether no error is larger than rounding explains."""
    pairs = [(found["logprobs"], found["plain_logprobs"]), (found["grad"], found["plain_grad"])]
    if not found["graphs_sample_the_same"]:
        return False
    if found["dtype"] == "float32":
        return all(ours <= MOST_FLOAT32 for ours, _ in pairs)
    return all(ours <= max(ROUNDING, MOST_TIMES * plain) for ours, plain in pairs)


def errors(
    checkpoint: Path, dtype: str, device: torch.device, new_tokens: int = NEW_TOKENS
) -> dict[str, Any]:
    """Return the largest difference of a token's log-probability in nats, and the relative
    difference of the gradient of all weights, ours and those of plain transformers in this type,
    both against plain transformers in float32."""
    policy = load_policy(checkpoint, dtype=dtype, device=str(device))
    samples = [make_samples(1, *size)[0] for size in SIZES]
    prompts = [encode(policy, sample, QUESTION) for sample in samples]
    sampling, seeds = Sampling(max_new_tokens=new_tokens), list(range(len(samples)))
    # The same shapes in both: with others a kernel may round differently, and a token may change.
    recorded, plain_calls = (
        replace(StepSchedule.of(device, graphs), check_every=5, block=16)
        for graphs in (True, False)
    )
    groups = rollout(policy, prompts, GROUP, sampling, seeds, recorded)
    again = rollout(policy, prompts, GROUP, sampling, seeds, plain_calls)
    rows = [credited(prompt, group) for prompt, group in zip(prompts, groups, strict=True)]
    Learner(_options(dtype), policy, Processes()).update(rows, metrics := StepMetrics())
    ours = _gradient(policy.model)
    exact, exact_logprobs = plain(checkpoint, "float32", policy, samples, rows)
    same, same_logprobs = plain(checkpoint, dtype, policy, samples, rows)
    sampled = [response.logprobs for group in groups for response in group]
    return {
        "dtype": dtype,
        "varlen": policy.varlen,
        "graphs_sample_the_same": all(
            torch.equal(a.token_ids, b.token_ids)
            for one, other in zip(groups, again, strict=True)
            for a, b in zip(one, other, strict=True)
        ),
        "logprobs": _largest(sampled, exact_logprobs),
        "plain_logprobs": _largest(same_logprobs, exact_logprobs),
        "grad": float((ours - exact).norm() / exact.norm()),
        "plain_grad": float((same - exact).norm() / exact.norm()),
        "logp_diff": metrics.record(1)["rollout/logp_diff"],
        "mean_logprob": statistics.mean(float(one.mean()) for one in exact_logprobs),
    }


def plain(
    checkpoint: Path, dtype: str, policy: Policy, samples: Sequence[Sample], rows: list[UpdateRow]
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradient of the same loss by plain transformers, and the log-probabilities (L,) of
    each response."""
    model: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=DTYPES[dtype])
    model.to(policy.device)
    processor = AutoProcessor.from_pretrained(checkpoint)
    logprobs, count = [], sum(len(s.token_ids) for row in rows for s in row.segments)
    for sample, row in zip(samples, rows, strict=True):
        inputs = _inputs(processor, sample, row, policy.device)
        for segment in row.segments:
            scores = _scores(model, inputs, segment.token_ids, policy)
            advantages = segment.advantages.to(scores)
            # The ratio to the policy that sampled: 1, but with this gradient.
            gain = (scores - scores.detach()).exp() * advantages
            (-gain.sum() / count).backward()
            logprobs.append(scores.detach().float().cpu())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return _gradient(model), logprobs


def _inputs(
    processor: Any, sample: Sample, row: UpdateRow, device: torch.device
) -> dict[str, Tensor]:
    """Return what the model's own processor makes of the sample."""
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    made = processor(text=[text], images=[sample.image.decode()], return_tensors="pt")
    if made["input_ids"][0].tolist() != row.prompt.input_ids.tolist():
        raise SystemExit("the tokens of the prompt are others than those of the processor")
    return {key: value.to(device) for key, value in made.items()}


def _scores(model: Any, inputs: dict[str, Tensor], response: Tensor, policy: Policy) -> Tensor:
    """Return log p (L,) of a response, differentiable."""
    start, response = inputs["input_ids"].shape[1], response.to(policy.device)
    ids = torch.cat([inputs["input_ids"], response[None]], dim=1)
    kinds = torch.zeros_like(ids)
    kinds[:, :start] = inputs["mm_token_type_ids"]
    whole = inputs | {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": kinds,
    }
    # Products with the whole vocabulary are slow in bfloat16 on CPUs that do not have the type.
    logits = model(**whole, logits_to_keep=len(response) + 1).logits[0, :-1].float()
    logits[:, policy.banned] = float("-inf")
    return logits.log_softmax(-1).gather(-1, response[:, None])[:, 0]


def _options(dtype: str) -> Any:
    return options_from(
        {
            "data": {"train": [{"format": "rooms", "split": "train"}]},
            "model": {"path": "starter", "dtype": dtype},
            "method": {"name": "grpo", "loss": "dapo", "beta": 0.0},
            "rollout": {"group_size": GROUP, "max_new_tokens": NEW_TOKENS},
            "trainer": {"groups_per_step": len(SIZES), "learning_rate": 1e-6},
        }
    )


def _gradient(model: Any) -> Tensor:
    """Return the gradients of all weights as one vector in float32."""
    named = sorted(model.named_parameters())
    return torch.cat([p.grad.float().flatten() for _, p in named if p.grad is not None]).cpu()


def _largest(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return max(float((a.cpu() - b).abs().max()) for a, b in zip(some, others, strict=True))
