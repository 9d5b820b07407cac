"""What the experiment is: everything that may be tuned, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

STARTER = "starter"
"""The row that is not trained."""


@dataclass(frozen=True)
class Settings:
    """``seed_images`` are trained on, ``held_out`` samples a set are measured with; accuracy is
    measured ``evaluations`` times on the way, the last time at the end, and once before. ``common``
    holds for every run, ``methods`` for those of a method: overrides as ``--set`` takes them.
    ``further_seeds`` are those of methods whose intervals overlap.
    """

    tasks: tuple[str, ...] = ("rec", "ovd", "isr")
    seeds: tuple[int, ...] = (0, 1, 2)
    further_seeds: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: MappingProxyType(
            {"grpo": (3,), "random-scene": (3,), "syn-grpo": (3,)}
        )
    )
    seed_images: int = 20
    held_out: int = 200
    steps: int = 240
    evaluations: int = 4
    common: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {
                "model.device": "cpu",
                "synthesis.mode": "inline",  # the same numbers wherever and how often interrupted
                "synthesis.displacement": "0.9",  # as far as there is room
                "pool.synthetic_ratio": "0.75",
                "method.descriptions_per_group": "3",  # as many as are drawn, so that all are fresh
                "pool.max_children": "1000",
                "pool.seed_coverage": "1",  # seed images in shuffled epochs, as plain GRPO has them
                "trainer.checkpoint_every": "50",
                "trainer.keep_checkpoints": "1",
                "logging.trackers": "[]",
            }
        )
    )
    methods: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType(
            {
                STARTER: {},
                "grpo": {"method.name": "grpo"},
                "grpo-clip-higher": {
                    "method.name": "grpo-clip-higher",
                    # After one update alone, from responses of this very policy, all ratios are 1
                    # and nothing is clipped: it is plain GRPO to the last digit.
                    "trainer.updates_per_rollout": "2",
                },
                "noisy-rollout": {"method.name": "noisy-rollout"},
                "random-scene": {"method.name": "random-scene"},
                "syn-grpo-no-smoothing": {"method.name": "syn-grpo-no-smoothing"},
                "syn-grpo": {"method.name": "syn-grpo"},
            }
        )
    )

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Those of every method first."""
        further = {seed for seeds in self.further_seeds.values() for seed in seeds}
        return self.seeds + tuple(sorted(further.difference(self.seeds)))

    def seeds_of(self, method: str) -> tuple[int, ...]:
        return self.seeds + tuple(self.further_seeds.get(method, ()))


SETTINGS = Settings()

FOLLOWED = (STARTER, "grpo", "syn-grpo")
"""Methods that are trained for longer, too."""


def longer(settings: Settings) -> Settings:
    """Half as many steps again, for those whose distance should go on growing."""
    methods = {name: settings.methods[name] for name in FOLLOWED}
    return replace(settings, steps=settings.steps * 3 // 2, methods=methods, further_seeds={})
