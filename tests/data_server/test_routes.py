"""The data server's API, within the process."""

import base64
import hashlib
import json
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from service_client import RUN, SEEDS, jobs, lease, open_run, painted, seed_of, service
from starlette.testclient import TestClient

from syngrpo.data_server.job_exchange import run_job
from syngrpo.data_server.remote_jobs import RemoteJobs
from syngrpo.data_server.sample_wire import (
    SMALL_IMAGE,
    ended_from,
    parent_data,
    requests_data,
    sample_data,
)
from syngrpo.data_server.server_runs import Runs
from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import NoopGenerator
from syngrpo.painting.painter import Painter
from syngrpo.painting.refused_pictures import kept_pictures, read_view
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.mirror import mirror, mirrored_up_to
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress
from syngrpo_rooms.dataset import rooms_samples


def admit(client: TestClient, count: int) -> None:
    """The whole life of some jobs, each with a picture of its own."""
    asked = jobs(count, policy_version=7, response="<scene>a green wall</scene>")
    assert len(client.post(f"{RUN}/jobs", json=asked).json()["accepted"]) == count
    for number, leased in enumerate(lease(client, count)):
        result = painted(leased, seed_of(leased).image.read(), 40 * number)
        answer = client.post("/v1/complete", json={"worker": "w", "results": [result]})
        assert answer.json() == {"jobs": [leased["job"]["id"]]}


def test_of_a_very_long_response_the_end_is_sent(tmp_path: Path) -> None:
    """A policy that thinks for 100,000 characters does not end the run."""
    response = "so " * 33_000 + "<scene>a green wall</scene>"
    (job,) = requests_data([JobRequest(SEEDS[0].id, "a green wall", 1, "rooms/3", 7, response)])
    assert response.endswith(job["response"]) and job["response"].endswith("</scene>")
    with service(tmp_path / "server") as client:
        open_run(client)
        answer = client.post(f"{RUN}/jobs", json={"jobs": [job]})
    assert len(answer.json()["accepted"]) == 1


def test_the_life_of_a_job(tmp_path: Path) -> None:
    with service(tmp_path / "server") as client:
        identity = open_run(client)
        admit(client, 3)
        (fourth,) = client.post(f"{RUN}/jobs", json=jobs(1, 3)).json()["accepted"]
        lease(client)
        rejected = {"run": "one", "job": fourth, "reason": "phantom_instance", "scores": {"n": 2}}
        client.post("/v1/complete", json={"worker": "w", "results": [rejected]})
        ended = client.get(f"{RUN}/outcomes", params={"images": "true"}).json()["jobs"]
        admitted = client.get(f"{RUN}/samples", params={"after": 1}).json()["jobs"]
        stats = client.get(f"{RUN}/stats").json()
    assert [job["state"] for job in ended] == ["admitted"] * 3 + ["rejected"]
    assert (ended[3]["reason"], ended[3]["scores"]) == ("phantom_instance", {"n": 2})
    assert [job["cursor"] for job in admitted] == [2, 3]
    assert stats["jobs"] == {"queued": 0, "leased": 0, "admitted": 3, "rejected": 1, "dead": 0}
    own = Pool.open(tmp_path / "own")
    own.add_seeds(SEEDS)
    rows = [ended_from(job) for job in ended]
    assert mirror(own, identity, rows[:2]) == 2
    assert mirror(own, identity, rows) == 2  # what comes again is known
    assert mirrored_up_to(own, identity) == 4
    assert (own.stats().synthetic, own.stats().rejected) == (3, {"phantom_instance": 1})
    theirs = Pool.open(tmp_path / "server" / "one")
    for job in ended[:3]:
        ours, original = own.get(job["sample"]["id"]), theirs.get(job["sample"]["id"])
        assert sample_data(ours) == sample_data(original)
        assert ours.image.read() == original.image.read()
        known = own.lineage(ours.id)
        assert (known.job, known.written_by) == (job["id"], 7)
        assert known.response == "<scene>a green wall</scene>"


