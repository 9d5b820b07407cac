"""``syngrpo serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.options import (
    GeneratorOption,
    GpusPerWorker,
    RayAddress,
    generator_options,
    ray_cluster,
)


def serve(
    pool: Annotated[Path, typer.Option(help="Where the runs' pools live, a local directory.")],
    host: Annotated[str, typer.Option(help="Address; others than this host's need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8420,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes beside the server.")] = 1,
    generator: Annotated[str, typer.Option(help="What they paint with.")] = "rooms",
    option: GeneratorOption = None,
    ray: RayAddress = None,
    gpus_per_worker: GpusPerWorker = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that requests must carry.")
    ] = None,
) -> None:
    """Serve as the data server of one or several training runs (server.url in their config)."""
    from syngrpo.serving.bearer_token import read_token, require_token_beyond_loopback

    token = read_token(token_file)
    require_token_beyond_loopback(host, token)

    from syngrpo.data_server.service.serve_data import serve as run_server
    from syngrpo.painting.generators import make_generator

    given, cluster = generator_options(option), ray_cluster(ray, gpus_per_worker)
    if workers:
        make_generator(generator, given)  # what is wrong with it is said before anything starts
    run_server(pool, host, port, token, workers, generator, given, cluster=cluster)
