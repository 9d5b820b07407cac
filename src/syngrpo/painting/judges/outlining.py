"""SAM 2 of transformers, prompted with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from syngrpo.sample import Box


class BoxSegmenter:
    """``model`` is a Sam2Model, ``processor`` its Sam2Processor."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @torch.inference_mode()
    def refine_masks(self, image: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
        """See ``Segmenter``. All boxes share one pass of the image encoder; each gets the single
        mask that the model is trained to give for a box."""
        if not boxes:
            return []
        inputs = self.processor(
            images=Image.fromarray(image),
            input_boxes=[[list(map(float, box)) for box in boxes]],
            return_tensors="pt",
        )
        sizes = inputs.pop("original_sizes")
        inputs = inputs.to(self.model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        inputs["input_boxes"] = inputs["input_boxes"].to(self.model.dtype)
        outputs = self.model(**inputs, multimask_output=False)
        (masks,) = self.processor.post_process_masks(outputs.pred_masks.float().cpu(), sizes)
        return list(masks[:, 0].numpy())
