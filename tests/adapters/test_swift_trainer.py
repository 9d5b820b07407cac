"""ms-swift's own GRPO trainer with the plug-in, on the CPU, in an environment of its own.

``make test-trainers`` builds the environment; without it these tests are skipped.
"""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from service_process import ServerProcess, serve

from syngrpo.pool.pool_reading import open_to_read
from syngrpo_rooms.starter import STARTER_DIR

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-swift" / "bin" / "python"
PLUGIN = ROOT / "tests" / "swift_trainer" / "rooms_plugin.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not (PYTHON.parents[1] / "installed").exists(),
        reason="ms-swift wants other versions than syngrpo; make test-trainers makes .venv-swift",
    ),
]


def started(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python of ms-swift's environment in ``folder``."""
    paths = f"{ROOT / 'src'}:{PLUGIN.parent}"
    return subprocess.run(
        [str(PYTHON), *command],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            "SYNGRPO_TEST_FOLDER": str(folder),
            **environment,
        },
        text=True,
        capture_output=True,
        check=False,
    )


def trained(folder: Path, *options: str, launch: tuple[str, ...] = (), **environment: str) -> list:
    """Train the starter with ``swift rlhf``, and return the rows of its log."""
    module = ["-m", "swift.cli.rlhf"] if not launch else [*launch, "-m", "swift.cli.rlhf"]
    done = started(
        folder,
        *module,
        *("--rlhf_type", "grpo", "--model", str(STARTER_DIR)),
        *("--model_type", "qwen2_5_vl", "--template", "starter"),
        *("--tuner_type", "full", "--torch_dtype", "float32", "--use_cpu", "true"),
        *("--external_plugins", str(PLUGIN), "--dataset", "syngrpo"),
        *("--multi_turn_scheduler", "syngrpo", "--max_turns", "1", "--callbacks", "syngrpo"),
        *("--reward_funcs", "syngrpo_accuracy", "syngrpo_format", "seen"),
        *("--reward_weights", "1", "0.1", "0", "--num_generations", "4"),
        *("--max_completion_length", "112", "--learning_rate", "1e-4", "--beta", "0.04"),
        *("--eval_strategy", "no", "--split_dataset_ratio", "0", "--logging_steps", "1"),
        *("--output_dir", "out", "--add_version", "false", "--report_to", "none"),
        *("--gradient_checkpointing", "false", "--save_only_model", "false"),
        *options,
        **environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = (folder / "out" / "logging.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def seen(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = serve(tmp_path / "server", "--generator", "rooms", "--workers", "1")
    yield running
    running.command.kill()


def test_painted_pictures_enter_its_batches(tmp_path: Path, server: ServerProcess) -> None:
    one_batch = "--per_device_train_batch_size", "16"
    rows = trained(
        tmp_path,
        *one_batch,
        "--max_steps",
        "12",
        "--save_strategy",
        "no",
        SYNGRPO_TEST_SERVER=server.url,
    )
    assert len(rows) == 12 and not rows[-1]["synthesis/server_away"]
    assert sum(float(row["rewards/SwiftAccuracy/mean"]) for row in rows) / 12 > 0.3
    responses = seen(tmp_path)
    assert len(responses) == 12 * 16
    with closing(open_to_read(tmp_path / "run")) as pool:
        painted = [one for one in responses if pool.get(one["sample"]).parent is not None]
        assert len(painted) >= 16
        for one in responses[::4]:
            pixels = pool.get(one["sample"]).image.decode()
            assert one["pixels"] == hashlib.sha256(pixels.tobytes()).hexdigest()
        for name in {one["sample"] for one in responses}:
            groups = sum(one["sample"] == name for one in responses) // 4
            visits = pool.observations(name)
            assert len(visits) == groups  # nothing is lost, nothing counts twice
            assert all(0 <= visit.diversity <= 1 for visit in visits)
    assert sum(float(row["synthesis/settled"]) for row in rows) > 0


def test_a_resumed_run_goes_on_with_its_client(tmp_path: Path) -> None:
    batch = "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2"
    saving = "--save_strategy", "steps", "--save_steps", "1"
    trained(tmp_path, *batch, *saving, "--max_steps", "2")
    kept = json.loads((tmp_path / "out" / "checkpoint-2" / "syngrpo.json").read_text())
    assert kept["steps"] == kept["version"] == 2
    resumed = "--resume_from_checkpoint", "out/checkpoint-2"
    trained(tmp_path, *batch, *saving, "--max_steps", "4", *resumed)
    # The learning rate was 0 after the first run's last step, and is again for the first step now.
    before, after, start = (
        load_file(folder / "model.safetensors")
        for folder in (
            tmp_path / "out" / "checkpoint-2",
            tmp_path / "out" / "checkpoint-3",
            STARTER_DIR,
        )
    )
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(not torch.equal(value, start[name]) for name, value in before.items())
    again = json.loads((tmp_path / "out" / "checkpoint-4" / "syngrpo.json").read_text())
    assert again["steps"] == again["version"] == 4
    responses = seen(tmp_path)
    assert len(responses) == 4 * 16
    with closing(open_to_read(tmp_path / "run")) as pool:
        visits = [
            visit for one in {r["sample"] for r in responses} for visit in pool.observations(one)
        ]
    assert sorted({visit.step for visit in visits}) == [1, 2, 3, 4] and len(visits) == 16


def test_two_processes_share_the_draws(tmp_path: Path) -> None:
    launch = "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"
    batch = "--per_device_train_batch_size", "8"
    rows = trained(
        tmp_path,
        *batch,
        "--max_steps",
        "3",
        "--save_strategy",
        "no",
        "--ddp_backend",
        "gloo",
        launch=launch,
    )
    assert len(rows) == 3
    responses = seen(tmp_path)
    assert len(responses) == 3 * 16
    with closing(open_to_read(tmp_path / "run")) as pool:
        visits = [
            visit for one in {r["sample"] for r in responses} for visit in pool.observations(one)
        ]
    assert len(visits) == 12 and {visit.step for visit in visits} == {1, 2, 3}


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    done = started(tmp_path, str(PLUGIN.parent / "hook_messages.py"))
    assert done.returncode == 0, done.stderr[-4000:]
    messages = re.findall(r"^SAID (.*)$", done.stdout, re.MULTILINE)
    wanted = [
        "the client is not open; add --callbacks syngrpo",
        "add --multi_turn_scheduler syngrpo",
        "use --vllm_mode colocate",
        "dynamic_sample draws several times in a step",
        "set --eval_strategy no",
        "has 2 prompts, the client draws 4; set groups_per_step of the client to 2",
        "for 2 optimizer steps, the client counts 1; set updates_per_step",
        "syngrpo.json cannot be read",
        "give --dataset syngrpo alone",
        "train with --vllm_mode colocate",
        "accuracy reward nan is outside",
        "add syngrpo_accuracy to --reward_funcs",
    ]
    assert len(messages) == len(wanted), messages
    for message, part in zip(messages, wanted, strict=True):
        assert part in message
