"""The engine for servers of the OpenAI API: what it sends, what it makes of answers, and every
error before the first step.

The server here is a double with the fields of vLLM and SGLang, which samples with the native
rollout; ``make test-vllm`` runs the same engine against vLLM itself.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openai_double import CACHES, TOKEN, OpenAIDouble, served
from PIL import Image
from ports import reserved_port
from quick_runs import metrics, train_arguments
from rollout_server import rollout_server
from service_process import until
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout import RolloutOptions, check_engine, make_rollout, remote_engine
from syngrpo.rollout.base import Response, to_responses
from syngrpo.rollout.native import rollout
from syngrpo.rollout.openai_engine import OpenAIEngine
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.serving import http_client
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

GREEDY = Sampling(0, max_new_tokens=12)
SAMPLED = Sampling(0.8, 0.9, max_new_tokens=12)
SEEDS = [5, 2**61]

Connect = Callable[..., OpenAIEngine]


@pytest.fixture
def policy() -> Policy:
    return load_policy(STARTER_DIR)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    policy = load_policy(STARTER_DIR)
    samples = rooms_samples("test", 2)
    return [encode(policy, s, get_task(s.task).prompt(s, "brief")) for s in samples]


@pytest.fixture
def server() -> Iterator[OpenAIDouble]:
    with served(OpenAIDouble()) as double:
        yield double


@pytest.fixture
def sglang() -> Iterator[OpenAIDouble]:
    with served(OpenAIDouble("sglang")) as double:
        yield double


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Make an ``OpenAIEngine``; closed after the test."""
    (tmp_path / "token").write_text(TOKEN)
    with ExitStack() as stack:

        def connected(policy: Policy, server: OpenAIDouble, **more: Any) -> OpenAIEngine:
            engine = make_rollout(options(tmp_path, server.url, **more), policy)
            assert isinstance(engine, OpenAIEngine)
            return stack.enter_context(closing(engine))

        yield connected


def options(folder: Path, url: str, **more: Any) -> RolloutOptions:
    usual = {"server_token_file": folder / "token", "weights_folder": folder / "weights"}
    usual |= {"temperature": 0.8, "server_patience_s": 20.0}
    return RolloutOptions(engine="openai", server=url, **(usual | more))


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(remote_engine, "LONGEST_PAUSE_S", 0.05)


def changed(policy: Policy, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * parameter.std(correction=0) * noise)


def assert_same(theirs: list[list[Response]], ours: list[list[Response]]) -> None:
    for a, b in zip(chain(*theirs), chain(*ours), strict=True):
        assert (a.text, a.finished) == (b.text, b.finished)
        assert torch.equal(a.token_ids, b.token_ids)
        torch.testing.assert_close(a.logprobs, b.logprobs, atol=1e-4, rtol=0)
        assert torch.equal(a.entropy, -a.logprobs)


def native(
    policy: Policy, prompts: list[Prompt], count: int, sampling: Sampling, seeds: list[int]
) -> list[list[Response]]:
    """Sample with the native engine, response i of a group from ``seed + i``, as vLLM does."""
    flat = [prompt for prompt in prompts for _ in range(count)]
    flat_seeds = [seed + i for seed in seeds for i in range(count)]
    found = iter(rollout(policy, flat, 1, sampling, flat_seeds))
    return [[one for _ in range(count) for one in next(found)] for _ in prompts]


def test_responses_are_sampled_with_the_present_weights(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect, tmp_path: Path
) -> None:
    remotely = connect(policy, server)
    seen = set()
    for seed in range(3):
        for sampling in (GREEDY, SAMPLED):
            theirs = remotely(policy, prompts, 3, sampling, SEEDS)
            assert_same(theirs, native(policy, prompts, 3, sampling, SEEDS))
            seen.add(str([one.token_ids for group in theirs for one in group]))
        changed(policy, seed)
    assert len(seen) == 6
    assert server.told == ["weights", *CACHES] * 7  # the first time to compare log-probabilities
    assert len(list((tmp_path / "weights").glob("weights-*"))) == 1
    remotely.close()
    assert not list((tmp_path / "weights").glob("weights-*"))


