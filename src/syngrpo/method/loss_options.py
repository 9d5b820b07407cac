"""The options of the section ``method`` about the loss, and which of them contradict each other.

``losses`` lists the losses; ``docs/losses.md`` says what each is for. ``MethodOptions`` inherits
these options, so that they stand in the section ``method`` beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from syngrpo.method.losses import LOSSES, KlEstimator, LossForm, LossName
from syngrpo.options import option


@dataclass(frozen=True)
class LossOptions:
    """How rewards become advantages, and advantages a loss."""

    loss: LossName = option(
        "grpo",
        "which loss: grpo, dr_grpo, dapo and bnpo differ in what the clipped loss of the tokens is "
        "divided by; gspo, gspo_token, cispo, sapo, gmpo, clip_cov and kl_cov in what is done with "
        "the importance ratio, which is always 1 with trainer.updates_per_rollout 1; see "
        "docs/losses.md",
    )
    advantage: Literal["group", "centred", "rloo", "batch"] | None = option(
        None,
        "how rewards become advantages; group: the reward minus the group's mean, divided by "
        "max(std, advantage_floor); centred: without the division; rloo: the reward minus the mean "
        "of the others; batch: centred, divided by the std over the whole step (REINFORCE++ "
        "baseline); null: centred if loss is dr_grpo, else group",
    )
    advantage_floor: float = option(
        0.15,
        "the advantages of each reward (accuracy, format, each of data.rewards) are divided by "
        "max(std, advantage_floor), with advantage group; a reward that varies less counts less",
        gt=0,
    )
    clip_low: float | None = option(
        None,
        "the importance ratio is clipped below 1 - clip_low (gmpo: below exp(-clip_low)); null: "
        "0.2, gspo: 0.0003, gmpo: 0.4, cispo: no bound; sapo and kl_cov have none",
        gt=0,
        lt=1,
    )
    clip_high: float | None = option(
        None,
        "the importance ratio is clipped above 1 + clip_high (gmpo: above exp(clip_high)); null: "
        "0.2, grpo-clip-higher: 0.28, gspo: 0.0004, gmpo: 0.4, cispo: 4; sapo and kl_cov have "
        "none; has no effect with trainer.updates_per_rollout 1, where all ratios are 1",
        gt=0,
    )
    dual_clip: float | None = option(
        None,
        "largest importance ratio of tokens with a negative advantage, which clip_high does not "
        "bound, such as 3 (two-sided clipping); above 1 + clip_high; has no effect with "
        "trainer.updates_per_rollout 1; null: none",
        gt=1,
    )
    sapo_tau_positive: float = option(
        1.0, "sapo: how fast the weight of a token with a positive advantage falls", gt=0
    )
    sapo_tau_negative: float = option(
        1.05, "sapo: how fast the weight of a token with another advantage falls", gt=0
    )
    covariance_share: float = option(
        0.0002,
        "clip_cov, kl_cov: share of the tokens of a step that are treated apart, at least one: "
        "those whose log-probability covaries most with the advantage",
        gt=0,
        le=1,
    )
    covariance_low: float = option(
        1.0, "clip_cov: tokens are chosen at random among those with a covariance above this"
    )
    covariance_high: float = option(5.0, "clip_cov: and below this")
    covariance_penalty: float = option(
        1.0, "kl_cov: weight of the penalty on the change of the chosen tokens", ge=0
    )
    off_policy_threshold: float | None = option(
        None,
        "leave out the tokens with a negative advantage of a response if its mean "
        "log-probability, in nats a token, has fallen by more than this since it was sampled, "
        "such as 0.5 (off-policy masking); null: none",
        gt=0,
    )
    beta: float = option(
        0.04,
        "weight of the KL to the frozen reference, the model as the run found it; 0: none",
        ge=0,
    )
    kl_estimator: KlEstimator = option(
        "k3",
        "how the KL of a token is estimated from d = log p - log p_reference; k1: d, whose "
        "gradient is 0 on average and holds nothing; k2: d^2 / 2; k3: exp(-d) + d - 1",
    )
    entropy_weight: float = option(
        0.0,
        "weight of the entropy of the policy at the response tokens, which is made larger; with "
        "entropy_target the first weight; 0 without a target: none, and nothing is computed",
        ge=0,
    )
    entropy_target: float | None = option(
        None,
        "mean entropy of a token in nats; the weight grows by entropy_step after each update below "
        "it and shrinks after each update above, and acts only below it; null: constant weight",
        gt=0,
    )
    entropy_step: float = option(
        0.005, "change of the entropy weight in each update, with entropy_target", gt=0
    )
    entropy_limit: float = option(1.0, "largest entropy weight, with entropy_target", gt=0)

    @property
    def loss_form(self) -> LossForm:
        """The parts of the loss that ``loss`` names."""
        return LOSSES[self.loss]

    @property
    def clip_range(self) -> tuple[float | None, float | None]:
        """``clip_low`` and ``clip_high``, with the defaults of the loss; None: no bound."""
        low, high = self.loss_form.clip
        return (
            low if self.clip_low is None else self.clip_low,
            high if self.clip_high is None else self.clip_high,
        )

    @property
    def advantage_kind(self) -> str:
        """``advantage``, with the default of the loss: a key of ``advantages.ADVANTAGES``."""
        return self.advantage or ("centred" if self.loss == "dr_grpo" else "group")

    @property
    def wants_entropy(self) -> bool:
        """Whether the update needs the entropy of the policy at each token."""
        return self.entropy_weight > 0 or self.entropy_target is not None

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """Yield the options that nothing reads beside the others, and the end of a message about
        each."""
        form = self.loss_form
        read = {
            "clip_low": form.bounded,
            "clip_high": form.bounded,
            "dual_clip": form.objective == "clip",
            "sapo_tau_positive": form.objective == "soft",
            "sapo_tau_negative": form.objective == "soft",
            "covariance_share": form.chosen is not None,
            "covariance_low": form.chosen == "cut",
            "covariance_high": form.chosen == "cut",
            "covariance_penalty": form.chosen == "hold",
        }
        for key, is_read in read.items():
            if not is_read:
                yield key, f"with loss {self.loss}; remove {key}"
        if self.entropy_target is None:
            for key in ("entropy_step", "entropy_limit"):
                yield key, f"without entropy_target; set entropy_target, or remove {key}"


def check_loss(options: LossOptions, describes: bool, defaults: Mapping[str, Any]) -> None:
    """Raise ValueError, with one line, for options that contradict each other or have no effect.

    ``describes``: whether responses describe new surroundings, so that the tokens of a response
    have different advantages. ``defaults`` are those of the method where they are its own.
    """
    form, name = options.loss_form, options.loss
    usual = {field.name: field.default for field in fields(options)} | dict(defaults)
    for key, reason in options.without_effect():
        value = getattr(options, key)
        if value != usual[key]:
            shown = value if isinstance(value, str) else f"{value:g}"
            raise ValueError(f"{key} {shown} has no effect {reason}")
    if options.dual_clip is not None:
        least = 1.0 + (options.clip_range[1] or 0.0)
        if options.dual_clip <= least:
            raise ValueError(
                f"dual_clip is {options.dual_clip:g}, not above 1 + clip_high = {least:g}; "
                "make it larger"
            )
    if form.ratio == "sequence" and describes:
        raise ValueError(
            f"loss {name} gives all tokens of a response the same gradient, and a description has "
            "an advantage of its own; set loss to gspo_token, which is equal elsewhere"
        )
    if options.covariance_low >= options.covariance_high:
        raise ValueError(
            f"covariance_low {options.covariance_low:g} is not below covariance_high "
            f"{options.covariance_high:g}; no token could be chosen"
        )
    if options.entropy_target is not None and options.entropy_weight > options.entropy_limit:
        raise ValueError(
            f"entropy_weight {options.entropy_weight:g} is above entropy_limit "
            f"{options.entropy_limit:g}; lower it or raise the limit"
        )
