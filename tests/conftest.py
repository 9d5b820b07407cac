"""The order of the test files: long ones come first, so that two processes end at the same time."""

import pytest

FORKING = ("test_random_kills.py", "test_pool_processes.py")
"""They fork this process thousands of times, which takes the longer the larger it has grown."""

LONG = (
    "test_fuzzed_service.py",
    "test_sharding.py",
    "test_trainer_processes.py",
    "test_trainer_resume.py",
    "test_trainer_input.py",
    "test_trainer_reward.py",
    "test_ray_workers.py",
    "test_serve_and_worker.py",
    "test_starter_recipe.py",
)
"""Files of more than some 20 seconds."""

FIRST = {name: place for place, name in enumerate((*FORKING, *LONG))}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.get(item.path.name, len(FIRST)))