def test_adapters_arrive_merged(
    server: OpenAIDouble, prompts: list[Prompt], connect: Connect
) -> None:
    policy = load_policy(STARTER_DIR, lora=LoraOptions(4, 8))
    changed(policy, 1)
    theirs = connect(policy, server)(policy, prompts, 1, GREEDY, SEEDS)
    assert_same(theirs, native(policy, prompts, 1, GREEDY, SEEDS))


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_the_server_ends_responses_at_a_text_except_those_that_go_on(
    policy: Policy, prompts: list[Prompt], connect: Connect, dialect: str
) -> None:
    """What is returned equals whole responses that are cut, though the server does not sample what
    would be cut off."""
    asked = [*prompts, replace(prompts[0], going_on=3), replace(prompts[1], going_on=1)]
    seeds = [*SEEDS, 7, 8]
    whole = native(policy, asked, 3, Sampling(1.0, max_new_tokens=60), seeds)
    stopping = Sampling(1.0, max_new_tokens=60, stop_at="</think>")
    with served(OpenAIDouble(dialect)) as server:
        remotely = connect(policy, server, temperature=1.0)
        server.sampled.clear()
        theirs = remotely(policy, asked, 3, stopping, seeds)
    if dialect == "vllm":  # SGLang takes no seeds
        expected = [
            to_responses(policy, prompt, group, 3, stopping)
            for prompt, group in zip(asked, whole, strict=True)
        ]
        assert_same(theirs, expected)
    for prompt, group in zip(asked, theirs, strict=True):
        ended = [one.text.endswith("</think>") for one in group]
        assert ended == [place >= prompt.going_on for place in range(3)]
    # No response was sampled beyond what is returned.
    assert sorted(server.sampled) == sorted(len(one.token_ids) for one in chain(*theirs))


def test_a_server_that_takes_the_ending_from_the_tokens_is_an_error(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, server, temperature=1.0)
    stopping = Sampling(1.0, max_new_tokens=60, stop_at="</think>")
    server.faults = {"trims"}
    with pytest.raises(InputError, match=r"without the tokens that ended it .a stop token or '</t"):
        remotely(policy, prompts, 2, stopping, SEEDS)


def test_a_token_without_log_probability_is_an_error(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, server)
    server.faults = {"null logprob"}
    with pytest.raises(InputError, match="without a log-probability for each of its tokens"):
        remotely(policy, prompts, 2, GREEDY, SEEDS)


def test_the_picture_that_is_sent_is_the_resized_one(
    server: OpenAIDouble, policy: Policy, connect: Connect
) -> None:
    sample = rooms_samples("test", 1)[0]
    prompt = encode(policy, sample, "?")
    connect(policy, server)(policy, [prompt], 1, GREEDY, [1])
    sent = np.asarray(Image.open(io.BytesIO(server.pictures[-1])))
    assert np.array_equal(sent, sample.image.decode())  # pictures of rooms need no resizing


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_the_generation_config_of_the_served_model_changes_nothing(
    policy: Policy, prompts: list[Prompt], connect: Connect, dialect: str
) -> None:
    """It asks for greedy sampling; the responses of a group differ all the same."""
    warm = Sampling(1.0, max_new_tokens=24)
    with served(OpenAIDouble(dialect, generation_config={"top_k": 1})) as server:
        theirs = connect(policy, server, temperature=1.0)(policy, prompts, 6, warm, SEEDS)
    assert all(len({one.text for one in group}) > 1 for group in theirs)


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_responses_end_with_their_stop_token(
    policy: Policy, prompts: list[Prompt], connect: Connect, dialect: str
) -> None:
    usual = rollout(policy, prompts, 1, GREEDY, SEEDS)[0][0].token_ids
    policy.stop_ids = (int(usual[3]),)
    with served(OpenAIDouble(dialect)) as server:
        theirs = connect(policy, server)(policy, prompts[:1], 1, GREEDY, SEEDS[:1])
    assert_same(theirs, native(policy, prompts[:1], 1, GREEDY, SEEDS[:1]))
    assert theirs[0][0].finished and len(theirs[0][0].token_ids) <= 4


