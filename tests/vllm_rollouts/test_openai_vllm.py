"""The engine for servers of the OpenAI API against vLLM's own server, as a user starts it.

The model is the starter with two numbers changed to those of all published models, because plain
vLLM assumes them: the base of the vision tower's rotary angles is 10,000, and on a CPU the head is
not tied to the embedding. Its ``generation_config.json`` asks for greedy sampling with a penalty,
as that of Qwen2.5-VL does; the engine must not sample by it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from own_numbers import ids, other_weights
from safetensors.torch import load_file, save_file
from server_process import TOKEN, free_port

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.rollout import RolloutOptions
from syngrpo.rollout.base import to_responses
from syngrpo.rollout.native import rollout
from syngrpo.rollout.openai_engine import OpenAIEngine
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

SEEDS = [11, 22, 2**62]
GREEDY = Sampling(temperature=0, max_new_tokens=32)
SAMPLED = Sampling(0.7, max_new_tokens=32)
ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
}
ARGUMENTS = [
    *("--dtype", "float32", "--logprobs-mode", "processed_logprobs", "--max-model-len", "600"),
    *("--api-key", TOKEN, "--enforce-eager", "--skip-mm-profiling"),
    *("--kv-cache-memory-bytes", str(2**28), "--gpu-memory-utilization", "0.01"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "starter"
    shutil.copytree(STARTER_DIR, folder)
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    config["vision_config"]["rope_parameters"]["rope_theta"] = 10_000.0
    (folder / "config.json").write_text(json.dumps(config))
    generation = json.loads((folder / "generation_config.json").read_text())
    generation |= {"do_sample": True, "top_k": 1, "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def start(model: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start ``vllm serve`` (as a module, because the command asks for a distribution ``vllm``, and
    the CPU build has another name)."""
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port)]
    with log.open("ab") as target:
        return subprocess.Popen(
            [sys.executable, *words, *ARGUMENTS],
            stdout=target,
            stderr=target,
            env={**os.environ, **ENVIRONMENT},
        )


class VllmServe:
    """vLLM's server, and how to kill it and start it again."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.folder, self._model, self._port = folder, model, free_port()
        (folder / "token").write_text(TOKEN)
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        self._process = start(self._model, self._port, self.folder / "log")

    def wait(self) -> None:
        deadline = time.monotonic() + 500
        while True:
            said = (self.folder / "log").read_text()
            assert self._process.poll() is None and time.monotonic() < deadline, said
            try:
                httpx.get(self.url + "/health", trust_env=False)
            except httpx.TransportError:
                time.sleep(0.5)
            else:
                return

    def stop(self) -> None:
        self._process.terminate()  # it stops its engine's process as well
        self._process.wait(timeout=60)

    def options(self, name: str) -> RolloutOptions:
        return RolloutOptions(
            engine="openai",
            server=self.url,
            server_token_file=self.folder / "token",
            weights_folder=self.folder / name,
            temperature=0.7,
        )


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServe]:
    server = VllmServe(model, tmp_path_factory.mktemp("server"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def prompts(model: Path) -> list[Prompt]:
    policy = load_policy(model)
    samples = [*rooms_samples("test", 2), *rooms_samples("ood", 1, task="isr")]
    return [encode(policy, s, get_task(s.task).prompt(s, "brief")) for s in samples]


def difference(policy: Policy, prompts: list[Prompt], groups: list, temperature: float) -> float:
    """Return the largest difference of reported log-probabilities from the trained model's."""
    rows = [
        PackedRow(prompt, [Segment(r.token_ids) for r in group])
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    return max(
        float((response.logprobs - segment.logprobs.detach()).abs().max())
        for group, segments in zip(groups, segment_logprobs(policy, rows, temperature), strict=True)
        for response, segment in zip(group, segments, strict=True)
    )


@pytest.mark.timeout(900)
def test_tokens_and_logprobs_are_those_of_the_present_weights(
    model: Path, server: VllmServe, prompts: list[Prompt]
) -> None:
    policy = load_policy(model)
    seen = []
    with closing(OpenAIEngine(policy, server.options("weights"))) as remotely:
        for part in ("", "", "visual."):
            theirs = remotely(policy, prompts, 2, GREEDY, SEEDS)
            assert ids(theirs) == ids(rollout(policy, prompts, 2, GREEDY, SEEDS))
            sampled = remotely(policy, prompts, 4, SAMPLED, SEEDS)
            assert difference(policy, prompts, sampled, 0.7) < 1e-3
            assert ids(remotely(policy, prompts, 4, SAMPLED, SEEDS)) == ids(sampled)
            assert len({str(one) for one in ids(sampled)[0]}) > 1
            seen.append(str(ids(theirs)))
            other_weights(policy, len(seen), scale=0.5 if part else 0.1, part=part)
        last = remotely(policy, prompts, 2, GREEDY, SEEDS)
        assert ids(last) == ids(rollout(policy, prompts, 2, GREEDY, SEEDS))
    assert len({*seen, str(ids(last))}) == 4


@pytest.mark.timeout(900)
def test_the_server_ends_responses_at_a_text_except_those_that_go_on(
    model: Path, server: VllmServe, prompts: list[Prompt]
) -> None:
    policy = load_policy(model)
    asked = [replace(prompt, going_on=n) for n, prompt in enumerate(prompts)]
    stopping = replace(SAMPLED, stop_at="</think>")
    with closing(OpenAIEngine(policy, server.options("weights"))) as remotely:
        whole = remotely(policy, prompts, 4, SAMPLED, SEEDS)
        ended = remotely(policy, asked, 4, stopping, SEEDS)
    assert difference(policy, prompts, ended, 0.7) < 1e-3
    cut = [
        to_responses(policy, prompt, group, 4, stopping)
        for prompt, group in zip(asked, whole, strict=True)
    ]
    assert ids(ended) == ids(cut)
    assert ids(ended) != ids(whole)


@pytest.mark.timeout(900)
def test_other_models_and_folders_are_errors(
    model: Path, server: VllmServe, tmp_path: Path
) -> None:
    tied = load_policy(STARTER_DIR)  # its vision tower computes with another base
    with pytest.raises(InputError, match="log-probabilities that differ from this model's"):
        OpenAIEngine(tied, server.options("tied"))
    policy = load_policy(model)
    options = server.options("weights")
    (tmp_path / "wrong").write_text("battery")
    for more, message in (
        ({"server_token_file": tmp_path / "wrong"}, "refuses the token"),
        ({"server_model": "qwen"}, "has no model qwen, but"),
    ):
        changed = RolloutOptions(**{**vars(options), **more})
        with pytest.raises(InputError, match=message):
            OpenAIEngine(policy, changed)


@pytest.mark.timeout(1500)
def test_a_server_that_is_killed_and_started_again_gets_the_weights_again(
    model: Path, server: VllmServe, prompts: list[Prompt]
) -> None:
    policy = load_policy(model)
    with closing(OpenAIEngine(policy, server.options("weights"))) as remotely:
        other_weights(policy, 7)
        before = remotely(policy, prompts, 4, SAMPLED, SEEDS)
        server.stop()
        server.start()
        assert ids(remotely(policy, prompts, 4, SAMPLED, SEEDS)) == ids(before)
