"""GRPO on images that evolve, in plain PyTorch: what any trainer does around the client.

syngrpo serve --pool /tmp/server --generator rooms --workers 1
python examples/plain_trainer.py /tmp/run http://127.0.0.1:8420
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText, AutoProcessor

from syngrpo.data_server.client import DataClient, ServerOptions, SynthesisOptions, WrittenResponse
from syngrpo.method.advantages import normalised_advantages, span_credit
from syngrpo.method.response import format_reward, parse_response
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

GROUP, NEW_TOKENS, LEARNING_RATE, FORMAT_WEIGHT, MAX_RATIO = 8, 112, 1e-4, 0.1, 2.0


def encoded(processor, picture, question, rows):
    """The prompt with its picture, once for each row."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return processor(images=[picture] * rows, text=[chat] * rows, return_tensors="pt")


@torch.no_grad()
def sampled(model, prompt):
    """Sample one response to each row, without the padding after its end."""
    length, config = prompt["input_ids"].shape[1], model.generation_config
    unwritten = [model.config.image_token_id, model.config.video_token_id]
    rows = model.generate(
        **prompt, do_sample=True, max_new_tokens=NEW_TOKENS, suppress_tokens=unwritten
    )[:, length:]
    ends = [(row == config.eos_token_id).nonzero() for row in rows]
    return [
        row[: int(end[0]) + 1 if len(end) else len(row)]
        for row, end in zip(rows, ends, strict=True)
    ]


def logprobs(model, prompt, responses):
    """log p (L,) of the tokens of each response."""
    padded = pad_sequence(responses, batch_first=True)
    lengths = torch.tensor([[len(one)] for one in responses])
    inputs = dict(prompt)
    inputs["input_ids"] = torch.cat([prompt["input_ids"], padded], 1)
    written = (torch.arange(padded.shape[1]) < lengths).long()
    inputs["attention_mask"] = torch.cat([prompt["attention_mask"], written], 1)
    kinds = prompt["mm_token_type_ids"]
    inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(padded)], 1)
    logits = model(**inputs).logits[:, prompt["input_ids"].shape[1] - 1 : -1].float()
    logits[..., [model.config.image_token_id, model.config.video_token_id]] = -torch.inf
    chosen = logits.log_softmax(-1).gather(-1, padded[..., None])[..., 0]
    return [row[: len(one)] for row, one in zip(chosen, responses, strict=True)]


def answer_loss(model, processor, client, sample):
    """Sample a group, report it to the client, and return its loss: GRPO, without KL."""
    prompt = encoded(processor, sample.picture(), sample.prompt("brief"), GROUP)
    responses = sampled(model, prompt)
    scores = logprobs(model, prompt, responses)
    written = [
        WrittenResponse.of(processor.tokenizer, ids.tolist(), logp.tolist())
        for ids, logp in zip(responses, scores, strict=True)
    ]
    parsed = [parse_response(one.text) for one in written]
    accuracies = [sample.scored(one.answer, "pixels").accuracy for one in parsed]
    client.observe(sample, accuracies)
    client.submit(sample, written)
    right = normalised_advantages(accuracies)
    well_formed = normalised_advantages([format_reward(one) for one in parsed])
    credits = [
        span_credit(one.scene_mask, [(a, "answer"), (FORMAT_WEIGHT * f, "response")])
        for one, a, f in zip(written, right, well_formed, strict=True)
    ]
    return -(torch.from_numpy(np.concatenate(credits)) * torch.cat(scores)).mean(), accuracies


def description_loss(model, processor, settled):
    """The loss of a description of an earlier step: its reward, on the tokens of its scene."""
    parent = settled.asked
    prompt = encoded(processor, parent.picture(), parent.prompt("brief"), 1)
    (scores,) = logprobs(model, prompt, [torch.from_numpy(settled.token_ids)])
    ratio = (scores - torch.from_numpy(settled.logprobs)).exp().detach()
    advantages = torch.from_numpy(settled.advantages)
    return -(ratio.clamp(max=MAX_RATIO) * advantages * scores).mean()


def train(model, processor, client, steps):
    """Train for some steps, and yield the numbers of each."""
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    for _ in range(steps):
        drawn, right = client.draw(), []
        for sample in drawn:
            loss, accuracies = answer_loss(model, processor, client, sample)
            (loss / len(drawn)).backward()
            right += accuracies
        settled = client.outcomes()
        for one in settled:
            (description_loss(model, processor, one) / (GROUP * len(drawn))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        painted = sum(sample.synthetic for sample in drawn)
        rewards = [one.reward for one in settled]
        yield {
            "accuracy": sum(right) / len(right),
            "painted": painted,
            "rewards": rewards,
            **client.stats().metrics(),
        }


def main(directory, url, steps=40):
    model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(STARTER_DIR)
    with DataClient.open(
        Path(directory),
        rooms_samples("train", 100),
        groups_per_step=4,
        synthesis=SynthesisOptions(generator="rooms"),
        server=ServerOptions(url=url),
    ) as client:
        for step, numbers in enumerate(train(model, processor, client, steps), start=1):
            print(
                f"step {step}: accuracy {numbers['accuracy']:.2f}, "
                f"D {numbers['diversity/response']:.2f}, {numbers['painted']} painted, "
                f"{len(numbers['rewards'])} descriptions rewarded",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:3])