def test_sglang_samples_with_weights_that_it_names(
    sglang: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, sglang)
    for faults in (set(), {"old"}):
        sglang.faults = faults
        assert_same(
            remotely(policy, prompts, 2, GREEDY, SEEDS),
            native(policy, prompts, 2, GREEDY, SEEDS),
        )
        changed(policy, 1)


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
@pytest.mark.parametrize("fault", ["restarts", "restarts unseen"])
def test_a_server_that_was_restarted_gets_the_weights_again(
    policy: Policy, prompts: list[Prompt], connect: Connect, dialect: str, fault: str
) -> None:
    with served(OpenAIDouble(dialect)) as server:
        remotely = connect(policy, server)
        server.faults = {fault}
        theirs = remotely(policy, prompts, 2, GREEDY, SEEDS)
    assert_same(theirs, native(policy, prompts, 2, GREEDY, SEEDS))


def test_sampling_ahead_uses_the_weights_of_its_start(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, server, async_steps=1)
    before = native(policy, prompts, 2, SAMPLED, SEEDS)
    first = remotely.start(policy, prompts, 2, SAMPLED, SEEDS)
    changed(policy, 1)
    after = native(policy, prompts, 2, SAMPLED, SEEDS)
    second = remotely.start(policy, prompts, 2, SAMPLED, SEEDS)
    assert_same(first(), before)
    assert_same(second(), after)


def closed_beside(engine: OpenAIEngine) -> threading.Thread:
    thread = threading.Thread(target=engine.close, daemon=True)
    thread.start()
    return thread


def test_closing_does_not_wait_for_responses(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect, tmp_path: Path
) -> None:
    remotely = connect(policy, server, async_steps=1)
    server.goes_on.clear()
    begun = len(server.pictures)
    waiting = remotely.start(policy, prompts, 2, SAMPLED, SEEDS)
    until(lambda: len(server.pictures) == begun + 2, "the requests")
    closing = closed_beside(remotely)
    closing.join(20)
    assert not closing.is_alive()
    assert not list((tmp_path / "weights").glob("weights-*"))
    threads = [one for one in threading.enumerate() if one.name in ("rollouts", "completions")]
    assert threads and all(one.daemon for one in threads)
    server.goes_on.set()
    with pytest.raises(RuntimeError, match="closed"):  # they are given up
        waiting()


def test_closing_leaves_a_server_the_weights_that_it_loads(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect, tmp_path: Path
) -> None:
    remotely = connect(policy, server, async_steps=1)
    with server._lock:
        remotely.start(policy, prompts, 2, SAMPLED, SEEDS)
        until(lambda: server.told.count("weights") == 2, "the request to load")
        closing = closed_beside(remotely)
        closing.join(0.3)
        assert closing.is_alive()
    closing.join(20)
    assert not closing.is_alive()
    assert server.told == ["weights", *CACHES] * 2  # it could read them
    assert not list((tmp_path / "weights").glob("weights-*"))


def test_older_servers_name_tokens_in_place_of_their_text(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    server.faults = {"old"}
    theirs = connect(policy, server)(policy, prompts, 2, SAMPLED, SEEDS)
    assert_same(theirs, native(policy, prompts, 2, SAMPLED, SEEDS))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no ids", "returns no token ids for return_token_ids: true; use vLLM 0.11"),
        ("no logprobs", "returns no log-probabilities for logprobs: true"),
        ("no update", "has no call that replaces its weights .* VLLM_SERVER_DEV_MODE=1"),
        ("cannot load", "cannot load the weights in .* rollout.weights_folder"),
        (
            "raw",
            "at temperature 1, not at rollout.temperature 0.8; start vLLM with --logprobs-mode",
        ),
        ("other template", "makes other tokens of the prompt of sample trial-64x64"),
        ("away", "starting .status 503., for 0 s now; start it, or check rollout.server"),
        ("busy", "still samples for somebody else"),
    ],
)
def test_what_a_server_cannot_do_is_an_error_before_the_first_step(
    server: OpenAIDouble, policy: Policy, connect: Connect, fault: str, message: str
) -> None:
    server.faults = {fault}
    with pytest.raises(InputError, match=message) as raised:
        connect(policy, server, server_patience_s=0.3)
    assert "\n" not in str(raised.value)


