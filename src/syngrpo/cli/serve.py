"""``syngrpo serve``: runs a data server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    require_dashboard,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

    from syngrpo.data_server.serve_data import Addition


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
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Also show the runs in the browser, at /dashboard.")
    ] = False,
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
    run_server(pool, host, port, token, settings, cluster, _pages(pool, token, dashboard))


def _pages(pool: Path, token: str | None, wanted: bool) -> Addition | None:
    """Return the dashboard as an addition to the server, None if it is not wanted."""
    if not wanted:
        return None
    require_dashboard()
    from syngrpo.dashboard.reading.followed_runs import FollowedRuns
    from syngrpo.dashboard.server import add_dashboard
    from syngrpo.data_server.serve_data import Addition

    def add(app: FastAPI) -> None:
        add_dashboard(app, FollowedRuns([pool]), token, at="/dashboard")

    return Addition("/dashboard", add)
