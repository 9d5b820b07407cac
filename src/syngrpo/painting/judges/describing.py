"""CLIP and SigLIP of transformers: how well a text describes a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image


class ImageTextSimilarity:
    """``model`` is one that embeds pictures and texts in one space."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @torch.inference_mode()
    def similarity(self, image: np.ndarray, text: str) -> float:
        """See ``Similarity``. A text longer than the model reads is cut.

        CLIPScore (arXiv 2104.08718) is 2.5 x this, where it is positive.
        """
        inputs = self.processor(
            images=Image.fromarray(image),
            text=[text],
            padding="max_length",  # SigLIP was trained so; CLIP does not mind
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.model.device, dtype=self.model.dtype)
        outputs = self.model(**inputs)
        pair = outputs.image_embeds.float(), outputs.text_embeds.float()
        return torch.nn.functional.cosine_similarity(*pair).item()
