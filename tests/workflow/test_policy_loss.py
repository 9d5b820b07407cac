"""The loss equals TRL's on the same tensors, and the policy gradient computed by hand."""

from collections import defaultdict
from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from trl import GRPOTrainer
from trl.experimental.gmpo import GMPOTrainer

from syngrpo.method.losses import LOSSES, LossName
from syngrpo.workflow.loss import LossOutput, Normaliser, policy_loss
from syngrpo.workflow.surrogates import LossRule

ROWS, LENGTH, MAX_LENGTH = 8, 11, 32
VARIANTS: list[LossName] = ["grpo", "dr_grpo", "dapo", "bnpo"]
EVERY = list(LOSSES)
TRL: dict[LossName, tuple[str, str]] = {
    **{name: (name, "token") for name in VARIANTS},
    "gspo": ("grpo", "sequence"),
    "cispo": ("cispo", "token"),
    "sapo": ("sapo", "token"),
}
"""TRL's ``loss_type`` and ``importance_sampling_level`` of our losses."""
TAU = {"tau_positive": 1.0, "tau_negative": 1.0625}


def count(mask: Tensor) -> Normaliser:
    """Return the Normaliser of a padded mask."""
    return Normaliser(rows=len(mask), tokens=int(mask.sum()))


def _tensors(seed: int = 0) -> dict[str, Tensor]:
    """Return inputs with ratios far outside the clip range, advantages of both signs, and rows of
    different lengths."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    old = -normal(ROWS, LENGTH).abs()
    lengths = torch.tensor([11, 3, 7, 1, 11, 5, 2, 9])
    return {
        "logp": old + 0.4 * normal(ROWS, LENGTH),
        "old_logp": old,
        "ref_logp": old + 0.3 * normal(ROWS, LENGTH),
        "sampling_logp": old + 0.5 * normal(ROWS, LENGTH),
        "advantages": normal(ROWS, LENGTH),
        "mask": torch.arange(LENGTH) < lengths.unsqueeze(1),
    }


def _trl_loss(
    tensors: dict[str, Tensor],
    variant: LossName,
    clip: tuple[float, float] = (0.2, 0.2),
    beta: float = 0.0,
    correction: bool = False,
    parts: tuple[slice, ...] = (slice(None),),
    **changed,
) -> tuple[float, Tensor, dict[str, list[float]]]:
    """Return value, gradient and metrics of TRL's ``_compute_loss``, accumulated over ``parts``.

    ``changed`` are other attributes of the trainer; ``delta`` is one of its arguments,
    ``entropies`` are those of the tokens, by default −p·log p, and ``mode`` is
    ``vllm_importance_sampling_mode``.
    """
    entropies = changed.pop("entropies", None)
    mode = changed.pop("mode", "token_truncate")
    logp = tensors["logp"].clone().requires_grad_()
    kind = GMPOTrainer if variant == "gmpo" else GRPOTrainer
    trainer = kind.__new__(kind)
    loss_type, level = TRL.get(variant, ("grpo", "token"))
    vars(trainer).update(
        args=SimpleNamespace(
            delta=changed.pop("delta", None),
            use_bias_correction_kl=False,
            steps_per_generation=len(parts),
            sapo_temperature_pos=TAU["tau_positive"],
            sapo_temperature_neg=TAU["tau_negative"],
            entropy_target=0.7,
            entropy_coef_delta=0.005,
            entropy_coef_min=0.0,
            entropy_coef_max=1.0,
        ),
        model=torch.nn.Module(),
        accelerator=SimpleNamespace(
            num_processes=1,
            reduce=lambda x, reduction: x,
            gather=lambda x: x,
            sync_gradients=True,
        ),
        _metrics={"train": defaultdict(list)},
        loss_type=loss_type,
        beta=beta,
        epsilon_low=clip[0],
        epsilon_high=clip[1],
        max_completion_length=MAX_LENGTH,
        use_vllm=correction,
        vllm_importance_sampling_correction=correction,
        importance_sampling_level=level,
        current_gradient_accumulation_steps=len(parts),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        _entropy_bonus_enabled=False,
        use_adaptive_entropy=False,
        _entropy_window_stats=None,
    )
    vars(trainer).update(changed)
    # TRL's GMPO takes one advantage for each response.
    advantages = tensors["advantages"][:, 0] if variant == "gmpo" else tensors["advantages"]
    total = 0.0
    for part in parts:
        trainer._get_per_token_logps_and_entropies = lambda *_, part=part, **__: (
            logp[part],
            -logp[part].exp() * logp[part] if entropies is None else entropies[part],
            None,
        )
        gap = tensors["old_logp"] - tensors["sampling_logp"]
        inputs = {
            "prompt_ids": torch.zeros(logp[part].shape[0], 1, dtype=torch.long),
            "prompt_mask": torch.ones(logp[part].shape[0], 1, dtype=torch.long),
            "completion_ids": torch.zeros(logp[part].shape, dtype=torch.long),
            "completion_mask": tensors["mask"][part].long(),
            "advantages": advantages[part],
            "old_per_token_logps": tensors["old_logp"][part],
            "ref_per_token_logps": tensors["ref_logp"][part],
            "sampling_per_token_logps": tensors["sampling_logp"][part],
            "importance_sampling_ratio": trl_ratio(gap, tensors["mask"], mode)[part],
            "num_items_in_batch": tensors["mask"].sum(),
        }
        loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()
        total += loss.item()
    assert logp.grad is not None
    return total, logp.grad, trainer._metrics["train"]


def trl_ratio(gap: Tensor, mask: Tensor, mode: str) -> Tensor:
    """Return what TRL computes for ``vllm_importance_sampling_mode``, with C_max = 2."""
    gap = gap * mask
    ratio = (gap.sum(-1, keepdim=True) if mode.startswith("sequence") else gap).exp()
    return ratio.clamp(max=2.0) if mode.endswith("truncate") else ratio.masked_fill(ratio > 2, 0)


def _rule(options: dict) -> LossRule:
    """Take the constants of the loss out of the options and return the rule."""
    form = LOSSES[options.pop("variant", "grpo")]
    low, high = form.clip
    names = {field.name for field in fields(LossRule)}
    constants = {name: options.pop(name) for name in names & options.keys()}
    return LossRule(**{"form": form, "low": low, "high": high, "max_length": 32, **constants})


def _our_loss(
    tensors: dict[str, Tensor], parts: tuple[slice, ...] = (slice(None),), **options
) -> tuple[float, Tensor, LossOutput]:
    logp = tensors["logp"].clone().requires_grad_()
    names = {"old_logp", "advantages", "mask"} | ({"ref_logp"} if options.get("beta") else set())
    names |= {"sampling_logp"} if options.pop("correction", False) else set()
    names |= {"chosen"} & tensors.keys()
    rule = _rule(options)
    settled = options.pop("settled", None)
    normaliser = options.pop("normaliser", count(tensors["mask"]))
    total = 0.0
    for part in parts:
        output = policy_loss(
            logp[part],
            **{name: tensors[name][part] for name in names},
            settled=None if settled is None else settled[part],
            rule=rule,
            normaliser=normaliser,
            entropy=-logp[part].exp() * logp[part] if "entropy_weight" in options else None,
            **options,
        )
        output.loss.backward()
        total += output.loss.item()
    assert logp.grad is not None
    return total, logp.grad, output


def of_responses(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with one advantage for each response."""
    return {**tensors, "advantages": tensors["advantages"][:, :1].expand(ROWS, LENGTH)}


