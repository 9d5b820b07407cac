"""Images become tensors once, as bytes, in the background; and nothing of a step stays behind."""

import gc
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quick_runs import quick_config
from tiny_families import TINY, save_tiny
from tiny_models import random_sample
from watched_trainer import watched_trainer

from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.forward import pixel_values
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.tasks import get_task
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.prompt_cache import PromptCache
from syngrpo.workflow.trainer import Trainer
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

SIZES = ((64, 48), (130, 75), (301, 333), (256, 256), (640, 480))
"""Enlarged, odd, shrunk and just right ones, (width, height)."""

SEEDS = rooms_samples("train", 24)


@dataclass(frozen=True)
class WatchedImage(EncodedImage):
    """Notes in which thread it is decoded."""

    decoded_by: list[str] = field(default_factory=list, compare=False)

    def decode(self) -> np.ndarray:
        self.decoded_by.append(threading.current_thread().name)
        return super().decode()


def watched(sample: Sample) -> tuple[Sample, list[str]]:
    image = WatchedImage(sample.image.width, sample.image.height, sample.image.read())
    return replace(sample, image=image), image.decoded_by


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def starter() -> Policy:
    return load_policy(STARTER_DIR)


@pytest.mark.parametrize("name", [name for name in TINY if " " not in name])
def test_bytes_become_exactly_what_the_plain_processor_makes(tmp_path: Path, name: str) -> None:
    policy = load_policy(save_tiny(tmp_path, name))
    samples = [random_sample(*size, seed=i) for i, size in enumerate(SIZES)]
    prompts = [encode(policy, sample, f"Find the {name} 椅子.") for sample in samples]
    values = pixel_values(policy, prompts)
    content = [{"type": "image"}, {"type": "text", "text": f"Find the {name} 椅子."}]
    chat = (
        policy.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        .removesuffix("<think>\n")
        .removesuffix("<think>\n\n</think>\n\n")
    )
    start = 0
    for prompt, sample in zip(prompts, samples, strict=True):
        pixels = sample.image.decode().copy()
        wanted = policy.processor(text=[chat], images=[pixels], return_tensors="pt")
        assert prompt.image["patches"].dtype == torch.uint8
        assert prompt.input_ids.tolist() == wanted["input_ids"][0].tolist()
        assert prompt.image["image_grid_thw"].tolist() == wanted["image_grid_thw"].tolist()
        stop = start + len(wanted["pixel_values"])
        assert values.dtype == wanted["pixel_values"].dtype == torch.float32
        assert torch.equal(values[start:stop], wanted["pixel_values"])
        start = stop
    assert start == len(values)


def test_a_processor_that_does_not_normalise_is_obeyed(starter: Policy) -> None:
    policy = load_policy(STARTER_DIR)
    processor = policy.processor.image_processor
    processor.do_normalize = False
    prompt = encode(policy, SEEDS[0], "q")
    pixels = SEEDS[0].image.decode().copy()
    wanted = processor(images=[pixels], return_tensors="pt")["pixel_values"]
    assert torch.equal(pixel_values(policy, [prompt]), wanted)
    assert not torch.equal(pixel_values(starter, [prompt]), wanted)


def test_prefetched_prompts_are_encoded_once_and_by_another_thread(starter: Policy) -> None:
    prompts = PromptCache(starter, "brief", kept=4)
    seeds, decoded_by = zip(*map(watched, SEEDS[:4]), strict=True)
    prompts.prefetch(seeds[:2])
    prompts.prefetch(seeds[1:3])
    taken = prompts.take(seeds)
    again = prompts.take(seeds[::-1])[::-1]
    assert [len(names) for names in decoded_by] == [1, 1, 1, 1]
    assert all(name.startswith("prompts") for names in decoded_by for name in names)
    for seed, first, second in zip(seeds, taken, again, strict=True):
        wanted = encode(starter, seed, get_task("rec").prompt(seed, "brief"))
        for prompt in (first, second):
            assert prompt.sample_id == seed.id and prompt.frame == wanted.frame
            assert torch.equal(prompt.input_ids, wanted.input_ids)
            assert torch.equal(prompt.image["patches"], wanted.image["patches"])


def test_features_of_a_step_are_not_kept(starter: Policy) -> None:
    prompts = PromptCache(starter, "brief", kept=4)
    (first,) = prompts.take(SEEDS[:1])
    first.features = "of these weights"  # type: ignore[assignment]
    (second,) = prompts.take(SEEDS[:1])
    assert second.features is None and second.image["patches"] is first.image["patches"]


