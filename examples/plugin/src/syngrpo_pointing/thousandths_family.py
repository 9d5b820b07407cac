"""The family ``qwen2_5_vl_thousandths``: Qwen2.5-VL, tuned to write coordinates from 0 to 1000.

Only what differs from the nearest family is written. Configurations name it with ``model.family``;
an entry point whose name is a ``model_type`` of transformers is used for that type by itself.
"""

from __future__ import annotations

from syngrpo.policy.families.qwen import Qwen25VL


class ThousandthsFamily(Qwen25VL):
    """Qwen2.5-VL writes pixels of the resized image; this one, thousandths of width and height."""

    name = "qwen2_5_vl_thousandths"
    coordinates = "0-1000"
