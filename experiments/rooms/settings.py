"""The settings of the experiment. Everything that may be tuned is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

STARTER = "starter"
"""Name of the row for the model before training. Its cells are only evaluated."""


@dataclass(frozen=True)
class Settings:
    """The settings of all cells.

    - ``seeds``: training seeds of every method
    - ``further_seeds``: method → additional seeds, for methods whose intervals overlap
    - ``seed_images``: number of seed images in the training data
    - ``held_out``: number of samples of each held-out set
    - ``steps``: number of training steps
    - ``evaluations``: how often the accuracy is measured during training, the last time at its end.
      Before the first step it is that of the starter.
    - ``common``: overrides of the configuration of every run, as ``--set`` takes them
    - ``of_task``: task → overrides of its runs
    - ``methods``: method → overrides of its runs
    """

    tasks: tuple[str, ...] = ("rec", "ovd", "isr")
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    further_seeds: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    seed_images: int = 20
    held_out: int = 150
    steps: int = 120
    evaluations: int = 1
    common: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {
                "model.device": "cpu",
                "synthesis.mode": "inline",  # an interrupted run gives the same results
                # The whole range of descriptions, useless ends included.
                "synthesis.frame.scale": "[0.4, 1]",
                "synthesis.frame.shift": "1",
                "synthesis.frame.horizon": "0.57",  # the middle of the floor lines of the rooms
                "synthesis.light.brightness": "0.12",
                "synthesis.light.haze": "0.8",
                "synthesis.light.glare": "0.6",
                "synthesis.light.cast": "1",
                "synthesis.light.blur": "0.015",
                "synthesis.light.grain": "6",
                "evaluation.at_start": "false",
                "rollout.max_new_tokens": "144",
                "pool.synthetic_ratio": "0.75",
                "method.descriptions_per_group": "3",  # as many as synthetic samples are drawn
                "pool.max_children": "1000",
                "pool.seed_coverage": "1",  # seed images in shuffled epochs, as plain GRPO has them
                "method.diversity_weight": "2",
                # At 1e-4 no method ends above the starter on dev.
                "trainer.learning_rate": "5e-5",
                "trainer.checkpoint_every": "50",
                "trainer.keep_checkpoints": "1",
                "logging.trackers": "[]",
                "logging.responses.keep": "none",
            }
        )
    )
    of_task: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType(
            {
                "rec": {"method.diversity_of": "hits"},
                "ovd": {
                    "method.diversity_of": "signal",
                    "trainer.learning_rate": "2e-5",  # at 5e-5 greedy accuracy falls by 10
                },
                "isr": {
                    "method.diversity_of": "above_chance",
                    # More painted images cost accuracy on dev: all children of a seed image have
                    # its question and its answer, which are learned by heart.
                    "pool.synthetic_ratio": "0.25",
                    "trainer.learning_rate": "2e-5",  # as in ovd
                    "method.descriptions_per_group": "2",
                },
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
                    # With one update for each rollout, all ratios would be 1 and nothing would be
                    # clipped, so the method would give exactly the results of plain GRPO.
                    "trainer.updates_per_rollout": "2",
                },
                "noisy-rollout": {"method.name": "noisy-rollout"},
                "executable-transforms": {"method.name": "executable-transforms"},
                "random-scene": {"method.name": "random-scene"},
                "random-scene-tuned": {
                    "method.name": "random-scene",
                    "synthesis.describer": "syngrpo_rooms.descriptions:TunedDescriber",
                },
                "random-scene-neutral": {
                    "method.name": "random-scene",
                    "synthesis.describer": "syngrpo_rooms.descriptions:NeutralDescriber",
                },
                "syn-grpo-no-smoothing": {"method.name": "syn-grpo-no-smoothing"},
                "syn-grpo-parent": {"method.name": "syn-grpo", "method.credit": "parent"},
                "syn-grpo-siblings": {"method.name": "syn-grpo", "method.credit": "siblings"},
                "syn-grpo": {"method.name": "syn-grpo"},
            }
        )
    )

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """All training seeds: first those of every method, then the further ones."""
        further = {seed for seeds in self.further_seeds.values() for seed in seeds}
        return self.seeds + tuple(sorted(further.difference(self.seeds)))

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """Return the training seeds of a method, including its further ones."""
        return self.seeds + tuple(self.further_seeds.get(method, ()))


SETTINGS = Settings()

CREDITS = ("syn-grpo", "syn-grpo-parent", "syn-grpo-siblings")
"""Methods that differ in what a description is compared with. They are measured on the sets for
tuning, too, on which the default of ``method.credit`` is chosen."""
FOLLOWED = (STARTER, "grpo", "executable-transforms", "random-scene", "syn-grpo")
"""Methods that are also trained for more steps, part ``longer``."""
WITH_MORE_IMAGES = (STARTER, "grpo", "random-scene", "syn-grpo")
"""Methods that are also trained with more seed images, part ``images``."""
SEEDS_OF_PARTS = 3
"""The parts have the first so many training seeds."""


def longer(settings: Settings) -> Settings:
    """Return the settings for training twice as many steps. These cells go on from the same cells
    of the whole."""
    steps, evaluations = 2 * settings.steps, 2 * settings.evaluations
    return _part(replace(settings, steps=steps, evaluations=evaluations), FOLLOWED)


def more_images(settings: Settings) -> Settings:
    """Return the settings for training with ten times as many seed images."""
    return _part(replace(settings, seed_images=settings.seed_images * 10), WITH_MORE_IMAGES)


def _part(settings: Settings, methods: tuple[str, ...]) -> Settings:
    return replace(
        settings,
        methods={name: settings.methods[name] for name in methods},
        seeds=settings.seeds[:SEEDS_OF_PARTS],
        further_seeds={},
    )


PARTS: Mapping[str, Callable[[Settings], Settings]] = MappingProxyType(
    {"longer": longer, "images": more_images}
)
"""Name of a further part of the experiment → what makes its settings from those of the whole."""
