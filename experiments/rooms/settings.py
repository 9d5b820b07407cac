"""The settings of the experiment: everything that may be tuned, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

STARTER = "starter"
"""The row of the model that is not trained."""


@dataclass(frozen=True)
class Settings:
    """``seed_images``: number of seed images in training. ``held_out``: samples of each held-out
    set. ``evaluations``: how often the accuracy is measured in training, the last time at its end;
    once more before the first step. ``common``: overrides, as ``--set`` takes them, of every run;
    ``methods``: those of each method. ``further_seeds``: additional seeds of methods whose
    intervals overlap.
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
                "synthesis.mode": "inline",  # the same results however often it is interrupted
                "synthesis.displacement": "0.9",  # as far as the objects can move
                "pool.synthetic_ratio": "0.75",
                "method.descriptions_per_group": "3",  # as many as are drawn
                "method.scene_beta": "0",  # the recorded runs have no KL at all
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
                    # With one update on responses of the same policy all ratios are 1 and nothing
                    # is clipped: the method would be plain GRPO to the last digit.
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
        """All training seeds, those of every method first."""
        further = {seed for seeds in self.further_seeds.values() for seed in seeds}
        return self.seeds + tuple(sorted(further.difference(self.seeds)))

    def seeds_of(self, method: str) -> tuple[int, ...]:
        return self.seeds + tuple(self.further_seeds.get(method, ()))


SETTINGS = Settings()

FOLLOWED = (STARTER, "grpo", "syn-grpo")
"""Methods that are also trained for more steps."""


def longer(settings: Settings) -> Settings:
    """Return the settings of the longer part: half as many steps again, for the methods
    ``FOLLOWED``."""
    methods = {name: settings.methods[name] for name in FOLLOWED}
    return replace(settings, steps=settings.steps * 3 // 2, methods=methods, further_seeds={})
