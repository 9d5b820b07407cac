"""Loads and calls rewards that a user adds to the accuracy of the task, in TRL's form.

    def brevity(completions, **columns):
        return [1.0 if len(text) < 400 else 0.0 for text in completions]

A reward is a function ``f(prompts, completions, **columns) -> list[float | None]``, plain or
``async``; all arguments are lists with one item a response and are given by keyword. ``prompts``
are the texts beside the images, ``completions`` the texts of the responses. ``columns`` are the
extra columns of the data (None for a sample without one), and ``ground_truth``, ``question``,
``task`` and ``sample_id``, which replace columns of the same name. A value None means that the
reward does not apply to this response.

The trainer loads the rewards of ``data.rewards`` with ``load_reward`` and calls ``score_rewards``
for each group; the evaluation does the same for each sample.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

from syngrpo.extensions import Registry, made, no_callable, reason_of
from syngrpo.options import REQUIRED, option
from syngrpo.sample import InputError, Sample
from syngrpo.serving.wording import plural
from syngrpo.tasks.asking import ROUNDING_DIGITS

Values = list[float | None]
RewardFunction = Callable[..., "Sequence[float | None] | Awaitable[Sequence[float | None]]"]

REWARDS: Registry[Any] = Registry(
    "reward",
    "syngrpo.rewards",
    {
        "vlm-r1-format": "syngrpo.tasks.vlm_r1_rewards:format_reward",
        "vlm-r1-format-rec": "syngrpo.tasks.vlm_r1_rewards:format_reward_rec",
        "vlm-r1-iou": "syngrpo.tasks.vlm_r1_rewards:iou_reward",
        "vlm-r1-odlength": "syngrpo.tasks.vlm_r1_rewards:odlength_reward",
    },
    problem=no_callable,
)

TAKEN_NAMES = ("accuracy", "format")
"""Names of the rewards of the task and of the response format in metrics.jsonl."""

SHOWN_SAMPLES = 3
"""Largest number of samples that a message names."""


@dataclass(frozen=True)
class RewardOptions:
    """One reward of ``data.rewards``."""

    use: str = option(
        REQUIRED, "name of a built-in or installed reward, or package.module:function"
    )
    weight: float = option(
        1.0, "its advantage is multiplied by this; that of the task's accuracy by 1"
    )
    name: str | None = option(
        None,
        "its name in metrics, as reward/NAME; null: the last part of use",
        pattern=r"^[\w.-]+$",
    )
    on: Literal["answer", "scene", "response"] = option(
        "answer",
        "the tokens that get its advantage: answer (all but the scene), scene (the description), "
        "or response (all)",
    )
    replaces_accuracy: bool = option(
        False, "use its values, in [0, 1], instead of the task's accuracy, also to compute D"
    )

    def __post_init__(self) -> None:
        if self.shown_name in TAKEN_NAMES:
            raise ValueError(f"name {self.shown_name!r} is taken; give the reward another name")
        if self.replaces_accuracy and (self.weight, self.on) != (1.0, "answer"):
            raise ValueError(
                f"reward {self.shown_name!r} replaces the accuracy, whose advantage has weight 1 "
                "and is for the answer; remove weight and on, or replaces_accuracy"
            )

    @property
    def shown_name(self) -> str:
        """The given name; without one, the last part of ``use``: brevity for
        ``my.rewards:brevity``."""
        return self.name or self.use.rpartition(":")[2].rpartition(".")[2]


@dataclass(frozen=True)
class Reward:
    """A reward ready to be called; the other fields are those of its options."""

    name: str
    weight: float
    on: Literal["answer", "scene", "response"]
    replaces_accuracy: bool
    function: RewardFunction


def load_reward(options: RewardOptions) -> Reward:
    """Import a reward and return it; a class is called without arguments. Raises InputError when it
    is not found or cannot be called."""
    found = REWARDS.load(options.use)
    what = f"reward '{options.use}'"
    function = made(what, found) if isinstance(found, type) else found
    if (problem := no_callable(what, function)) is not None:
        raise InputError(f"{what} {problem}")
    return Reward(
        options.shown_name, options.weight, options.on, options.replaces_accuracy, function
    )


def score_rewards(
    rewards: Sequence[Reward],
    prompts: Sequence[str],
    completions: Sequence[str],
    samples: Sequence[Sample],
) -> dict[str, list[float | None]]:
    """Call every reward for N responses and return its N values by its name.

    ``prompts``, ``completions`` and ``samples`` have one item a response. ``async`` rewards run
    concurrently. Raises InputError naming the reward and the sample when a reward raises or exits,
    returns another number of values, or returns a value that is not a finite number.
    """
    if not rewards:
        return {}
    columns = _columns(samples)
    given: dict[str, Any] = {}
    for reward in rewards:
        try:
            given[reward.name] = reward.function(
                prompts=list(prompts), completions=list(completions), **columns
            )
        except (Exception, SystemExit) as error:
            raise _failed(reward, samples, error) from error
    waiting = [reward for reward in rewards if inspect.isawaitable(given[reward.name])]
    if waiting:
        given |= asyncio.run(_all_of(waiting, given, samples))
    return {reward.name: _checked(reward, given[reward.name], samples) for reward in rewards}


async def _all_of(
    rewards: Sequence[Reward], given: Mapping[str, Any], samples: Sequence[Sample]
) -> dict[str, Any]:
    async def one(reward: Reward) -> Any:
        try:
            return await given[reward.name]
        except (Exception, SystemExit) as error:
            raise _failed(reward, samples, error) from error

    values = await asyncio.gather(*(one(reward) for reward in rewards))
    return {reward.name: value for reward, value in zip(rewards, values, strict=True)}


def _columns(samples: Sequence[Sample]) -> dict[str, list[Any]]:
    """Return the keyword arguments of a reward beside prompts and completions."""
    names = {name: None for sample in samples for name in sample.columns}
    columns = {name: [sample.columns.get(name) for sample in samples] for name in names}
    columns.pop("prompts", None)
    columns.pop("completions", None)
    return {
        **columns,
        "ground_truth": [sample.answer for sample in samples],
        "question": [sample.question for sample in samples],
        "task": [sample.task for sample in samples],
        "sample_id": [sample.id for sample in samples],
    }


def _checked(reward: Reward, values: Any, samples: Sequence[Sample]) -> Values:
    try:
        listed = None if isinstance(values, Mapping | Set | str) else list(values)
    except TypeError:
        listed = None
    except (Exception, SystemExit) as error:  # of a generator, which computes only now
        raise _failed(reward, samples, error) from error
    if listed is None:
        raise InputError(
            f"reward {reward.name} gave {_shown(values)} for {_named(samples)}; it must return a "
            "list with a number or None for each response"
        )
    if len(listed) != len(samples):
        raise InputError(
            f"reward {reward.name} gave {len(listed)} values for {len(samples)} responses to "
            f"{_named(samples)}; it must return one for each response"
        )
    return [
        None if value is None else _number(reward, value, sample)
        for value, sample in zip(listed, samples, strict=True)
    ]


def _number(reward: Reward, value: Any, sample: Sample) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise InputError(
            f"reward {reward.name} gave {_shown(value)} for sample {sample.id}; it must return "
            "finite numbers or None"
        )
    if reward.replaces_accuracy and not 0 <= round(number, ROUNDING_DIGITS) <= 1:
        raise InputError(
            f"reward {reward.name} gave {_shown(value)} for sample {sample.id}; it replaces the "
            "accuracy, so it must return numbers from 0 to 1"
        )
    return number


def _failed(reward: Reward, samples: Sequence[Sample], error: BaseException) -> InputError:
    """Return the error that says which reward failed, on which sample, why and where."""
    return InputError(f"reward {reward.name} failed on {_named(samples)} ({reason_of(error)})")


def _named(samples: Sequence[Sample]) -> str:
    ids = list(dict.fromkeys(sample.id for sample in samples))
    more = f" and {len(ids) - SHOWN_SAMPLES} more" if len(ids) > SHOWN_SAMPLES else ""
    return f"{plural(len(ids), 'sample')} {', '.join(ids[:SHOWN_SAMPLES])}{more}"


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
