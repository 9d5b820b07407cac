"""A model that diverges ends the run with one line, which says after which step and what to try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from quick_runs import metrics, quick_config
from rich.console import Console

from syngrpo.cli.train import run_training
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response
from syngrpo.rollout.native import NativeEngine
from syngrpo.sample import InputError

HERE = Path(__file__).stem
SHORT = {"method__name": "grpo", "rollout__max_new_tokens": 4}


def diverge(policy: Policy) -> None:
    with torch.no_grad():
        policy.base.get_output_embeddings().weight.fill_(float("nan"))


class Sudden(NativeEngine):
    """Samples as usual in the first step. Before the second one the weights become NaN."""

    calls = 0

    def __call__(self, policy: Policy, *asked: Any) -> list[list[Response]]:
        self.calls += 1
        if self.calls == 2:
            diverge(policy)
        return super().__call__(policy, *asked)


class AtOnce(NativeEngine):
    def __call__(self, policy: Policy, *asked: Any) -> list[list[Response]]:
        diverge(policy)
        return super().__call__(policy, *asked)


def failure(run: Path, engine: str) -> str:
    """Return the line with which a run ends whose responses come from this engine."""
    options = quick_config(**SHORT, rollout__engine=f"{HERE}:{engine}", trainer__learning_rate=0.1)
    with pytest.raises(InputError) as caught:
        run_training(options, run, resume=False, console=Console(quiet=True))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_line_names_the_step_and_the_options(tmp_path: Path) -> None:
    text = failure(tmp_path / "run", "Sudden")
    assert text.startswith("after step 1: the model's logits for sample rooms-rec-train-")
    assert "lower trainer.learning_rate (0.1) or raise rollout.temperature (1)" in text
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1]


def test_a_model_without_finite_logits_is_told_before_the_first_step(tmp_path: Path) -> None:
    text = failure(tmp_path / "run", "AtOnce")
    assert text.startswith("before the first step: the model's logits for sample rooms-rec-train-")
    assert text.endswith("check model.path")
