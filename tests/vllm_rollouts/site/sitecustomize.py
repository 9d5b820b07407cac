"""For an environment with the CPU build of torch and the only build of torchvision on the package
index, which is for CUDA: its compiled operators cannot be loaded, and importing it fails because it
describes two of them. Declared here, they can be described; nothing of ours or of vLLM calls them.

On PYTHONPATH, because vLLM starts processes of its own.
"""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
