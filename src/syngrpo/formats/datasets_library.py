"""The Hugging Face ``datasets`` library, an optional one."""

from __future__ import annotations

from types import ModuleType

from syngrpo.sample import InputError


def datasets_library() -> ModuleType:
    """The module. Raises InputError when it is not installed."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "Hugging Face datasets need the datasets library; run: pip install 'syngrpo[hf]'"
        ) from None
    return datasets
