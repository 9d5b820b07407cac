"""Runs whose folder is damaged beside others, and runs that nobody uses."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from service_client import RUN, SEEDS, jobs, lease, open_run, painted, seed_of, service

from syngrpo.data_server import server_runs
from syngrpo.data_server.sample_wire import parent_data
from syngrpo.data_server.server_runs import Runs
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.tasks import load_task
from syngrpo.tasks.rec import ReferringExpression


def truncate(path: Path, size: int) -> None:
    os.truncate(path, size)


def in_place_of(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def drop_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE samples")


TOLD = {
    "record is a folder": "run.json is no file; restore it",
    "record lost": "run.json is missing beside a pool.db with samples; restore it",
    "database is a folder": "pool.db is no file; run: syngrpo pool repair",
    "table lost": "pool.db is damaged (no such table: ",
}
"""What the message says of some damages."""

DAMAGE: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda run: (run / "run.json").write_text("{"),
    "no record": lambda run: (run / "run.json").write_text("[]"),
    "wrong options": lambda run: (run / "run.json").write_text('{"identity": 1, "options": 2}'),
    "database cut off": lambda run: truncate(run / "pool.db", 30_000),
    "database emptied": lambda run: truncate(run / "pool.db", 0),
    "database lost": lambda run: (run / "pool.db").unlink(),
    "deep record": lambda run: (run / "run.json").write_text("[" * 100_000),
    "record lost": lambda run: (run / "run.json").unlink(),
    "record is a pipe": lambda run: in_place_of(run / "run.json", os.mkfifo),
    "record is a folder": lambda run: in_place_of(run / "run.json", os.mkdir),
    "record is a dangling link": lambda run: in_place_of(
        run / "run.json", lambda path: path.symlink_to("nowhere")
    ),
    "table lost": lambda run: drop_table(run / "pool.db"),
    "database is a folder": lambda run: in_place_of(run / "pool.db", os.mkdir),
    "database is a pipe": lambda run: in_place_of(run / "pool.db", os.mkfifo),
    "no database": lambda run: (run / "pool.db").write_bytes(b"x" * 5000),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_is_offline_and_the_others_serve(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with service(tmp_path) as client:
        for run in ("one", "two"):
            open_run(client, run)
            client.post(f"/v1/runs/{run}/jobs", json=jobs(2))
    DAMAGE[name](tmp_path / "one")
    before = {path: path.lstat().st_size for path in (tmp_path / "one").iterdir()}
    with service(tmp_path) as client:
        assert "run one is offline: " in caplog.text and TOLD.get(name, "") in caplog.text
        stats = client.get("/v1/runs").json()
        assert list(stats["runs"]) == ["two"] and list(stats["offline"]) == ["one"]
        for answer in (
            client.get(f"{RUN}/stats"),
            client.put(RUN, json={}),
            client.post(f"{RUN}/jobs", json=jobs(1)),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
            assert answer.json()["error"].startswith("run one is offline: ")
        assert {leased["run"] for leased in lease(client, 9)} == {"two"}
        assert client.get("/metrics").status_code == 200
    after = {path: path.lstat().st_size for path in (tmp_path / "one").iterdir()}
    assert {path: size for path, size in after.items() if path in before} == before


def test_the_pool_of_a_run_that_was_put_there_is_not_given_to_another(tmp_path: Path) -> None:
    with service(tmp_path / "theirs") as client:
        open_run(client)
    with service(tmp_path / "ours") as client:
        (tmp_path / "theirs" / "one").rename(tmp_path / "ours" / "one")
        (tmp_path / "ours" / "one" / "run.json").unlink()
        answer = client.put(RUN, json={})
        assert answer.status_code == 503 and "run.json is missing" in answer.json()["error"]


def test_the_directory_of_a_training_run_is_told_from_that_of_a_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with service(tmp_path) as client:
        open_run(client)
    with pytest.raises(InputError, match=f"one is the folder of one run; .* above, {tmp_path}$"):
        Runs(tmp_path / "one")
    mine = tmp_path / "mine"
    Pool.open(mine).close()
    for name in ("config.yaml", ".lock"):
        (mine / name).touch()
    with pytest.raises(InputError, match=r"mine is the directory of a training run, .*; give "):
        Runs(mine)
    with service(tmp_path) as client:
        assert "mine is the directory of a training run, which is not served" in caplog.text
        stats = client.get("/v1/runs").json()
        assert (list(stats["runs"]), stats["offline"]) == (["one"], {})
        answer = client.put("/v1/runs/mine", json={})
        assert answer.status_code == 409 and "set server.namespace" in answer.json()["error"]


def test_a_pool_that_is_lost_while_the_server_runs_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_runs, "IDLE_S", -1.0)
    with service(tmp_path) as client:
        open_run(client)
        runs = client.app.state.service.runs  # type: ignore[attr-defined]
        runs.tidy()
        for path in (tmp_path / "one").glob("pool.db*"):
            path.unlink()
        assert client.get(f"{RUN}/stats").json()["seed"] == 6, "known from before"
        assert client.post(f"{RUN}/jobs", json=jobs(1)).status_code == 503
        assert not (tmp_path / "one" / "pool.db").exists()


def test_many_runs_need_few_files_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_runs, "MOST_OPEN", 3)
    with service(tmp_path) as client:
        open_run(client, "r0")
        few = len(os.listdir("/proc/self/fd"))
        names = [f"r{number}" for number in range(12)]
        for name in names:
            open_run(client, name)
            client.post(f"/v1/runs/{name}/jobs", json=jobs(1))
        assert len(os.listdir("/proc/self/fd")) <= few + 3 * 3
        stats = client.get("/v1/runs").json()["runs"]
        assert [stats[name]["jobs"]["queued"] for name in names] == [1] * 12
        assert lease(client, 20, generator="another") == []
        leased = lease(client, 20)
        assert {one["run"] for one in leased} == set(names)
        results = [painted(one, seed_of(one).image.read()) for one in leased]
        done = client.post("/v1/complete", json={"worker": "w", "results": results}).json()
        assert len(done["jobs"]) == 12
        assert len(os.listdir("/proc/self/fd")) <= few + 3 * 3
        assert all(run["synthetic"] == 1 for run in client.get("/v1/runs").json()["runs"].values())


def test_an_idle_run_is_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path) as client:
        open_run(client)
        runs = client.app.state.service.runs  # type: ignore[attr-defined]
        runs.tidy()
        assert runs.get("one").is_open()
        monkeypatch.setattr(server_runs, "IDLE_S", -1.0)
        runs.tidy()
        assert not runs.get("one").is_open()
        assert client.get(f"{RUN}/stats").json()["seed"] == 6
        assert not runs.get("one").is_open()
        client.post(f"{RUN}/jobs", json=jobs(1))
        assert runs.get("one").is_open()


def test_a_lost_image_costs_its_jobs_and_no_other(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client, max_attempts=1)
        client.post(f"{RUN}/jobs", json=jobs(2))
        image = tmp_path / "one" / "images" / SEEDS[0].image.digest()[:2] / SEEDS[0].image.digest()
        image.unlink()
        assert [one["source"]["id"] for one in lease(client, 2)] == [SEEDS[1].id]
        (dead,) = client.get(f"{RUN}/outcomes").json()["jobs"]
        assert dead["state"] == "dead" and "cannot be read (No such file" in dead["error"]


def test_an_admitted_image_that_is_lost_does_not_stop_the_others(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client)
        client.post(f"{RUN}/jobs", json=jobs(2))
        results = [
            painted(one, seed_of(one).image.read(), n) for n, one in enumerate(lease(client, 2))
        ]
        client.post("/v1/complete", json={"worker": "w", "results": results})
        jobs_ended = client.get(f"{RUN}/outcomes").json()["jobs"]
        digest = jobs_ended[0]["sample"]["image"]
        (tmp_path / "one" / "images" / digest[:2] / digest).unlink()
        ended = client.get(f"{RUN}/outcomes", params={"images": "true"}).json()["jobs"]
        assert [job["state"] for job in ended] == ["dead", "admitted"]
        assert ended[1]["sample"]["content"]


def test_a_worker_goes_on_after_a_run_went_offline_whose_job_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews, hands in, gives back and fails jobs of both runs in the same requests."""
    monkeypatch.setattr(server_runs, "IDLE_S", -1.0)
    with service(tmp_path) as client:
        for run in ("one", "two"):
            open_run(client, run)
            client.post(f"/v1/runs/{run}/jobs", json=jobs(2))
        leased = lease(client, 4)
        names = [{"run": one["run"], "job": one["job"]["id"]} for one in leased]
        of_two = [name for name in names if name["run"] == "two"]
        client.app.state.service.runs.tidy()  # type: ignore[attr-defined]
        truncate(tmp_path / "one" / "pool.db", 30_000)
        held = {"worker": "w", "jobs": names}
        taken = {"jobs": [name["job"] for name in of_two]}
        assert client.post("/v1/heartbeat", json=held).json() == taken
        assert list(client.get("/v1/runs").json()["offline"]) == ["one"]
        results = [painted(one, seed_of(one).image.read(), n) for n, one in enumerate(leased)]
        results = [one for one in results if one["job"] != of_two[1]["job"]]
        done = client.post("/v1/complete", json={"worker": "w", "results": results})
        assert done.json() == {"jobs": [of_two[0]["job"]]}
        assert client.post("/v1/release", json=held).json() == {"jobs": [of_two[1]["job"]]}
        for name in names:
            failed = client.post("/v1/fail", json={"worker": "w", "error": "no", **name})
            assert failed.json() == {"jobs": []}
        assert len(lease(client, 4)) == 1, "what was given back"