@pytest.mark.parametrize(
    "mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
)
def test_corrections_for_the_sampling_engine_equal_those_of_trl(mode: str) -> None:
    tensors = _tensors()
    expected, expected_grad, _ = _trl_loss(tensors, "dapo", (0.2, 0.2), 0.04, True, mode=mode)
    importance = mode.replace("_", "-").replace("sequence", "response")
    loss, grad, output = _our_loss(
        tensors, variant="dapo", beta=0.04, correction=True, importance=importance
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-15)
    assert (output.off_policy_tokens > 0) == mode.endswith("mask")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("clip", [(0.2, 0.2), (0.2, 0.28)])
@pytest.mark.parametrize(("beta", "correction"), [(0.0, False), (0.04, False), (0.04, True)])
def test_equals_trl(variant, clip, beta, correction):
    tensors = _tensors()
    expected, expected_grad, metrics = _trl_loss(tensors, variant, clip, beta, correction)
    loss, grad, output = _our_loss(
        tensors,
        variant=variant,
        low=clip[0],
        high=clip[1],
        beta=beta,
        correction=correction,
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-15)
    assert output.clip_fraction == pytest.approx(metrics["clip_ratio/region_mean"][0])
    assert 0.1 < output.clip_fraction < 0.9
    if beta:
        assert output.kl == pytest.approx(metrics["kl"][0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_token_may_have_a_kl_weight_of_its_own(variant):
    """A token with weight β has the gradient that TRL gives it with β everywhere."""
    tensors = _tensors()
    scene = torch.arange(LENGTH).expand(ROWS, -1) >= 4
    _, without, _ = _trl_loss(tensors, variant)
    _, held, _ = _trl_loss(tensors, variant, beta=0.04)
    beta = 0.04 * scene.double()
    for weights in (beta, list(beta)):
        logp = tensors["logp"].clone().requires_grad_()
        options = {name: tensors[name] for name in ("old_logp", "advantages", "mask", "ref_logp")}
        policy_loss(
            logp,
            **options,
            rule=_rule({"variant": variant}),
            normaliser=count(tensors["mask"]),
            beta=weights,
        ).loss.backward()
        expected = torch.where(scene, held, without)
        torch.testing.assert_close(logp.grad, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("clip", "beta", "correction"), [((0.1, 0.3), 0.0, True)])
@pytest.mark.parametrize("variant", ["gspo", "cispo", "sapo", "gmpo"])
def test_the_other_losses_equal_trl(variant, clip, beta, correction):
    """TRL's GMPO has no correction for the sampling engine, its CISPO bounds the ratio above by
    ``epsilon_high`` and not at all below."""
    tensors = of_responses(_tensors(9))
    correction = correction and variant != "gmpo"
    theirs = (clip[0], 1 + clip[1]) if variant == "cispo" else clip
    expected, expected_grad, metrics = _trl_loss(tensors, variant, theirs, beta, correction)
    low = None if variant == "cispo" else clip[0]
    loss, grad, output = _our_loss(
        tensors, variant=variant, low=low, high=clip[1], beta=beta, correction=correction, **TAU
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-11, atol=1e-15)
    if variant == "gmpo":
        assert output.clip_fraction == pytest.approx(metrics["clip_ratio/region_mean"][0])


@pytest.mark.parametrize("variant", ["gmpo", "grpo", "gspo"])
def test_kl_equals_trl_for_losses_of_responses(variant):
    tensors = of_responses(_tensors(10))
    expected, expected_grad, _ = _trl_loss(tensors, variant, beta=0.04)
    loss, grad, _ = _our_loss(tensors, variant=variant, low=0.2, high=0.2, beta=0.04)
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("variant", ["gspo", "gspo_token"])
def test_both_ratios_of_gspo_are_equal_where_a_response_has_one_advantage(variant):
    tensors = of_responses(_tensors(11))
    expected, expected_grad, _ = _trl_loss(tensors, "gspo", (0.05, 0.1))
    loss, grad, _ = _our_loss(tensors, variant=variant, low=0.05, high=0.1)
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("variant", ["gspo_token", "gmpo", "cispo", "sapo", "clip_cov"])
def test_a_token_without_an_advantage_has_no_gradient(variant):
    """The description has an advantage of its own; only ``gspo`` spreads it over the response."""
    tensors = _tensors(12)
    scene = torch.arange(LENGTH).expand(ROWS, -1) >= 4
    tensors["advantages"] = tensors["advantages"].masked_fill(scene, 0.0)
    tensors["chosen"] = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    _, grad, _ = _our_loss(tensors, variant=variant)
    assert not grad[scene].any() and grad[~scene & tensors["mask"]].any()


@pytest.mark.parametrize("variant", ["grpo", "dapo", "gspo"])
def test_two_sided_clipping_equals_trl(variant):
    tensors = _tensors(13)
    tensors["logp"] = tensors["old_logp"] + 3 * (tensors["logp"] - tensors["old_logp"])
    if variant == "gspo":
        tensors = of_responses(tensors)
    expected, expected_grad, _ = _trl_loss(tensors, variant, delta=1.5)
    loss, grad, output = _our_loss(tensors, variant=variant, low=0.2, high=0.2, dual_clip=1.5)
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-11, atol=1e-15)
    _, unbounded, before = _our_loss(tensors, variant=variant, low=0.2, high=0.2)
    assert not torch.equal(grad, unbounded)
    assert output.clip_fraction > before.clip_fraction


@pytest.mark.parametrize("correction", [False, True])
def test_off_policy_masking_equals_trl(correction):
    tensors = _tensors(14)
    if not correction:  # TRL takes the log-probabilities of sampling wherever there are any
        tensors["sampling_logp"] = tensors["old_logp"]
    expected, expected_grad, _ = _trl_loss(
        tensors, "grpo", correction=correction, off_policy_mask_threshold=0.05
    )
    loss, grad, output = _our_loss(tensors, correction=correction, off_policy_threshold=0.05)
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-15)
    assert 0 < int(output.off_policy_tokens) < int(output.fresh_tokens)


