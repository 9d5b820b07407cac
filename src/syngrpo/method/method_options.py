"""The section ``method`` of the configuration. The defaults fit all methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from syngrpo.method.language import WordingLimits
from syngrpo.method.loss_options import LossOptions
from syngrpo.options import option

SCENE_BETA = 0.04
"""The default of ``method.scene_beta`` where ``method.beta`` is smaller."""


@dataclass(frozen=True)
class MethodName:
    """The key that names the method. It is a class of its own so that it is listed first."""

    name: str = option(
        "syn-grpo",
        "which method: syn-grpo; grpo (no synthesis); grpo-clip-higher; noisy-rollout (no "
        "synthesis, half of a group answers a distorted image); executable-transforms (no "
        "synthesis, images are cropped, rotated and recoloured); random-scene (synthesis from "
        "random descriptions, no diversity reward); syn-grpo-no-smoothing (diversity reward "
        "without its moving baseline); one of an installed package; or package.module:Class",
    )


@dataclass(frozen=True)
class MethodOptions(LossOptions, MethodName):
    """The section ``method``: the algorithm and its constants. The defaults fit all methods, so
    that ``name`` is enough to switch between them."""

    credit: Literal["baseline", "parent", "siblings"] = option(
        "baseline",
        "what D of a description's image is compared with to reward the description; baseline: the "
        "moving mean of D; parent: D of the parent image, then the moving mean of these "
        "differences; siblings: the mean over the descriptions of the same group, whose images "
        "are drawn together (random-scene then draws its images in the same way)",
    )
    diversity_of: Literal["accuracy", "hits", "signal", "above_chance"] = option(
        "accuracy",
        "what D of a description's reward is computed from; accuracy: the accuracies of the "
        "responses to its image; hits: whether each is a hit (rec: IoU >= 0.5, ovd: >= 0.5, isr: "
        "right; Task.hit), so that near misses do not count; signal: min(1, std / "
        "advantage_floor), which is what the accuracy advantages keep of a group; above_chance: "
        "the accuracies, corrected for guessing (Task.chance), so that images of closed questions "
        "that nobody can see get no reward; the D of the pool and of diversity/response is always "
        "that of the accuracies",
    )
    scene_beta: float | None = option(
        None,
        "weight of the KL for the tokens of the description; 0: none; null: the larger of beta and "
        "0.04 for a method that paints what the policy describes, else beta; without any KL "
        "descriptions degenerate over a few hundred steps",
        ge=0,
    )
    format_weight: float = option(0.1, "weight of the format advantage", ge=0)
    phantom_weight: float = option(
        1.0,
        "factor of the advantages from format and custom rewards in groups whose answers are all "
        "wrong; 0: such groups teach nothing, also no format, so only for a model that has it",
        ge=0,
        le=1,
    )
    diversity_weight: float = option(0.5, "weight of the diversity reward", ge=0)
    smoothing_decay: float = option(
        0.95,
        "decay, for each description, of the moving mean and deviation that D is compared with",
        ge=0,
        lt=1,
    )
    rho_clip: float = option(
        2.0, "the diversity reward is clipped to the range from -rho_clip to rho_clip", gt=0
    )
    max_staleness: int = option(
        64, "policy versions after which a description without a reward is dropped", ge=1
    )
    max_ratio: float = option(
        2.0, "the importance ratio of settled descriptions is limited to this", ge=1
    )
    descriptions_per_group: int = option(
        2,
        "largest number of descriptions submitted for synthesis from each group; with credit "
        "siblings (at least 2) only from as many groups as can be drawn again",
        ge=1,
    )
    describing: Literal["submitted", "all"] = option(
        "submitted",
        "which responses describe new surroundings; submitted: as many of each group as are "
        "submitted for synthesis, and none where no image is painted from the group's (pool."
        "max_depth, no labelled objects), the others end after the answer; all: every response, as "
        "in the paper, at the cost of the words that nobody paints",
    )
    max_description_words: int | None = option(
        60,
        "words of a description; a longer one is not well formed: it is not painted, and its "
        "response gets the format reward 0; null: no limit",
        ge=1,
    )
    max_repetition: float | None = option(
        0.3,
        "largest share of a description's words that may repeat: that end three words in a row "
        "which occurred earlier in it; beyond it is not well formed; null: no limit",
        ge=0,
        le=1,
    )
    max_garbled: float | None = option(
        0.02,
        "largest share of a description's characters that may be no letters, digits, punctuation "
        "or spaces, such as stray bytes, control characters and emoji; beyond it is not well "
        "formed; null: no limit",
        ge=0,
        le=1,
    )
    noise: float = option(
        0.5,
        "noisy-rollout: strength of the noise at the start; it falls to almost 0 over the run",
        ge=0,
        lt=1,
    )
    refill_zero_variance: bool = option(
        False, "draw another sample for each group whose responses all score the same (DAPO)"
    )
    drop_zero_variance: bool = option(
        False,
        "leave groups in which no response has an advantage out of the update, also out of the "
        "divisor of the loss, so that they do not make the gradient of the others smaller; they "
        "then have no KL either",
    )

    @property
    def wording_limits(self) -> WordingLimits:
        """The limits beyond which a description is no language."""
        return WordingLimits(self.max_description_words, self.max_repetition, self.max_garbled)

    @property
    def kl_on_scene(self) -> float:
        """The weight of the KL for the tokens of the description. A configuration has filled in
        ``scene_beta``; without one it is the same as ``beta``."""
        return self.beta if self.scene_beta is None else self.scene_beta

    @property
    def has_kl(self) -> bool:
        """Whether a frozen reference model is needed."""
        return self.beta > 0 or self.kl_on_scene > 0

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """Yield the options that nothing reads beside the others of the section."""
        yield from super().without_effect()
        if self.advantage_kind != "group" and self.diversity_of != "signal":
            reason = f"with advantage {self.advantage_kind}; set advantage to group, or remove"
            yield "advantage_floor", f"{reason} advantage_floor"
