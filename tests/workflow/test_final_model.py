"""The folder of a trained model says how the model was asked, wherever the folder is moved."""

from pathlib import Path

import pytest
from quick_runs import quick_config

from syngrpo.evaluation.model_evaluation import how_to_ask
from syngrpo.evaluation.trained_with import TRAINED_WITH, settings_of
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.sample import InputError
from syngrpo.workflow.final_model import save_final
from syngrpo_rooms.starter import STARTER_DIR


def test_a_moved_model_and_its_adapter_are_asked_as_in_training(tmp_path: Path) -> None:
    policy = load_policy(STARTER_DIR, max_pixels=128 * 128, lora=LoraOptions(2, 4))
    save_final(tmp_path / "run" / "final", policy, quick_config(rollout__max_new_tokens=77))
    moved = (tmp_path / "run" / "final").rename(tmp_path / "moved")
    assert how_to_ask(str(moved), None, None) == ("brief", 77)
    assert how_to_ask("org/model", None, None, moved / "adapter") == ("brief", 77)
    again = load_policy(moved)
    size = again.processor.image_processor.size
    assert settings_of(moved)["model"] == {
        "path": "starter",
        "family": None,
        "coordinates": again.coordinates,
        "max_pixels": size["longest_edge"],
        "min_pixels": size["shortest_edge"],
    }
    assert size["longest_edge"] == 128 * 128


@pytest.mark.parametrize("text", ["{", "\x00", "[1]"])
def test_settings_that_cannot_be_read_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / TRAINED_WITH).write_text(text)
    with pytest.raises(InputError, match=r"trained_with\.json cannot be read") as caught:
        settings_of(tmp_path)
    assert "\n" not in str(caught.value)
