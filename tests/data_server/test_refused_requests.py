"""What the service refuses: with the right status and one line, logged, and nothing changed."""

import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from costly_pictures import COSTLY
from hypothesis import given
from PIL import Image
from schemathesis.checks import not_a_server_error
from service_client import RUN, SEEDS, jobs, lease, open_run, painted, seed_of, service
from starlette.testclient import TestClient
from strange_requests import repeatable

from syngrpo.data_server.request_checks import Limits
from syngrpo.data_server.sample_wire import parent_data, to_base64
from syngrpo.data_server.serve_data import create_app
from syngrpo.data_server.server_runs import Runs
from syngrpo.sample import Sample
from syngrpo_rooms.dataset import rooms_samples

TOKEN = "correct-horse"
SMALL = Limits(body=60_000, image_body=200_000, values=10_000, image_pixels=1_000_000)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with service(tmp_path, limits=SMALL) as client:
        open_run(client)
        yield client


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def seed_row(sample: Sample = SEEDS[0], **changed: Any) -> dict[str, Any]:
    return {"samples": [parent_data(sample) | changed]}


def thing(**changed: Any) -> dict[str, Any]:
    """A new seed whose first object was changed."""
    first, *others = parent_data(SEEDS[0])["objects"]
    return seed_row(id="new", objects=[first | changed, *others])


(REASONING,) = rooms_samples("train", 1, task="isr")
HALF = SEEDS[0].image.read()[:2000]


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def half(image: bytes = HALF) -> dict[str, Any]:
    """A result whose image was cut off, for a job that does not exist."""
    return painted({"run": "one", "job": {"id": "0" * 64}, "source": {"id": SEEDS[0].id}}, image)


def rejected(copy: bytes) -> dict[str, Any]:
    result = {"run": "one", "job": "0" * 64, "reason": "unseen", "picture": to_base64(copy)}
    return {"worker": "w", "results": [result]}


