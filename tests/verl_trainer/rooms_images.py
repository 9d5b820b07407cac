"""The rooms world for verl: a ``data.custom_cls``, and an LLM server that samples with the starter.

Runs in verl's environment, in its trainer and in its workers. ``SYNGRPO_TEST_FOLDER`` is the folder
of the run, ``SYNGRPO_TEST_SERVER`` the data server; without one every step paints by itself.
"""

import asyncio
import os
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from verl.workers.rollout.replica import TokenOutput

from syngrpo.adapters.verl_images import EvolvingDataset
from syngrpo.data_server.client import DataClient, ServerOptions, SynthesisOptions
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR


class RoomsImages(EvolvingDataset):
    prompt_style = "brief"

    @classmethod
    def open_client(cls, config):
        url = os.environ.get("SYNGRPO_TEST_SERVER")
        mode = "async" if url else "inline"
        return DataClient.open(
            Path(os.environ["SYNGRPO_TEST_FOLDER"]) / "run",
            rooms_samples("train", 24),
            groups_per_step=4,
            synthesis=SynthesisOptions(generator="rooms", mode=mode),
            server=ServerOptions(url=url),
        )


class StarterServer:
    """In the place of verl's ``LLMServerClient``, whose servers (vLLM, SGLang) need a GPU. Requests
    that come within a second are sampled together."""

    def __init__(self):
        self.model = self.processor = None
        self.waiting = []

    async def generate(self, request_id, *, prompt_ids, sampling_params, image_data, **_):
        assert sampling_params["logprobs"] and sampling_params["temperature"] == 1.0
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_later(1.0, self.answer)
        response = loop.create_future()
        self.waiting.append((prompt_ids, image_data, response))
        return await response

    def answer(self):
        """Sample a response to each request that waits."""
        requests, self.waiting = self.waiting, []
        if self.model is None:
            torch.manual_seed(0)
            self.model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR)
            self.processor = AutoProcessor.from_pretrained(STARTER_DIR)
        prompts = [prompt for prompt, _, _ in requests]
        pictures = [picture for _, pictures, _ in requests for picture in pictures]
        for (_, _, response), found in zip(requests, self.sampled(prompts, pictures), strict=True):
            response.set_result(found)

    @torch.no_grad()
    def sampled(self, prompts, pictures):
        config, length = self.model.config, max(map(len, prompts))
        ids = torch.zeros(len(prompts), length, dtype=torch.long)
        attended = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = torch.tensor(prompt)
            attended[row, length - len(prompt) :] = 1
        out = self.model.generate(
            input_ids=ids,
            attention_mask=attended,
            mm_token_type_ids=(ids == config.image_token_id).int(),
            **self.processor.image_processor(images=pictures, return_tensors="pt"),
            do_sample=True,
            top_k=0,
            max_new_tokens=112,
            suppress_tokens=[config.image_token_id, config.video_token_id],
            output_scores=True,
            return_dict_in_generate=True,
        )
        scores = torch.stack(out.scores, 1).log_softmax(-1)
        for row, written in enumerate(out.sequences[:, length:]):
            ends = (written == self.model.generation_config.eos_token_id).nonzero()
            count = int(ends[0]) + 1 if len(ends) else len(written)
            logprobs = scores[row].gather(-1, written[:, None])[:count, 0]
            yield TokenOutput(
                token_ids=written[:count].tolist(),
                log_probs=logprobs.tolist(),
                stop_reason="completed",
                extra_fields={"min_global_steps": 0, "max_global_steps": 0},
            )
