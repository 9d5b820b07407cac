"""Thousands of strange requests to a real server: none fails, none blocks it, none fills memory."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from service_client import RUN, SEEDS, jobs, lease, open_run
from strange_requests import repeatable, requests

from syngrpo.data_server.sample_wire import parent_data, to_base64

SUPPORT = Path(__file__).parents[1] / "support"
JSON = {"content-type": "application/json"}
"""Without it a body is not read as JSON."""


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    paths = os.pathsep.join(path for path in sys.path if path)
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "fuzzed_server.py"), str(folder / "runs")],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()


def described(url: str, folder: Path, examples: int) -> None:
    """All phases of schemathesis: examples, edge cases, random requests, sequences of requests."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--phases=examples,coverage,fuzzing,stateful", "--checks=not_a_server_error"]
    command += [f"--max-examples={examples}", "--seed=1", "--suppress-health-check=all"]
    command += ["--request-timeout=60", "--generation-database=none", "--warnings=off"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def nearly_right(client: httpx.Client, examples: int) -> None:
    """Samples, masks, pictures, results and texts in which something was replaced."""
    policy = {"max_children": 1000}
    open_run(client, queue_limit=5000, lease_s=86_400, max_attempts=900, policy=policy)
    client.post(f"{RUN}/jobs", json=jobs(64))
    leased = lease(client, 64, worker="fuzz")
    assert len(leased) == 64

    @given(request=requests(leased))
    @repeatable(examples)
    def drive(request: tuple[str, str, bytes]) -> None:
        method, path, body = request
        answer = client.request(method, path, content=body, headers=JSON)
        assert answer.status_code < 500, answer.text

    drive()


def large(client: httpx.Client) -> None:
    """Requests that are as large as the server allows, in every way that costs time or memory."""
    file = io.BytesIO()
    Image.new("L", (8000, 7999)).save(file, format="PNG")
    seed = parent_data(SEEDS[0])
    things = [{"label": "x", "box": [0, 0, 9, 9]}] * 10_000
    mask = {"size": [128, 128], "counts": "0" * (4 << 20)}
    whole = {"id": "huge", "size": [8000, 7999], "content": to_base64(file.getvalue())}
    for changes in (
        {"columns": {"a": [[]] * 400_000}},
        {"columns": {"a": "x" * (60 << 20)}},
        {"columns": {"a": {str(number): number for number in range(150_000)}}},
        {"content": to_base64(bytes(45 << 20))},
        {"content": to_base64(file.getvalue() + bytes(40 << 20))},
        {"objects": things},
        {"objects": [{"label": "x", "box": [0, 0, 9, 9], "mask": mask}] * 10},
        {**whole, "objects": things},
        whole,
    ):
        answer = client.post(f"{RUN}/samples", json={"samples": [seed | {"id": "l"} | changes]})
        assert answer.status_code < 500, answer.text
    keys = {f"k{number}": 1 for number in range(200_000)}
    for body in (
        json.dumps(keys).encode(),
        json.dumps({"samples": [{f"k{number}": 1 for number in range(900)}] * 256}).encode(),
        json.dumps({"samples": [{"objects": [{}] * 9_000}] * 25}).encode(),
        b"[" + b",".join([b"9" * 4300] * 14_000) + b"]",
    ):
        answer = client.post(f"{RUN}/samples", content=body, headers=JSON)
        assert answer.status_code in (400, 422), answer.text
        assert len(answer.text) < 300, "not a line for each fault"
    assert client.put(RUN, json={"policy": keys}).status_code == 422
    for body in (
        b"[" * (4 << 20),
        b"1," * (2 << 20),
        b'"' + b"\\ud800" * 600_000,
        b"9" * (4 << 20),
    ):
        answer = client.post(f"{RUN}/jobs", content=body, headers=JSON)
        assert answer.status_code in (400, 413, 422), answer.text


def counted(client: httpx.Client) -> dict[str, int]:
    """The number of answers by status."""
    found: dict[str, int] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for one in family.samples:
            if one.name == "syngrpo_requests_total":
                status = one.labels["status"]
                found[status] = found.get(status, 0) + int(one.value)
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_strange_requests_neither_fail_nor_block_the_server(tmp_path: Path) -> None:
    with server(tmp_path) as (process, url), httpx.Client(base_url=url, timeout=120) as client:
        nearly_right(client, 7000)
        large(client)
        described(url, tmp_path, 150)
        found = counted(client)
        stats = client.get(f"{RUN}/stats").json()
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        measured = json.loads(process.stdout.readline())
        assert process.wait() == 0
    print(found, measured, stats)
    assert sum(found.values()) >= 10_000, found
    assert not [status for status in found if status.startswith("5")], found
    assert stats["seed"] > len(SEEDS) and stats["synthetic"] > 0, "some were right"
    # Seconds of the processor: 1 on a machine that reads 16 MiB of JSON in a quarter of a second.
    assert measured["blocked_s"] < 4 * measured["reference_s"], measured
    assert "Traceback" not in (tmp_path / "stderr").read_text()