def test_another_model_is_an_error_before_the_first_step(
    server: OpenAIDouble, policy: Policy, connect: Connect
) -> None:
    load = server._load

    def load_other(folder: Path) -> Any:
        load(folder)
        changed(server.policy, 3)

    server._load = load_other  # type: ignore[method-assign, assignment]
    with pytest.raises(InputError, match=r"differ from this model's by \d\.\d+ on average"):
        connect(policy, server)


def test_a_banned_token_is_an_error(
    server: OpenAIDouble, policy: Policy, prompts: list[Prompt], connect: Connect
) -> None:
    remotely = connect(policy, server)
    server.faults = {"no bias"}
    usual = remotely(policy, prompts, 1, GREEDY, SEEDS)[0][0].token_ids
    policy.banned = torch.cat([policy.banned, usual[:1]])
    with pytest.raises(InputError, match="sampled a token that this model never writes"):
        remotely(policy, prompts, 1, GREEDY, SEEDS)


def test_wrong_settings_are_errors(
    server: OpenAIDouble, policy: Policy, connect: Connect, tmp_path: Path
) -> None:
    for more, message in (
        ({"server": None}, "set rollout.server to http://host:port"),
        ({"weights_folder": None}, "set rollout.weights_folder to a folder"),
    ):
        given = {"server": server.url, "weights_folder": tmp_path} | more
        with pytest.raises(InputError, match=message):
            check_engine(RolloutOptions(engine="openai", **given))
    (tmp_path / "wrong").write_text("battery")
    with pytest.raises(InputError, match=r"refuses the token; set rollout.server_token_file"):
        connect(policy, server, server_token_file=tmp_path / "wrong")
    first = connect(policy, server)
    with pytest.raises(InputError, match="in use by another run"):
        connect(policy, server)
    first.close()
    connect(policy, server, server_model="starter")
    with pytest.raises(InputError, match=r"has no model qwen, but starter; set rollout.server_mod"):
        connect(policy, server, server_model="qwen", weights_folder=tmp_path / "more")


def test_of_several_models_the_trained_one_is_chosen(policy: Policy, connect: Connect) -> None:
    with served(OpenAIDouble(models=("a", "b"))) as server:
        with pytest.raises(InputError, match=r"several models, none of them .*, but a, b; set"):
            connect(policy, server)
        policy.base.name_or_path = "/models/b"
        assert connect(policy, server)._model.name == "b"


def test_another_kind_of_server_is_an_error(policy: Policy, tmp_path: Path) -> None:
    with (
        rollout_server() as other,
        pytest.raises(InputError, match="has no OpenAI API"),
    ):
        make_rollout(options(tmp_path, other.url, server_token_file=None), policy)


def test_a_run_trains_with_it(server: OpenAIDouble, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    arguments = train_arguments(
        tmp_path / "run",
        rollout__engine="openai",
        rollout__server=server.url,
        rollout__server_token_file=tmp_path / "token",
        rollout__weights_folder=tmp_path / "weights",
    )
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lines = metrics(tmp_path / "run")
    assert lines and max(line["rollout/logp_diff"] for line in lines) < 1e-3


def train_with_two(folder: Path, server: OpenAIDouble) -> list[tuple[int, str]]:
    """Train as under ``accelerate launch``. Return exit status and messages of both processes."""
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    group |= {"MASTER_PORT": str(reserved_port()), "ACCELERATE_USE_CPU": "true"}
    arguments = train_arguments(
        folder / "run",
        rollout__engine="openai",
        rollout__server=server.url,
        rollout__server_token_file=folder / "token",
        rollout__weights_folder=folder / "weights",
        rollout__temperature=0.8,
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "syngrpo", *arguments],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=500)[1] for process in processes]
        return [(p.returncode, text) for p, text in zip(processes, said, strict=True)]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_share_a_server_and_its_errors(server: OpenAIDouble, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    server.faults = {"cannot load"}
    ends = train_with_two(tmp_path, server)
    assert [status for status, _ in ends] == [2, 2], ends
    assert any("cannot load the weights in" in said for _, said in ends), ends
    server.faults = set()
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    ends = train_with_two(tmp_path, server)
    assert [status for status, _ in ends] == [0, 0], ends
    lines = metrics(tmp_path / "run")
    assert lines and max(line["rollout/logp_diff"] for line in lines) < 1e-3
