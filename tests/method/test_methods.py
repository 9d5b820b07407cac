"""What each method decides, and that one of a user's own is found by package.module:Class."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from syngrpo.method import METHODS
from syngrpo.method.base import MethodOptions
from syngrpo.method.baseline import Measured
from syngrpo.method.syn_grpo import SynGrpo
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.sample import InputError

MEASURED = [Measured("rec", 0.5, 0.1), Measured("rec", 0.1, 0.1), Measured("rec", 0.9, 0.8)]


class Lenient(SynGrpo):
    """A method of a user: only descriptions that did well count."""

    def description_rewards(self, measured: list[Measured]) -> list[float]:
        return [max(0.0, reward) for reward in super().description_rewards(measured)]


def make(name: str, **options: object):
    method = METHODS.load(name)
    return method(method.Options(**{"name": name, **method.defaults, **options}), steps=60)


def test_methods_differ_in_what_they_decide() -> None:
    decided = {
        name: (one.paints, one.written_descriptions, one.random_descriptions)
        for name in METHODS.names()
        for one in [make(name)]
    }
    assert decided == {
        "syn-grpo": (True, 2, 0),
        "syn-grpo-no-smoothing": (True, 2, 0),
        "random-scene": (True, 0, 2),
        "grpo": (False, 0, 0),
        "grpo-clip-higher": (False, 0, 0),
        "noisy-rollout": (False, 0, 0),
        "executable-transforms": (False, 0, 0),
    }


def test_clip_higher_has_a_default_of_its_own_and_refuses_one_that_is_not_higher() -> None:
    assert make("grpo-clip-higher").options.clip_high == 0.28
    assert make("grpo-clip-higher", clip_high=0.3).options.clip_high == 0.3
    with pytest.raises(ValueError, match="clip_high > clip_low"):
        make("grpo-clip-higher", clip_high=0.1)


def test_without_smoothing_the_reward_is_diversity_itself() -> None:
    assert make("syn-grpo-no-smoothing").description_rewards(MEASURED) == [0.5, 0.1, 0.9]
    relative = make("syn-grpo-no-smoothing", credit="parent").description_rewards(MEASURED)
    assert relative == pytest.approx([0.4, 0.0, 0.1])


def test_smoothed_rewards_are_signed_and_the_baseline_is_saved() -> None:
    method = make("syn-grpo")
    rewards = method.description_rewards(MEASURED)
    assert min(rewards) < 0 < max(rewards)
    again = make("syn-grpo")
    again.load_state_dict(method.state_dict())
    assert again.baselines() == method.baselines() and set(method.baselines()) == {"rec"}
    assert again.description_rewards(MEASURED) == method.description_rewards(MEASURED)


def test_with_siblings_some_groups_write_a_bundle_and_every_painting_method_draws_alike() -> None:
    groups, places = list("abcdefgh"), 6.0
    for name in ("syn-grpo", "syn-grpo-no-smoothing", "random-scene"):
        method = make(name, credit="siblings", descriptions_per_group=4)
        assert method.bundle_size == 4
        chosen = [method.parents(groups, places, np.random.default_rng(n)) for n in range(400)]
        assert {len(some) for some in chosen} == {1, 2}
        assert np.mean([len(some) for some in chosen]) == pytest.approx(1.5, abs=0.1)
        assert all(some == sorted(set(some)) for some in chosen)
        assert {group for some in chosen for group in some} == set(groups)
        assert method.parents(["a"], 99.0, np.random.default_rng(0)) == ["a"]
        assert method.parents([], places, np.random.default_rng(0)) == []
    for credit in ("baseline", "parent"):
        method = make("syn-grpo", credit=credit)
        assert method.bundle_size is None
        assert method.parents(groups, places, np.random.default_rng(0)) == groups


def test_the_noise_of_noisy_rollout_wanes_along_a_sigmoid() -> None:
    method = make("noisy-rollout")
    strengths = [method.distortion(done).strength for done in range(61)]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] == pytest.approx(0.5, abs=1e-6) and strengths[-1] < 1e-4
    assert strengths[40] == pytest.approx(0.25)
    assert make("grpo").distortion(0) is None


def test_the_advantage_follows_the_loss_unless_it_is_named() -> None:
    rewards = [0.0, 1.0]
    assert make("grpo").answer_advantages(rewards).max() == pytest.approx(2**-0.5)
    assert make("grpo", loss="dr_grpo").answer_advantages(rewards).max() == 0.5
    named = make("grpo", loss="dr_grpo", advantage="group")
    assert named.answer_advantages(rewards).max() == pytest.approx(2**-0.5)


def test_a_method_of_a_user_is_found_by_module_and_class() -> None:
    method = METHODS.load(f"{__name__}:Lenient")(MethodOptions(), 10)
    assert min(method.description_rewards(MEASURED)) == 0.0
    with pytest.raises(InputError, match="use one of syn-grpo"):
        METHODS.load("ppo")
    with pytest.raises(InputError, match="cannot be imported"):
        METHODS.load("nowhere:Method")
    with pytest.raises(InputError, match="is not loaded"):
        METHODS.get(f"{__name__}:Strict")  # a name from data never imports anything


def test_the_method_needs_no_torch() -> None:
    program = (
        "import sys, importlib, pkgutil, syngrpo.method as m\n"
        "for one in pkgutil.iter_modules(m.__path__):\n"
        "    importlib.import_module(f'{m.__name__}.{one.name}')\n"
        "assert not {'torch', 'transformers', 'pydantic'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_method_that_paints_nothing_draws_seeds_alone() -> None:
    policy = SamplingPolicy(synthetic_ratio=0.7)
    assert make("syn-grpo").sampling(policy) == policy
    assert make("grpo").sampling(policy) == replace(policy, synthetic_ratio=0.0)