@pytest.mark.parametrize("variant", ["grpo", "dr_grpo", "cispo", "gmpo"])
def test_the_entropy_bonus_equals_trl(variant):
    tensors, bonus = of_responses(_tensors(15)), {"_entropy_bonus_enabled": True}
    theirs = (0.2, 1.2) if variant == "cispo" else (0.2, 0.2)
    if variant == "gmpo":  # TRL's GMPO has no bonus
        value, slope, _ = _trl_loss(tensors, "grpo", entropy_coef=0.1, **bonus)
        less, flat, _ = _trl_loss(tensors, "grpo")
        alone, own, _ = _trl_loss(tensors, "gmpo")
        expected, expected_grad = alone + value - less, own + slope - flat
    else:
        expected, expected_grad, _ = _trl_loss(tensors, variant, theirs, entropy_coef=0.1, **bonus)
    low = None if variant == "cispo" else 0.2
    loss, grad, output = _our_loss(tensors, variant=variant, low=low, high=0.2, entropy_weight=0.1)
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-11, atol=1e-15)
    entropies = -tensors["logp"].exp() * tensors["logp"]
    assert float(output.entropy_sum) == pytest.approx(float(entropies[tensors["mask"]].sum()))


@pytest.mark.parametrize("variant", ["grpo", "dr_grpo", "dapo"])
def test_equals_trl_with_gradient_accumulation(variant):
    """TRL averages ``bnpo`` over micro-batches, which here are a matter of memory only."""
    tensors, parts = _tensors(1), (slice(0, 4), slice(4, 8))
    expected, expected_grad, _ = _trl_loss(tensors, variant, parts=parts)
    loss, grad, _ = _our_loss(tensors, parts, variant=variant)
    assert loss == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("variant", EVERY)
