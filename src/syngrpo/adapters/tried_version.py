"""Whether the trainer that is installed is one that its adapter was tried with."""

from __future__ import annotations

import warnings
from importlib.metadata import version

from syngrpo.sample import InputError


def check_tried_version(package: str, tried: str) -> None:
    """Compare the installed version of ``package`` with ``tried``, such as "4.6".

    Raises InputError for an older one, and warns of a newer one, which may have changed its hooks.
    """
    have = version(package)
    if tuple(map(int, have.split(".")[:2])) < tuple(map(int, tried.split(".")[:2])):
        raise InputError(f"{package} {have} is too old; run: pip install '{package}>={tried}'")
    if have != tried and not have.startswith(f"{tried}."):
        warnings.warn(
            f"syngrpo's adapter was tried with {package} {tried}, this is {have}; if a step fails, "
            f"run: pip install '{package}=={tried}.*'",
            stacklevel=3,
        )
