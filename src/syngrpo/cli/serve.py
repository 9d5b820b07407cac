"""``syngrpo serve``: runs a data server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.shared_options import (
    GeneratorOption,
    GpusPerWorker,
    Host,
    Port,
    RayAddress,
    UserTask,
    WorkerGenerator,
    option_values,
    ray_cluster,
)


def serve(
    pool: Annotated[Path, typer.Option(help="Directory of the runs' pools, on a local disk.")],
    host: Host = "127.0.0.1",
    port: Port = 8420,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes beside the server.")] = 1,
    generator: WorkerGenerator = None,
    option: GeneratorOption = None,
    ray: RayAddress = None,
    gpus_per_worker: GpusPerWorker = None,
    task: UserTask = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that requests must carry.")
    ] = None,
) -> None:
    """Run a data server for one or several training runs (server.url in their configuration)."""
    from syngrpo.serving.bearer_token import read_token, require_token_beyond_loopback

    token = read_token(token_file)
    require_token_beyond_loopback(host, token)

    from syngrpo.data_server.serve_data import serve as run_server
    from syngrpo.data_server.synthesis_options import WorkerSettings

    settings = WorkerSettings(
        generator=generator,
        options=option_values(option),
        workers=workers,
        tasks=tuple(task or ()),
    )
    cluster = ray_cluster(ray, gpus_per_worker)
    if workers:
        settings.make_generator()  # raises InputError before anything starts
    run_server(pool, host, port, token, settings, cluster)
