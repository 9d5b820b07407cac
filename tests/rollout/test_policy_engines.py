"""What rollout engines get from the policy, and what is said without them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_families import TINY, save_tiny

from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout import RolloutOptions, check_engine
from syngrpo.rollout.vllm_engine import VllmEngine
from syngrpo.rollout.weight_stream import checkpoint_weights
from syngrpo.sample import InputError

WITHOUT_VLLM = pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")


@pytest.fixture(scope="module", params=sorted(TINY))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), request.param)


def saved(policy: Policy, directory: Path) -> dict[str, torch.Tensor]:
    policy.save(directory)
    return load_file(directory / "model.safetensors")


@pytest.mark.parametrize("lora", [None, LoraOptions(2, 4)])
def test_weights_are_those_of_a_saved_checkpoint(
    checkpoint: Path, lora: LoraOptions | None, tmp_path: Path
) -> None:
    policy = load_policy(checkpoint, lora=lora)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.01)
    kept = {name: p.clone() for name, p in policy.model.named_parameters()}
    weights, expected = checkpoint_weights(policy), saved(policy, tmp_path)
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, msg=name)
        assert not weights[name].requires_grad
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, kept[name])


def test_tied_weights_come_once() -> None:
    from syngrpo_rooms.starter import STARTER_DIR

    weights = checkpoint_weights(load_policy(STARTER_DIR))
    assert weights.keys() == load_file(STARTER_DIR / "model.safetensors").keys()


@WITHOUT_VLLM
def test_missing_vllm_is_said(checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"vLLM is not installed; run: pip install"):
        VllmEngine(load_policy(checkpoint), RolloutOptions())
    with pytest.raises(InputError, match=r"vLLM is not installed; run: pip install"):
        check_engine(RolloutOptions(engine="vllm"))
