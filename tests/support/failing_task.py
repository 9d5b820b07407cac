"""Tasks of a user's own that raise in one method or return what they must not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from syngrpo.tasks.rec import ReferringExpression


def failing(method: str, error: BaseException) -> ReferringExpression:
    """Return the task ``rec``, but with this method raising this error."""

    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    return type("Failing", (ReferringExpression,), {method: fail, "name": "failing"})()


def giving(method: str, value: Any) -> ReferringExpression:
    """Return the task ``rec``, but with this method returning this value."""

    def give(*arguments: Any, **named: Any) -> Any:
        return value

    return type("Giving", (ReferringExpression,), {method: give, "name": "failing"})()


class Unscored(ReferringExpression):
    """Cannot score any answer."""

    name = "unscored"

    def score(self, prediction: Any, sample: Any) -> float:
        raise KeyError("no such\nlevel")


class Endless(ReferringExpression):
    """Does not come back from the check of an answer."""

    name = "endless"

    def ground_truth(self, *arguments: Any, **named: Any) -> Any:
        Path("begun").touch()
        time.sleep(3600)
