"""How the model families of docs/families.md write boxes, as their authors document it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

Labelled = Sequence[tuple[str, tuple[int, int, int, int]]]


def qwen2_vl(objects: Labelled) -> str:
    """Special tokens of Qwen2-VL (arXiv 2409.12191, section 2.2.1)."""
    return "".join(
        f"<|object_ref_start|>{label}<|object_ref_end|>"
        f"<|box_start|>({x1},{y1}),({x2},{y2})<|box_end|>"
        for label, (x1, y1, x2, y2) in objects
    )


def without_special_tokens(objects: Labelled) -> str:
    """The same as a tokenizer decodes it that leaves out special tokens."""
    return "".join(f"{label}({x1},{y1}),({x2},{y2})" for label, (x1, y1, x2, y2) in objects)


def qwen_vl(objects: Labelled) -> str:
    """Qwen-VL (arXiv 2308.12966, section 3.2)."""
    return " ".join(
        f"<ref>{label}</ref><box>({x1},{y1}),({x2},{y2})</box>"
        for label, (x1, y1, x2, y2) in objects
    )


def qwen25_vl(objects: Labelled) -> str:
    """cookbooks/spatial_understanding.ipynb in QwenLM/Qwen2.5-VL; Qwen3-VL and Qwen3.5, too."""
    rows = (f"\t{json.dumps({'bbox_2d': box, 'label': label})}" for label, box in objects)
    return "```json\n[\n" + ",\n".join(rows) + "\n]\n```"


def internvl(objects: Labelled) -> str:
    """Grounding data in the page on chat data of InternVL's documentation."""
    return "".join(
        f"<ref>{label}</ref><box>[[{', '.join(map(str, box))}]]</box>\n" for label, box in objects
    )


def internvl_decoded(objects: Labelled) -> str:
    """The same as a tokenizer decodes it whose <ref> and <box> are special tokens."""
    return "".join(f"{label}[[{', '.join(map(str, box))}]]\n" for label, box in objects)


def glm_v(objects: Labelled) -> str:
    """Detection of the skill glmv-grounding in zai-org/GLM-skills, in GLM's answer tokens."""
    rows = [{"label": label, "bbox_2d": box} for label, box in objects]
    return f"<|begin_of_box|>{json.dumps(rows, ensure_ascii=False)}<|end_of_box|>"


def llava(objects: Labelled) -> str:
    """LLaVA (grounding data of llava_v1_5_mix665k, which LLaVA-OneVision has, too) writes shares;
    here thousandths are written as they are."""
    return "\n".join(f"{label}: [{', '.join(map(str, box))}]" for label, box in objects)


FORMS: dict[str, Callable[[Labelled], str]] = {
    form.__name__: form
    for form in (
        qwen2_vl,
        without_special_tokens,
        qwen_vl,
        qwen25_vl,
        internvl,
        internvl_decoded,
        glm_v,
        llava,
    )
}

GLM_BRACKETS = (
    "<|begin_of_box|>[{}]<|end_of_box|>",
    "<|begin_of_box|>[[{}]]<|end_of_box|>",
    "<|begin_of_box|>({})<|end_of_box|>",
    "<|begin_of_box|><{}><|end_of_box|>",
    "[[{}]]",
    "The coordinates of the second bottle are <|begin_of_box|>[[{}]]<|end_of_box|>.",
)
"""How GLM-V writes one box: the model card of GLM-4.5V says that the style of brackets may vary."""
