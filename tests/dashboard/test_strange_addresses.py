"""Addresses that somebody has changed by hand: what has no sense there is left out."""

from __future__ import annotations

import httpx
import pytest

from syngrpo.dashboard.metrics.metric_curves import MetricKey
from syngrpo.dashboard.metrics.name_filter import LONGEST_PATTERN, fitting_metrics
from syngrpo.dashboard.parts.view import whole_number
from syngrpo.sample import InputError

LONG = "9" * 5000
"""Python reads no number of so many digits."""


@pytest.mark.parametrize(
    "address",
    [
        *(
            f"{tab}?page={page}"
            for tab in ("evolution", "data", "evaluation")
            for page in ("²", LONG)
        ),
        f"evolution?uses={LONG}&value=x",
        "responses?kind=x&sort=x&step=²&group=x&response=-1&low=nan&high=x&overlay=x",
        f"responses?step={LONG}&group={LONG}",
        "metrics?smoothing=nan&x=x&log=x&runs=x,%25&large=%25&toggled=,",
        "compare?runs=x,first&metrics=x,&all=x",
        "config?level=x&changed=x",
        "gate?reason=x",
        "data?order=x&kind=x&state=x&task=x&dataset=x",
    ],
)
def test_every_address_is_a_page(served: str, address: str) -> None:
    answer = httpx.get(f"{served}/run/first/{address}", trust_env=False, timeout=60)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("0", 0), ("²", None), ("-1", None), ("1e3", None), (LONG, None), ("", None)],
)
def test_whole_numbers(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "pattern",
    ["(" * 400, "(", "(a|(?R))*", "(?:a+)+$" * 20, "x" * (LONGEST_PATTERN + 1), "\\p{" * 150],
)
def test_no_regular_expression_takes_long_or_fails(pattern: str) -> None:
    names = [MetricKey(name, name) for name in ("a" * 5000 + "b", "loss")] * 150
    try:
        assert fitting_metrics(names, pattern) is not None
    except InputError as error:
        assert "regular expression" in str(error)
