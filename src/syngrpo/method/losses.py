"""The losses that ``method.loss`` can name, each as a choice of four parts.

A loss is the sum over tokens of −(objective of the token), divided by something. ``LossForm`` names
the parts; ``workflow.surrogates`` and ``workflow.loss`` compute them.

- ``ratio``: what the policy's change is measured by. r_t = π(t) / π_old(t) of each ``token``; the
  geometric mean s of r_t over the response (``sequence``); or the value of s with the gradient of
  each token, sg(s)·π(t)/sg(π(t)) (``sequence_token``).
- ``objective``: what is made of a ratio r and an advantage A. ``clip``: min(r·A, clip(r)·A).
  ``truncate``: sg(clip(r))·A·log π. ``soft``: A·(4/τ)·sigmoid(τ(r − 1)). ``geometric``: A times the
  geometric mean of the clipped r_t. ``plain``: r·A.
- ``divisor``: tokens of the response × ``responses``; ``constant`` (``rollout.max_new_tokens``) ×
  responses; ``tokens`` of the step; or ``local_tokens``, the tokens of this process × processes.
- ``chosen``: a few tokens whose log-probability covaries most with the advantage are treated apart:
  they lose their gradient (``cut``), or are held by a penalty on their change (``hold``).

``docs/losses.md`` says what each loss is for, and names the papers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Ratio = Literal["token", "sequence", "sequence_token"]
Objective = Literal["clip", "truncate", "soft", "geometric", "plain"]
Divisor = Literal["responses", "constant", "tokens", "local_tokens"]
Choice = Literal["cut", "hold"]
KlEstimator = Literal["k1", "k2", "k3"]

LossName = Literal[
    "grpo",
    "dr_grpo",
    "dapo",
    "bnpo",
    "gspo",
    "gspo_token",
    "cispo",
    "sapo",
    "gmpo",
    "clip_cov",
    "kl_cov",
]


@dataclass(frozen=True)
class LossForm:
    """The parts of a loss.

    ``clip`` is the default of ``method.clip_low`` and ``method.clip_high``. None: the ratio has no
    such bound by default, and ``bounded`` says whether it can have one.
    """

    ratio: Ratio = "token"
    objective: Objective = "clip"
    divisor: Divisor = "responses"
    chosen: Choice | None = None
    clip: tuple[float | None, float | None] = (0.2, 0.2)

    @property
    def bounded(self) -> bool:
        """Whether the ratio can be bounded by ``method.clip_low`` and ``method.clip_high``."""
        return self.objective in ("clip", "truncate", "geometric")


LOSSES: Mapping[LossName, LossForm] = MappingProxyType(
    {
        "grpo": LossForm(),
        "dr_grpo": LossForm(divisor="constant"),
        "dapo": LossForm(divisor="tokens"),
        "bnpo": LossForm(divisor="local_tokens"),
        "gspo": LossForm("sequence", clip=(3e-4, 4e-4)),
        "gspo_token": LossForm("sequence_token", clip=(3e-4, 4e-4)),
        "cispo": LossForm(objective="truncate", divisor="tokens", clip=(None, 4.0)),
        "sapo": LossForm(objective="soft", clip=(None, None)),
        "gmpo": LossForm(objective="geometric", clip=(0.4, 0.4)),
        "clip_cov": LossForm(divisor="tokens", chosen="cut"),
        "kl_cov": LossForm(objective="plain", divisor="tokens", chosen="hold", clip=(None, None)),
    }
)
