"""A trainer of a version that its adapter was never tried with."""

import warnings
from importlib.metadata import version

import pytest

from syngrpo.adapters.tried_version import check_tried_version
from syngrpo.sample import InputError

MAJOR, MINOR = map(int, version("accelerate").split(".")[:2])


def test_the_tried_version_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_tried_version("accelerate", f"{MAJOR}.{MINOR}")


def test_a_newer_one_warns_and_says_how_to_go_back() -> None:
    with pytest.warns(UserWarning, match=r"if a step fails, run: pip install 'accelerate==0\.1\."):
        check_tried_version("accelerate", "0.1")


@pytest.mark.parametrize("tried", [f"{MAJOR}.{MINOR + 1}", f"{MAJOR + 1}.0"])
def test_an_older_one_is_refused_in_one_line(tried: str) -> None:
    with pytest.raises(InputError, match="is too old; run: pip install 'accelerate>=") as caught:
        check_tried_version("accelerate", tried)
    assert "\n" not in str(caught.value)
