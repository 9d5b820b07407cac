"""Detector, segmenter and similarity on tiny random-weight models of the real classes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rooms_oracle import candidate, raw_generation
from tiny_judges import TINY_JUDGES, save_judge

from syngrpo.boxes import area, box_mask, decode_mask, mask_box
from syngrpo.painting.compositing import keep_mask
from syngrpo.painting.gate import Gate
from syngrpo.painting.judges.judging_models import (
    BoxSegmenter,
    OpenVocabularyDetector,
    load_detector,
    load_segmenter,
    load_similarity,
)
from syngrpo.painting.judges.object_extent import with_masks
from syngrpo.painting.judges.panel import JudgeOptions, load_judges
from syngrpo.sample import Box, InputError, Sample
from syngrpo_rooms.dataset import rooms_samples

SAMPLE = rooms_samples("train", 1, size=96)[0]
PICTURE = SAMPLE.image.decode()[:80]
NAMES = ("red chair", "lamp", "dining_table")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("judges")
    return {name: save_judge(folder / name, name) for name in TINY_JUDGES}


def detector(source: str) -> OpenVocabularyDetector:
    return load_detector(source, "cpu", "float32")


@pytest.mark.parametrize("kind", ["grounding-dino", "mm-grounding-dino"])
def test_grounding_scores_are_means_over_the_tokens_of_a_name(
    checkpoints: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syngrpo.painting.judges.judging_models.FLOOR", 0.0)
    judge = detector(checkpoints[kind])
    found = judge.detect(PICTURE, NAMES)
    inputs = judge.processor(
        images=Image.fromarray(PICTURE),
        text="red chair. lamp. dining table.",
        return_tensors="pt",
    )
    ids = judge.processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    assert ids == ["[CLS]", "red", "chair", ".", "lamp", ".", "dining", "table", ".", "[SEP]"]
    with torch.no_grad():
        outputs = judge.model(**inputs)
    probability = outputs.logits[0].sigmoid()
    tokens = {"red chair": [1, 2], "lamp": [4], "dining_table": [6, 7]}
    (official,) = judge.processor.post_process_grounded_object_detection(
        outputs, threshold=-1.0, text_threshold=1.1, target_sizes=[PICTURE.shape[:2]]
    )
    boxes = official["boxes"].clamp(min=0).numpy()
    boxes = np.minimum(boxes, np.array([96, 80, 96, 80]))
    assert found
    for one in found:
        query = int(np.abs(boxes - np.array(one.box)).sum(axis=1).argmin())
        assert np.abs(boxes[query] - np.array(one.box)).max() < 1e-3
        scores = {name: probability[query, where].mean().item() for name, where in tokens.items()}
        assert one.score == pytest.approx(scores[one.label], abs=1e-5)
        assert one.score == pytest.approx(max(scores.values()), abs=1e-5)


def test_owl_detections_are_those_of_its_processor(checkpoints: dict[str, str]) -> None:
    judge = detector(checkpoints["owlv2"])
    found = judge.detect(PICTURE, NAMES)
    text = [["a photo of a red chair", "a photo of a lamp", "a photo of a dining table"]]
    inputs = judge.processor(images=Image.fromarray(PICTURE), text=text, return_tensors="pt")
    with torch.no_grad():
        outputs = judge.model(**inputs)
    (official,) = judge.processor.post_process_grounded_object_detection(
        outputs, threshold=0.1, target_sizes=[PICTURE.shape[:2]], text_labels=[list(NAMES)]
    )
    expected = {
        (label, round(score.item(), 4))
        for label, score in zip(official["text_labels"], official["scores"], strict=True)
    }
    assert found
    assert {(one.label, round(one.score, 4)) for one in found} <= expected
    assert max(one.score for one in found) == pytest.approx(official["scores"].max().item())


def test_any_names_are_read_and_boxes_stay_in_the_picture(checkpoints: dict[str, str]) -> None:
    judge = detector(checkpoints["grounding-dino"])
    odd = ["...", "?", "", "a. b? c", "x" * 999, "椅子", *(f"lamp {n}" for n in range(45))]
    found = judge.detect(PICTURE, odd)
    assert {one.label for one in found} <= set(odd[3:])
    assert judge.detect(PICTURE, ["...", ""]) == []
    for one in found:
        x1, y1, x2, y2 = one.box
        assert 0 <= x1 < x2 <= 96
        assert 0 <= y1 < y2 <= 80
    assert found == judge.detect(PICTURE, odd)


def test_a_segmenter_gives_the_models_single_mask_of_every_box(
    checkpoints: dict[str, str],
) -> None:
    judge = load_judges(JudgeOptions(segmenter=checkpoints["sam2"])).segmenter
    assert isinstance(judge, BoxSegmenter)
    boxes: list[Box] = [(3, 5, 40, 60), (20.5, 10, 90, 79), (50, 2, 60, 12)]
    masks = judge.refine_masks(PICTURE, boxes)
    assert [(mask.shape, mask.dtype) for mask in masks] == [((80, 96), np.bool_)] * 3
    assert judge.refine_masks(PICTURE, []) == []
    inputs = judge.processor(
        images=Image.fromarray(PICTURE), input_boxes=[[list(boxes[1])]], return_tensors="pt"
    )
    with torch.no_grad():
        outputs = judge.model(
            pixel_values=inputs["pixel_values"],
            input_boxes=inputs["input_boxes"],
            multimask_output=False,
        )
    logits = torch.nn.functional.interpolate(outputs.pred_masks[0], (80, 96), mode="bilinear")
    assert (masks[1] == (logits[0, 0] > 0).numpy()).mean() > 0.999


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_similarity_is_the_cosine_of_the_models_embeddings(
    checkpoints: dict[str, str], kind: str
) -> None:
    judge = load_similarity(checkpoints[kind], "cpu", "float32")
    near, far = judge.similarity(PICTURE, "grey walls"), judge.similarity(PICTURE, "a lamp")
    assert near != far
    assert -1 <= judge.similarity(PICTURE, "very long " * 500) <= 1
    model, processor = judge.model, judge.processor
    inputs = processor(
        images=Image.fromarray(PICTURE),
        text=["grey walls", "a lamp"],
        padding="max_length",
        return_tensors="pt",
    )
    with torch.no_grad():
        outputs = model(**inputs)
    scale = model.logit_scale.exp()
    bias = getattr(model, "logit_bias", torch.zeros(1))
    expected = ((outputs.logits_per_image[0] - bias) / scale).tolist()
    assert [near, far] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        ("detector", "grounding-dino"),
        ("detector", "owlv2"),
        ("segmenter", "sam2"),
        ("similarity", "clip"),
    ],
)
def test_models_run_in_bfloat16(checkpoints: dict[str, str], role: str, kind: str) -> None:
    where = (checkpoints[kind], "cpu", "bfloat16")
    if role == "detector":
        assert all(area(one.box) > 0 for one in load_detector(*where).detect(PICTURE, NAMES))
    elif role == "segmenter":
        masks = load_segmenter(*where).refine_masks(PICTURE, [(3, 5, 40, 60)])
        assert masks[0].shape == (80, 96)
    else:
        assert abs(load_similarity(*where).similarity(PICTURE, "grey walls")) <= 1


def test_the_whole_gate_with_every_model(checkpoints: dict[str, str]) -> None:
    options = JudgeOptions(
        detector=checkpoints["grounding-dino"],
        segmenter=checkpoints["sam2"],
        similarity=checkpoints["clip"],
        max_expansion=1e9,
    )
    strict = candidate(
        SAMPLE, raw_generation(SAMPLE, "purple brick walls", 1), "purple brick walls"
    )
    case = replace(strict, constraints=replace(strict.constraints, max_phantoms=999, min_recall=0))
    gate = Gate(judges=load_judges(options))
    result = gate.judge(case)
    assert result.admitted
    judged = {"expansion", "continuation", "phantoms", "phantom_score", "recall", "lost"}
    assert set(result.scores) >= {*judged, "similarity", "object_fit"}
    assert gate.judge(case) == result
    assert gate.judge(strict).reason in ("phantom_instance", "recall", None)


class Fixed:
    """Always outlines the same."""

    def __init__(self, *masks: np.ndarray) -> None:
        self.masks = list(masks)

    def refine_masks(self, image: np.ndarray, boxes: list[Box]) -> list[np.ndarray]:
        assert len(boxes) == len(self.masks)
        return self.masks


def boxed(sample: Sample) -> Sample:
    return replace(sample, objects=tuple(replace(thing, mask=None) for thing in sample.objects))


def test_objects_with_a_box_alone_get_masks_that_the_keep_mask_uses() -> None:
    sample = rooms_samples("train", 1, size=96)[0]
    true_masks = [decode_mask(thing.mask) for thing in sample.objects if thing.mask is not None]
    spilling = [mask | ~box_mask(mask_box(mask), 96, 96) for mask in true_masks]
    refined = with_masks(boxed(sample), sample.image.decode(), Fixed(*spilling))
    assert (keep_mask(refined) == keep_mask(sample)).all()
    assert keep_mask(boxed(sample)).sum() > keep_mask(refined).sum()
    # What the data brought stays, and a mask of something else is not taken.
    assert with_masks(sample, sample.image.decode(), Fixed()) == sample
    speck = np.zeros((96, 96), bool)
    speck[0, 0] = True
    nothing = [speck] * len(true_masks)
    assert with_masks(boxed(sample), PICTURE, Fixed(*nothing)) == boxed(sample)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (JudgeOptions(detector="/no/such/folder"), "detector: directory /no/such/folder does not"),
        (JudgeOptions(segmenter="."), "segmenter: directory . holds no model"),
        (JudgeOptions(similarity="CLIP"), "similarity: directory CLIP does not exist"),
        (JudgeOptions(detector="nobody/nothing-at-all"), "detector nobody/nothing-at-all cannot"),
    ],
)
def test_a_missing_model_is_named(
    options: JudgeOptions, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        load_judges(options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_wrong_kind_or_device_is_named(checkpoints: dict[str, str]) -> None:
    wrong = {
        "is of type 'clip'": JudgeOptions(detector=checkpoints["clip"]),
        "is of type 'owlv2'": JudgeOptions(segmenter=checkpoints["owlv2"]),
        "device 'gpu0' is unknown": JudgeOptions(detector=checkpoints["owlv2"], device="gpu0"),
    }
    for message, options in wrong.items():
        with pytest.raises(InputError, match=message):
            load_judges(options)


def test_a_damaged_checkpoint_is_named(checkpoints: dict[str, str], tmp_path: Path) -> None:
    source = Path(checkpoints["clip"])
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    with pytest.raises(InputError, match=r"similarity .* cannot be loaded"):
        load_judges(JudgeOptions(similarity=str(tmp_path)))


def test_a_gate_without_models_needs_no_torch() -> None:
    program = (
        "import sys; from syngrpo.painting.gate import Gate; "
        "from syngrpo.painting.judges.panel import JudgeOptions, load_judges; "
        "Gate(judges=load_judges(JudgeOptions())); "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