NOT_ALLOWED: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "description": (422, "POST", f"{RUN}/jobs", jobs(1, description="x" * 4001)),
    "whole body": (413, "POST", f"{RUN}/jobs", jobs(1, description="x" * 100_000)),
    "too many": (422, "POST", f"{RUN}/jobs", jobs(300, description="")),
    "unknown key": (422, "POST", f"{RUN}/jobs", jobs(1, colour="red")),
    "bundle without its size": (422, "POST", f"{RUN}/jobs", jobs(1, bundle="b")),
    "huge bundle": (422, "POST", f"{RUN}/jobs", jobs(1, bundle="b", bundle_size=257)),
    "huge number": (422, "POST", f"{RUN}/jobs", jobs(1, seed=2**63)),
    "half a surrogate": (422, "POST", f"{RUN}/jobs", jobs(1, description="\ud800")),
    "name of a run": (422, "PUT", "/v1/runs/One%20run", {}),
    "name of a run, too long": (422, "PUT", "/v1/runs/" + "x" * 65, {}),
    "nan": (422, "PUT", RUN, {"thresholds": {"min_change": float("nan")}}),
    "policy": (422, "PUT", RUN, {"policy": {"max_visits": 0}}),
    "side": (422, "PUT", RUN, {"painting": {"max_side": 8}}),
    "round trip": (422, "PUT", RUN, {"painting": {"round_trip": 1.5}}),
    "shift": (422, "PUT", RUN, {"painting": {"frame": {"shift": 2}}}),
    "scale": (422, "PUT", RUN, {"painting": {"frame": {"scale": [0.9, 0.4]}}}),
    "light": (422, "PUT", RUN, {"painting": {"light": {"haze": 1}}}),
    "unknown run": (404, "POST", "/v1/runs/gone/jobs", jobs(1)),
    "unknown path": (404, "POST", "/v1/elsewhere", {}),
    "wrong method": (405, "POST", RUN, {}),
    "bomb": (413, "POST", f"{RUN}/samples", seed_row(content=to_base64(bomb(50_000, 50_000)))),
    "large": (413, "POST", f"{RUN}/samples", seed_row(content=to_base64(bomb(2_000, 1_000)))),
    "no image": (422, "POST", f"{RUN}/samples", seed_row(content=to_base64(b"GIF89a"))),
    "no base64": (422, "POST", f"{RUN}/samples", seed_row(content="***")),
    "other size": (422, "POST", f"{RUN}/samples", seed_row(size=[1, 2])),
    "other content": (409, "POST", f"{RUN}/samples", seed_row(question="the other one")),
    "unknown task": (422, "POST", f"{RUN}/samples", seed_row(id="new", task="sing")),
    "half a surrogate in a question": (422, "POST", f"{RUN}/samples", seed_row(question="\ud800")),
    "half a surrogate in a label": (422, "POST", f"{RUN}/samples", thing(label="\ud800")),
    "half a surrogate in a column": (
        422,
        "POST",
        f"{RUN}/samples",
        seed_row(columns={"a\ud800": 1}),
    ),
    "half a surrogate in an answer": (422, "POST", f"{RUN}/samples", seed_row(answer="\ud800")),
    "nul in an id": (422, "POST", f"{RUN}/samples", seed_row(id="a\0b")),
    "nul in a column": (422, "POST", f"{RUN}/samples", seed_row(id="n", columns={"a": ["\0"]})),
    "nested column": (422, "POST", f"{RUN}/samples", seed_row(id="n", columns={"a": nested(60)})),
    "nested body": (422, "POST", f"{RUN}/samples", seed_row(id="n", columns={"a": nested(900)})),
    "wrong column": (
        422,
        "POST",
        f"{RUN}/samples",
        seed_row(REASONING, columns={"about": 5}),
    ),
    "wrong answer": (422, "POST", f"{RUN}/samples", seed_row(id="n", answer=5)),
    "box outside": (422, "POST", f"{RUN}/samples", thing(box=[0, 0, 500, 500])),
    "box upside down": (422, "POST", f"{RUN}/samples", thing(box=[9, 9, 0, 0])),
    "mask that crashes": (
        422,
        "POST",
        f"{RUN}/samples",
        thing(mask={"size": [128, 128], "counts": "0" * 15 + "o"}),
    ),
    "mask of another size": (
        422,
        "POST",
        f"{RUN}/samples",
        thing(mask={"size": [60_000, 60_000], "counts": "PPYo1"}),
    ),
    "half an image": (422, "POST", f"{RUN}/samples", seed_row(content=to_base64(HALF))),
    "half a painted image": (422, "POST", "/v1/complete", {"worker": "w", "results": [half()]}),
    "too many values": (413, "POST", f"{RUN}/jobs", {"jobs": [0] * 20_000}),
    "tuple mark": (422, "POST", f"{RUN}/samples", seed_row(id="n", answer={"__tuple__": 1})),
    "diversity": (
        422,
        "POST",
        f"{RUN}/observations",
        {
            "observations": [
                {"sample_id": "a", "step": 1, "policy_version": 1, "diversity": 2, "accuracy": 0}
            ]
        },
    ),
    "no byte of a painted image": (
        422,
        "POST",
        "/v1/complete",
        {"worker": "w", "results": [half(b""), half(SEEDS[0].image.read())]},
    ),
    "no byte of a copy": (422, "POST", "/v1/complete", rejected(b"")),
    "half a copy": (422, "POST", "/v1/complete", rejected(HALF)),
    "large copy": (422, "POST", "/v1/complete", rejected(bomb(500, 20))),
    "copy of an admitted picture": (
        422,
        "POST",
        "/v1/complete",
        {"worker": "w", "results": [half() | {"picture": to_base64(bomb(5, 5))}]},
    ),
    "neither": (
        422,
        "POST",
        "/v1/complete",
        {"worker": "w", "results": [{"run": "one", "job": "0" * 64}]},
    ),
}


