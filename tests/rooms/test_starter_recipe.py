"""The starter: its training forward pass equals the model's own, and the bundled model uses the
picture."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from syngrpo.method.response import parse_response
from syngrpo.tasks import get_task
from syngrpo_rooms.closed_questions import reasoning_questions
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.object_questions import DetectionQuestion, instances_of, rec_questions
from syngrpo_rooms.scenes import sample_scene
from syngrpo_rooms.starter import STARTER_DIR
from syngrpo_rooms.starter.annotators import THINK_WORDS, Mixture, write_box, write_response
from syngrpo_rooms.starter.architecture import build_model, build_processor, vocabulary
from syngrpo_rooms.starter.held_out_accuracy import respond, score
from syngrpo_rooms.starter.recipe import copy_weights
from syngrpo_rooms.starter.supervised_losses import SupervisedStarter
from syngrpo_rooms.starter.training_batches import ASKED, IGNORED, TrainingBatches, brief_prompt


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    processor = build_processor(sorted({*vocabulary(), *THINK_WORDS}))
    return SupervisedStarter(build_model(processor.tokenizer), processor).eval(), processor


@pytest.fixture(scope="module")
def starter():
    model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(STARTER_DIR)


def test_visual_tokens_equal_the_models_own(student):
    student, processor = student
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    inputs = processor.image_processor(images=list(images), return_tensors="pt")
    plain = student.model.get_image_features(**inputs).pooler_output
    ours = student.visual_tokens(torch.from_numpy(images))
    torch.testing.assert_close(ours, torch.stack(list(plain)), atol=2e-5, rtol=1e-4)


def test_packed_batches_equal_plain_rows(student):
    """The packed language loss equals the cross entropy of plain rows with one question each."""
    student, processor = student
    batch = next(
        iter(TrainingBatches(processor.tokenizer, Mixture(scenes=True), scenes=2, under_view=0.5))
    )
    captured = []
    handle = student.model.lm_head.register_forward_hook(lambda *args: captured.append(args[2]))
    with torch.no_grad():
        student(batch)
    handle.remove()
    packed = iter(captured[0])
    for n in range(2):
        pixels = processor.image_processor(images=[batch.images[n].numpy()], return_tensors="pt")
        for number in range(1, len(ASKED) + 1):
            here = batch.part[n] == number
            ids = torch.cat([student.prefix, batch.tokens[n][here]])[None]
            with torch.no_grad():
                logits = student.model(
                    input_ids=ids,
                    mm_token_type_ids=(ids == student.model.config.image_token_id).int(),
                    **pixels,
                ).logits[0, len(student.prefix) :]
            for row in logits[batch.labels[n][here] != IGNORED]:
                torch.testing.assert_close(row, next(packed), atol=1e-4, rtol=1e-4)
    assert next(packed, None) is None


def test_a_share_of_the_scenes_is_seen_from_anywhere(student):
    """Boxes and visible pixels are those of the picture; all scenes ask the same questions."""
    tokenizer = student[1].tokenizer

    def batch(share):
        return next(iter(TrainingBatches(tokenizer, Mixture(), scenes=40, under_view=share)))

    near, far = batch(0.0), batch(1.0)
    sizes = [(b.boxes[..., 2:] - b.boxes[..., :2]).amax(dim=(1, 2)).mean() for b in (near, far)]
    assert sizes[1] < 0.8 * sizes[0]
    assert far.images.float().mean() < 0.8 * near.images.float().mean()
    for n in range(40):
        seen = far.cover[n].sum(dim=0).reshape(8, 8) > 0
        for x1, y1, x2, y2 in far.boxes[n][far.label[n] != IGNORED].tolist():
            assert seen[int(8 * (y1 + y2) / 2), int(8 * (x1 + x2) / 2)]


def test_the_first_recipe_stays_possible(student):
    """Without the whole range, tokenizer and descriptions are those of the room alone."""
    bundled = AutoProcessor.from_pretrained(STARTER_DIR)
    first = build_processor(sorted({*vocabulary(whole_range=False), *THINK_WORDS}))
    rng, scene = np.random.default_rng(0), sample_scene("broad", 3)
    boxes, (question, *_) = [t.box for t in scene.things], reasoning_questions(scene)
    for whole_range in (False, True):
        mixture = Mixture(scenes=True, whole_range=whole_range)
        texts = [
            "".join(piece for piece, _ in write_response(scene, boxes, question, mixture, rng))
            for _ in range(200)
        ]
        descriptions = [parse_response(text).scene for text in texts]
        words = {word for text in descriptions for word in text.replace(",", "").split()}
        assert words <= set(vocabulary(whole_range))
        assert ("far" in words) == whole_range
    assert len(first.tokenizer) < len(student[1].tokenizer)
    if "around" not in bundled.tokenizer.get_vocab():
        assert first.tokenizer.get_vocab() == bundled.tokenizer.get_vocab()


def test_batches_are_what_tasks_ask_and_read(student):
    """The answers of careful annotators get the full score, and questions equal the tasks' brief
    prompts."""
    tokenizer = student[1].tokenizer
    for task in ("rec", "ovd", "isr"):
        for sample in rooms_samples("broad", 40, seed=5, task=task):
            scene = sample_scene("broad", sample.columns["scene_seed"])
            boxes = [thing.box for thing in sample.objects]
            question = find_question(task, scene, sample)
            assert brief_prompt(question) == get_task(task).prompt(sample, "brief")
            pieces = write_response(scene, boxes, question, Mixture(), np.random.default_rng(0))
            text = "".join(piece for piece, _ in pieces)
            ids = [token for piece, _ in pieces for token in tokenizer.encode(piece)]
            assert ids == tokenizer.encode(
                text
            )  # trained on the tokens that are generated and read
            assert score(sample, text) >= (0.6 if task == "ovd" else 1.0), text


def find_question(task, scene, sample):
    if task == "rec":
        return next(q for q in rec_questions(scene) if q.phrase == sample.question)
    if task == "isr":
        return next(q for q in reasoning_questions(scene) if q.text == sample.question)
    classes = tuple(sample.question.split(", "))
    return DetectionQuestion(classes, instances_of(scene, classes))


def test_every_number_and_word_is_one_token(student):
    _, processor = student
    tokenizer = processor.tokenizer
    text = '<answer>{"bbox_2d": [' + write_box((3.2, 17.0, 99.6, 128.0)) + "]}</answer>"
    assert len(tokenizer.encode(text)) == 11
    assert tokenizer.decode(tokenizer.encode(text)) == text
    unknown = "ein Fahrrad – 自転車"
    assert tokenizer.decode(tokenizer.encode(unknown)) == unknown


def test_shipped_weights_are_small():
    size = sum(f.stat().st_size for f in STARTER_DIR.glob("*.safetensors"))
    assert 0 < size <= 16e6


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_starter_looks_at_the_picture(starter, task):
    """The starter answers with the right pictures, and does worse with shuffled ones."""
    samples = rooms_samples("test", 200 if task == "isr" else 100, seed=77, task=task)
    if task == "isr":
        samples = [sample for sample in samples if sample.columns["kind"] == "attribute"]
    pictures = [s.image.decode().copy() for s in samples]
    means = {}
    for name, images in (("own", pictures), ("shuffled", pictures[1:] + pictures[:1])):
        texts = respond(*starter, samples, sample=False, images=images)
        means[name] = np.mean([seen(s, text) for s, text in zip(samples, texts, strict=True)])
    assert means["own"] >= 0.2
    assert means["shuffled"] <= 0.6 * means["own"]


def seen(sample, text):
    """Return the score; of a reasoning answer, which is often wrong by design, whether the thought
    is right."""
    if sample.task == "isr":
        return float((parse_response(text).think or "").startswith(sample.answer))
    return score(sample, text)


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_starter_writes_the_full_format_and_varied_scenes(starter, task):
    samples = rooms_samples("test", 60, seed=78, task=task)
    torch.manual_seed(0)
    texts = respond(*starter, samples, sample=True)
    scenes = [parsed.scene for text in texts if (parsed := parse_response(text)).well_formed]
    assert len(scenes) >= 55
    assert len(set(scenes)) >= 50


def test_a_recipe_can_begin_with_another_starter(starter):
    """Every weight is that of the other starter, and every token that both know has its
    embedding, whatever its number is."""
    first, before = starter
    processor = build_processor(sorted({*vocabulary(), *THINK_WORDS, "aardvark"}))
    model = build_model(processor.tokenizer)
    copy_weights(STARTER_DIR, model, processor.tokenizer)
    known, tokens = before.tokenizer.get_vocab(), processor.tokenizer.get_vocab()
    assert set(tokens) - set(known) and known.keys() <= tokens.keys()
    old, new = (one.get_input_embeddings().weight for one in (first, model))
    assert any(known[token] != tokens[token] for token in known)
    for token, row in known.items():
        assert torch.equal(old[row], new[tokens[token]]), token
    weights = dict(model.named_parameters())
    for name, weight in first.named_parameters():
        assert "embed_tokens" in name or torch.equal(weight, weights[name]), name