def test_uneven_micro_batches_add_up_to_the_whole_batch(variant):
    tensors = _tensors(2)
    tensors["chosen"] = tensors["advantages"] > 1
    settled = torch.tensor([False, True, False, False, True, False, False, True])
    options = {"variant": variant, "beta": 0.04, "settled": settled}
    loss, grad, _ = _our_loss(tensors, **options)
    uneven = (slice(0, 1), slice(1, 6), slice(6, 8))
    split_loss, split_grad, _ = _our_loss(tensors, uneven, **options)
    assert split_loss == pytest.approx(loss, rel=1e-12)
    torch.testing.assert_close(split_grad, grad, rtol=1e-12, atol=1e-15)


def test_bnpo_is_the_mean_of_the_means_of_the_processes():
    tensors, parts = _tensors(2), (slice(0, 3), slice(3, 8))
    whole, summed, means = count(tensors["mask"]), 0.0, []
    for part in parts:
        own = count(tensors["mask"][part])
        shared = Normaliser(whole.rows, whole.tokens, local_tokens=own.tokens * len(parts))
        summed += _our_loss(tensors, (part,), variant="bnpo", normaliser=shared)[0]
        means.append(_our_loss(tensors, (part,), variant="bnpo", normaliser=own)[0])
    assert summed == pytest.approx(sum(means) / len(means), rel=1e-12)


def test_lists_of_rows_equal_padded_rows():
    tensors = _tensors(3)
    lengths = tensors["mask"].sum(1).tolist()
    rows = {
        name: [row[:length] for row, length in zip(values, lengths, strict=True)]
        for name, values in tensors.items()
    }
    rows["logp"] = [row.clone().requires_grad_() for row in rows["logp"]]
    names = ("logp", "old_logp", "advantages", "mask")
    output = policy_loss(
        *(rows[name] for name in names), rule=LossRule(), normaliser=count(tensors["mask"])
    )
    output.loss.backward()
    loss, grad, _ = _our_loss(tensors)
    assert output.loss.item() == pytest.approx(loss, rel=1e-12)
    for row, expected, length in zip(rows["logp"], grad, lengths, strict=True):
        torch.testing.assert_close(row.grad, expected[:length])