@pytest.mark.parametrize("name", NOT_ALLOWED)
def test_refused_and_nothing_changed(
    client: TestClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, method, path, data = NOT_ALLOWED[name]
    before = client.get("/v1/runs").json()
    content = json.dumps(data)
    headers = {"content-type": "application/json"}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    line = answer.json()["error"]
    assert line and "\n" not in line and len(line) <= 500
    assert f"refused with status {status}: {line}" in caplog.messages
    assert client.get("/v1/runs").json() == before


@pytest.mark.parametrize(
    "path", ["/v1/runs/../one", "/v1/runs/%2e%2e/jobs", f"{RUN}/images/..%2f..%2frun.json"]
)
def test_a_path_does_not_lead_out(tmp_path: Path, path: str) -> None:
    """The path is given as it is: an HTTP client would resolve it before sending."""
    with service(tmp_path) as client:
        open_run(client)
        statuses: list[int] = []
        raw = path.encode()
        scope = {"type": "http", "method": "GET", "path": unquote(path), "raw_path": raw}
        scope |= {"query_string": b"", "headers": [], "asgi": {"version": "3.0"}}
        scope |= {"http_version": "1.1", "scheme": "http", "server": ("test", 80), "root_path": ""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        assert client.portal is not None
        client.portal.call(client.app, scope, receive, send)
        assert statuses[0] == 400


def test_a_body_is_counted_whatever_it_claims(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        while True:  # ends where the server stops reading
            yield b" " * 5_000

    parts = endless()
    limited = (part for part, _ in zip(parts, range(50), strict=False))
    answer = client.post(f"{RUN}/jobs", content=limited)
    assert answer.status_code == 413
    assert answer.json() == {"error": "the request is larger than 60000 bytes; send less at a time"}


def test_a_picture_of_another_size_is_refused(client: TestClient) -> None:
    client.post(f"{RUN}/jobs", json=jobs(1))
    (leased,) = lease(client)
    small = io.BytesIO()
    Image.new("RGB", (4, 4)).save(small, format="PNG")
    body = {"worker": "w", "results": [painted(leased, small.getvalue())]}
    assert client.post("/v1/complete", json=body).status_code == 422
    assert client.get(f"{RUN}/stats").json()["jobs"]["leased"] == 1
    body = {"worker": "w", "results": [painted(leased, seed_of(leased).image.read())]}
    assert client.post("/v1/complete", json=body).status_code == 200


def test_a_worker_s_frame_that_moves_the_objects_far_out_is_refused(client: TestClient) -> None:
    client.post(f"{RUN}/jobs", json=jobs(1))
    (leased,) = lease(client)
    result = painted(leased, seed_of(leased).image.read())
    result["painted"]["frame"] |= {"scale": 0.001, "right": -1e300}
    answer = client.post("/v1/complete", json={"worker": "w", "results": [result]})
    assert answer.status_code == 422
    assert "leaves nothing of the object" in answer.json()["error"]


def test_a_copy_of_a_rejected_picture_has_a_limit(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        open_run(client)
        answer = client.post("/v1/complete", json=rejected(bytes(300_000)))
        assert answer.status_code == 422 and "more than 262144 bytes" in answer.text


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (f"{RUN}/samples", {"samples": [{f"k{n}": n for n in range(99)}] * 50}, "no key 'k0'"),
        (f"{RUN}/samples", {"samples": [{"objects": [{}] * 900}]}, "body.samples.0"),
        (f"{RUN}/jobs", {"jobs": [{"parent_id": 1}] * 200}, "body.jobs.0.parent_id"),
        ("/v1/complete", {"worker": "w", "results": [{"scores": {"a": 1}}] * 200}, "results.0.run"),
        (RUN, {"policy": {f"k{n}": n for n in range(2000)}}, "more than 1000 keys"),
        (RUN, {"painting": {"frame": {f"k{n}": n for n in range(2000)}}}, "more than 1000 keys"),
    ],
)
def test_a_request_that_is_wrong_everywhere_is_told_a_few_faults(
    client: TestClient, path: str, body: dict[str, Any], said: str
) -> None:
    """The event loop would wait while hundreds of thousands are listed."""
    answer = client.request("PUT" if path == RUN else "POST", path, json=body)
    error = answer.json()["error"]
    assert answer.status_code == 422 and said in error
    assert int((re.search(r", and (\d+) more$", error) or [0, 0])[1]) < 10


def test_numbers_with_too_many_digits_are_refused(client: TestClient) -> None:
    body = b'{"jobs": [' + b"9" * 1000 + b"]}"
    headers = {"content-type": "application/json"}
    assert client.post(f"{RUN}/jobs", content=body, headers=headers).status_code == 400


def test_the_pixels_of_a_seed_are_limited_by_its_run(client: TestClient) -> None:
    """Also an animation. A child may have more, because the frame may enlarge it, up to the limit
    of every picture."""
    seed = SEEDS[0].image
    frames = [Image.new("RGB", (seed.width, seed.height), colour) for colour in ("red", "blue")]
    moving = io.BytesIO()
    frames[0].save(moving, "WEBP", save_all=True, append_images=frames[1:])
    row = parent_data(SEEDS[0]) | {"id": "moving", "content": to_base64(moving.getvalue())}
    client.post(f"{RUN}/jobs", json=jobs(1))
    (leased,) = lease(client)
    result = painted(leased, moving.getvalue())
    most = seed.width * seed.height
    for limit, status in ((most - 1, 413), (most, 200)):
        client.put(RUN, json={"max_image_pixels": limit})
        seeds = client.post(f"{RUN}/samples", json={"samples": [row]})
        child = client.post("/v1/complete", json={"worker": "w", "results": [result]})
        assert [seeds.status_code, child.status_code] == [status, 200]
        if status == 413:
            said = f"more than the {limit} that its run takes; shrink it, or set data.max_image_pi"
            assert said in seeds.json()["error"]
    vast = io.BytesIO()
    Image.new("1", (8001, 8000)).save(vast, "PNG")
    result = painted(leased, vast.getvalue())
    refused = client.post("/v1/complete", json={"worker": "w", "results": [result]})
    assert refused.status_code == 413
    assert "claims 8001x8000 pixels, more than 64000000" in refused.json()["error"]


@pytest.mark.parametrize("name", COSTLY)
def test_pictures_that_are_built_to_cost_much_are_refused(tmp_path: Path, name: str) -> None:
    make, problem = COSTLY[name]
    with service(tmp_path) as client:
        open_run(client)
        row = parent_data(SEEDS[0]) | {"id": "costly", "content": to_base64(make())}
        answer = client.post(f"{RUN}/samples", json={"samples": [row]})
        assert answer.status_code == 422 and problem in answer.json()["error"]


def test_the_images_of_a_request_are_limited_together(client: TestClient) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (600, 600)).save(plain, format="PNG")
    rows = {
        "samples": [
            parent_data(SEEDS[0])
            | {"id": f"n{n}", "size": [600, 600], "content": to_base64(plain.getvalue())}
            for n in range(3)
        ]
    }
    for row in rows["samples"]:  # whose masks have another size
        for one in row["objects"]:
            one.pop("mask")
    assert client.post(f"{RUN}/samples", json=rows).status_code == 413
    assert client.post(f"{RUN}/samples", json={"samples": rows["samples"][:2]}).status_code == 200


def test_a_token_opens_the_door(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with service(tmp_path, token=TOKEN) as client:
        for header, status in (
            (None, 401),
            (TOKEN, 401),
            ("Basic correct-horse", 401),
            ("Bearer", 401),
            ("Bearer correct-hors", 403),
            ("Bearer correct-horse-battery", 403),
            (f"Bearer {TOKEN}", 200),
            (f"bearer  {TOKEN}", 200),
        ):
            headers = {"Authorization": header} if header is not None else {}
            for path in ("/v1/runs", "/metrics", "/openapi.json"):
                answer = client.get(path, headers=headers)
                assert answer.status_code == status, (header, path)
            assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
            if status != 200:
                refused = client.put(RUN, json={}, headers=headers)
                assert refused.status_code == status
                assert not (tmp_path / "one").exists()
        assert "refused with status 403: the token is wrong" in caplog.messages
        assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("examples", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_nothing_that_the_service_describes_makes_it_fail(tmp_path: Path, examples: int) -> None:
    """Requests that its own OpenAPI document allows, and many that it does not."""
    app = create_app(Runs(tmp_path))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        seen.add(operation.label)
        _drive(operation, examples)
    assert {"PUT /v1/runs/{run}", "POST /v1/lease", "GET /metrics"} <= seen
    assert len(seen) >= 14


def _drive(operation: Any, examples: int) -> None:
    @given(case=operation.as_strategy())
    @repeatable(examples)
    def drive(case: Any) -> None:
        for values in (case.query, case.body):
            if isinstance(values, dict) and isinstance(values.get("wait_s"), int | float):
                values["wait_s"] = 0  # no job will come
        answer = case.call()
        case.validate_response(answer, checks=[not_a_server_error])
        assert answer.status_code < 500

    drive()
