"""Executable transforms, for comparison: pictures change without an image generator.

EVE (arXiv 2604.18320) trains a second policy that writes such transforms; here they are random.

A share of the drawn samples is cropped, rotated and recoloured at random before it is rolled out.
Labels follow each transform exactly, so no label can become wrong and nothing has to be judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from syngrpo.method.base import MethodOptions
from syngrpo.method.grpo import Grpo
from syngrpo.method.picture_transforms import TransformBounds, transformed
from syngrpo.options import option
from syngrpo.sample import Sample


@dataclass(frozen=True)
class ExecutableTransformsOptions(MethodOptions):
    """The section ``method`` of executable transforms."""

    transform_share: float = option(
        0.75, "executable-transforms: share of the drawn samples that are transformed", ge=0, le=1
    )
    least_crop: float = option(
        0.6,
        "executable-transforms: smallest width and height of a crop, as a share of the picture's",
        gt=0,
        le=1,
    )
    most_rotation: float = option(
        15.0, "executable-transforms: largest angle of a rotation, in degrees", ge=0, le=45
    )
    most_colour: float = option(
        0.4,
        "executable-transforms: largest change of brightness, contrast and saturation, as a share",
        ge=0,
        lt=1,
    )
    most_hue: float = option(
        0.1,
        "executable-transforms: largest change of the hue, as a share of the colour circle; none "
        "where the question or the answer names a colour",
        ge=0,
        le=0.5,
    )


class ExecutableTransforms(Grpo):
    """GRPO on transformed pictures. It has no synthesis."""

    Options: ClassVar[type[MethodOptions]] = ExecutableTransformsOptions

    def transform(self, sample: Sample, rng: np.random.Generator) -> Sample:
        options = self.options
        assert isinstance(options, ExecutableTransformsOptions)
        if rng.random() >= options.transform_share:
            return sample
        bounds = TransformBounds(
            options.least_crop, options.most_rotation, options.most_colour, options.most_hue
        )
        return transformed(sample, bounds, rng)
