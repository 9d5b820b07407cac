"""vLLM in a server process samples as it does in the trainer's, with the weights that were sent,
through kills, cut off streams and wrong requests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch
import yaml
from own_numbers import assert_ours, ids, other_weights
from server_process import TOKEN, ServerProcess, start
from two_processes import run_two

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout import server_engine
from syngrpo.rollout.base import to_responses
from syngrpo.rollout.native import rollout
from syngrpo.rollout.server_engine import ServerEngine
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

SEEDS = [11, 22, 2**62]
GREEDY = Sampling(temperature=0, max_new_tokens=32)
SAMPLED = Sampling(0.7, 0.9, max_new_tokens=32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = start(tmp_path_factory.mktemp("server"))
    assert server.version() is None
    yield server
    assert server.stop() == 0, server.errors.read_text()


@pytest.fixture
def policy() -> Policy:
    return load_policy(STARTER_DIR)


@pytest.fixture
def remotely(server: ServerProcess, policy: Policy) -> Iterator[ServerEngine]:
    with closing(ServerEngine(policy, server.options)) as rollouts:
        yield rollouts


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    policy = load_policy(STARTER_DIR)
    samples = [*rooms_samples("test", 2), *rooms_samples("ood", 1, task="isr")]
    return [encode(policy, s, get_task(s.task).prompt(s, "brief")) for s in samples]


def test_greedy_tokens_equal_the_native_ones_with_the_present_weights(
    server: ServerProcess, policy: Policy, prompts: list[Prompt], remotely: ServerEngine
) -> None:
    seen, versions = [], []
    for seed in range(3):
        theirs = remotely(policy, prompts, 2, GREEDY, SEEDS)
        ours = rollout(policy, prompts, 2, GREEDY, SEEDS)
        assert ids(theirs) == ids(ours)
        assert [[r.text for r in g] for g in theirs] == [[r.text for r in g] for g in ours]
        assert_ours(policy, prompts, theirs, 1.0)
        seen.append(str(ids(theirs)))
        versions.append(server.version())
        other_weights(policy, seed)
    assert len(set(seen)) == len(set(versions)) == 3


def test_features_of_an_image_are_computed_anew_when_the_vision_tower_has_changed(
    policy: Policy, prompts: list[Prompt], remotely: ServerEngine
) -> None:
    before = remotely(policy, prompts, 1, GREEDY, SEEDS)
    other_weights(policy, 1, scale=0.5, part=".visual.")
    after = remotely(policy, prompts, 1, GREEDY, SEEDS)
    assert ids(after) == ids(rollout(policy, prompts, 1, GREEDY, SEEDS)) != ids(before)
    assert_ours(policy, prompts, after, 1.0)


def test_the_trained_model_is_sampled_and_seeds_determine_the_responses(
    policy: Policy, prompts: list[Prompt], remotely: ServerEngine
) -> None:
    groups = remotely(policy, prompts, 4, SAMPLED, SEEDS)
    assert_ours(policy, prompts, groups, SAMPLED.temperature)
    assert len({tuple(r.token_ids.tolist()) for r in groups[0]}) > 1
    again = remotely(policy, prompts[::-1], 4, SAMPLED, SEEDS[::-1])
    assert ids(again)[::-1] == ids(groups)
    assert ids(remotely(policy, prompts, 4, SAMPLED, [1, 2, 3])) != ids(groups)


def test_the_server_itself_ends_responses_that_describe_nothing(
    policy: Policy, prompts: list[Prompt], remotely: ServerEngine
) -> None:
    whole = Sampling(1.0, max_new_tokens=64)
    ending = replace(whole, stop_at="</answer>")
    asked = [replace(prompt, going_on=n) for n, prompt in enumerate(prompts)]
    groups = remotely(policy, prompts, 4, whole, SEEDS)
    cut = [to_responses(policy, *pair, 4, ending) for pair in zip(asked, groups, strict=True)]
    ended = remotely(policy, asked, 4, ending, SEEDS)
    assert ids(ended) == ids(cut) != ids(groups)
    assert_ours(policy, prompts, ended, 1.0)


def test_banned_tokens_never_appear(
    policy: Policy, prompts: list[Prompt], remotely: ServerEngine
) -> None:
    usual = {t for group in ids(remotely(policy, prompts, 1, GREEDY, SEEDS)) for t in group[0]}
    banned = torch.tensor(sorted({*policy.banned.tolist(), *list(usual)[::2]}))
    strict = replace(policy, banned=banned)
    groups = remotely(strict, prompts, 4, SAMPLED, SEEDS)
    assert_ours(strict, prompts, groups, SAMPLED.temperature)
    assert not any(torch.isin(r.token_ids, banned).any() for group in groups for r in group)


def test_adapters_arrive_merged(server: ServerProcess, prompts: list[Prompt]) -> None:
    policy = load_policy(STARTER_DIR, lora=LoraOptions(4, 8))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    with closing(ServerEngine(policy, server.options)) as remotely:
        adapted = remotely(policy, prompts, 1, GREEDY, SEEDS)
    plain = load_policy(STARTER_DIR)
    assert ids(adapted) == ids(rollout(policy, prompts, 1, GREEDY, SEEDS))
    assert ids(adapted) != ids(rollout(plain, prompts, 1, GREEDY, SEEDS))
    assert_ours(policy, prompts, adapted, 1.0)


def test_after_weights_that_arrive_in_part_or_damaged_others_are_used(
    server: ServerProcess, policy: Policy, prompts: list[Prompt], remotely: ServerEngine
) -> None:
    """Streams are cut off at several places, and one byte is changed."""
    whole = b"".join(server_engine.frame(server_engine._pieces(policy)))
    expected = ids(rollout(policy, prompts, 1, GREEDY, SEEDS))
    head = f"PUT /v1/weights/x-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    for share in (0.3, 0.6, 0.9):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"{head}Content-Length: {len(whole)}\r\n\r\n".encode())
            connection.sendall(whole[: int(share * len(whole))])
        spoiled = bytearray(whole)
        spoiled[int(share * len(whole))] ^= 255
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.put(
            f"{server.url}/v1/weights/x-1", content=bytes(spoiled), headers=headers, timeout=60
        )
        assert answer.status_code == 400 and "checksum" in answer.json()["error"]
        assert server.version() is None
        theirs = remotely(policy, prompts, 1, GREEDY, SEEDS)
        assert ids(theirs) == expected
        assert_ours(policy, prompts, theirs, 1.0)


def test_after_a_client_has_disconnected_others_get_responses(
    server: ServerProcess, policy: Policy, prompts: list[Prompt], remotely: ServerEngine
) -> None:
    remotely(policy, [], 1, GREEDY, [])
    endless = Sampling(1.0, max_new_tokens=400)
    version = str(server.version())
    request = server_engine.Request(version, prompts, 16, endless, SEEDS, policy.banned, ())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/v1/rollouts",
            content=server_engine.pack_request(request),
            headers=headers,
            timeout=1.0,
        )
    theirs = remotely(policy, prompts, 4, SAMPLED, SEEDS)
    assert_ours(policy, prompts, theirs, SAMPLED.temperature)


def test_wrong_tokens_and_bytes_are_refused(
    server: ServerProcess, policy: Policy, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("battery")
    for token, message in ((None, "a token is needed"), (wrong, "the token is wrong")):
        with pytest.raises(InputError, match=message):
            ServerEngine(policy, replace(server.options, server_token_file=token))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for method, path in (("POST", "/v1/rollouts"), ("PUT", "/v1/weights/x-1")):
        for content in (b"", b"\x00" * 100, b"\xff" * 100, os.urandom(5000)):
            answer = httpx.request(
                method, server.url + path, content=content, headers=headers, timeout=60
            )
            assert 400 <= answer.status_code < 500, answer.text
    assert server.version() is None


@pytest.mark.timeout(1500)
def test_the_processes_of_a_run_share_a_server(server: ServerProcess, tmp_path: Path) -> None:
    assert run_two(tmp_path / "same.json", server.url, str(server.token_file)) == [True] * 12


@pytest.mark.timeout(900)
def test_training_continues_after_the_server_was_killed_and_restarted(tmp_path: Path) -> None:
    server = start(tmp_path / "server")
    assert server.version() is None
    config = {
        "model": {"path": "starter"},
        "data": {"train": [{"format": "rooms", "split": "train", "count": 24}]},
        "method": {"name": "grpo"},
        "rollout": {
            "group_size": 4,
            "max_new_tokens": 48,
            "server": server.url,
            "server_token_file": str(server.token_file),
        },
        "trainer": {"groups_per_step": 3, "steps": 30, "learning_rate": 1e-3},
        "evaluation": {"sets": {}},
        "logging": {"trackers": []},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    words = ["train", str(tmp_path / "run.yaml"), "--run-dir", str(tmp_path / "run")]
    lines, said = tmp_path / "run" / "metrics.jsonl", tmp_path / "run" / "log.txt"
    training = subprocess.Popen([sys.executable, "-m", "syngrpo", *words])

    def steps() -> int:
        return len(lines.read_text().splitlines()) if lines.exists() else 0

    def until(condition: Callable[[], bool]) -> None:
        while not condition():
            assert training.poll() is None
            time.sleep(0.05)

    try:
        until(lambda: steps() >= 12)
        while (before := server.version()) is None:  # it is just given others
            assert training.poll() is None
        server.kill()
        until(lambda: "trying again for" in said.read_text())
        done = steps()
        time.sleep(2)
        assert steps() == done
        server = start(tmp_path / "server", server.port)
        assert training.wait(timeout=600) == 0
        after = str(server.version())
        assert after.partition("-")[0] == before.partition("-")[0] and after.endswith("-30")
    finally:
        training.kill()
        server.kill()
    assert said.read_text().count("answers again") == 1
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 31))
    # Sampled by the weights that are trained: those of another step would show here.
    assert max(record["rollout/logp_diff"] for record in records) < 1e-3
