"""Which engine samples: names, engines of other packages, options that cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from quick_runs import quick_config
from rich.console import Console

from syngrpo.cli.train import run_training
from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.rollout import RolloutOptions, check_engine, make_rollout
from syngrpo.rollout.base import Engine, Response
from syngrpo.rollout.native import NativeEngine
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.vllm_engine import VllmEngine
from syngrpo.sample import InputError
from syngrpo_rooms.starter import STARTER_DIR

WITHOUT_VLLM = pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")


class SilentEngine(Engine):
    """An engine of another package, which samples nothing."""

    def __init__(self, policy: Policy, options: RolloutOptions) -> None:
        self.options = options

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        return [[] for _ in prompts]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(STARTER_DIR)


def test_an_engine_of_another_package_samples(policy: Policy) -> None:
    options = RolloutOptions(engine=f"{__name__}:SilentEngine")
    engine = make_rollout(options, policy)
    assert isinstance(engine, SilentEngine) and engine.options is options
    assert isinstance(make_rollout(RolloutOptions(), policy), NativeEngine)


def test_options_that_do_not_go_together_are_errors(policy: Policy, tmp_path: Path) -> None:
    assert RolloutOptions().engine_name == "native"
    assert RolloutOptions(server="http://gpu-1:8421").engine_name == "server"
    with pytest.raises(ValueError, match="write it as http://host:port"):
        RolloutOptions(server="gpu-1:8421")
    for options, message in (
        ({"server": "http://gpu-1:8421", "engine": "native"}, "leave one of them out"),
        ({"server": "http://gpu-1:8421", "engine": "vllm"}, "leave one of them out"),
        ({"engine": "server"}, "set rollout.server to http://host:port"),
        ({"engine": "sglang"}, "rollout engine 'sglang' is unknown; use one of native, vllm"),
    ):
        with pytest.raises(InputError, match=message):
            check_engine(RolloutOptions(**options))
    missing = RolloutOptions(server="http://x:1", server_token_file=tmp_path / "none")
    with pytest.raises(InputError, match=r"token file .* cannot be read"):
        make_rollout(missing, policy)


class UnscoredEngine(NativeEngine):
    """An engine that does not know how probable its tokens were."""

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        groups = super().__call__(policy, prompts, group_size, sampling, seeds)
        return [[self.unscored(response) for response in group] for group in groups]

    def unscored(self, response: Response) -> Response:
        return replace(response, logprobs=None)  # type: ignore[arg-type]


class NanEngine(UnscoredEngine):
    def unscored(self, response: Response) -> Response:
        return replace(response, logprobs=torch.full_like(response.logprobs, torch.nan))


class ShortEngine(UnscoredEngine):
    def unscored(self, response: Response) -> Response:
        return replace(response, logprobs=response.logprobs[:-1])


@pytest.mark.parametrize("engine", [UnscoredEngine, NanEngine, ShortEngine])
def test_an_engine_without_log_probabilities_is_refused_before_anything_is_learned(
    engine: type[Engine], tmp_path: Path
) -> None:
    name = f"{__name__}:{engine.__name__}"
    options = quick_config(rollout__engine=name, method__name="grpo")
    with pytest.raises(InputError, match=rf"rollout.engine {name} returned a response of") as told:
        run_training(options, tmp_path, False, Console(quiet=True))
    assert "without a log-probability for each" in str(told.value) and "\n" not in str(told.value)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_one_override_chooses_the_server() -> None:
    options = quick_config(rollout__server="http://127.0.0.1:8421")
    assert options.rollout.engine_name == "server"


@WITHOUT_VLLM
def test_missing_vllm_is_an_error(policy: Policy) -> None:
    with pytest.raises(InputError, match=r"vLLM is not installed; run: pip install"):
        VllmEngine(policy, RolloutOptions())
    with pytest.raises(InputError, match=r"vLLM is not installed; run: pip install"):
        check_engine(RolloutOptions(engine="vllm"))
