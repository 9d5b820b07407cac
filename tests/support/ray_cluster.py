"""A Ray cluster of this machine, for the tests of what runs on one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from syngrpo.data_server.ray_cluster import TOKEN_MODE

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


@contextmanager
def ray_cluster(gpus: int = 0, **environment: str) -> Iterator[str]:
    """The address of a cluster with two CPUs, and GPUs that it only believes in."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**QUIET, **environment}.items():
            patch.setenv(name, value)
        ray.init(
            num_cpus=2,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=80 << 20,
            log_to_driver=False,
            logging_level="ERROR",
            _node_ip_address="127.0.0.1",
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def of_commands() -> dict[str, str]:
    """Their environment: the cluster that this process started asks for a token, and they may have
    been forked from a server that is older than the cluster."""
    return QUIET | {TOKEN_MODE: os.environ.get(TOKEN_MODE, "disabled")}
