"""Open-vocabulary detectors of transformers.

Two kinds, told apart by their configuration. The Grounding DINO family (Grounding DINO,
MM-Grounding-DINO, which LLMDet is one of) reads all names as one text and scores boxes against its
tokens; OWL-ViT and OWLv2 read every name apart and score boxes against names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

from syngrpo.boxes import area, clip
from syngrpo.painting.judges.judge import Detection

GROUNDING = frozenset({"grounding-dino", "mm-grounding-dino"})
OWL = frozenset({"owlvit", "owlv2"})

FLOOR = 0.1
"""Detections with a lower score are noise, and dropped."""
DUPLICATE = 0.7
"""IoU from which two boxes of a class are one."""
LONGEST_NAME = 200
"""Characters of a class name that are read."""
NAMES_AT_ONCE = 20
"""Names in one text: the more, the worse such detectors read it."""


class OpenVocabularyDetector:
    """``model`` is an AutoModelForZeroShotObjectDetection of ``GROUNDING`` or ``OWL``."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self._score = _token_scores if model.config.model_type in GROUNDING else _name_scores

    @torch.inference_mode()
    def detect(self, image: np.ndarray, names: Sequence[str]) -> list[Detection]:
        """See ``Detector``. Scores from ``FLOOR``; boxes are clipped to the image. Names that hold
        nothing but punctuation are not looked for."""
        height, width = image.shape[:2]
        found = []
        for chunk in self._chunks([name for name in names if _written(name)]):
            boxes, scores = self._score(self, image, [_written(name) for name in chunk])
            best, label = scores.max(dim=1)
            sure = best >= FLOOR
            boxes, best, label = boxes[sure], best[sure], label[sure]
            for index in batched_nms(boxes, best, label, DUPLICATE).tolist():
                x1, y1, x2, y2 = boxes[index].tolist()
                box = clip((x1, y1, x2, y2), width, height)
                if area(box) > 0:
                    found.append(Detection(chunk[label[index]], box, best[index].item()))
        return found

    def _chunks(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Names that fit one text: the model reads ``max_text_len`` tokens and no more."""
        limit = getattr(self.model.config, "max_text_len", None)
        chunk: list[str] = []
        used = 0
        for name in names:
            length = len(self.processor.tokenizer(_written(name)).input_ids) if limit else 0
            if chunk and (len(chunk) == NAMES_AT_ONCE or (limit and used + length > limit)):
                yield chunk
                chunk, used = [], 0
            chunk.append(name)
            used += length
        if chunk:
            yield chunk


def _token_scores(
    detector: OpenVocabularyDetector, image: np.ndarray, names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Boxes (Q, 4) xyxy in pixels and scores (Q, names), float32 on the CPU.

    A name's score is the mean over its tokens, as MMDetection computes it for the models it
    trained; the text is cut at its full stops, which the model takes for borders as well.
    """
    inputs = _inputs(detector, image, [list(names)])
    outputs = detector.model(**inputs)
    tokenizer = detector.processor.tokenizer
    stop = tokenizer.convert_tokens_to_ids(".")
    ids = inputs["input_ids"][0].tolist()
    frame = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    words = [position for position, token in enumerate(ids) if token not in frame]
    spans = [list(run) for is_stop, run in groupby(words, lambda p: ids[p] == stop) if not is_stop]
    assert len(spans) == len(names), f"{len(names)} names were read as {len(spans)}"
    tokens = outputs.logits[0].float().sigmoid().cpu()
    scores = torch.stack([tokens[:, span].mean(dim=1) for span in spans], dim=1)
    height, width = image.shape[:2]
    boxes = box_convert(outputs.pred_boxes[0].float().cpu(), "cxcywh", "xyxy")
    return boxes * torch.tensor([width, height, width, height]), scores


def _name_scores(
    detector: OpenVocabularyDetector, image: np.ndarray, names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """As ``_token_scores``. The processor undoes the padding to a square."""
    inputs = _inputs(detector, image, [[f"a photo of a {name}" for name in names]])
    outputs = detector.model(**inputs)
    (found,) = detector.processor.post_process_grounded_object_detection(
        outputs, threshold=-1.0, target_sizes=[image.shape[:2]]
    )
    return found["boxes"].float().cpu(), outputs.logits[0].float().sigmoid().cpu()


def _inputs(detector: OpenVocabularyDetector, image: np.ndarray, text: list[list[str]]) -> Any:
    inputs = detector.processor(
        images=Image.fromarray(image),
        text=text,
        truncation=True,
        return_tensors="pt",
    )
    return inputs.to(detector.model.device, dtype=detector.model.dtype)


def _written(name: str) -> str:
    """The name as it is asked for: full stops and question marks would end it."""
    text = "".join(c if c.isalnum() or c in "-'," else " " for c in name[:LONGEST_NAME])
    return " ".join(text.lower().split()) if any(c.isalnum() for c in text) else ""
