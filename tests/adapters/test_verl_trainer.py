"""verl's own classes with images that evolve, on the CPU, in an environment of its own.

``make test-trainers`` builds the environment; without it these tests are skipped. ``steps.py`` says
what is verl's there. Its LLM servers and its update need a GPU.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_process import ServerProcess, serve

from syngrpo.adapters.reward_advantages import response_advantages
from syngrpo.method.base import Method, MethodOptions
from syngrpo.pool.pool_reading import open_to_read

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-verl"
SCRIPTS = ROOT / "tests" / "verl_trainer"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (ENVIRONMENT / "installed").exists(),
        reason="verl wants other versions than syngrpo; make test-trainers makes .venv-verl",
    ),
]


def started(folder: Path, script: str, *arguments: str, **environment: str) -> str:
    """Run a script in verl's environment, and return what it prints."""
    done = subprocess.run(
        [str(ENVIRONMENT / "bin" / "python"), str(SCRIPTS / script), *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}:{SCRIPTS}",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "RAY_worker_niceness": "0",
            "SYNGRPO_TEST_FOLDER": str(folder),
            **environment,
        },
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def steps(folder: Path, count: int, **environment: str) -> list[dict[str, Any]]:
    output = started(folder, "steps.py", str(folder), str(count), **environment)
    # Why no whole run is here: verl's trainer makes its workers on GPUs alone.
    assert "REFUSED Total available GPUs 0 is less than total desired GPUs 1" in output
    return [json.loads(line) for line in re.findall(r"^STEP (.*)$", output, re.MULTILINE)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = serve(tmp_path / "server", "--generator", "rooms", "--workers", "1")
    yield running
    running.command.kill()


def test_from_the_dataset_to_the_advantages(tmp_path: Path, server: ServerProcess) -> None:
    found = steps(tmp_path, 4, SYNGRPO_TEST_SERVER=server.url)
    found += steps(tmp_path, 2, SYNGRPO_TEST_SERVER=server.url)  # goes on from data.pt
    method = Method(MethodOptions(), 1)
    weight = method.options.format_weight
    settled = []
    samples: dict[str, int] = {}
    for step in found:
        assert len(step["rows"]) == 16 and not step["metrics"]["synthesis/server_away"]
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in step["rows"]:
            mask, advantages = np.array(row["response_mask"]), np.array(row["advantages"])
            assert len(mask) == len(row["responses"]) == len(row["rollout_log_probs"])
            assert (advantages[mask == 0] == 0).all()
            assert np.ptp(advantages[mask == 1]) == 0
            if row["settled"]:
                assert np.allclose(advantages[mask == 1], row["rm_scores"][-1])
                settled.append(row["rm_scores"][-1])
            else:
                groups.setdefault(row["sample_id"], []).append(row)
        for name, group in groups.items():
            samples[name] = samples.get(name, 0) + 1
            rewards = np.array([[row["accuracy"], row["format"]] for row in group])
            wanted = response_advantages(rewards, 4, method, (1.0, weight)).sum(axis=1)
            got = [max(row["advantages"], key=abs) for row in group]
            assert np.allclose(got, wanted, atol=1e-6)
    assert len(settled) >= 4 and len(set(settled)) > 1
    rows = [row for step in found for row in step["rows"] if not row["settled"]]
    assert np.mean([row["accuracy"] for row in rows]) > 0.3
    with closing(open_to_read(tmp_path / "run")) as pool:
        assert sum(pool.get(name).parent is not None for name in samples) >= 4
        for name, groups_of in samples.items():
            visits = pool.observations(name)
            assert len(visits) == groups_of  # nothing is lost, nothing counts twice
        last = max(visit.step for name in samples for visit in pool.observations(name))
    assert last == len(found)


def test_what_fails_is_one_line_and_nothing_is_lost(tmp_path: Path) -> None:
    output = started(tmp_path, "hook_failures.py")
    messages = re.findall(r"^SAID (.*)$", output, re.MULTILINE)
    wanted = [
        "set data.custom_cls to a subclass",
        "trainer_mode=colocate_async, which draws single samples ahead; set it to sync",
        "set data.dataloader_num_workers=0",
        "data.gen_batch_size is 1",
        "set trainer.val_before_train=False and trainer.test_freq=-1",
        "accuracy reward nan is outside",
    ]
    assert len(messages) == len(wanted), messages
    for message, part in zip(messages, wanted, strict=True):
        assert part in message
