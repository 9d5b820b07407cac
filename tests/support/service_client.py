"""The service within the process of a test, and what a trainer and a worker say to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from syngrpo.data_server.request_checks import Limits
from syngrpo.data_server.sample_wire import parent_data, to_base64
from syngrpo.data_server.serve_data import create_app
from syngrpo.data_server.server_runs import Runs
from syngrpo.painting.frame import unmoved
from syngrpo.painting.generators.base import NoopGenerator
from syngrpo.painting.light import Light
from syngrpo.sample import Sample
from syngrpo_rooms.dataset import rooms_samples

SEEDS = rooms_samples("train", 6)
RUN = "/v1/runs/one"


@contextmanager
def service(
    folder: Path, token: str | None = None, limits: Limits | None = None
) -> Iterator[TestClient]:
    with TestClient(create_app(Runs(folder), token, limits)) as client:
        yield client


def open_run(client: TestClient, name: str = "one", **options: Any) -> str:
    """Opens a run with all seeds; returns its identity."""
    answer = client.put(f"/v1/runs/{name}", json=options)
    assert answer.status_code == 200, answer.text
    rows = {"samples": [parent_data(seed) for seed in SEEDS]}
    assert client.post(f"/v1/runs/{name}/samples", json=rows).status_code == 200
    return str(answer.json()["identity"])


def jobs(count: int, first: int = 0, **changed: Any) -> dict[str, Any]:
    asked = {"description": "a green wall", "generator": NoopGenerator.fingerprint} | changed
    numbers = range(first, first + count)
    return {"jobs": [{"parent_id": SEEDS[n % 6].id, "seed": n, **asked} for n in numbers]}


def lease(client: TestClient, count: int = 1, worker: str = "w", **more: Any) -> list[Any]:
    wanted = {"worker": worker, "generator": NoopGenerator.fingerprint, "count": count}
    answer = client.post("/v1/lease", json=wanted | more)
    assert answer.status_code == 200, answer.text
    return answer.json()["leases"]


def painted(leased: Any, image: bytes, number: int = 0) -> dict[str, Any]:
    """A picture handed in for a lease; another number, other surroundings."""
    seed = seed_of(leased).image
    how = {
        "frame": unmoved(seed.width, seed.height).lineage(),
        "light": Light().lineage(),
    }
    picture = {"image": to_base64(image), "prompt": "p", "hash": to_base64(bytes([number]) * 256)}
    return {"run": leased["run"], "job": leased["job"]["id"], "painted": picture | how}


def seed_of(leased: Any) -> Sample:
    return next(seed for seed in SEEDS if seed.id == leased["source"]["id"])