def test_without_old_log_probabilities_the_gradient_is_the_plain_policy_gradient():
    tensors = _tensors(4)
    logp = tensors["logp"].requires_grad_()
    output = policy_loss(
        logp,
        None,
        tensors["advantages"],
        tensors["mask"],
        rule=LossRule(),
        normaliser=count(tensors["mask"]),
    )
    output.loss.backward()
    per_row = tensors["mask"].sum(1, keepdim=True) * ROWS
    torch.testing.assert_close(logp.grad, -tensors["advantages"] * tensors["mask"] / per_row)
    assert output.clip_fraction == 0.0


@pytest.mark.parametrize("max_ratio", [1.0, 2.0])
def test_settled_rows_follow_the_policy_gradient_with_truncated_weights(max_ratio):
    tensors = _tensors(5)
    tensors["logp"] = tensors["old_logp"] + 3 * (tensors["logp"] - tensors["old_logp"])
    settled = torch.arange(ROWS) % 2 == 1
    _, grad, output = _our_loss(tensors, settled=settled, max_ratio=max_ratio, beta=0.04)
    _, fresh_grad, _ = _our_loss(tensors, beta=0.04)
    torch.testing.assert_close(grad[~settled], fresh_grad[~settled])

    ratio = (tensors["logp"] - tensors["old_logp"]).exp()
    weight = ratio.clamp(max=max_ratio)
    share = tensors["mask"] / (tensors["mask"].sum(1, keepdim=True) * ROWS)
    expected = -weight * tensors["advantages"] * share
    torch.testing.assert_close(grad[settled], expected[settled])
    truncated = ((ratio > max_ratio) & tensors["mask"])[settled].sum()
    assert int(output.truncated_tokens) == int(truncated) > 0
    assert output.truncated_fraction == pytest.approx(
        float(truncated / tensors["mask"][settled].sum())
    )


def test_a_settled_row_has_gradients_at_exactly_its_scene_tokens():
    tensors = _tensors(6)
    scene = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    scene[2, 3:6] = True
    tensors["mask"] = scene
    _, grad, _ = _our_loss(tensors, settled=torch.arange(ROWS) == 2, normaliser=Normaliser(8, 3))
    assert torch.equal(grad != 0, scene)


@pytest.mark.parametrize("variant", EVERY)
@pytest.mark.parametrize("name", ["logp", "old_logp", "advantages", "ref_logp", "sampling_logp"])
@pytest.mark.parametrize("garbage", [float("nan"), float("-inf"), 1e30])
def test_values_at_masked_tokens_have_no_effect(variant, name, garbage):
    tensors = _tensors(7)
    tensors["chosen"] = torch.ones(ROWS, LENGTH, dtype=torch.bool)
    tensors["chosen"][:, 1] = False
    options = {"settled": torch.arange(ROWS) < 3, "beta": 0.04, "correction": True}
    options |= {"variant": variant, "off_policy_threshold": 0.05}
    loss, grad, _ = _our_loss(tensors, **options)
    tensors[name] = tensors[name].masked_fill(~tensors["mask"], garbage)
    dirty_loss, dirty_grad, output = _our_loss(tensors, **options)
    assert dirty_loss == pytest.approx(loss, rel=1e-12)
    torch.testing.assert_close(dirty_grad, grad)
    assert output.kl > 0


def test_a_response_with_no_active_token_adds_nothing():
    tensors = _tensors(8)
    tensors["mask"][3] = False
    for variant in VARIANTS:
        loss, grad, _ = _our_loss(tensors, variant=variant)
        expected, expected_grad, _ = _trl_loss(tensors, variant)
        assert loss == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(grad, expected_grad)
        assert not grad[3].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "dr_grpo", "max_length": None}, "needs max_length"),
        ({"variant": "kl_cov"}, "needs the chosen tokens"),
        ({"beta": 0.1}, "no reference"),
        ({"settled": torch.ones(ROWS, dtype=torch.bool), "old_logp": None}, "need old_logp"),
    ],
)
def test_missing_or_unknown_arguments_are_errors(options, message):
    tensors = _tensors()
    arguments = {name: tensors[name] for name in ("logp", "old_logp", "advantages", "mask")}
    arguments |= {"normaliser": count(tensors["mask"]), **options}
    rule = _rule(arguments)
    with pytest.raises(ValueError, match=message):
        policy_loss(**arguments, rule=rule)