class Chairs(ReferringExpression):
    """A task of a user's own."""

    name = "chairs"


UNKNOWN = """
import sys
from pathlib import Path
from service_client import lease, service

with service(Path(sys.argv[1])) as client:
    stats = client.get("/v1/runs").json()
    print(list(stats["runs"]), [one["run"] for one in lease(client, 9)], stats["offline"]["mine"])
"""


def test_a_run_whose_task_is_not_loaded_is_offline_and_loses_no_job(tmp_path: Path) -> None:
    """As after a server was started again without ``--task``: the other process does not load
    it."""
    load_task(f"{Path(__file__).stem}:Chairs")
    seed = replace(SEEDS[0], id="a chair", task=Chairs.name)
    asked = jobs(1)["jobs"][0] | {"parent_id": seed.id}
    with service(tmp_path) as client:
        open_run(client)
        client.post(f"{RUN}/jobs", json=jobs(2))
        open_run(client, "mine")
        rows = {"samples": [parent_data(seed)]}
        assert client.post("/v1/runs/mine/samples", json=rows).json() == {"added": 1}
        client.post("/v1/runs/mine/jobs", json={"jobs": [asked]})
    command = [sys.executable, "-c", UNKNOWN, str(tmp_path)]
    support = str(Path(__file__).parents[1] / "support")
    path = os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])
    said = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("['one'] ['one', 'one'] task 'chairs' is unknown; "), said
    with service(tmp_path) as client:
        assert {leased["run"] for leased in lease(client, 9)} == {"mine"}


def test_a_task_that_fails_on_a_sample_takes_its_own_run_offline(tmp_path: Path) -> None:
    """The others go on, and no job of theirs is lost."""
    with service(tmp_path) as client:
        for run in ("one", "two"):
            open_run(client, run)
            client.post(f"/v1/runs/{run}/jobs", json=jobs(2))
        with closing(sqlite3.connect(tmp_path / "one" / "pool.db")) as connection, connection:
            connection.execute("UPDATE samples SET body = json_set(body, '$.question', 5)")
        assert [leased["run"] for leased in lease(client, 9)] == ["two", "two"]
        offline = client.get("/v1/runs").json()["offline"]
        assert offline["one"].startswith("task rec failed in constraints on sample ")
