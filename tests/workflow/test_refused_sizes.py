"""Images that the model refuses for their size are found before the first step, by headers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_options import run_options
from tiny_generic import save_generic
from tiny_models import save_tiny_qwen

from syngrpo.formats.source import USUAL_LIMIT
from syngrpo.policy import refused_images as module
from syngrpo.policy.encode import encode
from syngrpo.policy.families.generic import GenericFamily
from syngrpo.policy.loading import load_policy, model_files
from syngrpo.policy.refused_images import refused_images
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.workflow.size_check import Model, refused_for_size, usable_samples


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return model_files(directory)


def sized(name: str, width: int, height: int, dataset: str = "a") -> Sample:
    """Return a sample whose image has a header only: it cannot be decoded."""
    image = EncodedImage(width, height, path=Path("nowhere.png"))
    return Sample(name, "rec", image, "q", (0.0, 0.0, 1.0, 1.0), (), dataset=dataset)


def options(**data: Any) -> Any:
    sections: dict[str, Any] = {"method": {"name": "grpo"}, "data": data}
    return run_options(sections)


GOOD = [sized(f"good-{n}", 64 + n, 48) for n in range(4)]
THIN = [sized(f"thin-{n}", 2048, 9) for n in range(7)]


def test_every_elongated_image_is_counted_and_five_are_named(model: Model) -> None:
    with pytest.raises(InputError) as refused:
        usable_samples(options(), model, [*GOOD, *THIN], {"val": [*GOOD, sized("low", 9, 3000)]})
    line = str(refused.value)
    assert "7 samples (thin-0, thin-1, thin-2, thin-3, thin-4 and 2 more): image of sample" in line
    assert "thin-0 is 2048x9, more than 200 times as long as wide; crop it" in line
    assert "; 1 sample (low): image of sample low is 9x3000" in line and "\n" not in line


def test_bad_ones_are_left_out_if_bad_rows_are_skipped(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    skip = options(on_bad_row="skip")
    held_out = {"val": [*GOOD, sized("low", 9, 3000)]}
    with caplog.at_level(logging.WARNING):
        assert usable_samples(skip, model, [*THIN, *GOOD], held_out) == (GOOD, {"val": GOOD})
    assert "left out 7 samples (thin-0" in caplog.text
    with pytest.raises(InputError, match="no sample of b can be used: 1 sample"):
        usable_samples(skip, model, [*GOOD, sized("thin", 2048, 9, dataset="b")], {})
    with pytest.raises(InputError, match="no sample of val can be used"):
        usable_samples(skip, model, GOOD, {"val": THIN})


@pytest.mark.parametrize("size", [(2048, 9), (9, 2048), (1990, 10), (2000, 10), (3, 601), (1, 1)])
def test_what_encode_refuses_is_found_and_nothing_else(
    directory: Path, model: Model, size: tuple[int, int]
) -> None:
    policy = load_policy(directory)
    blank = EncodedImage.from_pixels(np.zeros((size[1], size[0], 3), np.uint8))
    sample = Sample("s", "rec", blank, "q", None, ())
    found = refused_images(model, [sized("s", *size)])
    try:
        encode(policy, sample, "q")
    except InputError as error:
        assert [refusal.problem for refusal in found] == [str(error)]
    else:
        assert found == []


def test_seeds_are_limited_by_what_the_model_sees_where_images_are_painted(model: Model) -> None:
    huge = sized("huge", 8000, 8000)
    painting = run_options({"synthesis": {"generator": "rooms"}})
    assert painting.synthesis.mode != "off"
    (refused,) = refused_for_size(painting, model, [*GOOD, huge], {"val": [huge]})
    assert f"huge is 8000x8000, more than {USUAL_LIMIT} pixels" in refused.problem
    assert "data.max_image_pixels" in refused.problem and refused.samples == [huge]
    assert refused_for_size(options(), model, [huge], {}) == []
    photo = sized("photo", 4032, 3024)
    assert refused_for_size(painting, model, [photo], {}) == []
    wide = run_options(
        {"synthesis": {"generator": "rooms"}, "data": {"max_image_pixels": 64_000_000}}
    )
    assert refused_for_size(wide, model, [huge], {}) == []
    limits = [painting.data.image_limit(seen) for seen in (None, 12_845_056, 99_000_000)]
    assert limits == [USUAL_LIMIT, 4 * 12_845_056, 64_000_000]
    assert wide.data.image_limit(12_845_056) == 64_000_000


def test_a_family_that_must_run_its_processor_tries_the_extreme_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_files(save_generic(tmp_path / "model", "internvl"))
    tried: list[tuple[int, int]] = []

    def size(family: GenericFamily, processor: Any, config: Any, sample: Sample, chat: str) -> None:
        tried.append((sample.image.width, sample.image.height))

    monkeypatch.setattr(GenericFamily, "size", size)
    monkeypatch.setattr(module, "TRIED", 5)
    many = [sized(f"s{n}", 20 + n % 40, 20 + n // 40) for n in range(1600)]
    extreme = [sized("thin", 3000, 2), sized("large", 900, 900), sized("small", 5, 5)]
    assert refused_images(model, [*many, *extreme]) == []
    assert len(tried) <= 15 and {(3000, 2), (900, 900), (5, 5)} <= set(tried)
