"""Chooses the ``PoolClient`` of a run by its options, and starts what belongs to it.

``syngrpo train`` and ``DataClient.open`` call ``open_pool_client``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.pool_client import InlineClient, PoolClient
from syngrpo.data_server.server_sink import OUTBOX_NAME, ServerSink, namespace_of
from syngrpo.data_server.spill import require_whole
from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisSettings
from syngrpo.data_server.workers import LocalWorkers
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.serving.bearer_token import read_token
from syngrpo.serving.http_client import ServerAddress
from syngrpo.serving.wording import count

log = logging.getLogger(__name__)


def open_pool_client(
    stack: ExitStack,
    settings: SynthesisSettings,
    server: ServerOptions,
    sampling: SamplingPolicy,
    *,
    batch: int,
    seed: int,
    weights: Mapping[str, float] | None = None,
    fingerprint: str | None = None,
) -> PoolClient:
    """Return the client for the pool in ``settings.directory``; ``stack`` closes it, and ends the
    workers.

    With the mode ``async`` jobs go to the data server of ``server``, or without a URL to local
    workers. With any other mode the client paints within ``submit``, if at all. ``fingerprint`` is
    that of a generator that is not installed here. Raises InputError when the generator, the pool
    or the address cannot be used.
    """
    client: PoolClient
    _warn_of_jobs_left(settings.directory, server.url)
    if settings.mode != "async":
        client = InlineClient(settings, sampling, seed=seed, weights=weights)
        stack.callback(client.close)
        return client
    known = fingerprint or settings.make_generator().fingerprint
    sink = None
    if server.url is not None:
        token = Path(server.token_file) if server.token_file is not None else None
        address = ServerAddress(server.url, read_token(token))
        name = server.namespace or namespace_of(settings.directory)
        sink = ServerSink(address, name, settings, sampling)
    client = AsyncClient(
        settings,
        sampling,
        batch=batch,
        prefetch=settings.prefetch,
        seed=seed,
        sink=sink,
        weights=weights,
        fingerprint=known,
    )
    if sink is None:
        stack.enter_context(LocalWorkers(settings))
    stack.callback(client.close)
    return client


def _warn_of_jobs_left(directory: Path, url: str | None) -> None:
    """Warn of jobs that nobody will paint, because the run was started with a data server and goes
    on without, or the other way round."""
    if url is None:
        left = sum("job" in record for record in require_whole(directory / OUTBOX_NAME))
        where, how = f"{OUTBOX_NAME} for a data server", "with the server.url of before"
    else:
        with closing(Pool.open(directory)) as pool:
            left = pool.stats().open_jobs
        where, how = "the pool for workers of this host", "without server.url"
    if left:
        log.warning(
            "%s in %s will not be painted; to have them painted, resume %s",
            *(count(left, "job"), where, how),
        )
