"""The garbage collector is switched off for a while, and is as it was afterwards."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from syngrpo.serving.garbage_collection import importing, without_garbage_collection


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_off_meanwhile_and_as_it_was_afterwards(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    with without_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled() == enabled
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled() == enabled


def test_what_was_imported_is_never_looked_through() -> None:
    with importing():
        made = [[place] for place in range(1000)]
    assert gc.get_freeze_count() >= 1000
    assert not any(one is made for one in gc.get_objects())


def test_nothing_is_left_out_as_the_process_ends() -> None:
    """Else extension modules that count their objects complain of leaks on standard error."""
    lines = [
        "import atexit, gc",
        "atexit.register(lambda: print(gc.get_freeze_count()))",
        "from syngrpo.serving.garbage_collection import importing",
        "with importing(): made = [[place] for place in range(1000)]",
        "print(gc.get_freeze_count() >= 1000)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "0"]
