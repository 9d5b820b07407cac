"""The small distribution of the client, installed as a user would: slow, needs a package index."""

import os
import shutil
import subprocess
import venv
from contextlib import ExitStack
from pathlib import Path

import pytest
from service_process import serve

from syngrpo.painting.generators import make_generator

ROOT = Path(__file__).parents[2]

LOOP = """
import sys, time
from importlib.util import find_spec

import numpy as np

assert not any(find_spec(name) for name in ("torch", "transformers", "accelerate", "fastapi"))
from syngrpo.data_server.client import DataClient, WrittenResponse
from syngrpo.data_server.synthesis_options import ServerOptions
from syngrpo_rooms.dataset import rooms_samples

SAID = "<think>t</think><answer>[1,2,3,4]</answer><scene>a {} wall, step {}, {}</scene>"


def response(number, step, place):
    text = SAID.format(("red", "blue")[number], step, place)
    mask = np.arange(len(text)) >= text.index("<scene>")
    tokens = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    return WrittenResponse(text, tokens, np.zeros(len(text), np.float32), mask)


url, token, fingerprint = sys.argv[1:]
painted, rewards, deadline = 0, [], time.monotonic() + 240
with DataClient.open(
    "run",
    rooms_samples("train", 12),
    groups_per_step=4,
    fingerprint=fingerprint,  # as where the generator is not installed
    server=ServerOptions(url=url, token_file=token),
) as client:
    while len(rewards) < 4:
        assert time.monotonic() < deadline, client.stats()
        for place, sample in enumerate(client.draw()):
            assert sample.picture().size == (sample.pixels.shape[1], sample.pixels.shape[0])
            painted += sample.synthetic
            client.observe(sample, [sample.scored(str(list(sample.answer))).accuracy, 0.0])
            client.submit(sample, [response(n, client.steps, place) for n in (0, 1)])
        rewards += [one.reward for one in client.outcomes()]
        time.sleep(0.2)
assert painted > 0 and all(np.isfinite(rewards)), (painted, rewards)
print("painted", painted, "settled", len(rewards))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_works_where_there_is_no_torch(tmp_path: Path) -> None:
    copy = tmp_path / "source"  # setuptools writes beside the source
    shutil.copytree(ROOT / "packages", copy / "packages")
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "starter_model")
    shutil.copytree(ROOT / "src", copy / "src", ignore=left_out)
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, copy / "packages" / "client"], check=True, env=clean)
    shutil.rmtree(copy)
    token = tmp_path / "token"
    token.write_text("correct-horse\n")
    with ExitStack() as stack:
        options = ["--generator", "rooms", "--workers", "1", "--token-file", str(token)]
        fingerprint = make_generator("rooms").fingerprint
        server = serve(tmp_path / "server", *options)
        stack.callback(server.command.kill)
        done = subprocess.run(
            [python, "-c", LOOP, server.url, str(token), fingerprint],
            cwd=tmp_path,
            env=clean,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("painted")
        wrong = tmp_path / "wrong"
        wrong.write_text("battery\n")
        refused = subprocess.run(
            [python, "-c", LOOP, server.url, str(wrong), fingerprint],
            cwd=tmp_path,
            env=clean,
            text=True,
            capture_output=True,
            check=False,
        )
        assert refused.returncode != 0
        assert "the token is wrong" in refused.stderr.splitlines()[-1], refused.stderr
