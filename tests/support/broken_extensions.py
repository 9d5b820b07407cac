"""Extensions that a user might write and that cannot be used, by ``broken_extensions:NAME``."""

from typing import Any

from syngrpo.method.syn_grpo import SynGrpo
from syngrpo.painting.generators.base import NoopGenerator
from syngrpo.policy.families.qwen import Qwen25VL
from syngrpo.tasks.base import Task
from syngrpo.tasks.rec import ReferringExpression

NUMBER = 5


class Nothing:
    """Has no method at all."""


class Raises:
    """Cannot be made."""

    def __init__(self, **options: Any) -> None:
        raise RuntimeError("no licence\nfound")


class NeedsMore:
    def __init__(self, more: int) -> None:
        self.more = more


class HalfTask(Task):
    """Leaves out how an answer is scored, and more."""

    name = "half"
    asks_for = "object"


class SlashTask(ReferringExpression):
    name = "rec/mine"


class OddTask(ReferringExpression):
    name = "odd"
    asks_for = "odd"  # type: ignore[assignment]


class RaisingMethod(SynGrpo):
    def __init__(self, options: Any, steps: int) -> None:
        raise RuntimeError("no licence")


class MethodWithoutOptions(SynGrpo):
    Options = int  # type: ignore[assignment]


class Nameless(NoopGenerator):
    fingerprint = None  # type: ignore[assignment]


class RaisingFamily(Raises, Qwen25VL):
    pass


class RaisingDescriber:
    def describe(self, sample: Any, rng: Any) -> str:
        raise KeyError("colour")


class WordlessDescriber:
    def describe(self, sample: Any, rng: Any) -> Any:
        return 5


def nothing(**options: Any) -> None:
    return None