def test_the_prompts_asked_for_last_are_kept(starter: Policy) -> None:
    prompts = PromptCache(starter, "brief", kept=2)
    seeds, decoded_by = zip(*map(watched, SEEDS[:3]), strict=True)
    for place in (0, 1, 0, 2, 0, 1):
        prompts.take([seeds[place]])
    assert [len(names) for names in decoded_by] == [1, 2, 1]
    assert len(prompts.take(seeds)) == 3  # more at once than are kept


def test_what_cannot_be_encoded_is_told_when_it_is_needed(starter: Policy) -> None:
    image = SEEDS[0].image
    broken = replace(SEEDS[0], image=EncodedImage.from_bytes(image.read()[:-2000]))
    prompts = PromptCache(starter, "brief", kept=4)
    prompts.prefetch([broken, SEEDS[1]])
    assert prompts.take([SEEDS[1]])[0].sample_id == SEEDS[1].id
    with pytest.raises(InputError) as alone:
        encode(starter, broken, "q")
    with pytest.raises(InputError) as told:
        prompts.take([SEEDS[1], broken])
    assert str(told.value) == str(alone.value) and "cannot be decoded" in str(told.value)
    assert "\n" not in str(told.value)


def test_an_image_no_model_takes_ends_the_step(tmp_path: Path) -> None:
    ruler = Sample("ruler", "rec", random_sample(201, 1).image, "q", (0.0, 0.0, 9.0, 1.0), ())
    seeds = [replace(ruler, id=f"ruler-{i}") for i in range(4)]
    with (
        watched_trainer(tmp_path, seeds=seeds) as trainer,
        pytest.raises(InputError, match=r"image of sample ruler-\d is 201x1, more than 200 times"),
    ):
        trainer.watched_step()


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    pool = Pool.open(tmp_path / "pool")
    pool.add_seeds(SEEDS)
    pool.close()
    return tmp_path / "pool"


def test_the_client_tells_what_the_next_draw_will_be(pool: Path) -> None:
    settings = SynthesisSettings(pool, generator="rooms")
    with closing(AsyncClient(settings, SamplingPolicy(), batch=4)) as client:
        told: list[list[str]] = []
        client.prefetch_with(lambda samples: told.append([sample.id for sample in samples]))
        for step in range(3):
            until(lambda: any(told), "what comes")
            drawn = [item.sample.id for item in client.draw(4)]
            assert drawn == next(names for names in reversed(told) if names)
            told.clear()
            # A stock that measurements will replace is not worth preparing.
            until(lambda: len(client._stock) == 1, "the stock")
            assert not told
            client.observe([Observation(name, step, step, 0.5, 0.5) for name in drawn])


def test_a_step_finds_its_prompts_ready(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    def noted(policy: Policy, sample: Sample, text: str) -> Prompt:
        encoded.append(sample.id)
        return encode(policy, sample, text)

    monkeypatch.setattr("syngrpo.workflow.prompt_cache.encode", noted)
    config = quick_config(method__name="grpo", rollout__max_new_tokens=8, rollout__group_size=2)
    with closing(
        AsyncClient(SynthesisSettings(pool, generator="rooms"), SamplingPolicy(), batch=3)
    ) as client:
        trainer = Trainer(config, load_policy(STARTER_DIR), Processes(), client, {"rec"})
        for step in range(3):
            until(lambda: len(encoded) == 3, "the next batch")  # nobody has asked for it yet
            ready = set(encoded)
            encoded.clear()
            drawn = {item.sample.id for _, item in trainer.draw(3)}
            assert drawn == ready
            observed = [Observation(name, step, step, 0.5, 0.5) for name in drawn]
            client.observe(observed)


@pytest.mark.slow
def test_nothing_of_a_step_stays_behind(tmp_path: Path) -> None:
    def alive() -> tuple[int, int]:
        """How many prompts and tensors there are. The ledger holds arrays."""
        gc.collect()
        found = gc.get_objects()
        prompts = sum(type(thing) is Prompt for thing in found)
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in found)
        return prompts, tensors

    changed = {"trainer__groups_per_step": 2, "rollout__group_size": 2}
    with watched_trainer(tmp_path, **changed) as trainer:
        counts: dict[int, tuple[int, int]] = {}
        settled = 0
        for step in range(1, 9):
            settled += len(trainer.watched_step().settled)
            trainer.scored, trainer.reports, trainer.seen = [], [], ([], [])
            counts[step] = alive()
    assert settled > 0
    assert counts[8] == counts[5]  # as many prompts are kept as ever will be
