"""Which engine samples: names, engines of other packages, options that cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from quick_runs import quick_config

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


def test_one_override_chooses_the_server() -> None:
    options = quick_config(rollout__server="http://127.0.0.1:8421")
    assert options.rollout.engine_name == "server"


@WITHOUT_VLLM
def test_missing_vllm_is_an_error(policy: Policy) -> None:
    with pytest.raises(InputError, match=r"vLLM is not installed; run: pip install"):
        VllmEngine(policy, RolloutOptions())
    with pytest.raises(InputError, match=r"vLLM is not installed; run: pip install"):
        check_engine(RolloutOptions(engine="vllm"))
