"""The GRPO loop of docs/trainers.md in plain PyTorch, against a real server and a worker."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from service_process import ServerProcess, serve
from transformers import AutoModelForImageTextToText, AutoProcessor

from syngrpo.data_server.client import DataClient
from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisOptions
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plain_trainer.py"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = serve(tmp_path / "server", "--generator", "rooms", "--workers", "1")
    yield running
    running.command.kill()


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_plain_loop_trains_on_pictures_from_its_own_descriptions(
    tmp_path: Path, server: ServerProcess
) -> None:
    example = loaded(EXAMPLE)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(STARTER_DIR)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    painted, rewards = 0, []
    with DataClient.open(
        tmp_path / "run",
        rooms_samples("train", 24),
        groups_per_step=4,
        synthesis=SynthesisOptions(generator="rooms"),
        server=ServerOptions(url=server.url),
    ) as client:
        for numbers in example.train(model, processor, client, steps=60):
            painted += numbers["painted"]
            rewards += numbers["rewards"]
            if painted >= 4 and len(rewards) >= 4:
                break
    assert painted >= 4 and len(rewards) >= 4
    assert len(set(rewards)) > 1 and all(-2 <= reward <= 2 for reward in rewards)
    assert any((a != b).any() for a, b in zip(before, model.parameters(), strict=True))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_the_documentation_shows_the_whole_loop() -> None:
    page = (ROOT / "docs" / "trainers.md").read_text()
    assert f"```python\n{EXAMPLE.read_text()}```" in page
