"""Whether the trainer that is installed is one that its adapter was tried with."""

from __future__ import annotations

import re
import warnings
from importlib.metadata import PackageNotFoundError, version

from syngrpo.sample import InputError


def check_tried_version(package: str, tried: str) -> None:
    """Compare the installed version of ``package`` with ``tried``, such as "4.6".

    Raises InputError for an older one, and warns of a newer one, which may have changed its hooks,
    and of one that runs from its source and does not say its version.
    """
    try:
        have = version(package)
    except PackageNotFoundError:
        warnings.warn(
            f"syngrpo's adapter was tried with {package} {tried}; which one this is cannot be "
            f"told, because it is not installed; if a step fails, run: pip install "
            f"'{package}=={tried}.*'",
            stacklevel=3,
        )
        return
    if _release(have) < _release(tried):
        raise InputError(f"{package} {have} is too old; run: pip install '{package}>={tried}'")
    if have != tried and not have.startswith(f"{tried}."):
        warnings.warn(
            f"syngrpo's adapter was tried with {package} {tried}, this is {have}; if a step fails, "
            f"run: pip install '{package}=={tried}.*'",
            stacklevel=3,
        )


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version: those of "2.0rc1" are 2 and 0."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
