"""Random descriptions of surroundings: where they come from, and what they may say."""

import re

import numpy as np
import pytest

from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.describers import photographs as vocabulary
from syngrpo.painting.describers.photographs import PhotographDescriber
from syngrpo.painting.prompt import build_prompt, clean_description
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples

(SAMPLE,) = rooms_samples("train", 1)
COCO_NOUNS = """person bicycle car motorcycle airplane bus train truck boat light hydrant sign meter
    bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie
    suitcase frisbee skis snowboard ball kite bat glove skateboard surfboard racket bottle glass cup
    fork knife spoon bowl banana apple sandwich orange broccoli carrot pizza donut cake chair couch
    plant bed table toilet tv laptop mouse remote keyboard phone microwave oven toaster sink
    refrigerator book clock vase scissors drier toothbrush"""


def described(count: int, seed: int = 0) -> list[str]:
    describer, rng = PhotographDescriber(), np.random.default_rng(seed)
    return [describer.describe(SAMPLE, rng) for _ in range(count)]


def test_the_same_seed_writes_the_same_and_texts_differ() -> None:
    assert described(20) == described(20)
    assert described(20) != described(20, seed=1)
    assert len(set(described(500))) > 490


def test_everything_of_the_vocabulary_is_used_and_is_large() -> None:
    text = "\n".join(described(5000))
    tables = [table for table in vars(vocabulary).values() if isinstance(table, tuple)]
    words = [word for table in tables for word in table]
    assert len(words) == len(set(words)) > 120
    assert all(word in text for word in words)


def test_descriptions_are_prompts_and_name_no_things() -> None:
    constraints = get_task(SAMPLE.task).constraints(SAMPLE)
    for text in described(300):
        assert 5 <= len(text.split()) <= 20
        assert clean_description(text) == text
        assert build_prompt(text, SAMPLE, constraints).startswith(text)
        assert set(re.findall(r"[a-z]+", text)) & set(COCO_NOUNS.split()) <= {"light", "glass"}


def test_describers_are_found_by_name_and_of_the_user() -> None:
    assert isinstance(DESCRIBERS.load("photographs"), PhotographDescriber)
    assert "rooms" in DESCRIBERS.names()
    mine = DESCRIBERS.load(f"{__name__}:Terse")
    assert mine.describe(SAMPLE, np.random.default_rng(0)) == "fog"
    with pytest.raises(InputError, match="describer 'fotos' is unknown; use one of photographs"):
        DESCRIBERS.load("fotos")


class Terse:
    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        return "fog"
