"""The starter model: its training forward is the model's own; the shipped one sees the picture."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from syngrpo.boxes import iou
from syngrpo.rooms.dataset import rooms_samples
from syngrpo.rooms.starter import STARTER_DIR
from syngrpo.rooms.starter.build import build_model, build_processor
from syngrpo.rooms.starter.lessons import THINK_WORDS, Lessons, Mixture, write_box
from syngrpo.rooms.starter.measure import answered_box, respond
from syngrpo.rooms.starter.supervise import Pupil
from syngrpo.rooms.vocabulary import vocabulary


@pytest.fixture(scope="module")
def pupil():
    torch.manual_seed(0)
    processor = build_processor(sorted({*vocabulary(), *THINK_WORDS}))
    return Pupil(build_model(processor.tokenizer), processor).eval(), processor


@pytest.fixture(scope="module")
def starter():
    model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(STARTER_DIR)


def test_visual_tokens_equal_the_models_own(pupil):
    pupil, processor = pupil
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    inputs = processor.image_processor(images=list(images), return_tensors="pt")
    plain = pupil.model.get_image_features(**inputs).pooler_output
    ours = pupil.visual_tokens(torch.from_numpy(images))
    torch.testing.assert_close(ours, torch.stack(list(plain)), atol=2e-5, rtol=1e-4)


def test_packed_lessons_equal_plain_rows(pupil):
    """The packed language loss equals cross entropy of plain rows, one question at a time."""
    pupil, processor = pupil
    batch = next(iter(Lessons(processor.tokenizer, Mixture(scenes=True), scenes=2, questions=3)))
    captured = []
    handle = pupil.model.lm_head.register_forward_hook(lambda *args: captured.append(args[2]))
    with torch.no_grad():
        pupil(batch)
    handle.remove()
    packed = iter(captured[0])
    for n in range(2):
        pixels = processor.image_processor(images=[batch.images[n].numpy()], return_tensors="pt")
        for q in range(3):
            segment, labels = batch.segments[n, q], batch.labels[n, q]
            ids = torch.cat([pupil.prefix, segment])[None]
            with torch.no_grad():
                logits = pupil.model(
                    input_ids=ids,
                    mm_token_type_ids=(ids == pupil.model.config.image_token_id).int(),
                    **pixels,
                ).logits[0, len(pupil.prefix) :]
            for row in logits[labels != -100]:
                torch.testing.assert_close(row, next(packed), atol=1e-4, rtol=1e-4)
    assert next(packed, None) is None


def test_every_number_and_word_is_one_token(pupil):
    _, processor = pupil
    tokenizer = processor.tokenizer
    text = "<answer>" + write_box((3.2, 17.0, 99.6, 128.0)) + "</answer>"
    assert len(tokenizer.encode(text)) == 11
    assert tokenizer.decode(tokenizer.encode(text)) == text
    unknown = "ein Fahrrad – 自転車"
    assert tokenizer.decode(tokenizer.encode(unknown)) == unknown


def test_shipped_weights_are_small():
    size = sum(f.stat().st_size for f in STARTER_DIR.glob("*.safetensors"))
    assert 0 < size <= 16e6


def test_starter_looks_at_the_picture(starter):
    """With the right pictures it answers; with the pictures shuffled it does not."""
    samples = rooms_samples("test", 120, seed=77)
    pictures = [s.image.decode() for s in samples]
    shuffled = pictures[1:] + pictures[:1]
    hits = {}
    for name, images in (("own", pictures), ("shuffled", shuffled)):
        texts = respond(*starter, samples, sample=False, images=images)
        boxes = [answered_box(t) for t in texts]
        hits[name] = np.mean(
            [b is not None and iou(b, s.answer) >= 0.5 for b, s in zip(boxes, samples, strict=True)]
        )
    assert hits["own"] >= 0.30
    assert hits["shuffled"] <= 0.4 * hits["own"]


def test_starter_writes_the_full_format_and_varied_scenes(starter):
    samples = rooms_samples("test", 100, seed=78)
    torch.manual_seed(0)
    texts = respond(*starter, samples, sample=True)
    scenes = [t.split("<scene>")[-1].split("</scene>")[0] for t in texts if "</scene>" in t]
    assert len(scenes) >= 95
    assert len(set(scenes)) >= 85
