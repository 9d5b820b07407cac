"""A file for ms-swift's ``--external_plugins``: the rooms world and the starter model.

It runs in ms-swift's environment. ``SYNGRPO_TEST_FOLDER`` is the folder of the run,
``SYNGRPO_TEST_SERVER`` the data server; without one every step paints by itself. What entered the
batches is noted in ``seen.jsonl``, a line for each response.
"""

import hashlib
import json
import os
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from swift.rewards import ORM, orms
from swift.template import register_template
from swift.template.templates.qwen import Qwen2_5VLTemplate, QwenTemplateMeta

from syngrpo.adapters.swift_plugin import evolve
from syngrpo.data_server.client import DataClient, ServerOptions, SynthesisOptions
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

FOLDER = Path(os.environ["SYNGRPO_TEST_FOLDER"])
CONFIG = json.loads((STARTER_DIR / "config.json").read_text())
SAMPLES = rooms_samples("train", 24)


class StarterTemplate(Qwen2_5VLTemplate):
    """The starter is a Qwen2.5-VL with its own vocabulary and another size of patches, so its
    pictures must not be resized to multiples of 28 pixels."""

    image_token_id = CONFIG["image_token_id"]
    video_token_id = CONFIG["video_token_id"]

    def replace_tag(self, media_type, index, inputs):
        return ["<|vision_start|><|image_pad|><|vision_end|>"]


class Seen(ORM):
    """Notes the picture and the sample of each response. Always 0."""

    def __call__(self, completions, images, rollout_infos, **_):
        with (FOLDER / "seen.jsonl").open("a") as lines:
            for (picture,), info in zip(images, rollout_infos, strict=True):
                pixels = np.asarray(Image.open(BytesIO(b64decode(picture))))
                digest = hashlib.sha256(pixels.tobytes()).hexdigest()
                lines.write(json.dumps({"sample": info["sample_id"], "pixels": digest}) + "\n")
        return [0.0] * len(completions)


def open_client() -> DataClient:
    url = os.environ.get("SYNGRPO_TEST_SERVER")
    mode = "async" if url else "inline"
    return DataClient.open(
        FOLDER / "run",
        SAMPLES,
        groups_per_step=4,
        synthesis=SynthesisOptions(generator="rooms", mode=mode),
        server=ServerOptions(url=url),
    )


register_template(QwenTemplateMeta("starter", template_cls=StarterTemplate, default_system=None))
orms["seen"] = Seen
evolve(SAMPLES, open_client, prompt_style="brief")