def test_rejected_pictures_stay_on_the_server_as_small_copies(tmp_path: Path) -> None:
    """A remote worker hands them in with the reason."""
    with service(tmp_path) as client:
        open_run(client, thresholds={"min_change": 300.0, "keep_refused": 2})
        source = RemoteJobs(ServerAddress("http://testserver"), "w", NoopGenerator.fingerprint)
        source._connection._http = client  # type: ignore[assignment]
        names = client.post(f"{RUN}/jobs", json=jobs(3)).json()["accepted"]
        painter = Painter(NoopGenerator())
        for leased in source.lease(3):
            assert run_job(painter, source, leased)
        assert client.get(f"{RUN}/stats").json()["rejected"] == {"background_unchanged": 3}
        kept = kept_pictures(tmp_path / "one")
        assert [one.job_id for one in kept] == [names[2], names[1]]
        assert read_view(kept[0].path.read_bytes()) is not None


def test_jobs_carry_their_bundle_there_and_back_whatever_it_says(tmp_path: Path) -> None:
    """Also a bundle of two parents, of one job too few, and with a job twice."""
    with service(tmp_path / "server") as client:
        open_run(client)
        asked = jobs(2, bundle="b", bundle_size=3)
        asked["jobs"].append(asked["jobs"][0])
        answer = client.post(f"{RUN}/jobs", json=asked).json()
        assert (len(answer["accepted"]), len(answer["duplicates"])) == (2, 1)
        for number, leased in enumerate(lease(client, 2)):
            result = painted(leased, seed_of(leased).image.read(), 40 * number)
            client.post("/v1/complete", json={"worker": "w", "results": [result]})
        ended = client.get(f"{RUN}/outcomes").json()["jobs"]
    found = [(job["request"]["bundle"], job["request"]["bundle_size"]) for job in ended]
    assert found == [("b", 3)] * 2


