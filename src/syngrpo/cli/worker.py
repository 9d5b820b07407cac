"""``syngrpo worker``: runs workers for a data server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.shared_options import (
    GeneratorOption,
    GpusPerWorker,
    RayAddress,
    UserTask,
    WorkerGenerator,
    option_values,
    ray_cluster,
)


def worker(
    server: Annotated[str, typer.Option(help="The data server: http://host:port.")],
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that the server asks for.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes. Default: one for each of --devices, else one."),
    ] = None,
    devices: Annotated[
        str,
        typer.Option(
            help="Accelerators given to the workers in turn, such as 0,1. Default: each sees all."
        ),
    ] = "",
    generator: WorkerGenerator = None,
    option: GeneratorOption = None,
    ray: RayAddress = None,
    gpus_per_worker: GpusPerWorker = None,
    task: UserTask = None,
) -> None:
    """Run workers for a data server, on this host or a Ray cluster, until SIGTERM or Ctrl-C."""
    from syngrpo.data_server.synthesis_options import RemoteSettings
    from syngrpo.data_server.workers import run_workers
    from syngrpo.sample import InputError
    from syngrpo.serving.bearer_token import read_token
    from syngrpo.serving.http_client import ServerAddress, check_url

    check_url(server)
    cluster = ray_cluster(ray, gpus_per_worker)
    if cluster and devices:
        raise InputError("--devices is for this host; with --ray give --gpus-per-worker")
    names = tuple(name.strip() for name in devices.split(",") if name.strip())
    address = ServerAddress(server, read_token(token_file))
    settings = RemoteSettings(
        server=address,
        generator=generator,
        options=option_values(option),
        workers=workers or max(1, len(names)),
        devices=names,
        tasks=tuple(task or ()),
    )
    run_workers(settings, cluster)
