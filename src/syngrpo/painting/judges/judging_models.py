"""The models that the judges use, loaded with transformers: detectors, SAM 2, CLIP and SigLIP.

``panel.load_judges`` imports this module only when one of them is asked for, because it imports
torch.

There are two kinds of open-vocabulary detectors, told apart by the ``model_type`` in their
configuration. The Grounding DINO family (Grounding DINO, MM-Grounding-DINO and LLMDet, which is an
MM-Grounding-DINO) reads all names as one text and gives each box a score for each token. OWL-ViT
and OWLv2 read each name as a text of its own and give each box a score for each name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as hf
from PIL import Image
from torch import Tensor
from torchvision.ops import batched_nms, box_convert
from transformers.utils import logging

from syngrpo.boxes import area, clip
from syngrpo.painting.judges.base import Detection
from syngrpo.sample import Box, InputError
from syngrpo.serving.devices import parse_device
from syngrpo.serving.wording import one_line

GROUNDING = frozenset({"grounding-dino", "mm-grounding-dino"})
OWL = frozenset({"owlvit", "owlv2"})

FLOOR = 0.1
"""Detections with a lower score are dropped."""
DUPLICATE = 0.7
"""IoU from which two boxes of a class count as one."""
LONGEST_NAME = 200
"""Characters of a class name that are used."""
NAMES_AT_ONCE = 20
"""Largest number of names in one text, because these detectors find less with longer lists."""


class OpenVocabularyDetector:
    """Finds instances of named classes. ``model`` is an AutoModelForZeroShotObjectDetection whose
    ``model_type`` is one of ``GROUNDING`` or ``OWL``."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self._score = _token_scores if model.config.model_type in GROUNDING else _name_scores

    @torch.inference_mode()
    def detect(self, image: np.ndarray, names: Sequence[str]) -> list[Detection]:
        """Return detections with a score of at least ``FLOOR``, their boxes clipped to the image.
        Names without letters and digits are skipped."""
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
        """Yield lists of names that fit into one text: at most NAMES_AT_ONCE names, and no more
        tokens than the model reads (``max_text_len``)."""
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
    """Return boxes (Q, 4) xyxy in pixels and scores (Q, names), float32 on the CPU.

    A name's score is the mean over its tokens, as MMDetection computes it for the models it
    trained. Full stops separate the names in the text, for the model as well.
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
    """Return boxes and scores as ``_token_scores`` does. The processor undoes the padding to a
    square."""
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
    """Return the name as it is written into the text, without characters that would end it, such as
    full stops and question marks. "" for a name without letters and digits."""
    text = "".join(c if c.isalnum() or c in "-'," else " " for c in name[:LONGEST_NAME])
    return " ".join(text.lower().split()) if any(c.isalnum() for c in text) else ""


class BoxSegmenter:
    """SAM 2, prompted with boxes. ``model`` is a Sam2Model, ``processor`` its Sam2Processor."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @torch.inference_mode()
    def refine_masks(self, image: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
        """Return one mask (H, W) per box: the one that SAM 2 predicts when it is not asked for
        several. The image is encoded once for all boxes."""
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


class ImageTextSimilarity:
    """CLIP or SigLIP: ``model`` embeds pictures and texts in one space."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @torch.inference_mode()
    def similarity(self, image: np.ndarray, text: str) -> float:
        """Return the cosine of the embeddings. The text is cut at the length that the model reads.

        CLIPScore (arXiv 2104.08718) is 2.5 times this, where it is positive.
        """
        inputs = self.processor(
            images=Image.fromarray(image),
            text=[text],
            padding="max_length",  # SigLIP was trained with it; CLIP gives the same either way
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.model.device, dtype=self.model.dtype)
        outputs = self.model(**inputs)
        pair = outputs.image_embeds.float(), outputs.text_embeds.float()
        return torch.nn.functional.cosine_similarity(*pair).item()


def load_detector(source: str, device: str, dtype: str) -> OpenVocabularyDetector:
    """Load a detector from a directory or hub id, in evaluation mode on the device.

    Raises InputError, one line that names the option, for a model that is missing, cannot be read
    or is of another kind, and for a device that does not exist.
    """
    kind = _Kind("detector", hf.AutoModelForZeroShotObjectDetection, hf.AutoProcessor)
    return OpenVocabularyDetector(*_load(kind, GROUNDING | OWL, source, device, dtype))


def load_segmenter(source: str, device: str, dtype: str) -> BoxSegmenter:
    """Load SAM 2 in the same way, with the same errors, as ``load_detector``."""
    kind = _Kind("segmenter", hf.Sam2Model, hf.Sam2Processor)
    # The published checkpoints are of the video model; the image model can load them.
    return BoxSegmenter(*_load(kind, {"sam2", "sam2_video"}, source, device, dtype))


def load_similarity(source: str, device: str, dtype: str) -> ImageTextSimilarity:
    """Load CLIP or SigLIP in the same way, with the same errors, as ``load_detector``."""
    kind = _Kind("similarity", hf.AutoModel, hf.AutoProcessor)
    types = {"clip", "siglip", "siglip2"}
    return ImageTextSimilarity(*_load(kind, types, source, device, dtype))


class _Kind(NamedTuple):
    """The option that names a model, and the classes that load the model and its processor."""

    option: str
    model: Any
    processor: Any


def _load(
    kind: _Kind, types: Collection[str], source: str, device: str, dtype: str
) -> tuple[Any, Any]:
    """Load model and processor, if the model's ``model_type`` is one of ``types``."""
    logging.disable_progress_bar()  # a worker shares its terminal with others
    _check_source(kind.option, source)
    target = parse_device(device, "synthesis.judges.device")
    try:
        written, _ = hf.PreTrainedConfig.get_config_dict(source)
        found = str(written.get("model_type"))
        if found not in types:
            known = ", ".join(sorted(types))
            raise InputError(
                f"{kind.option} {source} is of type '{found}'; use one of type {known}"
            )
        processor = kind.processor.from_pretrained(source)
        model = kind.model.from_pretrained(source, dtype=getattr(torch, dtype))
    except (OSError, ImportError) as error:
        reason = one_line(error)[:200]
        raise InputError(
            f"{kind.option} {source} cannot be loaded ({reason}); check its name"
        ) from None
    return model.to(target).eval().requires_grad_(False), processor


def _check_source(name: str, source: str) -> None:
    if (Path(source) / "config.json").is_file():
        return
    if Path(source).is_dir():
        raise InputError(f"{name}: directory {source} holds no model (no config.json)")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise InputError(f"{name}: directory {source} does not exist; give a model or none")