def test_a_lease_carries_all_that_a_worker_needs(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client, thresholds={"min_change": 9.0}, painting={"max_side": 64}, lease_s=5)
        admit(client, 6)
        client.post(f"{RUN}/jobs", json=jobs(1, 6))
        (leased,) = lease(client)
        seed = SEEDS[0]
        digest, content = leased["source"].pop("image"), leased["source"].pop("content")
        assert base64.b64decode(content) == seed.image.read()
        assert leased["source"] == json.loads(json.dumps(sample_data(seed)))
        assert len(leased["siblings"]) == 1
        assert leased["constraints"]["keep"] == list(range(len(seed.objects)))
        assert leased["thresholds"]["min_change"] == 9.0
        assert leased["painting"]["max_side"] == 64
        assert leased["lease_s"] == 5
        image = client.get(f"{RUN}/images/{digest}")
        assert image.content == seed.image.read()
        assert digest == hashlib.sha256(image.content).hexdigest()
        assert "immutable" in image.headers["cache-control"]
        again = client.get(
            f"{RUN}/images/{digest}", headers={"If-None-Match": image.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(f"{RUN}/images/{'0' * 64}").status_code == 404


def test_jobs_of_unknown_parents_wait_for_the_upload(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        client.put(RUN, json={})
        answer = client.post(f"{RUN}/jobs", json=jobs(2)).json()
        assert answer["missing_parents"] == [SEEDS[0].id, SEEDS[1].id]
        assert answer["accepted"] == []
        open_run(client)
        assert len(client.post(f"{RUN}/jobs", json=jobs(2)).json()["accepted"]) == 2
        assert len(client.post(f"{RUN}/jobs", json=jobs(2)).json()["duplicates"]) == 2


def test_runs_share_the_workers_and_nothing_else(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client, "one")
        open_run(client, "two")
        client.post("/v1/runs/one/jobs", json=jobs(8))
        client.post("/v1/runs/two/jobs", json=jobs(2))
        client.post("/v1/runs/two/jobs", json=jobs(2, 9, generator="another"))
        turns = [lease(client, 1)[0]["run"] for _ in range(4)]
        assert sorted(turns) == ["one", "one", "two", "two"]  # taking turns
        assert len(lease(client, 20)) == 6
        assert lease(client, 20) == []  # the rest is for another generator
        stats = client.get("/v1/runs").json()["runs"]
        assert stats["one"]["jobs"]["leased"] == 8
        assert (stats["two"]["jobs"]["leased"], stats["two"]["jobs"]["queued"]) == (2, 2)


def test_failures_leases_and_jobs_given_back(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client, max_attempts=2)
        client.post(f"{RUN}/jobs", json=jobs(1))
        (leased,) = lease(client)
        name = {"run": "one", "job": leased["job"]["id"]}
        held, taken = {"worker": "w", "jobs": [name]}, {"jobs": [name["job"]]}
        assert client.post("/v1/heartbeat", json=held | {"worker": "x"}).json() == {"jobs": []}
        assert client.post("/v1/heartbeat", json=held).json() == taken
        assert client.post("/v1/release", json=held).json() == taken  # that was no attempt
        for attempt in (1, 2):
            (leased,) = lease(client)
            assert leased["job"]["attempts"] == attempt
            failed = {"worker": "w", "error": "Traceback\nRuntimeError: no", **name}
            assert client.post("/v1/fail", json=failed).json() == taken
        (dead,) = client.get(f"{RUN}/outcomes").json()["jobs"]
        assert (dead["state"], dead["attempts"]) == ("dead", 2)
        assert dead["error"] == "Traceback\nRuntimeError: no"


def test_two_workers_that_paint_the_same_at_the_same_time(tmp_path: Path) -> None:
    """Neither could know of the other; the second is found out when it is handed in."""
    with service(tmp_path) as client:
        open_run(client)
        client.post(f"{RUN}/jobs", json=jobs(1))
        client.post(f"{RUN}/jobs", json=jobs(1, 6))
        first, second = lease(client, 2)
        assert first["source"]["id"] == second["source"]["id"]
        image = SEEDS[0].image.read()
        both = [painted(first, image, 100), painted(second, SEEDS[1].image.read(), 101)]
        client.post("/v1/complete", json={"worker": "w", "results": both})
        ended = client.get(f"{RUN}/outcomes").json()["jobs"]
        assert [job["state"] for job in ended] == ["admitted", "rejected"]
        assert ended[1]["reason"] == "near_duplicate"
        assert ended[1]["scores"]["distance_sibling"] == 1.0


def test_a_lost_lease_changes_nothing(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client, lease_s=0.05)
        client.post(f"{RUN}/jobs", json=jobs(1))
        (slow,) = lease(client, worker="slow")
        time.sleep(0.1)
        (fast,) = lease(client, worker="fast")
        late = {"worker": "slow", "results": [painted(slow, seed_of(slow).image.read())]}
        assert client.post("/v1/complete", json=late).json() == {"jobs": []}
        assert client.get(f"{RUN}/stats").json()["synthetic"] == 0
        image = tmp_path / "one" / "images"
        assert len([path for path in image.rglob("*") if path.is_file()]) == len(SEEDS)
        done = {"worker": "fast", "results": [painted(fast, seed_of(fast).image.read())]}
        assert len(client.post("/v1/complete", json=done).json()["jobs"]) == 1
        assert client.post("/v1/complete", json=done).json() == {"jobs": []}, "once only"


def test_who_waits_for_a_job_gets_it_when_it_comes(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client)
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.extend(lease(client, wait_s=20)))
        waiting.start()
        client.post(f"{RUN}/jobs", json=jobs(1))
        waiting.join(10)
        assert not waiting.is_alive() and len(found) == 1
        client.app.state.service.close_soon()  # type: ignore[attr-defined]
        wanted = {"worker": "w", "generator": NoopGenerator.fingerprint, "wait_s": 20}
        answer = client.post("/v1/lease", json=wanted)  # nobody waits for a server that ends
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_observations_free_the_queue(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        policy = {"max_unmeasured": 1, "retire_after": 1, "retire_below": 0.5}
        open_run(client, policy=policy)
        admit(client, 1)
        full = client.post(f"{RUN}/jobs", json=jobs(1, 5))
        assert (full.status_code, full.headers["retry-after"]) == (429, "5")
        assert full.json() == {"error": "the queue of run one is full; try again later"}
        (child,) = client.get(f"{RUN}/samples").json()["jobs"]
        visit = {"step": 1, "policy_version": 1, "diversity": 0.1, "accuracy": 0.5}
        names = [child["sample"]["id"], "nobody"]
        seen = {"observations": [{"sample_id": name, **visit} for name in names]}
        for _ in range(2):
            assert client.post(f"{RUN}/observations", json=seen).json() == {"ignored": ["nobody"]}
        assert len(client.post(f"{RUN}/jobs", json=jobs(1, 5)).json()["accepted"]) == 1
        assert client.get(f"{RUN}/stats").json()["retired"] == 1


def test_a_server_goes_on_where_it_was(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        identity = open_run(client, lease_s=77)
        client.post(f"{RUN}/jobs", json=jobs(2))
    with service(tmp_path) as client:
        leased = lease(client, 2)
        assert [one["lease_s"] for one in leased] == [77, 77]
        assert open_run(client) == identity
        with pytest.raises(InputError, match="belongs to another server; stop it first"):
            Runs(tmp_path)


def test_prometheus_reads_the_metrics(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client)
        admit(client, 2)
        client.post(f"{RUN}/jobs", json=jobs(3, 2))
        lease(client, worker="another")
        text = client.get("/metrics").text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["syngrpo_queue_jobs", "one", "queued"] == 2
    assert found["syngrpo_queue_jobs", "leased", "one"] == 1
    assert found["syngrpo_ended_jobs_total", "admitted", "one"] == 2
    assert found["syngrpo_workers",] == 2
    assert found["syngrpo_requests_total", "/v1/lease", "200"] == 2
    assert found["syngrpo_request_seconds_count", "/v1/complete"] == 2


def test_a_large_image_travels_once_to_a_worker(tmp_path: Path) -> None:
    (large,) = rooms_samples("train", 1, size=512)
    assert len(large.image.read()) > SMALL_IMAGE
    with service(tmp_path) as client:
        open_run(client)
        client.post(f"{RUN}/samples", json={"samples": [parent_data(large)]})
        asked = [one | {"parent_id": large.id} for one in jobs(3)["jobs"]]
        client.post(f"{RUN}/jobs", json={"jobs": asked})
        worker = RemoteJobs(ServerAddress("http://testserver"), "w", "noop-1")
        worker._connection._http = client  # type: ignore[assignment]
        leased = [*worker.lease(1), *worker.lease(2)]
        assert [one.source.image.data for one in leased] == [large.image.read()] * 3
        assert leased[0].source.objects == large.objects
        painter = Painter(make_generator("noop"))
        for one in leased:
            run_job(painter, worker, one)
        stats = client.get(f"{RUN}/stats").json()
        assert stats["jobs"]["admitted"] + stats["jobs"]["rejected"] == 3
        assert stats["synthetic"] > 0
        images = '{route="/v1/runs/{run}/images/{digest}",status="200"} 1.0'
        assert images in client.get("/metrics").text


def test_the_status_page_says_what_is_there(tmp_path: Path) -> None:
    with service(tmp_path, token="secret") as client:
        assert client.get("/").status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert "There are no runs yet." in client.get("/").text
        open_run(client)
        client.post(f"{RUN}/jobs", json=jobs(3))
        lease(client, worker="host:1\n<b>")
        answer = client.get("/")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "Run one: 6 seeds received, 0 painted samples (0 not measured yet)." in answer.text
        assert (
            "Jobs: 2 waiting, 1 being painted, 0 admitted, 0 rejected, 0 given up." in answer.text
        )
        assert "1 worker in the last minute\n  host:1\\n<b>, 0 s ago" in answer.text
        assert "syngrpo 0." in answer.text and "SQLite 3." in answer.text
