"""Pickles that hold plain data and nothing else."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from syngrpo.sample import InputError


class _PlainUnpickler(pickle.Unpickler):
    """Builds numbers, texts, lists, tuples, sets and dicts. A pickle that names a class or a
    function, which is how one runs code, is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise InputError(f"it names {module}.{name}")

    def persistent_load(self, identifier: Any) -> NoReturn:
        raise InputError("it refers to objects outside of itself")


def load_plain_pickle(path: Path) -> Any:
    """The content of a pickle of Python 2 or 3, whose texts are UTF-8.

    Raises InputError when the file does not exist, is no pickle, or could run code.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8").load()
    except InputError as error:
        raise InputError(
            f"{path} is not plain data ({error}), and could run code; get the original file"
        ) from None
    except OSError as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None
    # What broken pickles raise, by the documentation of the module, and memory they claim to need.
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError),
        *(KeyError, OverflowError, MemoryError, RecursionError),
    ) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is not a pickle ({problem}); get the original file") from None
