"""Two processes in one process group, each with a vLLM engine of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from two_processes import run_two


@pytest.mark.timeout(1500)
def test_every_process_rolls_out_its_own_prompts(tmp_path: Path) -> None:
    # Three prompts, two responses, before and after a change of the weights.
    assert run_two(tmp_path / "same.json") == [True] * 12
