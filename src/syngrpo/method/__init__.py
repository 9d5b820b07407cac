"""The method: what the paper defines, in plain numbers and without PyTorch.

Start with ``syn_grpo.py``; it reads like the paper's section on the method. ``base.py`` says what a
method decides and when the trainer asks. One module is one method: ``grpo``, ``clip_higher``,
``noisy_rollout``, ``random_scene``, ``no_smoothing``, ``syn_grpo``.

Below them are the parts they are put together from: ``response`` reads the three parts of a
response, ``diversity`` computes D, ``baseline`` the reward ρ of a description, ``advantages`` the
advantages and which tokens carry them, and ``ledger`` keeps the descriptions that wait for their
reward. ``workflow`` drives all of this; adapters to other trainers use it as well.
"""

from __future__ import annotations

from syngrpo.extensions import Registry
from syngrpo.method.base import Method

METHODS: Registry[type[Method]] = Registry(
    "method",
    "syngrpo.methods",
    {
        "syn-grpo": "syngrpo.method.syn_grpo:SynGrpo",
        "syn-grpo-no-smoothing": "syngrpo.method.no_smoothing:SynGrpoNoSmoothing",
        "random-scene": "syngrpo.method.random_scene:RandomScene",
        "grpo": "syngrpo.method.grpo:Grpo",
        "grpo-clip-higher": "syngrpo.method.clip_higher:GrpoClipHigher",
        "noisy-rollout": "syngrpo.method.noisy_rollout:NoisyRollout",
    },
)
