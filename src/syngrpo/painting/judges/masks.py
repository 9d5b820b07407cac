"""Masks for objects that are labelled by a box alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from syngrpo.boxes import box_mask, encode_mask, iou, mask_box
from syngrpo.painting.judges.judge import Segmenter
from syngrpo.sample import Sample

MIN_AGREEMENT = 0.7
"""IoU of the label's box and the mask's own, from which the mask is taken for the object's."""


def with_masks(sample: Sample, image: np.ndarray, segmenter: Segmenter) -> Sample:
    """``sample`` with a mask for every object; ``image`` is its decoded picture.

    Masks that the data brought stay. A new one is cut to its box, for what is outside is labelled
    not to be the object; one that does not fill the box (``MIN_AGREEMENT``) is of something else,
    and the object stays without: the whole box is then kept.
    """
    bare = [index for index, thing in enumerate(sample.objects) if thing.mask is None]
    if not bare:
        return sample
    objects = list(sample.objects)
    masks = segmenter.refine_masks(image, [objects[index].box for index in bare])
    for index, mask in zip(bare, masks, strict=True):
        box = objects[index].box
        inside = mask & box_mask(box, sample.image.width, sample.image.height)
        if inside.any() and iou(mask_box(inside), box) >= MIN_AGREEMENT:
            objects[index] = replace(objects[index], mask=encode_mask(inside))
    return replace(sample, objects=tuple(objects))
