"""Two steps of the whole loop on real photographs, and a look at what came out."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from syngrpo.boxes import decode_mask
from syngrpo.cli.train import run_training
from syngrpo.config import load_config
from syngrpo.pool.store import Pool

CONFIG = Path(__file__).parents[2] / "configs" / "photos-rec.yaml"


def test_two_steps_on_photographs(tmp_path, capsys):
    overrides = ["trainer.steps=2", "synthesis.mode=inline", "evaluation.samples_per_prompt=0"]
    overrides += ["synthesis.frame={}", "synthesis.light={}"]  # the pixels stay the same
    run = tmp_path / "run"
    run_training(load_config(CONFIG, overrides), run, resume=False)

    data = (
        f"photos: 30 rec samples of 8 images, from {CONFIG.parent}/../examples/photos/photos.jsonl"
    )
    begin = [f"trains on {data}", f"evaluates on {data}"]
    assert capsys.readouterr().out.splitlines()[:2] == begin, "before the first step"
    assert all(f": {line}\n" in (run / "log.txt").read_text() for line in begin)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps] == [1, 2]
    assert steps[0]["synthesis/admitted"] >= 1
    assert steps[1]["diversity/response_synthetic"] is not None
    with closing(Pool.open(run)) as pool:
        children = [drawn.sample for drawn in pool.samples("synthetic")]
        assert len(children) == sum(row["synthesis/admitted"] for row in steps)
        for child in children:
            parent = pool.get(child.parent)
            with Image.open(child.image.path) as stored:
                assert stored.format == "PNG"
            before, after = parent.image.decode().astype(int), child.image.decode().astype(int)
            keep = np.any([decode_mask(thing.mask) for thing in child.objects], axis=0)
            assert before.shape == after.shape
            assert np.array_equal(before[keep], after[keep])
            assert np.abs(before - after)[~keep].mean() > 4
            assert child.question == parent.question and child.answer == parent.answer
            assert child.description
    assert "data:image" in (run / "report.html").read_text()
    assert (run / "final" / "model.safetensors").stat().st_size > 1e6
