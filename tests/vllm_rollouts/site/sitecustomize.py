"""Makes torchvision importable beside the CPU build of torch.

The package index has torchvision for CUDA only. Its compiled operators cannot be loaded there, and
importing it fails because it registers descriptions of two of them. This module declares the two;
neither this project nor vLLM calls them. It is on PYTHONPATH because vLLM starts processes of its
own, which must have it too.
"""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
