"""Which files come first."""

import pytest

FORKING = ("test_random_kills.py", "test_pool_processes.py")
"""They fork this process thousands of times, which takes the longer the larger it has grown."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in FORKING)
