"""The method: everything that the paper defines, computed without PyTorch.

Start with ``syn_grpo``, which describes the method of the paper step by step. ``base`` lists what a
method decides, and in which step the trainer asks for it. Each method is one module: ``syn_grpo``,
and for comparison ``grpo``, ``clip_higher``, ``noisy_rollout``, ``executable_transforms``,
``random_scene`` and ``no_smoothing``.

The other modules are the parts of a method, in the order in which a training step uses them:
``response`` splits a response into its three parts, ``language`` finds descriptions that are no
language, ``diversity`` computes D of a group, ``ledger`` keeps the descriptions that wait for their
reward, ``baseline`` and ``siblings`` compute this reward (ρ), ``advantages`` computes the advantage
of every token, and ``losses`` lists the losses that learn from it.

``workflow.trainer`` calls all of this. A trainer of your own can do the same.
"""

from __future__ import annotations

from typing import Any

from syngrpo.extensions import Registry, no_subclass
from syngrpo.method.base import Method, MethodOptions


def _problem(name: str, method: Any) -> str | None:
    problem = no_subclass(method, Method)
    if problem is None and (of_options := no_subclass(method.Options, MethodOptions)) is not None:
        problem = f"has the class attribute Options, which {of_options}"
    return problem


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
        "executable-transforms": "syngrpo.method.executable_transforms:ExecutableTransforms",
    },
    problem=_problem,
)
