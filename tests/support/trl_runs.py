"""TRL's trainer on the starter model and the rooms world, small enough for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import GRPOConfig

from syngrpo.adapters.trl_trainer import SynGRPOTrainer
from syngrpo.data_server.client import DataClient
from syngrpo.data_server.synthesis_options import SynthesisOptions
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

INLINE = SynthesisOptions(generator="rooms", mode="inline")


def starter() -> tuple[Any, Any]:
    """The starter model and its processor, as any user loads them."""
    model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR, dtype=torch.float32)
    return model, AutoProcessor.from_pretrained(STARTER_DIR)


def config(folder: Path, **changed: Any) -> GRPOConfig:
    """Four groups of four responses a step, without KL, on the CPU."""
    values = {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_completion_length": 112,
        "max_steps": 3,
        "beta": 0.0,
        "learning_rate": 1e-4,
        "loss_type": "grpo",
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return GRPOConfig(**values | changed)


def opened(folder: Path, **changed: Any) -> DataClient:
    values: dict[str, Any] = {"groups_per_step": 4, "synthesis": INLINE}
    return DataClient.open(folder / "run", rooms_samples("train", 24), **values | changed)


def trainer(
    folder: Path,
    client: DataClient | None,
    kind: Callable[..., SynGRPOTrainer] = SynGRPOTrainer,
    **changed: Any,
) -> SynGRPOTrainer:
    model, processor = starter()
    args = config(folder, **changed)
    return kind(model, args, client, prompt_style="brief", processing_class=processor)
